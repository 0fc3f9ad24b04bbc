"""E[z_i z_j] of a strongly correlated pair of coordinates, for which the Hermite series converges too slowly.

With x and v independent standard normal variables, r the correlation and w = sqrt(1 - r^2), the pair's gradients are
mean_i + std_i x and mean_j + std_j (r x + w v). Their directions' product is integrated

- over the plane of both gradients, on panels that resolve its density, while w is not too small;
- else over x alone: E[f_i(x) G(x)], G(x) = E[f_j(r x + w v)] being itself the mean of f_j under a Gaussian of deviation
  w. Where f_j is smooth on that scale a Gauss-Hermite rule gives G, elsewhere panels do. This works for any w; at |r| =
  1 G is f_j itself.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.polynomial.hermite_e import hermegauss

from qpsim.theory.panels import DENSITY_AT_0, ORDER, WIDTH, density, resolved, resolved_between

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qpsim.theory.panels import Array, Direction

# w below which the two-dimensional rule needs too many nodes, and range of the density in standard deviations.
_THINNEST = 1e-3
_BAND = 9.0
# Two Gauss-Hermite rules that agree to this are accurate.
_AGREE = 1e-12
# Panel length, in units of w, on which the density is a polynomial of degree 15 to 1e-13; and means computed at once.
_PANEL = 2.0
_WINDOWS = 256
_RULES = [(x, w * DENSITY_AT_0) for x, w in (hermegauss(12), hermegauss(20))]


def pair_moment(
    direction: Direction, rows: NDArray[np.intp], mean: Array, std: Array, cut: Array, r: float
) -> float:
    """E[z_i z_j] at correlation r, for any r in [-1, 1].

    rows (2) are the numbers of the two coordinates; mean, std and cut, of any shape, hold those of every row.
    """
    given = mean.ravel()[rows], std.ravel()[rows], cut.ravel()[rows]

    def pair(gradient: Array, row: NDArray[np.intp]) -> Array:
        return direction(gradient, rows[row])

    r = min(max(r, -1.0), 1.0)
    width = math.sqrt((1.0 - r) * (1.0 + r))
    moment = _over_the_plane if width > _THINNEST else _over_one_gradient
    return moment(pair, *given, r, width)


def _over_the_plane(
    pair: Direction, mean: Array, std: Array, cut: Array, r: float, width: float
) -> float:
    """Quadrature along both axes, on panels that resolve the density."""
    nodes = resolved(pair, mean, std, cut, min(WIDTH, 2.0 * width))
    order = np.lexsort((nodes.at, nodes.row))
    row, at = nodes.row[order], nodes.at[order]
    f = (nodes.weight * nodes.value)[order]
    x, y, fx, fy = at[row == 0], at[row == 1], f[row == 0], f[row == 1]
    total = 0.0
    for k in range(0, x.size, ORDER):
        some = slice(k, k + ORDER)
        ends = sorted((r * x[some][0], r * x[some][-1]))
        near = slice(*np.searchsorted(y, [ends[0] - _BAND * width, ends[1] + _BAND * width]))
        u, v = x[some][:, None], y[near][None, :]
        weight = np.exp(-0.5 * u**2 - 0.5 * ((v - r * u) / width) ** 2)
        total += float(fx[some] @ weight @ fy[near])
    return total * DENSITY_AT_0**2 / width


def _over_one_gradient(
    pair: Direction, mean: Array, std: Array, cut: Array, r: float, width: float
) -> float:
    """E[f_i(x) G(x)], halved in x until the product is resolved."""

    def product(x: Array, row: NDArray[np.intp]) -> Array:
        first = pair(mean[0] + std[0] * x, np.zeros(x.size, dtype=np.intp))
        window = _window_means(pair, mean[1] + std[1] * r * x, std[1] * width, float(cut[1]))
        return first * window

    one = np.ones(1)
    nodes = resolved(product, 0.0 * one, one, (cut[:1] - mean[:1]) / std[:1])
    return float(np.sum(nodes.weight * density(nodes.at) * nodes.value))


def _window_means(pair: Direction, mean: Array, std: float, cut: float) -> Array:
    """G: the second coordinate's E[f(mean + std v)] for every mean (n)."""

    def direction(gradient: Array, row: NDArray[np.intp]) -> Array:
        return pair(gradient, np.ones(gradient.size, dtype=np.intp))

    if std == 0.0:
        return direction(mean, np.zeros(mean.size, dtype=np.intp))
    coarse, fine, size = np.zeros(mean.size), np.zeros(mean.size), np.zeros(mean.size)
    for total, (x, w) in zip((coarse, fine), _RULES, strict=True):
        gradient = mean[:, None] + std * x
        value = direction(gradient.ravel(), np.zeros(gradient.size, dtype=np.intp))
        total += value.reshape(gradient.shape) @ w
        size = np.maximum(size, np.abs(value.reshape(gradient.shape)).max(axis=1))
    rough = np.flatnonzero(~(np.abs(fine - coarse) <= _AGREE * size))
    for begin in range(0, rough.size, _WINDOWS):
        some = rough[begin : begin + _WINDOWS]
        fine[some] = _rough_windows(direction, mean[some], std, cut)
    return fine


def _rough_windows(direction: Direction, mean: Array, std: float, cut: float) -> Array:
    """`_window_means` where the direction turns within the windows: panels that all of them share."""
    ordered = np.sort(mean)
    # Overlapping windows are joined to one interval.
    new = np.flatnonzero(np.diff(ordered) > 2.0 * _BAND * std) + 1
    begins, ends = np.r_[0, new], np.r_[new, ordered.size] - 1
    edges = []
    for low, high in zip(ordered[begins] - _BAND * std, ordered[ends] + _BAND * std, strict=True):
        inner = np.linspace(low, high, math.ceil((high - low) / (_PANEL * std)) + 1)
        edges.append(np.unique(np.r_[inner, cut]) if low < cut < high else inner)
    low, high = np.concatenate([e[:-1] for e in edges]), np.concatenate([e[1:] for e in edges])

    def values(gradient: Array) -> Array:
        return direction(gradient.ravel(), np.zeros(gradient.size, dtype=np.intp))

    at, weight, value = resolved_between(values, low, high, std)
    window = density((at - mean[:, None]) / std)
    return window @ (weight * value) / std
