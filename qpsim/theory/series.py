"""Moments of any direction, given the state before the step: quadrature and a Hermite series.

Coordinate i moves along z_i = f_i(g_i), a scalar function of one Gaussian N(grad_i, sigma_i^2). With
he_n the orthonormal Hermite polynomials and a_n(i) = E[f_i(grad_i + sigma_i Z) he_n(Z)], E[z] is a_0
and Mehler's formula (1866) gives, off-diagonal and powers elementwise,

    E[z^T Q z] = sum_i q_ii E[z_i^2] + sum_n a_n^T ((Q - diag Q) o R^n) a_n,

R the gradient's correlation. N terms leave coordinate i an energy tail_i = E[z_i^2] - sum_{n<=N}
a_n(i)^2, so that by Cauchy and Schwarz they err by at most sum_{i != j} |q_ij| |r_ij|^(N+1)
sqrt(tail_i tail_j): terms are added until that is negligible. A direction with a jump has a heavy
tail; pairs so correlated that the series is of no use to them are integrated over the plane.

Every integral is cut at the rule's declared breakpoint and halved until a polynomial of degree 15
follows the direction on each panel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.polynomial.legendre import leggauss, legvander

from qpsim.errors import TheoryError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    # (gradients, their row numbers) -> directions
    Direction = Callable[[Array, NDArray[np.intp]], Array]

TOLERANCE = 1e-10
# |he_n(z)| sqrt(phi(z)) stays below 1: beyond 10 deviations no coefficient gains more than 1e-11.
_REACH = 10.0
_WIDTH = 1.0
_ORDER = 16
_RESOLVED = 1e-11
_NARROWEST = 1e-15
# Pending panels of one row beyond which its direction is rough at every scale: rounding, no feature.
_MOST_PANELS = 512
_MOST_TERMS = 256
# Rows whose nodes are held at once.
_BLOCK = 2048
# sqrt(1 - r^2) below which the plane's nodes are too many, and deviations beyond which it is empty.
_THINNEST = 1e-3
_BAND = 9.0
_DENSITY_AT_0 = 1.0 / math.sqrt(2.0 * math.pi)

_NODES, _WEIGHTS = leggauss(_ORDER)
# Legendre coefficients of the polynomial through the nodes, from its values there.
_PROJECTION = legvander(_NODES, _ORDER - 1) * _WEIGHTS[:, None] * (np.arange(_ORDER) + 0.5)
_AT_ENDS = np.stack([_PROJECTION @ (-1.0) ** np.arange(_ORDER), _PROJECTION.sum(axis=1)], axis=1)
# Ends are looked at from inside, since one may be the breakpoint itself.
_INSET = 1.0 - 1e-10


class Nodes(NamedTuple):
    """Quadrature of several rows in one list: row, position in deviations, weight, direction."""

    row: NDArray[np.intp]
    at: Array
    weight: Array
    value: Array


def separate_moments(
    direction: Direction, mean: Array, std: Array, cut: Array
) -> tuple[Array, Array]:
    """E[z] and E[z^2] of every row, whose gradient is N(mean, std^2): all of shape (n,).

    ``cut`` (n,) is the gradient at which the direction may turn sharply, NaN for none.
    """
    first, second = np.empty(mean.shape), np.empty(mean.shape)
    for begin in range(0, mean.size, _BLOCK):
        rows = slice(begin, begin + _BLOCK)
        nodes = _nodes(_from(direction, begin), mean[rows], std[rows], cut[rows])
        gaussian = nodes.weight * _density(nodes.at)
        count = first[rows].size
        first[rows] = np.bincount(nodes.row, gaussian * nodes.value, count)
        second[rows] = np.bincount(nodes.row, gaussian * nodes.value**2, count)
    return first, second


def coupled_moments(
    direction: Direction, hessian: Array, correlation: Array, mean: Array, std: Array, cut: Array
) -> tuple[Array, Array]:
    """E[z] (points, d) and E[z^T Q z] (points) of correlated coordinates.

    hessian and correlation (d, d); mean, std and cut (points, d), numbered row after row.
    """
    points, d = mean.shape
    first, quadratic = np.empty((points, d)), np.empty(points)
    size = max(1, _BLOCK // d)
    for begin in range(0, points, size):
        some = slice(begin, begin + size)
        moved = _from(direction, begin * d)
        block = mean[some], std[some], cut[some]
        first[some], quadratic[some] = _series(moved, hessian, correlation, *block)
    return first, quadratic


def _series(
    direction: Direction, hessian: Array, correlation: Array, mean: Array, std: Array, cut: Array
) -> tuple[Array, Array]:
    shape, d = mean.shape, mean.shape[1]
    nodes = _nodes(direction, mean.ravel(), std.ravel(), cut.ravel())
    weighted = nodes.weight * _density(nodes.at) * nodes.value
    second = _by_row(nodes, weighted * nodes.value, shape)
    quadratic = second @ np.diagonal(hessian)
    power = hessian - np.diag(np.diagonal(hessian))
    below, he = np.zeros(nodes.at.size), np.ones(nodes.at.size)
    first: Array = np.zeros(shape)
    tail: Array = second.copy()
    for n in range(_MOST_TERMS):
        a = _by_row(nodes, weighted * he, shape)
        first = a if n == 0 else first
        quadratic = quadratic + np.sum(a * (a @ power), axis=1)
        tail = np.maximum(tail - a * a, 0.0)
        power = power * correlation
        root = np.sqrt(tail)
        bound = np.sum(root * (root @ np.abs(power)), axis=1)
        if (bound <= TOLERANCE * np.abs(quadratic)).all():
            return first, quadratic
        below, he = he, (nodes.at * he - math.sqrt(n) * below) / math.sqrt(n + 1)
    for point in range(shape[0]):
        share = TOLERANCE * abs(quadratic[point]) / d**2
        open_pairs = np.triu(np.abs(power) * np.outer(root[point], root[point]) > share)
        for i, j in np.argwhere(open_pairs):
            rows = point * d + np.array([i, j])
            plane = _plane(direction, rows, mean, std, cut, float(correlation[i, j]))
            # The series' terms of this pair make way for its integral over the plane.
            known = _truncated(nodes, weighted, rows, float(correlation[i, j]))
            quadratic[point] += 2.0 * hessian[i, j] * (plane - known)
    return first, quadratic


def _truncated(nodes: Nodes, weighted: Array, rows: NDArray[np.intp], r: float) -> float:
    """sum_n r^n a_n(i) a_n(j) over the series' terms."""
    total, factor = 0.0, 1.0
    at, value, begin = [], [], [0]
    for row in rows:
        mine = nodes.row == row
        at.append(nodes.at[mine])
        value.append(weighted[mine])
        begin.append(begin[-1] + at[-1].size)
    z, f = np.concatenate(at), np.concatenate(value)
    below, he = np.zeros(z.size), np.ones(z.size)
    for n in range(_MOST_TERMS):
        first, second = np.add.reduceat(f * he, begin[:2])
        total += factor * float(first * second)
        factor *= r
        below, he = he, (z * he - math.sqrt(n) * below) / math.sqrt(n + 1)
    return total


