"""The distribution ("law") of gradient noise: Gaussian, or Gaussian with one random scale for all coordinates.

Given its scale b, the noise of a step is N(0, b^2 C). b is 1 for the Gaussian law itself. For Student's t with k
degrees of freedom b^2 = k / chi^2_k, for the multivariate Laplace law b^2 is exponential with mean 1. The mean of a
minibatch of B draws has the matrix C / B, and b^2 is the mean of B such numbers; given all of them it is Gaussian.
Moments are Gaussian moments averaged over b, by a quadrature whose nodes and weights the problem has.
"""

import math
from typing import NamedTuple

import numpy as np
from numba.extending import overload

from qpsim.kernels.elementary import bits_of, fma, inverse_root, log, quick_erf
from qpsim.kernels.jit import OVERLOAD, OVERLOAD_INLINE, jit_inline, jit_inner
from qpsim.kernels.noise import fill_normals, fill_raw

INV_SQRT2 = 0.7071067811865476
# Used for 1 / std at std = 0: erf(mean / std) is then +-1, or 0 at mean = 0, where infinity would give NaN.
LARGEST_INVERSE = 1e300
_DROPPED_BITS = np.uint64(11)
_ONE = np.uint64(1)
_TWO_TO_MINUS_53 = 2.0**-53


class Gaussian(NamedTuple):
    """Gaussian noise: its scale is always 1. ``variance`` is E[b^2] = 1."""

    variance: float = 1.0


class Mixture(NamedTuple):
    """Gaussian noise of a random scale b.

    Attributes
    ----------
    variance : float
        E[b^2]; infinite for Student's t with at most 2 degrees of freedom.
    degrees : float
        Degrees of freedom of Student's t; 0 stands for the Laplace law.
    batch_size : int
        B, the number of draws whose mean the gradient is.
    scales, weights : arrays (nodes,)
        Quadrature for averages over b.
    cells : array (n_cells, 4)
        Polynomials of 2 F(a) - 1, F the distribution of one coordinate in units of its scale: see `mean_sign`.
    """

    variance: float
    degrees: float
    batch_size: int
    scales: np.ndarray
    weights: np.ndarray
    cells: np.ndarray


class Student(NamedTuple):
    """Student's t of one draw, the distribution of whose coordinates is a polynomial.

    Attributes
    ----------
    variance, degrees, batch_size, scales, weights
        As in `Mixture`.
    unit : float
        1 / sqrt(degrees).
    has_root : bool
        Whether the polynomial is one in sqrt(c), as some degrees ask for that are no whole number.
    terms : tuple of 14 numbers
        Its coefficients: see `sign_from_polynomial`.
    """

    variance: float
    degrees: float
    batch_size: int
    scales: np.ndarray
    weights: np.ndarray
    unit: float
    has_root: bool
    terms: tuple[float, ...]


def draw_scales(law, stream, scales):
    """Draw the scale of a minibatch's noise in every lane, if it is random; write scales (lanes,)."""


def draw_single_scales(law, stream, scales):
    """Draw the scale of a single draw's noise in every lane; 1 where it is not random."""


def scaled(law, noise, scales, lane):
    """A coordinate's noise: the given noise of scale 1 times the lane's scale."""


def variance_of(law, std):
    """Variance of a coordinate whose scale is ``std``."""


def scaled_variance(law, s, std):
    """Variance of s times a coordinate whose scale is ``std``: 0 if s is 0, also where the variance is infinite."""


def mean_sign(law, mean, std):
    """E[sign(g)] = 2 P[g > 0] - 1 of a coordinate with that mean and scale (Eq. 8)."""


@overload(draw_scales, jit_options=OVERLOAD)
def _draw_scales(law, stream, scales):
    if law.instance_class is Gaussian:
        return lambda law, stream, scales: None

    def draw(law, stream, scales):
        fill_squared_scales(stream, law.degrees, law.batch_size, scales)
        for lane in range(scales.size):
            scales[lane] = math.sqrt(scales[lane])

    return draw


@overload(draw_single_scales, jit_options=OVERLOAD)
def _draw_single_scales(law, stream, scales):
    def gaussian(law, stream, scales):
        scales[:] = 1.0

    def draw(law, stream, scales):
        fill_squared_scales(stream, law.degrees, 1, scales)
        for lane in range(scales.size):
            scales[lane] = math.sqrt(scales[lane])

    return gaussian if law.instance_class is Gaussian else draw


@overload(scaled, jit_options=OVERLOAD_INLINE)
def _scaled(law, noise, scales, lane):
    if law.instance_class is Gaussian:
        return lambda law, noise, scales, lane: noise
    return lambda law, noise, scales, lane: noise * scales[lane]


@overload(variance_of, jit_options=OVERLOAD_INLINE)
def _variance_of(law, std):
    if law.instance_class is Gaussian:
        return lambda law, std: std * std
    return lambda law, std: law.variance * (std * std) if std > 0.0 else 0.0


@overload(scaled_variance, jit_options=OVERLOAD_INLINE)
def _scaled_variance(law, s, std):
    if law.instance_class is Gaussian:
        return lambda law, s, std: s * s * (std * std)
    return lambda law, s, std: s * s * variance_of(law, std) if s != 0.0 else 0.0


@overload(mean_sign, jit_options=OVERLOAD_INLINE)
def _mean_sign(law, mean, std):
    if law.instance_class is Gaussian:
        return lambda law, mean, std: quick_erf(mean * min(INV_SQRT2 / std, LARGEST_INVERSE))

    def tabulated(law, mean, std):
        return sign_from_cells(law.cells, mean * min(1.0 / std, LARGEST_INVERSE))

    def student(law, mean, std):
        # Not the law itself: in the loops numba would count a reference at each of its arrays.
        a = mean * min(law.unit / std, LARGEST_INVERSE)
        return sign_from_polynomial(law.terms, law.has_root, a)

    return student if law.instance_class is Student else tabulated


