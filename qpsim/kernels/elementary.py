"""Elementary functions without branches, tables or library calls, so that loops over lanes become vector code.

The functions of the C library are as accurate, but a call for each element prevents vectorisation and costs four to ten
times more. All work on float64. The polynomials are minimax (Remez exchange, 40 digits), rounded to double;
``tests/kernels/test_elementary.py`` computes every number below again.

Fused multiply-adds (fma) are written explicitly and the compiler adds none, so that results have the same bits for any
vector width and on any processor.
"""

from typing import Any

import numpy as np

from qpsim.kernels.jit import jit_inline
from qpsim.kernels.numba_interface import intrinsic, types

# (exp(r) - 1 - r) / r^2 on |r| <= log(2)/2
EXP = (
    0.5000000000000011,
    0.16666666666666413,
    0.04166666666653017,
    0.00833333333349446,
    0.0013888888943627859,
    0.0001984126950657166,
    2.4801493101082978e-05,
    2.7557586385028475e-06,
    2.7630247660095636e-07,
    2.500005733179777e-08,
)
# 2^r on |r| <= 1/2, relative error 8e-13
EXP2 = (
    0.9999999999997617,
    0.6931471805464949,
    0.24022650698887113,
    0.05550410939426532,
    0.009618128541871255,
    0.0013333451977722757,
    0.00015403852156018,
    1.530976038841867e-05,
    1.3175819996411096e-06,
)
# 2^r on |r| <= 1/2, relative error 5e-11
EXP2_SHORT = (
    0.9999999999616187,
    0.6931471807287074,
    0.24022651198764725,
    0.05550410352842092,
    0.0096180271717355,
    0.0013333922846270735,
    0.00015469317588687507,
    1.5201903899169115e-05,
)
# (2 artanh(s)/s - 2) / s^2 as a polynomial in s^2, for (1 + s)/(1 - s) in [sqrt(1/2), sqrt(2)]
LOG = (
    0.6666666666666735,
    0.3999999999941111,
    0.2857142874325961,
    0.22222198476212213,
    0.18183569731413407,
    0.1531390339712211,
    0.14797506707464825,
)
# sin(2 pi r)/r and cos(2 pi r) as polynomials in r^2, for |r| <= 1/8
SIN_TURNS = (
    6.283185307179586,
    -41.341702240399634,
    81.60524927594453,
    -76.70585970331943,
    42.05868490239031,
    -15.093797515564242,
    3.78072623939373,
)
COS_TURNS = (
    1.0,
    -19.739208802178716,
    64.93939402266793,
    -85.45681720650958,
    60.24464132648208,
    -26.426250686002213,
    7.903081374952189,
    -1.6966616513210238,
)
# erf(x)/x on [0, 6] as a ratio of polynomials in x^2, relative error 2e-16; no term is negative,
# so that none cancel
ERF_ABOVE = (
    1.1283791670955126,
    0.2214646924500079,
    0.06635007424475425,
    0.006960018879173562,
    0.0008620272774380136,
    5.774033049590587e-05,
    3.943361569530006e-06,
    1.7227511025014167e-07,
    6.839710386408194e-09,
    1.7447227442594055e-10,
    3.3261737921708316e-12,
    2.1710725339154794e-14,
    1.5068078424783142e-17,
)
ERF_BELOW = (
    1.0,
    0.529601306819641,
    0.13533499124141715,
    0.02212921300683817,
    0.002586782290540999,
    0.00022849004908441706,
    1.5690478182848834e-05,
    8.465080650470627e-07,
    3.5659214234469464e-08,
    1.1393998708589361e-09,
    2.5711332827265057e-11,
    3.269624667105071e-13,
    8.553569848590145e-16,
)
# the same on [0, 5] with a relative error of 5e-12 and another factor in both, for `by_squares`
QUICK_ERF_ABOVE = (
    (1294.2471075936826, 18.92682746471788, 0.02246267414045141),
    (1166.0904685115188, -1265897.5776621522),
    (50.27454005091497, -9836712.16790736),
    (144.52229643052183, 512579863.2857835),
)
QUICK_ERF_BELOW = (
    (5571.440316662897, 200.2249483131515, 1.0),
    (429.59026696905687, -1794821.3674406505),
    (127.79660976421106, -28053908.55745603),
    (36.00799530995661, -983384009.0742627),
)

TWO_OVER_PI = 0.6366197723675814
LOG2_E = 1.4426950408889634
LN2 = 0.6931471805599453
LN2_TAIL = 2.3190468138462996e-17  # log(2) = LN2 + LN2_TAIL
LN2_SHORT = 0.6931471803691238  # 32 bits of log(2): its product with an exponent is exact
LN2_REST = 1.9082149292705877e-10  # log(2) = LN2_SHORT + LN2_REST

