"""E[s_i s_j] for signs under Student's t with a whole number of degrees of freedom, in closed form.

Let s_i = sign(a_i chi + Z_i), where Z_i and Z_j are normal with correlation r, and chi^2 is chi-square with k degrees
of freedom: Student's t with the scaled mean sqrt(k) a_i. The densities of chi-square obey p_{k+2} = p_k - 2 p_{k+2}',
so that E_{k+2}[f] = E_k[f] + 2 E_{k+2}[f'] for a function f of chi^2. For F_k = E[s_i s_j] the derivative is a normal
density times the mean of one sign. Its average over chi is again the mean of a sign under Student's t. Hence a finite
sum, as Dunnett & Sobel (1954, Biometrika 41, 153-169) have one for the bivariate distribution function:

    F_{k+2} = F_k + C_k (w_k(a_i) A_{k+1}(t_i) + w_k(a_j) A_{k+1}(t_j)),
    F_0 = (2/pi) asin r,    F_1 = (2/pi) asin((r + a_i a_j) c_i c_j),
    C_k = Gamma((k+1)/2) / (sqrt(pi) Gamma(k/2 + 1)),    c = 1 / sqrt(1 + a^2),    w_k(a) = a c^(k+1).

A_m(t) = E[erf(tan(t) chi_m / sqrt 2)] is the mean of a sign with m degrees of freedom, and the angles are

    sin t_i = (a_j - r a_i) / sqrt(D),    cos t_i = sqrt((1 - r^2) (1 + a_i^2) / D),
    D = (1 - r^2) (1 + a_i^2) + (a_j - r a_i)^2,

where D stays the same if i and j are exchanged. A_1 = 2 t / pi, A_2 = sin t, and A_{m+2} - A_m is a number times
sin(t) cos(t)^m. So what a coordinate adds to a pair is a polynomial in cos^2 t_i, whose coefficients depend on a_i
alone and are computed once. What is left for a pair is a root, one arcsine if k is odd and two if k is even, and two
polynomials.
"""

import math
from typing import NamedTuple

import numpy as np

from qpsim.kernels.elementary import fma, polynomial
from qpsim.kernels.forms import lane_array
from qpsim.kernels.jit import (
    arguments_are_apart,
    jit,
    jit_inline,
    jit_inner,
    wide_vectors,
)

# Largest |a|; beyond it noise is negligible: with one degree of freedom it changes a mean sign by 1 / a.
FARTHEST = 1e12
# Degrees of freedom up to which a sum of so many terms is less work than averages over the scale.
MOST_DEGREES = 256
_TWO_OVER_PI = 0.6366197723675814
_HALF_PI = 1.5707963267948966
# Keeps D in the range of single precision, where its root begins.
_LEAST = 1e-30
# A correlation whose sqrt(1 - r^2) is below this is 1 or -1 up to rounding.
_DEPENDENT = 3e-8
# asin(sqrt(y)) / sqrt(y) on 0 <= y <= 1/2: Chebyshev interpolation, relative error 7e-11
ARCSINE = (
    1.0000000000353153,
    0.16666664960612718,
    0.07500135192415226,
    0.04460142088360356,
    0.031026955686869917,
    0.016586305874402952,
    0.049172747019893895,
    -0.09567911791029521,
    0.24457373405691585,
    -0.274530531552789,
    0.16832766779064512,
)
_arcsine = polynomial(ARCSINE)


def closed_degrees(degrees: float) -> int:
    """The degrees of freedom, if they are a whole number for which there is a closed form here; else 0."""
    return int(degrees) if degrees <= MOST_DEGREES and degrees == round(degrees) else 0


