"""E[s_i s_j] for signs under Student's t with any degrees of freedom.

Let s_i = sign(a_i chi + Z_i), where Z_i and Z_j are normal with correlation r, and chi^2 is chi-square with k degrees
of freedom: Student's t with the scaled mean sqrt(k) a_i. Given chi, the derivative of E[s_i s_j] along a is a normal
density times the mean of one sign. Integrated from a = 0, and averaged over chi with E[exp(-chi^2 x / 2)] =
(1 + x)^(-k/2), it gives E[s_i s_j] as a function F_k of k with

    F_k = F_b + S(a_i, t_i) + S(a_j, t_j),    F_0 = (2/pi) asin r,    F_1 = (2/pi) asin((r + a_i a_j) c_i c_j),
    S(a, t) = (2/pi) a c (integral over t' from 0 to t of (z^b - z^k) / (1 - z^2)),    z = c cos(t'),

where c = 1 / sqrt(1 + a^2), b is 0 or 1, and the angles are

    sin t_i = (a_j - r a_i) / sqrt(D),    cos t_i = sqrt((1 - r^2) (1 + a_i^2) / D),
    D = (1 - r^2) (1 + a_i^2) + (a_j - r a_i)^2,

where D stays the same if i and j are exchanged. For whole k these are the sums of Dunnett & Sobel (1954, Biometrika 41,
153-169).

Divided by a c sin t, S is a smooth function of c and of x = cos t, both from 0 to 1: next to a power x^(k+1) its
nearest singularity is x = -1. So it is a polynomial in 2 x - 1 of a dozen terms, whose coefficients depend on c. They
are made once a coordinate; what is left for a pair is a root and two polynomials. :mod:`qpsim.kernels.student_table`
makes the table and measures its error.

b = 0 is taken where r is that of the problem. Where the noise's correlation changes with the state, on least squares,
(r + a_i a_j) c_i c_j is the correlation of the data, and b = 1: then neither F_b changes with the state.
"""

import math
from typing import NamedTuple

import numpy as np

from qpsim.kernels.elementary import exp, fma, inverse_root, log
from qpsim.kernels.forms import lane_array
from qpsim.kernels.jit import (
    arguments_are_apart,
    jit,
    jit_inline,
    jit_inner,
    wide_vectors,
)

# Larger means are replaced by this one. With one degree of freedom the sign is certain to 1 / a there.
FARTHEST = 1e12
# Coefficients of a coordinate come by fours. With more than so many they are of Chebyshev polynomials, since those of
# powers would be too large.
MOST_POWERS = 32
# Coefficients of the columns and of the rows of a tile, which stay in the second cache also if it is shared.
_COLUMN_TERMS, _TILE_TERMS = 1 << 13, 1 << 14
# Keeps D in the range of single precision, where its root begins.
_LEAST = 1e-30
# A correlation whose sqrt(1 - r^2) is below this is 1 or -1 up to rounding.
_DEPENDENT = 3e-8


class StudentTable(NamedTuple):
    """What is tabulated of signs under Student's t.

    Attributes
    ----------
    degrees : float
        Degrees of freedom k; 0 where there is no table.
    n_basis : int
        Functions of a coordinate's c from which its coefficients are made: a c times Chebyshev polynomials in 2 c - 1.
    n_powers : int
        The same times c^k, for k that is not a whole number.
    coefficients : array (n + 1, n_basis + n_powers)
        Of the coefficients of a coordinate's polynomial, and at last of its mean sign. All sizes are multiples of 4.
    correlation, root, arcsine : array (d, d)
        The noise's r_ij, or with ``own`` that of the data; sqrt(1 - r_ij^2) and (2 / pi) asin r_ij.
    """

    degrees: float
    n_basis: int
    n_powers: int
    coefficients: np.ndarray
    correlation: np.ndarray
    root: np.ndarray
    arcsine: np.ndarray


class _Signs(NamedTuple):
    """Coordinates as the pairs need them: a and ``length`` (d, lanes), and the coefficients (d * n, lanes).

    ``length`` is sqrt(1 + a^2) with the table's correlation, and c where the correlation differs from lane to lane.
    """

    a: np.ndarray
    length: np.ndarray
    terms: np.ndarray