# Adding 1.5 * 2^52 rounds to an integer and leaves it in the low bits of the sum.
ROUNDER = 6755399441055744.0
ROUNDER_BITS = 0x4338000000000000
SQRT_HALF_BITS = 0x3FE6A09E667F3BCD

# A word of 64 random bits as a part of the circle, its lowest 11 bits left out
DROPPED_BITS = np.uint64(11)
REMAINDER_SHIFT = np.uint64(13)
TWO_TO_MINUS_66 = 2.0**-66
EIGHTH_OF_CIRCLE = np.uint64(1 << 61)
LOW_QUARTER_BIT = np.uint64(1 << 62)
SIGN_BIT = np.uint64(1 << 63)

EXP_LOWEST = -708.0
EXP_HIGHEST = 709.782712893384  # log of the largest double
EXP2_LOWEST = -1000.0
ERF_SATURATED = 6.0  # 1 - erf(6) = 2e-17 is less than half a unit in the last place of 1
QUICK_ERF_SATURATED = 5.0  # 1 - erf(5) = 1.5e-12


@intrinsic
def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float64(types.float64, types.float64, types.float64), generate


@intrinsic
def bits_of(typing_context: Any, x: Any) -> Any:
    """The 64 bits of a double as an integer."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.int64))

    return types.int64(types.float64), generate


@intrinsic
def from_bits(typing_context: Any, bits: Any) -> Any:
    """The double that has these 64 bits."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], context.get_value_type(types.float64))

    return types.float64(types.int64), generate


