"""Slope and curvature of the loss along directions from real gradients, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from qpsim.errors import MeasureError
from qpsim.execution.blas import one_blas_thread
from qpsim.measure.inputs import Products
from qpsim.measure.record import Estimate
from qpsim.methods import Method, State

UNKNOWN = Estimate(float("nan"), float("nan"), float("nan"))


def moments(chunks: list[np.ndarray], chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and unbiased variance of the chosen rows, in two passes."""
    n, first = int(chosen.sum()), 0
    mean, variance = np.zeros((2, chunks[0].shape[1]))
    for chunk in chunks:
        mean += chunk[chosen[first : first + len(chunk)]].sum(axis=0, dtype=np.float64) / n
        first += len(chunk)
    first = 0
    for chunk in chunks:
        for row, take in zip(chunk, chosen[first : first + len(chunk)], strict=True):
            if take:
                variance += (row - mean) ** 2 / (n - 1)
        first += len(chunk)
    return mean, variance


def relative_variance(chunks: list[np.ndarray], chosen: np.ndarray) -> np.ndarray:
    """eta^2; where the mean is smaller than its standard error, the standard error replaces it."""
    mean, variance = moments(chunks, chosen)
    n = int(chosen.sum())
    squared = np.maximum(mean**2 - variance / n, 0.1 * variance / n)
    return np.where(variance > 0.0, variance / np.where(squared > 0.0, squared, 1.0), 0.0)


class Directions:
    """The directions of one method, computed again at each use, to save memory."""

    def __init__(self, chunks: Any, method: Method, state: State, halves: Any, eta: Any) -> None:
        self._chunks, self._method, self._state = chunks, method, state
        self._halves, self._eta = halves, eta

    def __iter__(self) -> Any:
        k = 0
        for chunk in self._chunks:
            for row in chunk:
                yield k, self._direction(k, row)
                k += 1

    def in_chunks(self, width: int) -> Iterator[np.ndarray]:
        """The same as (k, d), k at most ``width``."""
        kept: list[np.ndarray] = []
        for _, z in self:
            kept.append(z)
            if len(kept) == width:
                yield np.array(kept)
                kept = []
        if kept:
            yield np.array(kept)

    def _direction(self, k: int, row: np.ndarray) -> np.ndarray:
        given = {"relative_variance": self._eta[self._halves[k]]} if self._method.observes else {}
        direction, _ = self._method.update(row.astype(np.float64), self._state, **given)
        if not np.isfinite(direction).all():
            raise MeasureError(f"{self._method.name} gives a direction that is not finite.")
        return direction


def products_and_curvatures(
    chunks: list[np.ndarray], view: Directions, matrix: Any, products: Products, n_products: int
) -> tuple[np.ndarray, np.ndarray]:
    """g_j^T z_k for all pairs, and z_k^T H z_k for the directions that are multiplied by H."""
    n = sum(map(len, chunks))
    pairs = np.empty((n, n))
    curvatures = np.full(n, np.nan)
    # Spread evenly over the gradients.
    taken = np.zeros(n, dtype=bool)
    taken[
        np.arange(n) if matrix is not None else np.linspace(0, n - 1, min(n, n_products), dtype=int)
    ] = True
    start = 0
    for z in view.in_chunks(products.width):
        stop, first = start + len(z), 0
        with one_blas_thread(load_scipy=False):
            for chunk in chunks:
                part = chunk @ z.T.astype(chunk.dtype, copy=False)
                pairs[first : first + len(chunk), start:stop] = part
                first += len(chunk)
        along = z[taken[start:stop]]
        if len(along):
            bent = products.of(along.T) if matrix is None else matrix @ along.T
            curvatures[start:stop][taken[start:stop]] = np.einsum("kd,dk->k", along, bent)
        start = stop
    return pairs, curvatures