class _Pair(NamedTuple):
    """Work arrays (lanes,) of one pair: factors and arguments of both polynomials, and what is summed of them.

    With Chebyshev polynomials that is the last two terms of their recurrence.
    """

    sine_i: np.ndarray
    sine_j: np.ndarray
    at_i: np.ndarray
    at_j: np.ndarray
    sum_i: np.ndarray
    sum_j: np.ndarray
    last_i: np.ndarray
    last_j: np.ndarray


@jit
def student_signs(table, own, weights, a, scale, mean, out):
    """Means and quadratic form of z_i = scale_i sign(a_i chi + Z_i) in every lane.

    Z's correlation r is the table's if ``own`` is None. Otherwise it differs from lane to lane: it is then
    correlation_ij own_i own_j - a_i a_j, where own_i = sqrt(1 + a_i^2). ``weights`` (d, d) is the form's matrix; own, a
    and scale are (d, lanes). Written are ``mean`` (d, lanes), which is E[z], and ``out`` (lanes,), E[z^T weights z].
    """
    wide_vectors()
    d, lanes = a.shape
    n_terms = table.coefficients.shape[0] - 1
    near, cosine, rows = lane_array(d, lanes), lane_array(d, lanes), lane_array(d, lanes)
    terms = lane_array(d * n_terms, lanes)
    for i in range(d):
        for lane in range(lanes):
            near[i, lane] = min(max(a[i, lane], -FARTHEST), FARTHEST)
    fill_terms_of_signs(table, near, cosine, terms, mean)
    for i in range(d):
        for lane in range(lanes):
            mean[i, lane] *= scale[i, lane]
            if own is None:
                cosine[i, lane] *= fma(near[i, lane], near[i, lane], 1.0)
    work = lane_array(np.int64(8), lanes)
    pair = _Pair(work[0], work[1], work[2], work[3], work[4], work[5], work[6], work[7])
    rows[:] = 0.0
    add_pairs(table, own, weights, _Signs(near, cosine, terms), scale, pair, rows)
    out[:] = 0.0
    for i in range(d):
        for lane in range(lanes):
            value = fma(2.0, rows[i, lane], weights[i, i] * scale[i, lane])
            out[lane] = fma(scale[i, lane], value, out[lane])