def term_factors(degrees: int) -> np.ndarray:
    """Factors (n, steps) of w_k in the coefficients of a coordinate's polynomial, for k = degrees - 2, degrees - 4, ...

    Row n belongs to the n-th of the terms of A: of odd degrees sin(t) cos(t)^(2n); of even degrees t, and then
    sin(t) cos(t)^(2n-1).
    """
    odd = degrees % 2
    below = np.arange(degrees - 2, -1, -2, dtype=float)
    steps = np.array(
        [math.exp(math.lgamma(0.5 * k + 0.5) - math.lgamma(0.5 * k + 1.0)) for k in below]
    )
    steps /= math.sqrt(math.pi)
    # At least one term for the polynomial, be it 0.
    n_terms = max(below.size, 2 - odd)
    own = np.empty(n_terms)
    value = 1.0 if odd else _TWO_OVER_PI
    for n in range(n_terms):
        own[n] = value
        if odd:
            value *= (2.0 * n + 1.0) / (2.0 * n + 2.0)
        elif n > 0:
            value *= 2.0 * n / (2.0 * n + 1.0)
    # A_{k+1} has the terms n <= (k - 1) / 2 of odd k, n <= k / 2 of even k.
    taken = np.arange(n_terms)[:, None] <= (below[None, :] - odd) / 2
    return np.where(taken, own[:, None] * steps[None, :], 0.0)


@jit_inline
def inverse_root(x):
    """1 / sqrt(x) within 1e-13 relatively, for x from 1e-37 to 1e37: Newton's step from single precision."""
    start = np.float64(np.float32(1.0) / np.sqrt(np.float32(x)))
    return start * fma(-0.5 * x * start, start, 1.5)


@jit_inline
def angle(sine, cosine):
    """The angle from -pi/2 to pi/2 that has this sine and this cosine, within 6e-11."""
    size = abs(sine)
    small = size <= cosine
    short = size if small else cosine
    value = short * _arcsine(short * short)
    return math.copysign(value if small else _HALF_PI - value, sine)


class StudentTable(NamedTuple):
    """What is tabulated of signs under Student's t.

    Attributes
    ----------
    degrees : int
        Degrees of freedom k.
    factors : array (n, steps)
        `term_factors` of k.
    correlation, root, arcsine : array (d, d)
        r_ij, sqrt(1 - r_ij^2) and (2 / pi) asin r_ij.
    """

    degrees: int
    factors: np.ndarray
    correlation: np.ndarray
    root: np.ndarray
    arcsine: np.ndarray


def student_table(degrees: int, correlation: np.ndarray) -> StudentTable:
    """The table for so many degrees of freedom and a correlation (d, d)."""
    r = np.clip(correlation, -1.0, 1.0)
    root = np.sqrt((1.0 - r) * (1.0 + r))
    return StudentTable(degrees, term_factors(degrees), r, root, _TWO_OVER_PI * np.arcsin(r))


class _Signs(NamedTuple):
    """Coordinates as the pairs need them: a and c (d, lanes), and the coefficients (n * d, lanes)."""

    a: np.ndarray
    cosine: np.ndarray
    terms: np.ndarray


class _Pair(NamedTuple):
    """Work arrays (lanes,) of one pair.

    E[s_i s_j] without the polynomials; of each polynomial its factor, its argument and its value.
    """

    start: np.ndarray
    factor_i: np.ndarray
    factor_j: np.ndarray
    square_i: np.ndarray
    square_j: np.ndarray
    sum_i: np.ndarray
    sum_j: np.ndarray


@jit
def student_signs(table, own, weights, a, scale, mean, out):
    """Means and quadratic form of z_i = scale_i sign(a_i chi + Z_i) in every lane.

    Z's correlation r is the table's if ``own`` is None. Otherwise it differs from lane to lane: it is then
    correlation_ij own_i own_j - a_i a_j, where own_i = sqrt(1 + a_i^2). ``weights`` (d, d) is the form's matrix; own, a
    and scale are (d, lanes). Written are ``mean`` (d, lanes), which is E[z], and ``out`` (lanes,), E[z^T weights z].
    """
    wide_vectors()
    d, lanes = a.shape
    n_terms = table.factors.shape[0]
    near, cosine = lane_array(d, lanes), lane_array(d, lanes)
    terms = lane_array(n_terms * d, lanes)
    for i in range(d):
        for lane in range(lanes):
            near[i, lane] = min(max(a[i, lane], -FARTHEST), FARTHEST)
    fill_terms_of_signs(table.degrees, table.factors, near, cosine, terms, mean)
    for i in range(d):
        for lane in range(lanes):
            mean[i, lane] *= scale[i, lane]
    work = lane_array(np.int64(8), lanes)
    pair = _Pair(work[0], work[1], work[2], work[3], work[4], work[5], work[6])
    row = work[7]
    signs = _Signs(near, cosine, terms)
    out[:] = 0.0
    for i in range(d):
        add_row(table, own, weights, signs, scale, i, pair, row)
        for lane in range(lanes):
            value = fma(2.0, row[lane], weights[i, i] * scale[i, lane])
            out[lane] = fma(scale[i, lane], value, out[lane])


