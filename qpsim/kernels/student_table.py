"""Makes the table of polynomials for :mod:`qpsim.kernels.student_signs`, and measures its error."""

import math
from functools import cache

import numpy as np
from numpy.polynomial import chebyshev

from qpsim.kernels.student_signs import MOST_POWERS, StudentTable

# Polynomials are made longer until their error is below the first number (whole degrees of freedom) or the second
# (others). At the largest length an error up to the third is accepted.
_ENOUGH_OF_WHOLE, _ENOUGH, _MOST = 1e-9, 2.5e-9, 4e-9
# Number of coefficients of a coordinate: the least of all, the least unless a shorter polynomial is exact, the most.
_LEAST_TERMS, _USUAL_TERMS, _MOST_TERMS = 4, 12, 64
# Above this number of degrees of freedom the polynomials would be too long.
MOST_DEGREES = 256
# Number of Chebyshev polynomials that multiply c^k.
_POWERS = 4
# Number of coefficients of a polynomial for the mean sign of one coordinate.
_OF_MEANS = 14
# Gauss-Legendre nodes of an integral over t', and the power of a change of variable that moves them to where cos(t')
# may be 0.
_NODES, _CROWDING = 64, 4


def student_table(degrees: float, correlation: np.ndarray, *, own: bool = False) -> StudentTable:
    """The table for a number of degrees of freedom and a correlation matrix (d, d).

    ``own`` is True for least squares, where the correlation is that of the data. If `error` is infinite for these
    degrees, the table is empty and its ``degrees`` is 0.
    """
    n_basis, n_powers, coefficients, size = _coefficients(float(degrees), own)
    r = np.clip(correlation, -1.0, 1.0)
    root = np.sqrt((1.0 - r) * (1.0 + r))
    return StudentTable(
        float(degrees) if size < math.inf else 0.0,
        n_basis,
        n_powers,
        coefficients.copy(),
        r,
        root,
        2.0 / math.pi * np.arcsin(r),
    )


def error(degrees: float, *, own: bool = False) -> float:
    """The largest error on a grid of one of the two terms S of E[s_i s_j]; infinite if there is no table.

    >>> error(3.0) < 1e-9, error(2.5) < 4e-9, error(0.5), error(1e4)
    (True, True, inf, inf)
    """
    return _coefficients(float(degrees), own)[3]


@cache
def mean_sign_polynomial(degrees: float) -> tuple[bool, tuple[float, ...]] | None:
    """The polynomial that :func:`qpsim.kernels.laws.sign_from_polynomial` evaluates.

    Returned are whether its variable is sqrt(c) instead of c, and its 14 coefficients; None if its error exceeds 1e-9.
    """
    if not 1.0 <= degrees <= MOST_DEGREES:
        return None
    x, check = _chebyshev_nodes(4 * _OF_MEANS), np.linspace(1e-4, 1.0, 500)
    for has_root in (False, True):
        c, at = (x**2, check**2) if has_root else (x, check)
        sine = np.sqrt((1.0 - c) * (1.0 + c))
        basis = chebyshev.chebvander(2.0 * x - 1.0, _OF_MEANS - 1)
        values = sine * _mean_signs(degrees, c)
        solution = np.linalg.lstsq(sine[:, None] * basis, values, rcond=1e-13)[0]
        missed = chebyshev.chebval(2.0 * check - 1.0, solution) - _mean_signs(degrees, at)
        if np.abs(np.sqrt((1.0 - at) * (1.0 + at)) * missed).max() < _ENOUGH_OF_WHOLE:
            return has_root, tuple((_in_powers(_OF_MEANS) @ solution).tolist())
    return None


def _in_powers(n: int) -> np.ndarray:
    """The matrix (n, n) from coefficients of Chebyshev polynomials to those of powers."""
    matrix = np.zeros((n, n))
    for k in range(n):
        matrix[: k + 1, k] = chebyshev.cheb2poly(np.eye(n)[k, : k + 1])
    return matrix


