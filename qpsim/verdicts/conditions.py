"""Section 2's conditions on networks: the Hessian's diagonal mass and spectrum, and where the sign helps.

The paper offers "some (weak) empirical evidence" that they are fulfilled. The data are those of ``qpsim figure
conditions``: each condition measured along the training of networks, and the improvement at a point held against what
the loss itself does there and over the next steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Executor

import numpy as np

from qpsim.figures import figure_conditions as figure
from qpsim.figures.conditions_panels import CLAIMED
from qpsim.figures.data import Data
from qpsim.figures.network_panels import titles
from qpsim.verdicts.record import Measurement, Report, Verdict

# Largest factor by which the quadratic model's gain may be wrong; and the fraction of eigenvalues that counts as few.
_GAIN_WITHIN, _FEW = 2.0, 0.1

Options = figure.Options


def measure(options: Options, workers: int | Executor | None = None) -> Report:
    """Measure the points and judge the statements."""
    data = figure.compute(options, workers=workers)
    return Report("conditions", judge(data), options.to_dict(), data.provenance)


def judge(data: Data) -> tuple[Verdict, ...]:
    """The verdicts on the figure's data, computed or loaded."""
    return _mass(data), _spectrum(data), _sign(data), _where(data), _gains(data), _race(data)


def _points(data: Data) -> Iterator[tuple[str, tuple[int, int]]]:
    """Name and index of every point that was measured."""
    for place in zip(*np.nonzero(np.isfinite(data["loss"])), strict=True):
        k, n = map(int, place)
        yield f"{titles(data)[k]}, step {data['step'][n]}", (k, n)


def _estimate(what: str, values: np.ndarray, holds: bool | None = None) -> Measurement:
    value, low, high = map(float, values)
    return Measurement(what, value, (low, high), holds=holds)


def _mass(data: Data) -> Verdict:
    low, high = CLAIMED
    rows = [
        _estimate(what, c, bool(c[2] >= low and c[1] <= high))
        for what, c in ((what, data["mass"][at]) for what, at in _points(data))
    ]
    return Verdict(
        "diagonal-mass",
        "The Hessian's diagonal holds between .1 and .6 of its mass.",
        "Section 2.1, Eq. 13",
        "c",
        "the 95 % interval meets [.1, .6]",
        tuple(rows),
    )


def _spectrum(data: Data) -> Verdict:
    rows = []
    for what, at in _points(data):
        share, (smallest, largest) = data["large_share"][at], data["extreme"][at]
        ends = f"{what}, eigenvalues {smallest:.2g} to {largest:.2g}"
        rows.append(_estimate(ends, share, bool(share[2] < _FEW)))
    return Verdict(
        "few-large-eigenvalues",
        "The spectrum is ill-conditioned: few eigenvalues are large.",
        "Section 2.1",
        "share of eigenvalues above a tenth of the largest",
        "the whole 95 % interval lies below .1",
        tuple(rows),
    )


def _sign(data: Data) -> Verdict:
    middle = data.labels["quantile"].index(0.5)
    rows = []
    for what, at in _points(data):
        ratio, eta = data["ratio"][at], data["relative_variance"][at][middle]
        rows.append(_estimate(f"{what}, median eta^2 {eta:.3g}", ratio, bool(ratio[1] > 1.0)))
    return Verdict(
        "sign-improves-more",
        "One step along the sign improves the loss by more than one along the gradient.",
        "Section 2.1, Eq. 11 and 12",
        "I(s) / I(g)",
        "the whole 95 % interval lies above 1",
        tuple(rows),
    )


def _where(data: Data) -> Verdict:
    """Whether the sign's advantage is larger where the three conditions hold better."""
    ratio = data["ratio"][..., 0]
    conditions = {
        "noise scale tr C / |g|^2": data["noise_scale"][..., 0],
        "ill-conditioning, 1 / share of large eigenvalues": 1.0 / data["large_share"][..., 0],
        "diagonal mass c": data["mass"][..., 0],
    }
    rows = []
    for name, values in conditions.items():
        value, interval, n = _rank_correlation(values, ratio)
        rows.append(Measurement(f"{name}, {n} points", value, interval, holds=interval[0] > 0.0))
    return Verdict(
        "sign-where-conditions",
        "The sign is the more beneficial the noisier, the worse conditioned and the more diagonally dominant.",
        "Section 2.3",
        "rank correlation of the condition with I(s) / I(g) over all points",
        "the whole 95 % interval lies above 0",
        tuple(rows),
        {"remarks": ["Points of one training are not independent: intervals are too narrow."]},
    )


