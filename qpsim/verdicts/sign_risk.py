"""Sign descent on a rotated Hessian: how far its approximate expected losses are from ensembles.

The data are those of ``qpsim figure sign-risk``: the largest relative difference of an approximation from the mean loss
of the runs, for random problems, some numbers of coordinates d and some signals q, the mean square of a coordinate's
gradient over its noise at the start.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from qpsim.figures import figure_sign_risk as figure
from qpsim.figures.data import Data
from qpsim.figures.options import option
from qpsim.simulation.statistics import mean_interval
from qpsim.verdicts.record import Measurement, Report, Verdict

_SOURCE = "the Gaussian closure and the high-dimensional equation, against simulation"
_WITHIN = 0.01
# From this signal on the runs' mean is known well enough; from the second on the laws differ on every problem.
_FELT, _LARGE = 1.0, 3.0
_ERROR = "geometric mean over problems of the largest relative error on the way"


@dataclass(frozen=True)
class Options(figure.Options):
    """Those of the figure, with fewer cases and more problems of each."""

    dims: tuple[int, ...] = option((16, 128), "numbers of coordinates", at_least=2)
    signals: tuple[float, ...] = option(
        (1.0, 10.0), "mean squares of gradient over noise", at_least=1e-6
    )
    n_draws: int = option(8, "draws of spectrum, rotation and start", at_least=1)


def measure(options: Options, workers: int | Executor | None = None) -> Report:
    """Run the ensembles and judge the statements.

    Examples
    --------
    >>> from qpsim.verdicts import sign_risk
    >>> few = sign_risk.Options(dims=(2, 4), n_steps=4, n_replicates=4, n_draws=2)
    >>> [verdict.name for verdict in sign_risk.measure(few, workers=1).verdicts]
    ['closure-within', 'closure-falls', 'closure-ahead']
    """
    data = figure.compute(options, workers=workers)
    return Report("sign-risk", judge(data), options.to_dict(), data.provenance)


def judge(data: Data) -> tuple[Verdict, ...]:
    """The verdicts on the figure's data, computed or loaded."""
    error = dict(zip(data.labels["law"], np.log(data["error"]), strict=True))
    closure, other = error["closure"], error["high-dimensional"]
    d = data.labels["dim"]
    slope = (closure[:, -1] - closure[:, 0]) / np.log(d[-1] / d[0])
    return (
        Verdict(
            "closure-within",
            f"With signals of q >= {_FELT:g} the Gaussian closure is the mean loss of runs of {d[-1]} coordinates "
            f"within {_WITHIN:.0%}.",
            _SOURCE,
            f"{_ERROR}, at d = {d[-1]}",
            f"whole 95 % interval below {_WITHIN:g}",
            _below(data, closure[:, -1], _WITHIN, _FELT, ratio=True),
        ),
        Verdict(
            "closure-falls",
            "The closure's error falls with d.",
            _SOURCE,
            f"log of the error's ratio over log of d's, from d = {d[0]} to {d[-1]}",
            "whole 95 % interval below 0",
            _below(data, slope, 0.0, _FELT, ratio=False),
        ),
        Verdict(
            "closure-ahead",
            f"With signals of q >= {_LARGE:g} the closure is closer to the runs than the high-dimensional equation, "
            "whose limit is that of gradients far below their noise.",
            _SOURCE,
            f"closure's error over that of the high-dimensional equation at d = {d[-1]}",
            "whole 95 % interval below 1",
            _below(data, closure[:, -1] - other[:, -1], 1.0, _LARGE, ratio=True),
        ),
    )


def _below(
    data: Data, values: np.ndarray, limit: float, least: float, ratio: bool
) -> tuple[Measurement, ...]:
    """One measurement a signal, of values (signal, draw); if ``ratio``, of their exponentials.

    Signals below ``least`` are for information only.
    """
    found = []
    for signal, row in zip(data.labels["signal"], values, strict=True):
        middle, (low, high) = mean_interval(row)
        if ratio:
            middle, low, high = np.exp([middle, low, high]).tolist()
        holds = bool(high < limit) if signal >= least else None
        found.append(Measurement(f"q = {signal:g}", middle, (low, high), holds=holds))
    return tuple(found)
