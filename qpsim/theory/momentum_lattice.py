"""Exact risk of sign descent with momentum on a diagonal Hessian: the joint distribution of offset and momentum.

The offset moves by -step sign(r), so that it stays on the sites e_0 + step Z; the momentum r <- mu r + g has a density
at each site. That density is an integral of the previous one with a Gaussian, split where r changes its sign, and so
smooth on either side of 0. It is stored at Gauss-Legendre points on pieces of 1.5 standard deviations of the gradient.
The result is exact except for this quadrature and the finite range of r; their error is estimated by the deviation of
the total mass from 1, which is returned.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from qpsim.errors import ProblemError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qpsim.problem.quadratic import QuadraticProblem

    Array = NDArray[np.float64]

_PIECE, _ORDER, _MOST_POINTS = 1.5, 8, 1600
# Standard deviations of the momentum that are covered, and the mass below which a site is dropped.
_REACH, _NEGLIGIBLE = 9.0, 1e-16
# Largest mass that may be lost outside the range of the momentum.
_LOST = 1e-9
# Smaller numbers become 0, since their products would be subnormal, which is slow.
_TINY = 1e-100
# Range of gradient means, in standard deviations, served by one matrix; and largest size of all matrices in bytes.
_SPACING, _MOST_BYTES = 0.5, 2**28


def momentum_sign_risk(
    p: QuadraticProblem, offset: Array, step: float, n_steps: int, mu: float
) -> tuple[Array, Array]:
    """E[excess loss] after 0, ..., n_steps steps, and an estimate of its error, both (n_steps + 1,).

    Coordinates must be independent and Gaussian. Cost per coordinate O(n_steps sites points^2).
    """
    risk, error = np.zeros((2, n_steps + 1))
    farthest = step * np.arange(n_steps + 1.0)
    std = p.gradient_std()
    for q, e, sigma in zip(p.hessian.tolist(), offset.tolist(), std.tolist(), strict=True):
        if q == 0.0:
            continue
        if sigma == 0.0 or step == 0.0:
            square, defect = _certain(q, e, step, n_steps, mu), np.zeros(n_steps + 1)
        else:
            square, defect = _second_moment(q, e, sigma, step, n_steps, mu)
        risk += 0.5 * q * square
        error += 0.5 * q * defect * (abs(e) + farthest) ** 2
    return risk, error


def _certain(q: float, e: float, step: float, n_steps: int, mu: float) -> Array:
    """Squares of an offset whose gradient has no noise."""
    r, squares = 0.0, [e * e]
    for _ in range(n_steps):
        r = mu * r + q * e
        e -= step * float(np.sign(r))
        squares.append(e * e)
    return np.array(squares)


def _second_moment(
    q: float, e0: float, sigma: float, step: float, n_steps: int, mu: float
) -> tuple[Array, Array]:
    """E[offset^2] and |1 - mass| after each step, with a range of the momentum that is large enough."""
    reach = _largest_momentum(q, e0, step, n_steps, mu) + _REACH * sigma / math.sqrt(1.0 - mu * mu)
    while True:
        square, defect = _followed(q, e0, sigma, step, n_steps, mu, reach)
        if defect.max() < _LOST:
            return square, defect
        reach *= 1.4


def _followed(
    q: float, e0: float, sigma: float, step: float, n_steps: int, mu: float, reach: float
) -> tuple[Array, Array]:
    """The same on a given range."""
    points, weights = _points(reach, sigma)
    above = points > 0.0
    push = _Push(points, weights, sigma, mu)
    square, mass = np.full(n_steps + 1, e0 * e0), np.ones(n_steps + 1)
    first = push.density * np.exp(-0.5 * ((points - q * e0) / sigma) ** 2)
    # Density of the momentum (point, site) before and after a gradient is added; the first momentum is 0.
    sites, after = np.zeros(1, dtype=int), first[:, None]
    laws = after
    for t in range(1, n_steps + 1):
        if t > 1:
            after = push(q * (e0 + step * sites), laws)
        # Where the momentum is positive the offset decreases. Sites are those of one parity in a range.
        laws = np.zeros((points.size, sites.size + 1))
        laws[above, :-1] = after[above]
        laws[~above, 1:] += after[~above]
        laws[laws < _TINY] = 0.0
        sites = np.append(sites - 1, sites[-1] + 1)
        held = weights @ laws
        kept = np.flatnonzero(held > _NEGLIGIBLE)
        inside = slice(kept[0], kept[-1] + 1)
        sites, laws, held = sites[inside], laws[:, inside], held[inside]
        mass[t] = held.sum()
        square[t] = held @ (e0 + step * sites) ** 2
    return square, np.abs(1.0 - mass)


class _Push:
    """Density of mu r + g at the points, given that of r and the mean of g, for many sites at once.

    The kernel exp(-(r' - mu r - c)^2 / 2) of a mean c is that of a mean c0 nearby, times a factor of r' and one of r.
    So a few matrices serve all sites; the factors are moderate because c - c0 is small.
    """

    def __init__(self, points: Array, weights: Array, sigma: float, mu: float) -> None:
        self._points, self._mu, self._sigma = points / sigma, mu, sigma
        self._weights = weights
        self.density = 1.0 / (math.sqrt(2.0 * math.pi) * sigma)
        self._made: dict[int, Array] = {}

    def __call__(self, means: Array, laws: Array) -> Array:
        """Densities (point, site) after adding gradients with these means (site,)."""
        c = means / self._sigma
        group = np.rint(c / _SPACING).astype(int)
        after = np.empty_like(laws)
        for number in np.unique(group):
            own = group == number
            near = _SPACING * number
            change = c[own] - near
            before = np.exp(-self._mu * self._points[:, None] * change) * laws[:, own]
            factor = np.exp((self._points[:, None] - near - 0.5 * change) * change)
            after[:, own] = factor * (self._kernel(int(number)) @ before)
        return after

    def _kernel(self, number: int) -> Array:
        if number in self._made:
            return self._made[number]
        mean = self._mu * self._points + _SPACING * number
        made = np.exp(-0.5 * (self._points[:, None] - mean) ** 2) * (self._weights * self.density)
        if (len(self._made) + 1) * made.nbytes <= _MOST_BYTES:
            self._made[number] = made
        return made


def _points(reach: float, sigma: float) -> tuple[Array, Array]:
    """Points and weights on both sides of 0, up to the largest momentum."""
    pieces = math.ceil(reach / (_PIECE * sigma))
    if 2 * pieces * _ORDER > _MOST_POINTS:
        raise ProblemError(
            f"The joint law of offset and momentum would need {2 * pieces * _ORDER} points, above {_MOST_POINTS}: "
            "the momentum is too large for its noise; use qpsim.simulate."
        )
    nodes, weights = np.polynomial.legendre.leggauss(_ORDER)
    half = 0.5 * reach / pieces
    middle = half * (2.0 * np.arange(pieces) + 1.0)
    side = (middle[:, None] + half * nodes).ravel()
    both = np.tile(half * weights, pieces)
    return np.concatenate([-side[::-1], side]), np.concatenate([both[::-1], both])


def _largest_momentum(q: float, e: float, step: float, n_steps: int, mu: float) -> float:
    """Of the path without noise."""
    r, largest = 0.0, 0.0
    for _ in range(n_steps):
        r = mu * r + q * e
        e -= step * float(np.sign(r))
        largest = max(largest, abs(r))
    return largest