@jit_inner
def add_pairs(table, own, weights, signs, scale, pair, rows):
    """Add the sum over j < i of weights_ij scale_j E[s_i s_j] to row i of ``rows`` (d, lanes)."""
    arguments_are_apart()
    wide_vectors()
    # Taken out of their tuples here: in the loops numba would count a reference at each.
    correlation, roots, arcsines = table.correlation, table.root, table.arcsine
    a, length, terms = signs.a, signs.length, signs.terms
    at_i, at_j, sum_i, sum_j = pair.at_i, pair.at_j, pair.sum_i, pair.sum_j
    sine_i, sine_j, last_i, last_j = pair.sine_i, pair.sine_j, pair.last_i, pair.last_j
    d, lanes = rows.shape
    size = table.coefficients.shape[0] - 1
    # So many j at once, and so many i in a tile, that the coefficients of both stay in the cache while they meet. Each
    # row is summed over rising j.
    tile = max(_TILE_TERMS // (size * lanes), 1)
    at_once = max(_COLUMN_TERMS // (size * lanes), 1)
    for begin in range(0, d, tile):
        end = min(begin + tile, d)
        for first in range(0, end, at_once):
            for i in range(max(begin, first + 1), end):
                for j in range(first, min(i, first + at_once)):
                    weight = weights[i, j]
                    if weight == 0.0:
                        continue
                    fixed, root, arcsine = correlation[i, j], roots[i, j], arcsines[i, j]
                    k, m = i * size, j * size
                    if own is not None and root < _DEPENDENT:
                        # One coordinate is a multiple of the other.
                        same = 1.0 if fixed > 0.0 else -1.0
                        for lane in range(lanes):
                            rows[i, lane] = fma(weight * same, scale[j, lane], rows[i, lane])
                    elif size == 4:
                        for lane in range(lanes):
                            u, v, s, t = angles(own, a, length, fixed, root, i, j, lane)
                            value = fma(s, four_terms(terms, k, lane, u), arcsine)
                            value = fma(t, four_terms(terms, m, lane, v), value)
                            rows[i, lane] = fma(weight * scale[j, lane], value, rows[i, lane])
                    elif size == 8:
                        for lane in range(lanes):
                            u, v, s, t = angles(own, a, length, fixed, root, i, j, lane)
                            value = fma(s, eight_terms(terms, k, lane, u), arcsine)
                            value = fma(t, eight_terms(terms, m, lane, v), value)
                            rows[i, lane] = fma(weight * scale[j, lane], value, rows[i, lane])
                    elif size == 12:
                        for lane in range(lanes):
                            u, v, s, t = angles(own, a, length, fixed, root, i, j, lane)
                            value = fma(s, twelve_terms(terms, k, lane, u), arcsine)
                            value = fma(t, twelve_terms(terms, m, lane, v), value)
                            rows[i, lane] = fma(weight * scale[j, lane], value, rows[i, lane])
                    elif size == 16:
                        for lane in range(lanes):
                            u, v, s, t = angles(own, a, length, fixed, root, i, j, lane)
                            value = fma(s, sixteen_terms(terms, k, lane, u), arcsine)
                            value = fma(t, sixteen_terms(terms, m, lane, v), value)
                            rows[i, lane] = fma(weight * scale[j, lane], value, rows[i, lane])
                    elif size == 20:
                        for lane in range(lanes):
                            u, v, s, t = angles(own, a, length, fixed, root, i, j, lane)
                            value = fma(s, twenty_terms(terms, k, lane, u), arcsine)
                            value = fma(t, twenty_terms(terms, m, lane, v), value)
                            rows[i, lane] = fma(weight * scale[j, lane], value, rows[i, lane])
                    else:
                        for lane in range(lanes):
                            u, v, s, t = angles(own, a, length, fixed, root, i, j, lane)
                            at_i[lane], at_j[lane], sine_i[lane], sine_j[lane] = u, v, s, t
                            sum_i[lane], sum_j[lane], last_i[lane], last_j[lane] = (
                                0.0,
                                0.0,
                                0.0,
                                0.0,
                            )
                        n = size
                        while n > 24 or (n > 0 and size > MOST_POWERS):
                            n -= 4
                            if size > MOST_POWERS:
                                add_chebyshev(terms, k + n, at_i, sum_i, last_i)
                                add_chebyshev(terms, m + n, at_j, sum_j, last_j)
                            else:
                                for lane in range(lanes):
                                    sum_i[lane] = four_more(
                                        sum_i[lane], terms, k + n, lane, at_i[lane]
                                    )
                                    sum_j[lane] = four_more(
                                        sum_j[lane], terms, m + n, lane, at_j[lane]
                                    )
                        for lane in range(lanes):
                            u, v = at_i[lane], at_j[lane]
                            if size > MOST_POWERS:
                                x, y = (
                                    fma(-u, last_i[lane], sum_i[lane]),
                                    fma(-v, last_j[lane], sum_j[lane]),
                                )
                            else:
                                x = twelve_more(sum_i[lane], terms, k + 12, lane, u)
                                x = twelve_more(x, terms, k, lane, u)
                                y = twelve_more(sum_j[lane], terms, m + 12, lane, v)
                                y = twelve_more(y, terms, m, lane, v)
                            value = fma(sine_j[lane], y, fma(sine_i[lane], x, arcsine))
                            rows[i, lane] = fma(weight * scale[j, lane], value, rows[i, lane])


@jit_inline
def angles(own, a, length, fixed, root, i, j, lane):
    """2 cos(t_i) - 1 and 2 cos(t_j) - 1, sin(t_i) and sin(t_j) of a pair in one lane."""
    x, y = a[i, lane], a[j, lane]
    if own is None:
        from_i, from_j = fma(-fixed, x, y), fma(-fixed, y, x)
        size = fma(x, x, 1.0)
        inverse = inverse_root(fma(root * root, size, fma(from_i, from_i, _LEAST)))
        share = 2.0 * root * inverse
        u = fma(share, length[i, lane], -1.0)
        v = fma(share, length[j, lane], -1.0)
        return u, v, from_i * inverse, from_j * inverse
    r = own_correlation(fixed, own[i, lane], own[j, lane], x * y)
    # D (c_i c_j)^2 = 1 - correlation_ij^2
    cosine_i, cosine_j = length[i, lane], length[j, lane]
    inverse = cosine_i * cosine_j * (1.0 / root)
    share = 2.0 / root * math.sqrt((1.0 - r) * (1.0 + r))
    u, v = fma(share, cosine_j, -1.0), fma(share, cosine_i, -1.0)
    return u, v, fma(-r, x, y) * inverse, fma(-r, y, x) * inverse


@jit_inline
def own_correlation(fixed, own_i, own_j, product):
    """The correlation in one lane."""
    r = fma(fixed * own_i, own_j, -product)
    r = -1.0 if r < -1.0 else r
    return 1.0 if r > 1.0 else r


@jit_inline
def by_halves(even, odd, terms, row, lane, square):
    """Two steps of Horner's rule for the even and two for the odd terms, of the coefficients from ``row`` on."""
    even = fma(even, square, terms[row + 2, lane])
    odd = fma(odd, square, terms[row + 3, lane])
    return fma(even, square, terms[row, lane]), fma(odd, square, terms[row + 1, lane])


@jit_inline
def last_halves(terms, row, lane, square):
    """The even and the odd terms of the last four coefficients, from ``row`` on; a step with 0 is left out."""
    even = fma(terms[row + 2, lane], square, terms[row, lane])
    return even, fma(terms[row + 3, lane], square, terms[row + 1, lane])


# Each length is written out, here and in `add_pairs`: one function with a loop, and the number of terms as a constant
# argument, gives the same bits but takes 1.3 to 1.8 times as long.
@jit_inline
def four_terms(terms, row, lane, x):
    """The polynomial of four coefficients from ``row`` on."""
    value = fma(terms[row + 3, lane], x, terms[row + 2, lane])
    return fma(fma(value, x, terms[row + 1, lane]), x, terms[row, lane])


@jit_inline
def eight_terms(terms, row, lane, x):
    """The same of eight coefficients."""
    even, odd = last_halves(terms, row + 4, lane, x * x)
    even, odd = by_halves(even, odd, terms, row, lane, x * x)
    return fma(odd, x, even)


@jit_inline
def twelve_terms(terms, row, lane, x):
    """The same of twelve coefficients."""
    even, odd = last_halves(terms, row + 8, lane, x * x)
    even, odd = by_halves(even, odd, terms, row + 4, lane, x * x)
    even, odd = by_halves(even, odd, terms, row, lane, x * x)
    return fma(odd, x, even)


@jit_inline
def sixteen_terms(terms, row, lane, x):
    """The same of sixteen coefficients."""
    even, odd = last_halves(terms, row + 12, lane, x * x)
    even, odd = by_halves(even, odd, terms, row + 8, lane, x * x)
    even, odd = by_halves(even, odd, terms, row + 4, lane, x * x)
    even, odd = by_halves(even, odd, terms, row, lane, x * x)
    return fma(odd, x, even)


@jit_inline
def twenty_terms(terms, row, lane, x):
    """The same of twenty coefficients."""
    even, odd = last_halves(terms, row + 16, lane, x * x)
    even, odd = by_halves(even, odd, terms, row + 12, lane, x * x)
    even, odd = by_halves(even, odd, terms, row + 8, lane, x * x)
    even, odd = by_halves(even, odd, terms, row + 4, lane, x * x)
    even, odd = by_halves(even, odd, terms, row, lane, x * x)
    return fma(odd, x, even)


@jit_inline
def four_more(value, terms, row, lane, x):
    """The polynomial of four coefficients from ``row`` on, and x^4 times a value."""
    value = fma(value, x, terms[row + 3, lane])
    value = fma(value, x, terms[row + 2, lane])
    value = fma(value, x, terms[row + 1, lane])
    return fma(value, x, terms[row, lane])


@jit_inline
def twelve_more(value, terms, row, lane, x):
    """The polynomial of twelve coefficients from ``row`` on, and x^12 times a value."""
    even, odd = by_halves(value, 0.0, terms, row + 8, lane, x * x)
    even, odd = by_halves(even, odd, terms, row + 4, lane, x * x)
    even, odd = by_halves(even, odd, terms, row, lane, x * x)
    return fma(odd, x, even)


@jit_inner
def add_chebyshev(terms, row, at, this, last):
    """Four steps of Clenshaw's rule, of the rows from row + 3 down to ``row``."""
    wide_vectors()
    for lane in range(at.size):
        twice, x, y = 2.0 * at[lane], this[lane], last[lane]
        y = fma(twice, x, terms[row + 3, lane] - y)
        x = fma(twice, y, terms[row + 2, lane] - x)
        y = fma(twice, x, terms[row + 1, lane] - y)
        this[lane], last[lane] = fma(twice, y, terms[row, lane] - x), y


@jit_inner
def fill_terms_of_signs(table, a, cosine, terms, mean):
    """Write c (d, lanes), the coefficients of the polynomials (d * n, lanes) and the means of the signs (d, lanes)."""
    arguments_are_apart()
    wide_vectors()
    d, lanes = a.shape
    coefficients, n_basis = table.coefficients, table.n_basis
    n_terms, size = coefficients.shape[0] - 1, coefficients.shape[1]
    basis, power = lane_array(size, lanes), lane_array(np.int64(1), lanes)[0]
    for i in range(d):
        for lane in range(lanes):
            x = a[i, lane]
            c = 1.0 / math.sqrt(fma(x, x, 1.0))
            cosine[i, lane] = c
            basis[0, lane], basis[1, lane] = x * c, x * c * fma(2.0, c, -1.0)
        for p in range(2, n_basis):
            for lane in range(lanes):
                twice = fma(4.0, cosine[i, lane], -2.0)
                basis[p, lane] = fma(twice, basis[p - 1, lane], -basis[p - 2, lane])
        if table.n_powers > 0:
            for lane in range(lanes):
                power[lane] = exp(table.degrees * log(cosine[i, lane]))
            for p in range(table.n_powers):
                for lane in range(lanes):
                    basis[n_basis + p, lane] = power[lane] * basis[p, lane]
        add_combination(coefficients, n_terms, basis, mean, i)
        for n in range(n_terms):
            add_combination(coefficients, n, basis, terms, i * n_terms + n)


@jit_inline
def add_combination(coefficients, n, basis, out, row):
    """Write the sum of ``basis`` (size, lanes) with row n of the coefficients to a row of ``out``."""
    size, lanes = basis.shape
    a, b, c, d = coefficients[n, 0], coefficients[n, 1], coefficients[n, 2], coefficients[n, 3]
    e, f, g, h = coefficients[n, 4], coefficients[n, 5], coefficients[n, 6], coefficients[n, 7]
    w, x, y, z = coefficients[n, 8], coefficients[n, 9], coefficients[n, 10], coefficients[n, 11]
    for lane in range(lanes):
        first = fma(b, basis[1, lane], a * basis[0, lane])
        first = fma(d, basis[3, lane], fma(c, basis[2, lane], first))
        first = fma(f, basis[5, lane], fma(e, basis[4, lane], first))
        first = fma(h, basis[7, lane], fma(g, basis[6, lane], first))
        first = fma(x, basis[9, lane], fma(w, basis[8, lane], first))
        out[row, lane] = fma(z, basis[11, lane], fma(y, basis[10, lane], first))
    for p in range(12, size, 4):
        w, x, y, z = (
            coefficients[n, p],
            coefficients[n, p + 1],
            coefficients[n, p + 2],
            coefficients[n, p + 3],
        )
        for lane in range(lanes):
            value = fma(x, basis[p + 1, lane], fma(w, basis[p, lane], out[row, lane]))
            out[row, lane] = fma(z, basis[p + 3, lane], fma(y, basis[p + 2, lane], value))