# Larger means are replaced by this one, at which the sign is certain to 1e-12.
_FARTHEST = 1e12


@jit_inline
def sign_from_polynomial(terms, has_root, a):
    """2 F(a sqrt(k)) - 1 of Student's t: a c P(2 c - 1), or a c P(2 sqrt(c) - 1), with c = 1 / sqrt(1 + a^2)."""
    x = min(max(a, -_FARTHEST), _FARTHEST)
    c = inverse_root(fma(x, x, 1.0))
    y = fma(2.0, math.sqrt(c) if has_root else c, -1.0)
    square = y * y
    even = fma(fma(fma(terms[12], square, terms[10]), square, terms[8]), square, terms[6])
    even = fma(fma(fma(even, square, terms[4]), square, terms[2]), square, terms[0])
    odd = fma(fma(fma(terms[13], square, terms[11]), square, terms[9]), square, terms[7])
    odd = fma(fma(fma(odd, square, terms[5]), square, terms[3]), square, terms[1])
    return x * c * fma(odd, y, even)


# Each doubling of 1 + |a| has 2^7 cells of the table, selected by the first seven bits of the fraction.
CELL_BITS = 7
_DROPPED = np.int64(52 - CELL_BITS)
_BIAS = np.int64(1023 << CELL_BITS)
_REST = np.int64((1 << (52 - CELL_BITS)) - 1)
_UNIT_OF_REST = 2.0 ** (CELL_BITS - 52)


@jit_inline
def sign_from_cells(cells, a):
    """2 F(a) - 1 from its cubic polynomials, one for each cell of 1 + |a|.

    Cell 128 k + m covers 1 + |a| from 2^k (1 + m / 128) to 2^k (1 + (m + 1) / 128): exponent and first bits of the
    floating-point number 1 + |a| are its index. In it the value is c0 + c1 x + c2 x^2 + c3 x^3, x in [0, 1) being the
    place within the cell. Beyond the last cell the value is that at its end.
    """
    bits = bits_of(1.0 + abs(a))
    cell = (bits >> _DROPPED) - _BIAS
    last = np.int64(cells.shape[0] - 1)
    x = float(bits & _REST) * _UNIT_OF_REST
    x = 1.0 if cell > last else x
    cell = min(cell, last)
    value = cells[cell, 0] + x * (cells[cell, 1] + x * (cells[cell, 2] + x * cells[cell, 3]))
    return value if a > 0.0 else (-value if a < 0.0 else 0.0)


@jit_inner
def fill_squared_scales(stream, degrees, batch_size, out):
    """Fill ``out`` (lanes,) with b^2, the mean of batch_size squared scales."""
    lanes = out.size
    words = np.empty((1, lanes), np.uint64)
    for lane in range(lanes):
        out[lane] = 0.0
    if degrees == 0.0:
        for _ in range(batch_size):
            fill_raw(stream, words)
            for lane in range(lanes):
                out[lane] -= log(uniform_of_word(words[0, lane]))
    else:
        gammas = np.empty(lanes)
        for _ in range(batch_size):
            fill_gammas(stream, 0.5 * degrees, gammas)
            for lane in range(lanes):
                out[lane] += 0.5 * degrees / gammas[lane]
    for lane in range(lanes):
        out[lane] /= batch_size


@jit_inner
def fill_gammas(stream, shape, out):
    """Fill ``out`` (lanes,) with Gamma(shape, 1) variables by the method of Marsaglia and Tsang (2000).

    For a shape below 1 it is Gamma(shape + 1) times a uniform to the power 1 / shape. All lanes make their first
    attempt together; rejected lanes continue one by one.
    """
    lanes = out.size
    words, normals = np.empty((1, lanes), np.uint64), np.empty((1, lanes))
    own_word, own_normal = np.empty((1, 1), np.uint64), np.empty((1, 1))
    boost = np.ones(lanes)
    if shape < 1.0:
        fill_raw(stream, words)
        for lane in range(lanes):
            boost[lane] = uniform_of_word(words[0, lane]) ** (1.0 / shape)
        shape += 1.0
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    fill_normals(stream, normals)
    fill_raw(stream, words)
    for lane in range(lanes):
        x, uniform = normals[0, lane], uniform_of_word(words[0, lane])
        while not accepts(x, uniform, c, d):
            own = stream[:, lane : lane + 1]
            fill_normals(own, own_normal)
            fill_raw(own, own_word)
            x, uniform = own_normal[0, 0], uniform_of_word(own_word[0, 0])
        root = 1.0 + c * x
        # At least this, since it is a denominator: with few degrees of freedom the variable may underflow to 0.
        out[lane] = max(d * (root * root * root) * boost[lane], 1e-290)


@jit_inline
def uniform_of_word(word):
    """A uniform variable in (0, 1] from the top 53 bits of a word."""
    return np.float64((word >> _DROPPED_BITS) + _ONE) * _TWO_TO_MINUS_53


@jit_inline
def accepts(x, uniform, c, d):
    """Whether Marsaglia and Tsang accept d (1 + c x)^3."""
    root = 1.0 + c * x
    v = root * root * root
    square = x * x
    # A quick test first: what it accepts, as in most cases, the test with logarithms would accept too.
    return root > 0.0 and (
        uniform < 1.0 - 0.0331 * square * square
        or math.log(uniform) < 0.5 * square + d - d * v + d * math.log(v)
    )
