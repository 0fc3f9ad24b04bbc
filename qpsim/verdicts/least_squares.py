"""High-dimensional equations on least squares: how the gap of a run shrinks with d, and whether means agree.

The data are those of ``qpsim figure least-squares``; every interval is Student's over independent draws of spectrum,
rotation and start.
"""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np

from qpsim.figures import figure_least_squares as figure
from qpsim.figures.data import Data
from qpsim.simulation.statistics import mean_interval
from qpsim.verdicts.record import Measurement, Report, Verdict

# How far from a claimed exponent an interval may reach, and from the equation a mean loss.
_EXPONENT_WITHIN, _MEAN_WITHIN = 0.1, 0.03
_SOURCE = "Xiao et al. (2024)"

Options = figure.Options


def measure(options: Options, workers: int | Executor | None = None) -> Report:
    """Run the ensembles and judge the statements.

    Examples
    --------
    >>> from qpsim.verdicts import least_squares
    >>> few = least_squares.Options(dims=(4, 8), n_replicates=4, n_draws=2)
    >>> [verdict.name for verdict in least_squares.measure(few, workers=1).verdicts]
    ['gap-of-a-run', 'mean-of-runs', 'exact-risk-of-sgd']
    """
    data = figure.compute(options, workers=workers)
    return Report("least-squares", judge(data), options.to_dict(), data.provenance)


def judge(data: Data) -> tuple[Verdict, ...]:
    """The verdicts on the figure's data, computed or loaded."""
    methods, largest = data.labels["method"], data.labels["dim"][-1]
    smallest = data.labels["dim"][0]
    gaps = tuple(
        _exponent(f"{method}, d = {smallest} to {largest}", data["exponent"][k], -0.5)
        for k, method in enumerate(methods)
    )
    quarters = [round(k * (data["time"].shape[1] - 1) / 4) for k in (1, 2, 3, 4)]
    means = []
    for k, method in enumerate(methods):
        for point in quarters:
            mean, interval = mean_interval(data["deviation"][-1, k][:, point])
            inside = -_MEAN_WITHIN <= interval[0] and interval[1] <= _MEAN_WITHIN
            at = data["time"][-1, point]
            what = f"{method}, d = {largest}, after {at:.3g} d steps"
            means.append(Measurement(what, mean, interval, holds=bool(inside)))
    exact = _exponent("sgd, equation against exact risk", data["exact_exponent"], -1.0)
    limit = f"whole 95 % interval within {_EXPONENT_WITHIN} of the claimed exponent"
    return (
        Verdict(
            "gap-of-a-run",
            "The largest gap between one run's loss and the equation shrinks like d^(-1/2).",
            _SOURCE,
            "slope of the log gap over log d, mean over draws",
            limit,
            gaps,
        ),
        Verdict(
            "mean-of-runs",
            f"At d = {largest} the mean loss of the runs is that of the equation.",
            _SOURCE,
            "mean loss of a draw's runs over the equation, minus 1, mean over draws",
            f"whole 95 % interval within +-{_MEAN_WITHIN}",
            tuple(means),
        ),
        Verdict(
            "exact-risk-of-sgd",
            "For SGD, where the exact risk is known, the equation is off by a share that shrinks like 1/d.",
            "the exact recursion of E[e e^T]",
            "slope of the log of the largest relative difference over log d, mean over draws",
            limit,
            (exact,),
        ),
    )


def _exponent(what: str, slopes: np.ndarray, claimed: float) -> Measurement:
    mean, interval = mean_interval(slopes)
    inside = claimed - _EXPONENT_WITHIN <= interval[0] and interval[1] <= claimed + _EXPONENT_WITHIN
    return Measurement(what, mean, interval, holds=bool(inside), claimed=claimed)