@cache
def _coefficients(degrees: float, own: bool) -> tuple[int, int, np.ndarray, float]:
    """n_basis, n_powers, the coefficients (see :class:`StudentTable`) and their error."""
    best = (_USUAL_TERMS, 0, np.zeros((5, _USUAL_TERMS)), math.inf)
    if not 1.0 <= degrees <= MOST_DEGREES:
        return best
    base = 1 if own else 0
    whole = degrees == round(degrees)
    # With odd degrees of freedom and b = 1 the polynomial is exact.
    exact = own and whole and degrees % 2 == 1
    n_terms = max(_USUAL_TERMS, 4 * math.isqrt(int(degrees)))
    if exact and degrees - 1 <= _USUAL_TERMS:
        n_terms = max(_LEAST_TERMS, -(int(1 - degrees) // 4 * 4))
    while n_terms <= _MOST_TERMS:
        n_basis, n_powers = max(n_terms, _USUAL_TERMS), 0 if whole else _POWERS
        found = _fitted(degrees, base, n_terms, n_basis, n_powers)
        size = _error(degrees, base, n_basis, found)
        if size <= _MOST and size < best[3]:
            best = (n_basis, n_powers, found, size)
        if size <= (_ENOUGH_OF_WHOLE if whole else _ENOUGH):
            break
        n_terms += 4
    best[2].flags.writeable = False
    return best


def _fitted(degrees: float, base: int, n_terms: int, n_basis: int, n_powers: int) -> np.ndarray:
    """The coefficients (n_terms + 1, n_basis + n_powers): interpolation in x, least squares in c."""
    c, x = _chebyshev_nodes(4 * (n_basis + n_powers)), _chebyshev_nodes(n_terms)
    values = np.column_stack([_integrals(degrees, base, c, x), _mean_signs(degrees, c)])
    sine = np.sqrt((1.0 - c) * (1.0 + c))[:, None]
    basis = _basis(degrees, n_basis, n_powers, c)
    solution = np.linalg.lstsq(sine * basis, sine * values, rcond=1e-13)[0].T
    series = chebyshev.chebfit(2.0 * x - 1.0, solution[:-1], n_terms - 1)
    if n_terms <= MOST_POWERS:
        series = _in_powers(n_terms) @ series
    return np.ascontiguousarray(np.vstack([series, solution[-1:]]))


def _error(degrees: float, base: int, n_basis: int, coefficients: np.ndarray) -> float:
    """The largest error of S and of the mean signs that the coefficients give, on a grid of c and x."""
    n_terms = coefficients.shape[0] - 1
    c, x = (0.5 - 0.5 * np.cos(np.linspace(0.0, math.pi, n + 1)) for n in (40, 3 * n_terms))
    c = np.maximum(c, 1e-12)
    made = _basis(degrees, n_basis, coefficients.shape[1] - n_basis, c) @ coefficients.T
    y = 2.0 * x - 1.0
    matrix = (
        np.vander(y, n_terms, True)
        if n_terms <= MOST_POWERS
        else chebyshev.chebvander(y, n_terms - 1)
    )
    parts = (made[:, :-1] @ matrix.T - _integrals(degrees, base, c, x)) * np.sqrt(1.0 - x * x)
    means = made[:, -1] - _mean_signs(degrees, c)
    sine = np.sqrt((1.0 - c) * (1.0 + c))
    return float(np.abs(sine * np.column_stack([parts, means]).T).max())


def _basis(degrees: float, n_basis: int, n_powers: int, c: np.ndarray) -> np.ndarray:
    """The functions of c (c, n_basis + n_powers), without the factor a c."""
    polynomials = chebyshev.chebvander(2.0 * c - 1.0, n_basis - 1)
    return np.column_stack([polynomials, c[:, None] ** degrees * polynomials[:, :n_powers]])


def _chebyshev_nodes(n: int) -> np.ndarray:
    return 0.5 - 0.5 * np.cos((np.arange(n) + 0.5) * math.pi / n)


def _rule(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes cos(t') and weights (t, nodes) for integrals over t' from 0 to t, divided by sin t."""
    y, weights = np.polynomial.legendre.leggauss(_NODES)
    y = 0.5 + 0.5 * y
    weights = 0.5 * weights * _CROWDING * y ** (_CROWDING - 1)
    away = t[:, None] * y**_CROWDING
    cosine = np.cos(t)[:, None] * np.cos(away) + np.sin(t)[:, None] * np.sin(away)
    ratio = np.where(t > 0.0, t / np.where(t > 0.0, np.sin(t), 1.0), 1.0)
    return cosine, ratio[:, None] * weights


def _integrals(degrees: float, base: int, c: np.ndarray, x: np.ndarray) -> np.ndarray:
    """S / (a c sin t), array (c, x)."""
    cosine, weights = _rule(np.arccos(x))
    logarithm = np.log(c[:, None, None] * cosine)
    flat = np.abs(logarithm) < 1e-14
    logarithm[flat] = -1.0
    # z^b (1 - z^(k-b)) / (1 - z^2), without cancellation at z = 1
    value = (
        np.exp(base * logarithm)
        * np.expm1((degrees - base) * logarithm)
        / np.expm1(2.0 * logarithm)
    )
    value[flat] = 0.5 * (degrees - base)
    return 2.0 / math.pi * (value * weights).sum(axis=-1)


def _mean_signs(degrees: float, c: np.ndarray) -> np.ndarray:
    """E[s] / (a c): the integral of cos^(k-1) up to atan(a), a share of that up to pi/2."""
    cosine, weights = _rule(np.arccos(c))
    half = math.lgamma(0.5 * degrees + 0.5) - math.lgamma(0.5 * degrees)
    return (
        2.0
        / math.sqrt(math.pi)
        * math.exp(half)
        * (cosine ** (degrees - 1.0) * weights).sum(axis=1)
    )
