"""Batch sizes in the noisy quadratic model: the published counts of steps, and what extends perfect scaling.

The data are those of ``qpsim figure batch``. All numbers are exact, so that none has an interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import Executor

from qpsim.figures import figure_batch as figure
from qpsim.figures.data import Data
from qpsim.verdicts.record import Measurement, Report, Verdict

_SOURCE = "Zhang et al. (2019)"
_COUNT_WITHIN, _SAME_WITHIN = 1e-3, 0.01

Options = figure.Options


def measure(options: Options, workers: int | Executor | None = None) -> Report:
    """Count the steps and judge the statements.

    Examples
    --------
    >>> from qpsim.verdicts import batch
    >>> few = batch.Options(dim=10, batch_sizes=(1, 1024), averaging=(0.0, 0.9))
    >>> [verdict.name for verdict in batch.measure(few, workers=1).verdicts][2:]
    ['momentum-at-small-batches', 'averaging-at-small-batches', 'pieces-at-small-batches']
    """
    data = figure.compute(options, workers=workers)
    return Report("batch", judge(data), options.to_dict(), data.provenance)


def judge(data: Data) -> tuple[Verdict, ...]:
    """The verdicts on the figure's data, computed or loaded."""
    steps = dict(zip(data.labels["curve"], data["steps"], strict=True))
    batches = data.labels["batch"]
    first, last = batches[0], batches[-1]
    critical = dict(zip(data.labels["curve"], figure.critical_batches(data), strict=True))
    larger = tuple(
        _ratio(f"{name} over sgd", critical[name] / critical["sgd"], lambda x: x > 1.0)
        for name in ("m-sgd", "preconditioned")
    )
    momentum = _ratio(
        f"B = {first}, m-sgd over sgd",
        steps["m-sgd"][0] / steps["sgd"][0],
        lambda x: abs(x - 1.0) <= _SAME_WITHIN,
        1.0,
    )
    averaged = (
        _ratio(f"B = {first}", steps["averaged"][0] / steps["sgd"][0], lambda x: x < 0.5),
        _ratio(
            f"B = {last}",
            steps["averaged"][-1] / steps["sgd"][-1],
            lambda x: abs(x - 1.0) <= _SAME_WITHIN,
            1.0,
        ),
    )
    pieces = (
        _ratio(f"B = {first}", steps["pieces"][0] / steps["sgd"][0], lambda x: x < 0.5),
        _ratio(f"B = {last}", steps["pieces"][-1] / steps["sgd"][-1], lambda x: x > 0.9),
    )
    return (
        Verdict(
            "published-counts",
            "The fewest steps to the target over constant step sizes are those published.",
            _SOURCE,
            "steps, counted from 0 as published",
            f"within {_COUNT_WITHIN:.1%} of the published number",
            _counts(data),
        ),
        Verdict(
            "larger-critical-batch",
            "Momentum and a preconditioner keep steps falling like 1/B up to larger batches than SGD does.",
            _SOURCE,
            "batch size from which twice as many draws are needed, over that of SGD",
            "above 1",
            larger,
        ),
        Verdict(
            "momentum-at-small-batches",
            "At the smallest batch momentum takes as many steps as SGD.",
            _SOURCE,
            "ratio of the fewest steps",
            f"within {_SAME_WITHIN:.0%} of 1",
            (momentum,),
        ),
        Verdict(
            "averaging-at-small-batches",
            "Averaged iterates need fewer steps at the smallest batch, and no fewer at the largest.",
            _SOURCE,
            "fewest steps of averaged SGD over those of SGD",
            f"below 1/2, and within {_SAME_WITHIN:.0%} of 1",
            averaged,
        ),
        Verdict(
            "pieces-at-small-batches",
            "Ten constant pieces need far fewer steps than one at the smallest batch, and hardly fewer at the largest.",
            _SOURCE,
            "fewest steps of SGD with pieces over those with a constant step",
            "below 1/2, and above 0.9",
            pieces,
        ),
    )


def _counts(data: Data) -> tuple[Measurement, ...]:
    """The published batch sizes among the options; empty for another model."""
    found = []
    for name, counts in figure.PUBLISHED.items():
        k = data.labels["curve"].index(name)
        for batch, count in counts.items():
            if batch not in data.labels["batch"]:
                continue
            value = float(data["steps"][k, data.labels["batch"].index(batch)]) - 1.0
            holds = None
            if figure.is_published(data.options):
                holds = abs(value / count - 1.0) <= _COUNT_WITHIN
            found.append(Measurement(f"{name}, B = {batch}", value, holds=holds, claimed=count))
    return tuple(found)


def _ratio(
    what: str, value: float, rule: Callable[[float], bool], claimed: float | None = None
) -> Measurement:
    holds = bool(math.isfinite(value) and rule(value))
    return Measurement(what, float(value), holds=holds, claimed=claimed)
