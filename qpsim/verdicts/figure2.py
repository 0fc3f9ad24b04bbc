"""The five statements of Section 2.2 about SGD and SSD on four quadratic problems (Figure 2).

Every number is the median over replicates of a paired log10 ratio of excess losses after the last
step: same problem draw, same start, same noise. What the words of the paper mean as numbers is a
convention of ours (:mod:`qpsim.figures.figure2_statements`). The whole 95 % interval must lie on that
side, in every case that the statement covers.

The paper does not say how far from the optimum it starts; the verdicts are therefore repeated at
other scales of the starting offset.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from qpsim.figures import figure2
from qpsim.figures.data import Data
from qpsim.figures.figure2_problems import EnsembleOptions
from qpsim.figures.figure2_statements import STATEMENTS, Statement
from qpsim.figures.options import option
from qpsim.simulation.statistics import median_interval
from qpsim.verdicts.record import Measurement, Report, Verdict


@dataclass(frozen=True)
class Options(EnsembleOptions):
    """Those of an ensemble, and the other scales to repeat the verdicts at."""

    scales: tuple = option((1.0, 3.0, 10.0, 30.0), "scales to repeat the verdicts at", at_least=0.0)


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


def _judge(statement: Statement, data: Data) -> Verdict:
    steps = data["checkpoint_steps"]
    measured = []
    half = []
    for case in statement.cases:
        ratio = case.ratios(data["checkpoints"])
        value, interval = median_interval(ratio[:, -1], data["problem"])
        what = f"{case.ratio} on {case.where}"
        measured.append(Measurement(what, value, interval, holds=case.bounds.contain(interval)))
        half.append(float(np.median(ratio[:, 2])))
    # For information only: how much of the gap without noise, in log10, is left.
    for case, without, found in zip(
        statement.cases, statement.noise_free, tuple(measured), strict=False
    ):
        gap = float(np.median(without.ratios(data["checkpoints"])[:, -1]))
        left = found.value / gap if gap else math.nan
        measured.append(Measurement(f"  as a share of nu = 0, {case.where}", left))
    sides = dict.fromkeys(f"of {case.ratio} {case.bounds.rule}" for case in statement.cases)
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
