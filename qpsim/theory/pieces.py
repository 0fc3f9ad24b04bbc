"""The fewest steps to a loss with a step size that is constant in each of some pieces of the run, for SGD.

In an eigen-direction of curvature h and gradient variance c, n steps of one size a take E[e^2] from S to

    q^n S + a^2 c (1 - q^n) / (1 - q),      q = (1 - a h)^2,

so that a run of any length costs as much as its pieces. Step sizes are at most 2 / the largest curvature.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# Below this the sum of a geometric series is that of its first two terms in 1 - q.
_SMALL = 1e-10
# Constant steps that a search begins from, over the largest curvature's bound.
_CONSTANTS = np.logspace(-6.0, -0.01, 40)


def pieces_of(n_steps: int, n_pieces: int) -> Array:
    """Steps in each piece of the family "piecewise", those that have any.

    >>> pieces_of(5, 2)
    array([3., 2.])
    """
    edges = -(-np.arange(n_pieces + 1) * n_steps // n_pieces)
    lengths = np.diff(edges).astype(float)
    return np.asarray(lengths[lengths > 0.0])


def loss_and_gradient(
    sizes: Array, lengths: Array, h: Array, c: Array, square: Array
) -> tuple[float, Array]:
    """Expected excess loss after pieces of these sizes and lengths (k,), and its derivative by the sizes.

    h, c and square are (d,): curvatures, gradient variances and E[e^2] at the start, each times the number of alike
    coordinates but for h.
    """
    kept, slopes = [], []
    moment = square
    for a, n in zip(sizes.tolist(), lengths.tolist(), strict=True):
        r = 1.0 - a * h
        q, turn = r * r, -2.0 * h * r
        power, before = q**n, q ** (n - 1.0)
        gap = 1.0 - q
        far = gap > _SMALL
        safe = np.where(far, gap, 1.0)
        total = np.where(far, (1.0 - power) / safe, n - 0.5 * n * (n - 1.0) * gap)
        by_q = np.where(far, (total - n * before) / safe, 0.5 * n * (n - 1.0))
        slope = n * before * turn * moment + 2.0 * a * c * total + a * a * c * by_q * turn
        moment = power * moment + a * a * c * total
        kept.append(power)
        slopes.append(slope)
    adjoint = 0.5 * h
    loss, gradient = float(adjoint @ moment), np.empty(sizes.size)
    for k in range(sizes.size - 1, -1, -1):
        gradient[k] = adjoint @ slopes[k]
        adjoint = adjoint * kept[k]
    return loss, gradient


def best_pieces(lengths: Array, h: Array, c: Array, square: Array) -> tuple[float, Array]:
    """The least expected loss after pieces of these lengths that a search finds, and their step sizes."""
    from scipy.optimize import minimize

    highest = 2.0 / float(h.max())

    def target(x: Array) -> tuple[float, Array]:
        sizes = np.exp(x)
        loss, gradient = loss_and_gradient(sizes, lengths, h, c, square)
        return math.log(loss), gradient * sizes / loss

    constants = [np.full(lengths.size, math.log(s * highest)) for s in _CONSTANTS]
    begin = min(constants, key=lambda x: target(x)[0])
    found = minimize(
        target,
        begin,
        jac=True,
        method="L-BFGS-B",
        bounds=[(-50.0, math.log(highest))] * lengths.size,
        options={"maxiter": 300},
    )
    return math.exp(min(float(found.fun), target(begin)[0])), np.exp(found.x)


def fewest_steps(h: Array, c: Array, square: Array, target: float, n_pieces: int) -> float:
    """Fewest steps after which the best pieces of equal length have this expected loss; infinite beyond 2^40.

    More steps are taken to be no worse.
    """
    if 0.5 * float(h @ square) <= target:
        return 0.0
    low, high = 0, 1
    while best_pieces(pieces_of(high, n_pieces), h, c, square)[0] > target:
        low, high = high, 2 * high
        if high > 2**40:
            return math.inf
    while high - low > 1:
        middle = (low + high) // 2
        if best_pieces(pieces_of(middle, n_pieces), h, c, square)[0] <= target:
            high = middle
        else:
            low = middle
    return float(high)