def _rank_correlation(x: np.ndarray, y: np.ndarray) -> tuple[float, tuple[float, float], int]:
    """Spearman's correlation of the known pairs, with the interval of Fisher's transform."""
    from scipy.stats import spearmanr

    known = ~(np.isnan(x) | np.isnan(y))
    n = int(known.sum())
    if n < 4 or np.ptp(x[known]) == 0.0 or np.ptp(y[known]) == 0.0:
        return math.nan, (-1.0, 1.0), n
    value = float(spearmanr(x[known], y[known]).statistic)
    # A correlation of 1 would have an interval of length 0; it is replaced by that of an order with two neighbours
    # exchanged.
    most = 1.0 - 12.0 / (n * (n**2 - 1.0))
    middle = math.atanh(min(max(value, -most), most))
    # Its standard error is 1.03 / sqrt(n - 3) (Fieller, Hartley & Pearson, 1957).
    half = 1.96 * 1.03 / math.sqrt(n - 3)
    return value, (math.tanh(middle - half), math.tanh(middle + half)), n


def _gains(data: Data) -> Verdict:
    rows = []
    for what, at in _points(data):
        for m, method in enumerate(data.labels["method"]):
            predicted, realised = data["improvement"][at][m], data["realised"][at][m]
            ratio = _ratio(realised, predicted)
            # Points at which the quadratic model is unbounded are left out.
            holds = bool(ratio[2] >= 1 / _GAIN_WITHIN and ratio[1] <= _GAIN_WITHIN)
            rows.append(
                _estimate(f"{what}, {method}", ratio, None if np.isnan(ratio[0]) else holds)
            )
    return Verdict(
        "gains-are-real",
        "The loss falls by as much as its quadratic model says, with one step of the best length.",
        "Section 2, Eq. 11",
        "best decrease of the loss itself / I(z)",
        "the 95 % interval meets [1/2, 2]",
        tuple(rows),
    )


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """Ratio of two estimates with its interval, their relative errors added in squares."""
    if not (np.isfinite(top).all() and np.isfinite(bottom).all() and bottom[0] > 0.0):
        return np.full(3, np.nan)
    value = top[0] / bottom[0]
    half = np.hypot(top[2] - top[1], value * (bottom[2] - bottom[1])) / (2.0 * bottom[0])
    return np.array([value, value - half, value + half])


def _race(data: Data) -> Verdict:
    """The fraction of points at which the better direction is also the better method in the following steps."""
    from scipy.stats import binomtest

    right, points = figure.winners(data)
    low, high = binomtest(right, max(1, points)).proportion_ci(method="wilson")
    share = right / points if points else math.nan
    rows = [Measurement(f"share of {points} points", share, (low, high), holds=bool(low > 0.5))]
    value, interval, n = _rank_correlation(data["ratio"][..., 0], data["race"][..., 0])
    rows.append(Measurement(f"rank correlation of {n} points", value, interval))
    for what, at in _points(data):
        ratio, what = np.exp(np.minimum(data["race"][at], 600.0)), f"ratio of the falls, {what}"
        if np.isnan(ratio[0]):
            rows.append(Measurement(f"{what}: no fall of either method in the mean", math.nan))
        else:
            rows.append(_estimate(what, ratio))
    return Verdict(
        "one-step-predicts-many",
        f"Where I(s) > I(g), sign descent's loss falls further over the next {data.options.n_steps} steps, each method "
        "with its best constant step.",
        "not in the paper",
        "share of points at which I(s) / I(g) names the winner; sign descent's fall over gradient descent's",
        "the whole 95 % interval of the share lies above 1/2",
        tuple(rows),
    )