def polynomial(coefficients: tuple[float, ...]) -> Any:
    """A function of kernels that evaluates a polynomial (constant first) by Horner's rule in fma."""

    @intrinsic
    def horner(typing_context: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value = context.get_constant(types.float64, coefficients[-1])
            for term in coefficients[-2::-1]:
                term = context.get_constant(types.float64, term)
                value = builder.fma(value, arguments[0], term)
            return value

        return types.float64(types.float64), generate

    return horner


def by_squares(first: tuple[float, ...], *steps: tuple[float, float]) -> Any:
    """A function of kernels that evaluates a polynomial of x, given x and y = x^2, in few products.

    It begins with a quadratic polynomial p (coefficients ``first``, constant first). Each further step replaces p by p
    (y + shift) + rest, two degrees for one fma and one addition. Such a form exists if the odd part of the polynomial
    has real roots in y, which give the shifts (Eve, 1964).
    """

    @intrinsic
    def evaluate(typing_context: Any, x: Any, y: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            x, y = arguments
            c, b, a = (context.get_constant(types.float64, term) for term in first)
            value = builder.fma(b, x, builder.fma(a, y, c))
            for step in steps:
                shift, rest = (context.get_constant(types.float64, term) for term in step)
                value = builder.fma(value, builder.fadd(y, shift), rest)
            return value

        return types.float64(types.float64, types.float64), generate

    return evaluate


_exp_curvature = polynomial(EXP)
_exp2 = polynomial(EXP2)
_exp2_short = polynomial(EXP2_SHORT)
_log_series = polynomial(LOG)
_sin_tail = polynomial(SIN_TURNS[1:])
_cos_turns = polynomial(COS_TURNS)
_erf_above = polynomial(ERF_ABOVE)
_erf_below = polynomial(ERF_BELOW)
_quick_erf_above = by_squares(*QUICK_ERF_ABOVE)
_quick_erf_below = by_squares(*QUICK_ERF_BELOW)
_twice_log_series = polynomial(tuple(2.0 * term for term in LOG))


@jit_inline
def exp(x):
    """e^x to 1 unit in the last place; 0 below -708 (never subnormal), inf above 709.78."""
    clamped = EXP_LOWEST if x < EXP_LOWEST else x
    clamped = EXP_HIGHEST if clamped > EXP_HIGHEST else clamped
    # e^x = 2^n e^r with n an integer and |r| <= log(2)/2
    rounded = fma(clamped, LOG2_E, ROUNDER)
    n = rounded - ROUNDER
    r = fma(n, -LN2_TAIL, fma(n, -LN2, clamped))
    mantissa = 1.0 + fma(r * r, _exp_curvature(r), r)
    value = from_bits(bits_of(mantissa) + (bits_of(rounded) << 52))
    value = 0.0 if x < EXP_LOWEST else value
    value = np.inf if x > EXP_HIGHEST else value
    return x if x != x else value


@jit_inline
def exp2_negative(y):
    """2^y for y <= 0 (and up to 1000), with a relative error of 1e-12, in half the time of `exp`.

    For y below -1000 the result is 2^-1000, about 1e-301. For NaN it is an arbitrary number.
    """
    clamped = EXP2_LOWEST if y < EXP2_LOWEST else y
    rounded = clamped + ROUNDER
    mantissa = _exp2(clamped - (rounded - ROUNDER))
    return from_bits(bits_of(mantissa) + (bits_of(rounded) << 52))


@jit_inline
def exp2_minus_square(u):
    """2^(-u^2) with a relative error of 5e-11, for small corrections to exact terms.

    Exponents below -1000 are replaced by -1000; the value is then less than 1e-200.
    """
    rounded = fma(u, -u, ROUNDER)
    rounded = ROUNDER + EXP2_LOWEST if rounded < ROUNDER + EXP2_LOWEST else rounded
    mantissa = _exp2_short(fma(u, -u, ROUNDER - rounded))
    return from_bits(bits_of(mantissa) + (bits_of(rounded) << 52))


@jit_inline
def log(x):
    """Natural logarithm of a positive normal number, to 1 unit in the last place, also near 1."""
    # x = 2^n (1 + f), 1 + f in [sqrt(1/2), sqrt(2)); log(1 + f) = 2 artanh(s)
    exponent = (bits_of(x) - SQRT_HALF_BITS) >> 52
    f = from_bits(bits_of(x) - (exponent << 52)) - 1.0
    n = from_bits(exponent + ROUNDER_BITS) - ROUNDER
    s = f / (2.0 + f)
    z = s * s
    # 2 artanh(s) = f - f^2/2 + s (f^2/2 + z series(z)): the leading term stays exact
    half_square = 0.5 * f * f
    correction = s * fma(z, _log_series(z), half_square)
    return fma(n, LN2_SHORT, f - (half_square - fma(n, LN2_REST, correction)))


@jit_inline
def minus_twice_log(count):
    """-2 log(count / 2^53) for count = 1, 2, ..., 2^53, to 1 unit in the last place.

    The same bits as with `log`: only exact powers of two have been moved into the constants.
    """
    exponent = (bits_of(count) - SQRT_HALF_BITS) >> 52
    f = from_bits(bits_of(count) - (exponent << 52)) - 1.0
    n = from_bits(exponent + ROUNDER_BITS) - (ROUNDER + 53.0)
    s = f / (2.0 + f)
    z = s * s
    square = f * f
    correction = s * fma(z, _twice_log_series(z), square)
    return fma(n, -2.0 * LN2_SHORT, (square - fma(n, 2.0 * LN2_REST, correction)) - (f + f))


@jit_inline
def sincos_of_word(word):
    """sin(2 pi u) and cos(2 pi u), where u is the top 53 bits of a word divided by 2^53, to about 1 ulp.

    The top two bits, rounded, give the quarter of the circle; the remainder is exact.
    """
    quarter = word + EIGHTH_OF_CIRCLE
    r = np.float64(np.int64((word >> DROPPED_BITS) << REMAINDER_SHIFT)) * TWO_TO_MINUS_66
    z = r * r
    sine = fma(r, SIN_TURNS[0], r * z * _sin_tail(z))
    cosine = _cos_turns(z)
    odd = (quarter & LOW_QUARTER_BIT) != 0
    first = cosine if odd else sine
    second = sine if odd else cosine
    sine = from_bits(bits_of(first) ^ np.int64(quarter & SIGN_BIT))
    cosine = from_bits(bits_of(second) ^ np.int64((quarter + LOW_QUARTER_BIT) & SIGN_BIT))
    return sine, cosine


@jit_inline
def erf(x):
    """The error function, with a relative error of 8e-16 for every x; never above 1, and 1 at infinity."""
    clamped = -ERF_SATURATED if x < -ERF_SATURATED else x
    clamped = ERF_SATURATED if clamped > ERF_SATURATED else clamped
    square = clamped * clamped
    value = clamped * _erf_above(square) / _erf_below(square)
    value = 1.0 if (value > 1.0 or clamped == ERF_SATURATED) else value
    return -1.0 if (value < -1.0 or clamped == -ERF_SATURATED) else value


@jit_inline
def quick_erf(x):
    """The error function, with a relative error of 7e-12 for every x, in two thirds of the time of `erf`.

    For exact steps, whose tolerance is 1e-9. Beyond 5 it is constant; it may exceed 1 by its error.
    """
    clamped = -QUICK_ERF_SATURATED if x < -QUICK_ERF_SATURATED else x
    clamped = QUICK_ERF_SATURATED if clamped > QUICK_ERF_SATURATED else clamped
    square = clamped * clamped
    fourth = square * square
    return clamped * _quick_erf_above(square, fourth) / _quick_erf_below(square, fourth)


@jit_inline
def inverse_root(x):
    """1 / sqrt(x) within 1e-13 relatively, for x from 1e-37 to 1e37: Newton's step from single precision."""
    start = np.float64(np.float32(1.0) / np.sqrt(np.float32(x)))
    return start * fma(-0.5 * x * start, start, 1.5)
