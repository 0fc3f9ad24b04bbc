"""Adaptive quadrature of directions: equal panels, cut at the rule's breakpoint and halved where needed.

A direction is z = f(g), g a Gaussian N(mean, std^2): one row of numbers each. A panel is accepted when a polynomial of
degree 15 approximates the direction on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.polynomial.legendre import leggauss, legvander

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    # (gradients, their row numbers) -> directions
    Direction = Callable[[Array, NDArray[np.intp]], Array]

# |he_n(z)| sqrt(phi(z)) stays below 1: beyond 10 deviations no coefficient gains more than 1e-11.
_REACH = 10.0
WIDTH = 1.0
ORDER = 16
_RESOLVED = 1e-11
_NARROWEST = 1e-15
# Largest number of pending panels of one row; with more, the roughness of its direction is rounding noise.
_MOST_PANELS = 512
# Rows whose nodes are in memory at the same time.
BLOCK = 2048
DENSITY_AT_0 = 1.0 / math.sqrt(2.0 * math.pi)

_NODES, _WEIGHTS = leggauss(ORDER)
# Legendre coefficients of the polynomial through the nodes, from its values there.
_PROJECTION = legvander(_NODES, ORDER - 1) * _WEIGHTS[:, None] * (np.arange(ORDER) + 0.5)
_AT_ENDS = np.stack([_PROJECTION @ (-1.0) ** np.arange(ORDER), _PROJECTION.sum(axis=1)], axis=1)
# Ends are evaluated just inside the panel, since an end may be the breakpoint.
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
    for begin in range(0, mean.size, BLOCK):
        rows = slice(begin, begin + BLOCK)
        nodes = resolved(rows_from(direction, begin), mean[rows], std[rows], cut[rows])
        gaussian = nodes.weight * density(nodes.at)
        count = first[rows].size
        first[rows] = np.bincount(nodes.row, gaussian * nodes.value, count)
        second[rows] = np.bincount(nodes.row, gaussian * nodes.value**2, count)
    return first, second


def resolved(
    direction: Direction, mean: Array, std: Array, cut: Array, width: float = WIDTH
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
    # Without noise one node has all the weight.
    still = np.flatnonzero(std <= 0)
    done = [
        Nodes(still, np.zeros(still.size), _unit(still), direction(mean[still], still)),
    ]
    square = np.zeros(count)
    square[still] = done[0].value ** 2
    while row.size:
        middle, radius = 0.5 * (low + high), 0.5 * (high - low)

        def at_nodes(z: Array, row: NDArray[np.intp] = row) -> Array:
            rows = np.broadcast_to(row[:, None], z.shape)
            return direction((mean[rows] + std[rows] * z).ravel(), rows.ravel())

        at, value, miss = sampled(at_nodes, middle, radius)
        weight = radius[:, None] * _WEIGHTS
        panel_square = np.sum(weight * density(at) * value**2, axis=1)
        size = np.sqrt(square + np.bincount(row, panel_square, count))[row]
        nearest = np.maximum(np.abs(middle) - radius, 0.0)
        error = miss * radius * np.exp(-0.25 * nearest**2)
        finished = (error <= _RESOLVED * size) | (radius <= _NARROWEST * (1.0 + np.abs(middle)))
        finished |= np.bincount(row, minlength=count)[row] > _MOST_PANELS + edges.size
        flat = np.broadcast_to(row[finished, None], at[finished].shape).ravel()
        done.append(
            Nodes(flat, at[finished].ravel(), weight[finished].ravel(), value[finished].ravel())
        )
        np.add.at(square, row[finished], panel_square[finished])
        row = np.repeat(row[~finished], 2)
        low, high = halves(low, high, ~finished)
    return Nodes(*(np.concatenate(part) for part in zip(*done, strict=True)))


def resolved_between(
    function: Callable[[Array], Array], low: Array, high: Array, unit: float
) -> tuple[Array, Array, Array]:
    """Positions, weights and values of nodes that resolve a function on some intervals.

    low and high (n) are the intervals' ends, unit the length over which the function will be averaged at least.
    """
    done: list[tuple[Array, Array, Array]] = []
    largest, most = 0.0, _MOST_PANELS + low.size
    while low.size:
        middle, radius = 0.5 * (low + high), 0.5 * (high - low)
        at, value, miss = sampled(function, middle, radius)
        largest = max(largest, float(np.abs(value).max()))
        finished = miss * radius <= _RESOLVED * unit * largest
        finished |= radius <= _NARROWEST * np.maximum(np.abs(middle), unit)
        if low.size > most:
            finished[:] = True
        weight = radius[:, None] * _WEIGHTS
        done.append((at[finished].ravel(), weight[finished].ravel(), value[finished].ravel()))
        low, high = halves(low, high, ~finished)
    at, weight, value = (np.concatenate(part) for part in zip(*done, strict=True))
    return at, weight, value


def sampled(
    function: Callable[[Array], Array], middle: Array, radius: Array
) -> tuple[Array, Array, Array]:
    """Nodes (n, ORDER) on n panels, the function there, and an error estimate (n) of the polynomial through them."""
    at = middle[:, None] + radius[:, None] * _NODES
    ends = middle[:, None] + radius[:, None] * np.array([-_INSET, _INSET])
    z = np.concatenate([at, ends], axis=1)
    value = function(z).reshape(z.shape)
    value, value_at_ends = value[:, :ORDER], value[:, ORDER:]
    top = np.abs(value @ _PROJECTION[:, -2:]).sum(axis=1)
    return at, value, top + np.abs(value @ _AT_ENDS - value_at_ends).sum(axis=1)


def halves(low: Array, high: Array, chosen: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Both halves of each of the chosen intervals, side by side."""
    middle = 0.5 * (low + high)
    return (
        np.stack([low[chosen], middle[chosen]], axis=1).ravel(),
        np.stack([middle[chosen], high[chosen]], axis=1).ravel(),
    )


def _unit(rows: NDArray[np.intp]) -> Array:
    """The weight with which a node at 0 has all of the Gaussian's mass."""
    return np.full(rows.size, 1.0 / DENSITY_AT_0)


def density(z: Array) -> Any:
    """The standard normal density."""
    return DENSITY_AT_0 * np.exp(-0.5 * z * z)


def rows_from(direction: Direction, begin: int) -> Direction:
    """The direction of rows that are counted from ``begin``."""
    return lambda gradient, row: direction(gradient, row + begin)
