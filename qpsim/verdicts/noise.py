"""The five statements of Section 2.2 again, under four covariances of the gradient's noise.

The data are those of ``qpsim figure noise``. The paper states them for the noise of data, C = nu^2 QQ; a verdict under
another family says whether the statement holds there too, by the same rule (:mod:`qpsim.verdicts.figure2`). The
statement without noise is the same for all families and is listed once.
"""

from __future__ import annotations

from concurrent.futures import Executor

from qpsim.figures import figure_noise as figure
from qpsim.figures.data import Data
from qpsim.figures.figure2_statements import STATEMENTS, Statement
from qpsim.verdicts.record import Measurement, Report, Verdict

_NAMES = {
    "data": "Noise of data (C = nu^2 QQ, the paper's)",
    "hessian": "Noise in proportion to the Hessian",
    "white": "White noise",
    "diagonal": "Noise of random variances",
}

Options = figure.Options


def measure(options: Options, workers: int | Executor | None = None) -> Report:
    """Simulate the figure's panels and judge every statement under every family.

    Examples
    --------
    >>> from qpsim.verdicts import noise
    >>> few = noise.Options(n_replicates=6, n_draws=6, n_steps=3, dim=4)
    >>> [verdict.name for verdict in noise.measure(few, workers=1).verdicts][:3]
    ['noise-free', 'a-little-noise, data', 'a-little-noise, hessian']
    """
    data = figure.compute(options, workers=workers)
    return Report("noise", judge(data), options.to_dict(), data.provenance)


def judge(data: Data) -> tuple[Verdict, ...]:
    """The verdicts on the figure's data, computed or loaded."""
    found = []
    for statement in STATEMENTS:
        silent = all(case.above.noise == 0 for case in statement.cases)
        families = data.labels["family"][:1] if silent else data.labels["family"]
        for k, family in enumerate(families):
            found.append(_judge(data, statement, k, None if silent else family))
    return tuple(found)


def _judge(data: Data, statement: Statement, k: int, family: str | None) -> Verdict:
    measured = []
    for case in statement.cases:
        middle, interval, holds = figure.evaluated(data, case, k)
        measured.append(Measurement(f"{case.ratio} on {case.where}", middle, interval, holds=holds))
    sides = dict.fromkeys(f"of {case.ratio} {case.bounds.rule}" for case in statement.cases)
    return Verdict(
        statement.name if family is None else f"{statement.name}, {family}",
        statement.text if family is None else f"{_NAMES[family]}: {statement.text}",
        "Section 2.2, Figure 2",
        f"median over replicates of the paired log10 ratio of excess losses after {data.options.n_steps} steps",
        "whole 95 % interval " + "; ".join(sides),
        tuple(measured),
    )