@jit_inner
def add_row(table, own, weights, signs, scale, i, pair, row):
    """The sum over j < i of weights_ij scale_j E[s_i s_j] in every lane, row (lanes,)."""
    arguments_are_apart()
    wide_vectors()
    # Taken out of their tuples here: in the loops numba would count a reference at each.
    correlation, roots, arcsines = table.correlation, table.root, table.arcsine
    a, cosine, terms = signs.a, signs.cosine, signs.terms
    start, sum_i, sum_j = pair.start, pair.sum_i, pair.sum_j
    factor_i, factor_j, square_i, square_j = (
        pair.factor_i,
        pair.factor_j,
        pair.square_i,
        pair.square_j,
    )
    d, lanes = a.shape
    odd, n_terms = table.degrees % 2 == 1, table.factors.shape[0]
    first, last = 0 if odd else 1, (n_terms - 1) * d
    row[:] = 0.0
    for j in range(i):
        weight = weights[i, j]
        if weight == 0.0:
            continue
        fixed, root, arcsine = correlation[i, j], roots[i, j], arcsines[i, j]
        if own is not None and root < _DEPENDENT:
            # One coordinate is a multiple of the other.
            same = 1.0 if fixed > 0.0 else -1.0
            for lane in range(lanes):
                row[lane] = fma(weight * same, scale[j, lane], row[lane])
            continue
        if odd:
            for lane in range(lanes):
                x, y = a[i, lane], a[j, lane]
                size = cosine[i, lane] * cosine[j, lane]
                if own is None:
                    left = root * root
                    from_i, from_j = fma(-fixed, x, y), fma(-fixed, y, x)
                    whole = fma(left, fma(x, x, 1.0), fma(from_i, from_i, _LEAST))
                    inverse = inverse_root(whole)
                    value = _TWO_OVER_PI * angle(fma(x, y, fixed) * size, whole * inverse * size)
                else:
                    r = own_correlation(fixed, own[i, lane], own[j, lane], x * y)
                    left = (1.0 - r) * (1.0 + r)
                    from_i, from_j = fma(-r, x, y), fma(-r, y, x)
                    # D (c_i c_j)^2 = 1 - correlation_ij^2, and F_1 is that of the correlation.
                    inverse = size * (1.0 / root)
                    value = arcsine
                share = left * inverse * inverse
                start[lane] = value
                sum_i[lane], sum_j[lane] = terms[last + i, lane], terms[last + j, lane]
                square_i[lane], square_j[lane] = share * fma(x, x, 1.0), share * fma(y, y, 1.0)
                factor_i[lane], factor_j[lane] = from_i * inverse, from_j * inverse
        else:
            for lane in range(lanes):
                x, y = a[i, lane], a[j, lane]
                if own is None:
                    size_i = fma(x, x, 1.0)
                    from_i, from_j = fma(-fixed, x, y), fma(-fixed, y, x)
                    inverse = inverse_root(fma(root * root, size_i, fma(from_i, from_i, _LEAST)))
                    value = arcsine
                    # sqrt(1 + a^2) = (1 + a^2) c
                    share = root * inverse
                    cosine_i = share * (size_i * cosine[i, lane])
                    cosine_j = share * (fma(y, y, 1.0) * cosine[j, lane])
                else:
                    r = own_correlation(fixed, own[i, lane], own[j, lane], x * y)
                    from_i, from_j = fma(-r, x, y), fma(-r, y, x)
                    inverse = cosine[i, lane] * cosine[j, lane] * (1.0 / root)
                    left = (1.0 - r) * (1.0 + r)
                    own_root = left * inverse_root(left + _LEAST)
                    value = _TWO_OVER_PI * angle(r, own_root)
                    share = own_root * (1.0 / root)
                    cosine_i, cosine_j = share * cosine[j, lane], share * cosine[i, lane]
                sine_i, sine_j = from_i * inverse, from_j * inverse
                value = fma(terms[i, lane], angle(sine_i, cosine_i), value)
                start[lane] = fma(terms[j, lane], angle(sine_j, cosine_j), value)
                sum_i[lane], sum_j[lane] = terms[last + i, lane], terms[last + j, lane]
                square_i[lane], square_j[lane] = cosine_i * cosine_i, cosine_j * cosine_j
                factor_i[lane], factor_j[lane] = sine_i * cosine_i, sine_j * cosine_j
        # The polynomials by Horner's rule, four terms at once.
        n = n_terms - 1
        while n >= first + 4:
            n -= 4
            at_i, at_j = n * d + i, n * d + j
            for lane in range(lanes):
                x, y, v, w = square_i[lane], square_j[lane], sum_i[lane], sum_j[lane]
                v, w = fma(v, x, terms[at_i + 3 * d, lane]), fma(w, y, terms[at_j + 3 * d, lane])
                v, w = fma(v, x, terms[at_i + 2 * d, lane]), fma(w, y, terms[at_j + 2 * d, lane])
                v, w = fma(v, x, terms[at_i + d, lane]), fma(w, y, terms[at_j + d, lane])
                sum_i[lane] = fma(v, x, terms[at_i, lane])
                sum_j[lane] = fma(w, y, terms[at_j, lane])
        while n > first:
            n -= 1
            for lane in range(lanes):
                sum_i[lane] = fma(sum_i[lane], square_i[lane], terms[n * d + i, lane])
                sum_j[lane] = fma(sum_j[lane], square_j[lane], terms[n * d + j, lane])
        for lane in range(lanes):
            value = fma(sum_j[lane], factor_j[lane], fma(sum_i[lane], factor_i[lane], start[lane]))
            row[lane] = fma(weight * scale[j, lane], value, row[lane])