def parabola(
    weights: np.ndarray,
    pairs: np.ndarray,
    curvatures: np.ndarray,
    halves: np.ndarray,
    method: Method,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slope, curvature and slope / sqrt(curvature) for each set of weights, the first of equal ones."""
    allowed = 1.0 - np.eye(len(pairs))
    if method.observes:
        # eta^2 was estimated from the other half, whose gradients therefore cannot be used.
        allowed *= halves[:, None] == halves[None, :]
    slopes = np.sum((weights @ (pairs * allowed)) * weights, axis=1)
    # All weight may fall on one gradient, which then has no other to be multiplied with.
    with np.errstate(invalid="ignore"):
        slopes /= np.sum((weights @ allowed) * weights, axis=1)
    seen = np.isfinite(curvatures)
    totals = np.maximum(weights[:, seen].sum(axis=1), 1.0)
    curves = weights[:, seen] @ curvatures[seen] / totals
    with np.errstate(divide="ignore", invalid="ignore"):
        roots = np.where(curves > 0.0, slopes / np.sqrt(curves), np.inf)
    return slopes, curves, roots


def normal(values: np.ndarray, n: int) -> Estimate:
    """The first value with Student's interval; the others, from resampled n gradients, give its standard error."""
    from scipy.special import stdtrit

    if not np.isfinite(values[0]):
        return Estimate(values[0], values[0], values[0])
    finite = values[1:][np.isfinite(values[1:])]
    if len(finite) < 0.975 * (len(values) - 1):
        return Estimate(float(values[0]), float(np.quantile(values[1:], 0.025)), float("inf"))
    # A resampled mean deviates by sqrt((n - 1) / n) of what the mean itself does.
    half = float(stdtrit(n - 1, 0.975) * np.sqrt(n / (n - 1)) * finite.std())
    return Estimate(float(values[0]), float(values[0]) - half, float(values[0]) + half)


def half_square(root: Estimate) -> Estimate:
    """0.5 root^2 with the interval of its values."""
    ends = sorted([abs(root.low), abs(root.high)])
    low = 0.0 if root.low <= 0.0 <= root.high else ends[0]
    return Estimate(0.5 * root.value**2, 0.5 * low**2, 0.5 * ends[1] ** 2)


def percentiles(values: np.ndarray) -> Estimate:
    """The first value, with the 2.5 and 97.5 % quantiles of the others, which are from resampled gradients."""
    if not np.isfinite(values[0]):
        return UNKNOWN
    drawn = np.where(np.isnan(values[1:]), np.inf, values[1:])
    low, high = np.quantile(drawn, [0.025, 0.975], method="inverted_cdf")
    return Estimate(float(values[0]), float(min(low, values[0])), float(max(high, values[0])))


def noise_ratio(
    chunks: list[np.ndarray],
    products: Products,
    mean: np.ndarray,
    weights: np.ndarray,
    curves: np.ndarray,
) -> Estimate:
    """tr HC / grad^T H grad, from E[g^T H g] = grad^T H grad + tr HC, which are the curves.

    mean^T H mean exceeds grad^T H grad by tr HC / n. With other weights it changes by 2 (their mean - mean)^T H mean to
    the first order. The interval is that of the root of grad^T H grad / tr HC, which is nearly normal; where one of
    them is not positive there is none.
    """
    bent = products.of(mean)
    square, n = float(mean @ bent), weights.shape[1]
    along = np.concatenate([chunk @ bent for chunk in chunks])
    noise = float((curves[0] - square) * n / (n - 1))
    own = square - noise / n
    if not (own > 0.0 and noise > 0.0 and np.isfinite(noise / own)):
        ratio = noise / own if own else float("nan")
        return Estimate(ratio, -float("inf"), float("inf")) if np.isfinite(ratio) else UNKNOWN
    roots = np.sqrt(own) * (1.0 + (weights @ along / n - square) / own)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = half_square(normal(roots / np.sqrt(curves - roots**2), n))
    value, high, low = (0.5 / part if part > 0.0 else float("inf") for part in found)
    return Estimate(value, low, high)
