"""Signs of Gaussian gradients: success probabilities, and the correlation of signs.

Balles & Hennig (2018), Section 1.4 and Lemma 2, take one coordinate at a time. The exact expected
improvement of sign descent also needs every pair: for jointly Gaussian gradients with standardised
means a, b and correlation r, Plackett's identity (1954) gives

    E[s_i s_j] = e_i e_j + (2/pi) int_0^asin(r) exp(-(a^2 + b^2 - 2 a b sin t) / (2 cos^2 t)) dt

with e = erf(a / sqrt 2). Below |r| = 0.9 a Gauss-Legendre rule, chosen by |r|, gives the integral
to 1e-12. Above, the integrand changes sharply near the end, and Owen's T function (1956) is used.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.problem.quadratic import QuadraticProblem
from qpsim.theory import arguments as check

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]


# (upper end of |r|, Gauss-Legendre nodes): below 3e-13 off for every pair of means. 0: Owen's T.
_CLASSES = ((0.15, 4), (0.3, 5), (0.5, 7), (0.7, 9), (0.9, 15), (math.inf, 0))
# For such a standardised mean erf is 1 in double precision; it replaces infinity.
_CERTAIN = 40.0
# Pairs computed at once; their temporary arrays stay in the cache.
_BLOCK = 16384
_TINY = 1e-300


@check.quiet
def success_probability(gradient: ArrayLike, std: ArrayLike) -> Any:
    """Probability that a Gaussian gradient's sign is the true gradient's sign (Eq. 8, Lemma 2).

    rho = (1 + erf(|gradient| / (sqrt(2) std))) / 2.

    Parameters
    ----------
    gradient : array_like
        True gradient, any shape that broadcasts with ``std``.
    std : array_like
        Standard deviation of the stochastic gradient, >= 0. At 0 the sign is certain (rho = 1)
        unless the gradient is 0 too.

    Returns
    -------
    float or ndarray
        rho in [1/2, 1]; 1/2 wherever the gradient is 0, at every std, 0 included.

    Raises
    ------
    TheoryError
        NaN, a negative deviation, an infinite entry, or shapes that do not broadcast.

    Examples
    --------
    >>> from qpsim import theory
    >>> theory.success_probability([1.0, 0.0, -2.0], [1.0, 1.0, 0.0])
    array([0.84134475, 0.5       , 1.        ])
    """
    return check.scalar_or_array(0.5 + 0.5 * np.abs(_expected_sign(*_pair(gradient, std))))


@check.quiet
def expected_sign(gradient: ArrayLike, std: ArrayLike) -> Any:
    """E[sign(g)] = (2 rho - 1) sign(gradient) = erf(gradient / (sqrt(2) std)), Section 1.4.

    Parameters and errors as :func:`success_probability`; sign(gradient) where std is 0.

    Examples
    --------
    >>> from qpsim import theory
    >>> theory.expected_sign([1.0, 0.0, -2.0], [1.0, 1.0, 0.0])
    array([ 0.68268949,  0.        , -1.        ])
    """
    return check.scalar_or_array(_expected_sign(*_pair(gradient, std)))


@check.quiet
def sign_product(a: ArrayLike, b: ArrayLike, correlation: ArrayLike) -> Any:
    """E[sign(X) sign(Y)] for X ~ N(a, 1), Y ~ N(b, 1) of a given correlation, to 1e-12.

    Parameters
    ----------
    a, b : array_like
        Standardised means (gradient / std); +-inf for a certain sign.
    correlation : array_like
        Correlation r in [-1, 1], with a tolerance of 1e-12. At +1 the result is the limit 1 - |e_a
        - e_b|, at -1 it is |e_a + e_b| - 1.

    Raises
    ------
    TheoryError
        NaN, a correlation outside [-1, 1], or shapes that do not broadcast.

    Notes
    -----
    Plackett (1954) by Gauss-Legendre for r^2 < 0.81, else Owen (1956). Near r^2 = 1 the derivative
    by r is 1 / sqrt(1 - r^2), so that the rounding error of r itself limits the accuracy.

    Examples
    --------
    >>> from qpsim import theory
    >>> theory.sign_product(0.0, 0.0, 0.5)  # (2 / pi) arcsin(1 / 2)
    0.33333333333333337
    >>> theory.sign_product(1.0, [1.0, -1.0], 1.0)
    array([ 1.        , -0.36537898])
    """
    x, y, r = check.together(
        a=check.real(a, "The standardised mean a"),
        b=check.real(b, "The standardised mean b"),
        correlation=check.correlations(correlation),
    )
    return check.scalar_or_array(_sign_product(x.ravel(), y.ravel(), r.ravel()).reshape(x.shape))


@check.quiet
def sign_agreement(a: ArrayLike, b: ArrayLike, correlation: ArrayLike) -> Any:
    """Probability that two correlated Gaussian coordinates have the same sign: (1 + E[s s']) / 2.

    Parameters and errors as :func:`sign_product`.

    Examples
    --------
    >>> from qpsim import theory
    >>> theory.sign_agreement(0.0, 0.0, [0.0, 0.5, -1.0])
    array([0.5       , 0.66666667, 0.        ])
    """
    return check.scalar_or_array(0.5 + 0.5 * np.asarray(sign_product(a, b, correlation)))


@check.quiet
def sign_second_moment(problem: QuadraticProblem, theta: ArrayLike) -> Array:
    """E[s s^T] of the stochastic gradient's sign, exact for correlated coordinates.

    The paper bounds E[s^T Q s] by sum_ij |q_ij| (Eq. 21); this matrix gives the exact value, E[s^T
    Q s] = sum_ij q_ij E[s_i s_j].

    Parameters
    ----------
    problem : QuadraticProblem
    theta : array_like, shape (..., d)

    Returns
    -------
    ndarray, shape (..., d, d)
        Symmetric, unit diagonal (sign(0)^2 = 0 where the gradient is exactly 0 and there is no
        noise); each entry to 1e-12 absolute.

    Raises
    ------
    ProblemError
        theta is not (..., d).
    TheoryError
        theta is not finite.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([[2.0, 1.0], [1.0, 3.0]], noise_std=1.0)
    >>> qpsim.theory.sign_second_moment(p, [1.0, 0.0])
    array([[1.      , 0.483453],
           [0.483453, 1.      ]])
    """
    p = check.problem(problem)
    gradient = p.gradient(check.point(p, theta))
    scale = p.gradient_scale()
    if p.is_deterministic():
        signs = np.sign(gradient)
        return signs[..., :, None] * signs[..., None, :]
    total = np.zeros((*gradient.shape, p.dim))
    for b, weight in zip(*p.noise.law.quadrature(), strict=True):
        mean = _expected_sign(gradient, scale * b)
        moments = mean[..., :, None] * mean[..., None, :]
        if not p.coordinates_are_independent:
            i, j, r = correlated_pairs(p)
            moments[..., i, j] = pair_moments(gradient, scale * b, i, j, r)
            moments[..., j, i] = moments[..., i, j]
        total += weight * moments
    squares = np.where(scale > 0.0, 1.0, np.square(np.sign(gradient)))
    total[..., np.arange(p.dim), np.arange(p.dim)] = squares
    return total


def correlated_pairs(p: QuadraticProblem) -> tuple[NDArray[np.intp], NDArray[np.intp], Array]:
    """Indices i < j of a dense problem's pairs of coordinates, and their correlations r_ij."""
    i, j = np.triu_indices(p.dim, 1)
    return i, j, p.gradient_correlation()[i, j]


def pair_moments(
    mean: Array, std: Array, i: NDArray[np.intp], j: NDArray[np.intp], r: Array
) -> Array:
    """E[s_i s_j] of each pair for means (..., d) and deviations (d,): shape (..., n_pairs)."""
    # The smallest float replaces a standard deviation of 0: the sign is certain.
    a = mean / np.maximum(std, 5e-324)
    flat = a.reshape(-1, a.shape[-1])
    moments = np.empty((flat.shape[0], r.size))
    for row, means in zip(moments, flat, strict=True):
        row[:] = _sign_product(means[i], means[j], r)
    return moments.reshape(*a.shape[:-1], r.size)


def _pair(gradient: ArrayLike, std: ArrayLike) -> list[Array]:
    return check.together(
        gradient=check.finite(gradient, "The gradient"), std=check.deviations(std)
    )


def _expected_sign(gradient: Array, std: Array) -> Array:
    from scipy.special import erf

    noisy = erf(gradient / std * math.sqrt(0.5))
    return np.where(std > 0, noisy, np.sign(gradient))


def _sign_product(a: Array, b: Array, r: Array) -> Array:
    """E[s s'] for flat arrays, with the rule of each pair chosen by |r|."""
    from scipy.special import erf

    a, b = np.clip(a, -_CERTAIN, _CERTAIN), np.clip(b, -_CERTAIN, _CERTAIN)
    size = np.abs(r)
    result = np.empty_like(r)
    low = 0.0
    for high, n_nodes in _CLASSES:
        chosen = np.flatnonzero((size >= low) & (size < high))
        for start in range(0, chosen.size, _BLOCK):
            k = chosen[start : start + _BLOCK]
            x, y = a[k], b[k]
            if n_nodes == 0:
                result[k] = _owen(x, y, r[k])
                continue
            result[k] = _plackett(x, y, r[k], n_nodes)
            result[k] += erf(x * math.sqrt(0.5)) * erf(y * math.sqrt(0.5))
        low = high
    return result


def _plackett(a: Array, b: Array, r: Array, n_nodes: int) -> Array:
    """(2/pi) int_0^asin(r) exp(-(a^2 + b^2 - 2 a b sin t) / (2 cos^2 t)) dt."""
    angle = np.arcsin(r)
    product, half_square = a * b, 0.5 * (a * a + b * b)
    total = np.zeros_like(r)
    for node, weight in zip(*_unit_nodes(n_nodes), strict=True):
        sine = np.sin(node * angle)
        total += weight * np.exp((product * sine - half_square) / (1.0 - sine * sine))
    return (2.0 / math.pi) * angle * total


def _owen(a: Array, b: Array, r: Array) -> Array:
    """E[s s'] from Owen's T: +-1 - 4 T(a, (b - r a) / (a q)) - 4 T(b, (a - r b) / (b q))."""
    from scipy.special import erf, owens_t

    # E[s s'] at (a, b, r) is minus that at (a, -b, -r), so that r > 0 from here on.
    flip = np.where(r < 0, -1.0, 1.0)
    b, r = b * flip, np.abs(r)
    limit = 1.0 - np.abs(erf(a * math.sqrt(0.5)) - erf(b * math.sqrt(0.5)))
    # A zero mean is the limit of a positive one, for which the ratios below are defined.
    a, b = np.where(a == 0, _TINY, a), np.where(b == 0, _TINY, b)
    gap = 1.0 - r
    q = np.sqrt(gap * (1.0 + r))
    # b - r a = (b - a) + (1 - r) a: both differences are exact where they are small.
    value = np.where((a > 0) == (b > 0), 1.0, -1.0)
    value -= 4.0 * owens_t(a, ((b - a) / a + gap) / q)
    value -= 4.0 * owens_t(b, ((a - b) / b + gap) / q)
    return flip * np.where(gap == 0, limit, value)


@cache
def _unit_nodes(n: int) -> tuple[list[float], list[float]]:
    """Gauss-Legendre nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (0.5 * nodes + 0.5).tolist(), (0.5 * weights).tolist()