def _plane(
    direction: Direction, rows: NDArray[np.intp], mean: Array, std: Array, cut: Array, r: float
) -> float:
    """E[z_i z_j] of two rows by quadrature along both axes, on panels that resolve the density."""
    width = math.sqrt((1.0 - r) * (1.0 + r))
    if not width > _THINNEST:
        raise TheoryError(
            f"Two coordinates' gradients are correlated to {r:.9g}, too close to one another for "
            "the exact moments of a direction that jumps; simulate it instead."
        )

    def pair(gradient: Array, row: NDArray[np.intp]) -> Array:
        return direction(gradient, rows[row])

    where = mean.ravel()[rows], std.ravel()[rows], cut.ravel()[rows]
    nodes = _nodes(pair, *where, min(_WIDTH, 2.0 * width))
    order = np.lexsort((nodes.at, nodes.row))
    row, at = nodes.row[order], nodes.at[order]
    f = (nodes.weight * nodes.value)[order]
    x, y, fx, fy = at[row == 0], at[row == 1], f[row == 0], f[row == 1]
    total = 0.0
    for k in range(0, x.size, _ORDER):
        some = slice(k, k + _ORDER)
        ends = sorted((r * x[some][0], r * x[some][-1]))
        near = slice(*np.searchsorted(y, [ends[0] - _BAND * width, ends[1] + _BAND * width]))
        u, v = x[some][:, None], y[near][None, :]
        density = np.exp(-0.5 * u**2 - 0.5 * ((v - r * u) / width) ** 2)
        total += float(fx[some] @ density @ fy[near])
    return total * _DENSITY_AT_0**2 / width


