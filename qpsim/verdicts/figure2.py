"""The five statements of Section 2.2 about SGD and SSD on four quadratic problems (Figure 2).

Every number is the median over replicates of a paired log10 ratio of excess losses after the last
step: same problem draw, same start, same noise. The words of the paper are given one meaning each,
a convention of ours: "vastly" and "drastically" mean a factor of 10 or more, "clearly" a
factor of 2 or more, "almost even", "roughly equal" and "little effect" less than a factor of 2. The
whole 95 % interval must lie on that side, in every case that the statement covers.

The paper does not say how far from the optimum it starts; the verdicts are therefore repeated at
other scales of the starting offset.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from qpsim.figures import figure2
from qpsim.figures.data import Data
from qpsim.figures.figure2 import METHODS, NOISE, ROWS
from qpsim.figures.figure2_problems import EnsembleOptions
from qpsim.figures.options import option
from qpsim.simulation.statistics import median_interval
from qpsim.verdicts.record import Measurement, Report, Verdict

TWO, TEN = math.log10(2.0), 1.0


@dataclass(frozen=True)
class Options(EnsembleOptions):
    """Those of an ensemble, and the other scales to repeat the verdicts at."""

    scales: tuple = option((1.0, 3.0, 10.0, 30.0), "scales to repeat the verdicts at", at_least=0.0)


class Side(NamedTuple):
    """Where an interval must lie, in words and as bounds."""

    rule: str
    low: float
    high: float

    def met_by(self, interval: tuple[float, float]) -> bool:
        """Whether the whole interval lies there."""
        return self.low <= interval[0] and interval[1] <= self.high


class Place(NamedTuple):
    """One curve of the figure: row, noise level, method, as indices."""

    row: int
    noise: int
    method: int


class Case(NamedTuple):
    """A ratio of two curves, and where it must lie."""

    ratio: str
    where: str
    above: Place
    below: Place
    side: Side


class Statement(NamedTuple):
    """What Section 2.2 says, the cases that decide it, and what they are also compared with."""

    name: str
    text: str
    cases: tuple[Case, ...]
    noise_free: tuple[Case, ...] = ()


FACTOR_10 = Side("at least 1 (a factor of 10)", TEN, math.inf)
FACTOR_2 = Side(f"at least {TWO:.3f} (a factor of 2)", TWO, math.inf)
EQUAL = Side(f"within +-{TWO:.3f} (a factor of 2)", -TWO, TWO)

SGD, SSD = METHODS.index("sgd"), METHODS.index("ssd")
MILD_HAAR, MILD_AXIS, STRUCTURED_HAAR, STRUCTURED_AXIS = range(4)


def _methods(row: int, noise: int, above: int, side: Side) -> Case:
    other = SSD if above == SGD else SGD
    ratio = "/".join(METHODS[k].upper() for k in (above, other))
    where = f"{'/'.join(ROWS[row])}, nu = {NOISE[noise]:g}"
    return Case(ratio, where, Place(row, noise, above), Place(row, noise, other), side)


def _bases(haar: int, axis: int, noise: int, side: Side) -> Case:
    where = f"{ROWS[haar][0]}, nu = {NOISE[noise]:g}"
    return Case("SSD haar/axis", where, Place(haar, noise, SSD), Place(axis, noise, SSD), side)


_LEVELS = range(len(NOISE))

STATEMENTS = (
    Statement(
        "noise-free",
        "On the well-conditioned, noise-free problem gradient descent is vastly better than its "
        "sign.",
        tuple(_methods(row, 0, SSD, FACTOR_10) for row in (MILD_HAAR, MILD_AXIS)),
    ),
    Statement(
        "a-little-noise",
        "On the well-conditioned problem a little noise almost evens the two out.",
        tuple(_methods(row, 1, SSD, EQUAL) for row in (MILD_HAAR, MILD_AXIS)),
        tuple(_methods(row, 0, SSD, EQUAL) for row in (MILD_HAAR, MILD_AXIS)),
    ),
    Statement(
        "orientation",
        "On the well-conditioned problem the eigenbasis' orientation has little effect on SSD.",
        tuple(_bases(MILD_HAAR, MILD_AXIS, noise, EQUAL) for noise in _LEVELS),
    ),
    Statement(
        "structured-haar",
        "On the ill-conditioned problem in a random basis the two work roughly equally well.",
        tuple(_methods(STRUCTURED_HAAR, noise, SSD, EQUAL) for noise in _LEVELS),
    ),
    Statement(
        "structured-axis",
        "On the ill-conditioned problem SSD benefits drastically from an axis-aligned basis, where "
        "it is clearly better than SGD.",
        (
            *(_bases(STRUCTURED_HAAR, STRUCTURED_AXIS, noise, FACTOR_10) for noise in _LEVELS),
            *(_methods(STRUCTURED_AXIS, noise, SGD, FACTOR_2) for noise in _LEVELS),
        ),
    ),
)


def measure(options: Options, workers: int | Executor | None = None) -> Report:
    """Simulate Figure 2 at every scale and judge its five statements.

    Parameters
    ----------
    options : Options
        The verdicts are those at ``scale``; ``notes["scales"]`` has them at every scale.
    workers : None, int or concurrent.futures.Executor

    Returns
    -------
    Report

    Examples
    --------
    >>> from qpsim.verdicts import figure2
    >>> few = figure2.Options(n_replicates=8, n_draws=2, n_steps=20, dim=10, scales=(10.0,))
    >>> [verdict.name for verdict in figure2.measure(few, workers=1).verdicts]
    ['noise-free', 'a-little-noise', 'orientation', 'structured-haar', 'structured-axis']
    """
    began = time.perf_counter()
    plain = {name: getattr(options, name) for name in EnsembleOptions.names()}
    base = figure2.Options(**plain)
    scales = sorted({options.scale, *options.scales})
    judged, provenance = {}, {}
    for scale in scales:
        data = figure2.compute(replace(base, scale=scale), workers=workers)
        judged[scale], provenance = judge(data), data.provenance
    main = judged[options.scale]
    verdicts = tuple(
        replace(verdict, notes={**verdict.notes, **_by_scale(judged, k)})
        for k, verdict in enumerate(main)
    )
    elapsed = {"wall_seconds": round(time.perf_counter() - began, 3)}
    return Report("figure2", verdicts, options.to_dict(), {**provenance, **elapsed})


def judge(data: Data) -> tuple[Verdict, ...]:
    """The five verdicts on the data of Figure 2, computed or loaded."""
    return tuple(_judge(statement, data) for statement in STATEMENTS)


def _ratio(case: Case, data: Data) -> np.ndarray:
    """Paired log10 ratios, shape (replicate, checkpoint)."""
    return data["checkpoints"][case.above] - data["checkpoints"][case.below]


def _judge(statement: Statement, data: Data) -> Verdict:
    steps = data["checkpoint_steps"]
    measured = []
    half = []
    for case in statement.cases:
        ratio = _ratio(case, data)
        value, interval = median_interval(ratio[:, -1], data["problem"])
        what = f"{case.ratio} on {case.where}"
        measured.append(Measurement(what, value, interval, holds=case.side.met_by(interval)))
        half.append(float(np.median(ratio[:, 2])))
    # Context, not decision: how much of the noise-free gap, in log10, is left.
    for case, without, found in zip(
        statement.cases, statement.noise_free, tuple(measured), strict=False
    ):
        gap = float(np.median(_ratio(without, data)[:, -1]))
        left = found.value / gap if gap else math.nan
        measured.append(Measurement(f"  as a share of nu = 0, {case.where}", left))
    sides = dict.fromkeys(f"of {case.ratio} {case.side.rule}" for case in statement.cases)
    return Verdict(
        statement.name,
        statement.text,
        "Section 2.2, Figure 2",
        f"median over replicates of the paired log10 ratio of excess losses after {steps[-1]} steps",
        "95 % interval (94 to 97.5 % measured for 8 problem draws) " + "; ".join(sides),
        tuple(measured),
        {f"value_after_{steps[2]}_steps": half},
    )


def _by_scale(judged: dict[float, tuple[Verdict, ...]], k: int) -> dict[str, Any]:
    at = {f"{scale:g}": verdicts[k] for scale, verdicts in judged.items()}
    depends = len({tuple(m.holds for m in v.measurements) for v in at.values()}) > 1
    remarks = []
    if depends:
        remarks.append(
            "The outcome depends on the scale of the starting offset, which the paper does not give."
        )
    if any(m.interval and math.isinf(m.interval[1]) for v in at.values() for m in v.measurements):
        remarks.append(
            "An interval is infinite: with fewer than 6 problem draws nothing is decided."
        )
    return {
        "depends_on_scale": depends,
        "remarks": remarks,
        "scales": {
            scale: {
                "holds": verdict.holds,
                "measurements": [m.to_dict() for m in verdict.measurements],
            }
            for scale, verdict in at.items()
        },
    }
