"""Moments of any direction, given the state before the step: quadrature and a Hermite series.

Coordinate i moves along z_i = f_i(g_i), a scalar function of one Gaussian N(grad_i, sigma_i^2). With
he_n the orthonormal Hermite polynomials and a_n(i) = E[f_i(grad_i + sigma_i Z) he_n(Z)], E[z] is a_0
and Mehler's formula (1866) gives, off-diagonal and powers elementwise,

    E[z^T Q z] = sum_i q_ii E[z_i^2] + sum_n a_n^T ((Q - diag Q) o R^n) a_n,

R the gradient's correlation. With tail_i = E[z_i^2] - sum_{n<=N} a_n(i)^2 the Cauchy-Schwarz
inequality bounds the error after N terms by sum_{i != j} |q_ij| |r_ij|^(N+1) sqrt(tail_i tail_j);
terms are added until it is negligible. If a direction has a jump its tail falls slowly; pairs that
are too strongly correlated for the series are then integrated
(:mod:`qpsim.theory.pair_quadrature`).

Integrals are sums over panels that resolve the direction (:mod:`qpsim.theory.panels`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from qpsim.theory.pair_quadrature import pair_moment
from qpsim.theory.panels import BLOCK, Nodes, density, resolved, rows_from, separate_moments

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qpsim.theory.panels import Array, Direction

__all__ = ["TOLERANCE", "coupled_moments", "separate_moments"]

TOLERANCE = 1e-10
_MOST_TERMS = 256


def coupled_moments(
    direction: Direction, hessian: Array, correlation: Array, mean: Array, std: Array, cut: Array
) -> tuple[Array, Array]:
    """E[z] (points, d) and E[z^T Q z] (points) of correlated coordinates.

    hessian and correlation (d, d); mean, std and cut (points, d), numbered row after row.
    """
    points, d = mean.shape
    first, quadratic = np.empty((points, d)), np.empty(points)
    size = max(1, BLOCK // d)
    for begin in range(0, points, size):
        some = slice(begin, begin + size)
        moved = rows_from(direction, begin * d)
        block = mean[some], std[some], cut[some]
        first[some], quadratic[some] = _series(moved, hessian, correlation, *block)
    return first, quadratic


def _series(
    direction: Direction, hessian: Array, correlation: Array, mean: Array, std: Array, cut: Array
) -> tuple[Array, Array]:
    shape, d = mean.shape, mean.shape[1]
    nodes = resolved(direction, mean.ravel(), std.ravel(), cut.ravel())
    weighted = nodes.weight * density(nodes.at) * nodes.value
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
            whole = pair_moment(direction, rows, mean, std, cut, float(correlation[i, j]))
            # Replace the pair's terms of the series by its integral.
            known = _truncated(nodes, weighted, rows, float(correlation[i, j]))
            quadratic[point] += 2.0 * hessian[i, j] * (whole - known)
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


def _by_row(nodes: Nodes, values: Array, shape: tuple[int, ...]) -> Array:
    """Sums of the nodes' values over each row."""
    sums = np.bincount(nodes.row, values, math.prod(shape))
    return sums.astype(float).reshape(shape)