def _nodes(
    direction: Direction, mean: Array, std: Array, cut: Array, width: float = _WIDTH
) -> Nodes:
    """Panels for every row: equal ones cut at ``cut``, halved until the direction is resolved."""
    count = mean.size
    noisy = np.flatnonzero(std > 0)
    edges = np.linspace(-_REACH, _REACH, math.ceil(2.0 * _REACH / width) + 1)
    row = np.repeat(noisy, edges.size - 1)
    low, high = np.tile(edges[:-1], noisy.size), np.tile(edges[1:], noisy.size)
    at_cut = ((cut - mean) / np.where(std > 0, std, 1.0))[row]
    inside = (low < at_cut) & (at_cut < high)
    low = np.concatenate([low, at_cut[inside]])
    high = np.concatenate([np.where(inside, at_cut, high), high[inside]])
    row = np.concatenate([row, row[inside]])
    # Without noise the direction is known: one node of all the weight.
    still = np.flatnonzero(std <= 0)
    done = [
        Nodes(still, np.zeros(still.size), _unit(still), direction(mean[still], still)),
    ]
    square = np.zeros(count)
    square[still] = done[0].value ** 2
    while row.size:
        middle, radius = 0.5 * (low + high), 0.5 * (high - low)
        at = middle[:, None] + radius[:, None] * _NODES
        ends = middle[:, None] + radius[:, None] * np.array([-_INSET, _INSET])
        z = np.concatenate([at, ends], axis=1)
        rows = np.broadcast_to(row[:, None], z.shape)
        value = direction((mean[rows] + std[rows] * z).ravel(), rows.ravel()).reshape(z.shape)
        value, value_at_ends = value[:, :_ORDER], value[:, _ORDER:]
        weight = radius[:, None] * _WEIGHTS
        panel_square = np.sum(weight * _density(at) * value**2, axis=1)
        size = np.sqrt(square + np.bincount(row, panel_square, count))[row]
        top = np.abs(value @ _PROJECTION[:, -2:]).sum(axis=1)
        miss = top + np.abs(value @ _AT_ENDS - value_at_ends).sum(axis=1)
        nearest = np.maximum(np.abs(middle) - radius, 0.0)
        error = miss * radius * np.exp(-0.25 * nearest**2)
        finished = (error <= _RESOLVED * size) | (radius <= _NARROWEST * (1.0 + np.abs(middle)))
        finished |= np.bincount(row, minlength=count)[row] > _MOST_PANELS + edges.size
        flat = np.broadcast_to(row[finished, None], at[finished].shape).ravel()
        done.append(
            Nodes(flat, at[finished].ravel(), weight[finished].ravel(), value[finished].ravel())
        )
        np.add.at(square, row[finished], panel_square[finished])
        left = ~finished
        row = np.repeat(row[left], 2)
        low, high = (
            np.stack([low[left], middle[left]], axis=1).ravel(),
            np.stack([middle[left], high[left]], axis=1).ravel(),
        )
    return Nodes(*(np.concatenate(part) for part in zip(*done, strict=True)))


def _unit(rows: NDArray[np.intp]) -> Array:
    """The Lebesgue weight that makes a node at 0 carry all of the Gaussian's mass."""
    return np.full(rows.size, 1.0 / _DENSITY_AT_0)


def _density(z: Array) -> Any:
    return _DENSITY_AT_0 * np.exp(-0.5 * z * z)


def _from(direction: Direction, begin: int) -> Direction:
    return lambda gradient, row: direction(gradient, row + begin)


def _by_row(nodes: Nodes, values: Array, shape: tuple[int, ...]) -> Array:
    """Sums of the nodes' values over each row."""
    sums = np.bincount(nodes.row, values, math.prod(shape))
    return sums.astype(float).reshape(shape)
