"""Expected direction and its square, per coordinate: closed forms where a rule declares one, else quadrature.

Given the state before the step the gradient of coordinate i is N(mean, std^2), so that a linear rule
``z = s (g + c)`` has E[z] = s (mean + c), var[z] = s^2 std^2, and a sign rule ``z = s sign(g + c)``
has E[z] = s erf((mean + c) / (sqrt(2) std)) (Eq. 8), E[z^2] = s^2, and one of two values adds a
constant to a sign.
"""

import numpy as np
from numba.extending import overload

from qpsim.kernels import dispatch
from qpsim.kernels.elementary import erf
from qpsim.kernels.hermite import row_moments
from qpsim.kernels.jit import jit, jit_inline

INV_SQRT2 = 0.7071067811865476
# Stands for 1 / std at std = 0: erf is +-1 beyond it, and 0 at 0 where infinity gives NaN.
LARGEST_INVERSE = 1e300


def add_row_moments(
    hyper, curvature, std, gradient, extra, states, i, t, table, numerator, denominator
):
    """Add coordinate i's grad E[z] and q_ii E[z^2] in every lane (Eq. 11); table is a QuadratureTable if needed."""


@overload(add_row_moments, jit_options={"error_model": "numpy", "nogil": True})
def _add_row_moments(
    hyper, curvature, std, gradient, extra, states, i, t, table, numerator, denominator
):
    form = dispatch.rule_of_type(hyper).form
    return {"linear": _linear, "sign": _sign, "two-valued": _two_valued, None: _quadrature}[form]


def _linear(hyper, curvature, std, gradient, extra, states, i, t, table, numerator, denominator):
    variance = std * std
    for lane in range(gradient.size):
        s = dispatch.scale(hyper, extra[lane], states, i, lane, t)
        c = dispatch.offset(hyper, extra[lane], states, i, lane, t)
        mean = s * (gradient[lane] + c)
        numerator[lane] += gradient[lane] * mean
        denominator[lane] += curvature * (mean * mean + s * s * variance)


def _sign(hyper, curvature, std, gradient, extra, states, i, t, table, numerator, denominator):
    inverse = min(INV_SQRT2 / std, LARGEST_INVERSE)
    for lane in range(gradient.size):
        s = dispatch.scale(hyper, extra[lane], states, i, lane, t)
        c = dispatch.offset(hyper, extra[lane], states, i, lane, t)
        mean = s * erf((gradient[lane] + c) * inverse)
        numerator[lane] += gradient[lane] * mean
        denominator[lane] += curvature * (s * s)


def _two_valued(
    hyper, curvature, std, gradient, extra, states, i, t, table, numerator, denominator
):
    for lane in range(gradient.size):
        middle, half, standard = two_values(
            hyper, gradient[lane], std, extra[lane], states, i, lane, t
        )
        mean = middle + half * erf(standard * INV_SQRT2)
        numerator[lane] += gradient[lane] * mean
        # The two values' squares have the mean middle^2 + half^2, and differ by 4 middle half.
        denominator[lane] += curvature * (middle * (2.0 * mean - middle) + half * half)


@jit_inline
def two_values(hyper, gradient, std, extra, states, i, lane, t):
    """The mean of a rule's two values, half their difference, and the deviations by which g + c is above 0."""
    c = dispatch.offset(hyper, extra, states, i, lane, t)
    if std > 0.0:
        probe = max(1.0, abs(c))
        above = dispatch.peek(hyper, probe - c, extra, states, i, lane, t)
        below = dispatch.peek(hyper, -probe - c, extra, states, i, lane, t)
        return 0.5 * (above + below), 0.5 * (above - below), (gradient + c) / std
    return dispatch.peek(hyper, gradient, extra, states, i, lane, t), 0.0, 0.0


def _quadrature(
    hyper, curvature, std, gradient, extra, states, i, t, table, numerator, denominator
):
    first = np.empty(gradient.size)
    second = np.empty(gradient.size)
    row_moments(hyper, gradient, std, extra, states, i, t, table, first, second)
    for lane in range(gradient.size):
        numerator[lane] += gradient[lane] * first[lane]
        denominator[lane] += curvature * second[lane]


@jit
def ratio_or_zero(numerator, denominator, out):
    """alpha = numerator / denominator (Eq. 11); 0 where the direction vanishes or overflows."""
    for lane in range(out.size):
        value = numerator[lane] / denominator[lane]
        out[lane] = value if (denominator[lane] > 0.0 and abs(value) < 1e300) else 0.0