@jit_inline
def own_correlation(fixed, own_i, own_j, product):
    """The correlation in one lane."""
    r = fma(fixed * own_i, own_j, -product)
    r = -1.0 if r < -1.0 else r
    return 1.0 if r > 1.0 else r


@jit_inline
def mean_of_sign(degrees, sine, cosine):
    """A_k at the angle with this sine and cosine: E[sign(a chi + Z)] if tan of the angle is a."""
    odd = degrees % 2 == 1
    total = _TWO_OVER_PI * angle(sine, cosine) if odd else 0.0
    term = _TWO_OVER_PI * sine * cosine if odd else sine
    for n in range(degrees // 2):
        total += term
        even = 2.0 * n + 1.0
        term *= cosine * cosine * ((even + 1.0) / (even + 2.0) if odd else even / (even + 1.0))
    return total


@jit
def fill_terms_of_signs(degrees, factors, a, cosine, terms, mean):
    """Write c (d, lanes), the coefficients of the polynomials (n * d, lanes) and the means of the signs (d, lanes)."""
    wide_vectors()
    d, lanes = a.shape
    n_terms = factors.shape[0]
    odd = degrees % 2 == 1
    for i in range(d):
        for lane in range(lanes):
            x = a[i, lane]
            c = 1.0 / math.sqrt(fma(x, x, 1.0))
            cosine[i, lane] = c
            mean[i, lane] = mean_of_sign(degrees, x * c, c)
        for n in range(n_terms):
            for lane in range(lanes):
                terms[n * d + i, lane] = 0.0
            for k in range(factors.shape[1]):
                # Horner's rule in c^2, from the highest power down.
                for lane in range(lanes):
                    square = cosine[i, lane] * cosine[i, lane]
                    terms[n * d + i, lane] = fma(terms[n * d + i, lane], square, factors[n, k])
            for lane in range(lanes):
                sine = a[i, lane] * cosine[i, lane]
                terms[n * d + i, lane] *= sine * cosine[i, lane] if odd else sine
