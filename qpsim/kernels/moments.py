"""E[z] and E[z^2] of each coordinate: by the closed form that the rule declares, else by quadrature.

Given the state before the step the gradient of coordinate i is N(mean, std^2), so that a linear rule ``z = s (g + c)``
has E[z] = s (mean + c), var[z] = s^2 std^2, and a sign rule ``z = s sign(g + c)`` has E[z] = s erf((mean + c) /
(sqrt(2) std)) (Eq. 8), E[z^2] = s^2, and a two-valued rule is a sign rule plus a constant.
"""

import math

import numpy as np
from numba.extending import overload

from qpsim.kernels import dispatch
from qpsim.kernels.arguments import Row
from qpsim.kernels.elementary import fma
from qpsim.kernels.hermite import row_moments
from qpsim.kernels.jit import OVERLOAD, OVERLOAD_INLINE, jit_inline, jit_inner, wide_vectors
from qpsim.kernels.laws import Gaussian, mean_sign, scaled_variance, variance_of
from qpsim.kernels.numba_interface import types
from qpsim.kernels.observed import observe


def is_linear(hyper):
    """Whether the rule has the closed form "linear", whose moments are cheap."""


def closed_moments(hyper, law, std, gradient, extra, states, i, lane, t):
    """One coordinate's E[z] and E[z^2] in one lane (Eq. 11); NaN without a closed form."""


def add_row_moments(
    policy, hyper, law, curvature, std, offset, estimates, states, i, t, table, work, moments
):
    """Add coordinate i's grad E[z] and q_ii E[z^2] in every lane (Eq. 11), and the error of the latter.

    Does nothing if the policy is None.
    offset (d, lanes), estimates as in :mod:`qpsim.kernels.observed`; table a QuadratureTable if the rule
    has no closed form; work (5, lanes) is written over. moments is a :class:`qpsim.kernels.arguments.Moments` that is
    added to; its error is absolute here, in the units of the denominator.
    """


def record_error(hyper, error, denominator, step, out):
    """Write a step's errors (lanes,), relative to the denominators, to out[step], and set them to 0.

    Does nothing for a rule with a closed form, whose error is 0.
    """


@overload(is_linear, jit_options=OVERLOAD)
def _is_linear(hyper):
    answer = dispatch.rule_of_type(hyper).closed_form == "linear"
    return lambda hyper: answer


@overload(closed_moments, jit_options=OVERLOAD_INLINE)
def _closed_moments(hyper, law, std, gradient, extra, states, i, lane, t):
    form = dispatch.rule_of_type(hyper).closed_form
    return {"linear": _linear, "sign": _sign, "two-valued": _two_valued, None: _unknown}[form]


@overload(record_error, jit_options=OVERLOAD)
def _record_error(hyper, error, denominator, step, out):
    def quadrature(hyper, error, denominator, step, out):
        for lane in range(error.size):
            out[step, lane] = error[lane] / denominator[lane]
            error[lane] = 0.0

    if dispatch.rule_of_type(hyper).closed_form is not None:
        return lambda hyper, error, denominator, step, out: None
    return quadrature


def _linear(hyper, law, std, gradient, extra, states, i, lane, t):
    s = dispatch.scale(hyper, extra, states, i, lane, t)
    mean = s * (gradient + dispatch.offset(hyper, extra, states, i, lane, t))
    return mean, fma(mean, mean, scaled_variance(law, s, std))


def _sign(hyper, law, std, gradient, extra, states, i, lane, t):
    s = dispatch.scale(hyper, extra, states, i, lane, t)
    c = dispatch.offset(hyper, extra, states, i, lane, t)
    return s * mean_sign(law, gradient + c, std), s * s


def _two_valued(hyper, law, std, gradient, extra, states, i, lane, t):
    middle, half, above = two_values(hyper, gradient, std, extra, states, i, lane, t)
    # Divided by the scale first; another order of operations would change the last bits.
    standard = above / std if std > 0.0 else 0.0
    mean = middle + half * mean_sign(law, standard, 1.0)
    # The two values' squares have the mean middle^2 + half^2, and differ by 4 middle half.
    return mean, middle * (2.0 * mean - middle) + half * half


def _unknown(hyper, law, std, gradient, extra, states, i, lane, t):
    return math.nan, math.nan


# Two overloads, one of them inlined: the loop of a closed form is so short that a call would take a tenth of the step.
@overload(add_row_moments, jit_options=OVERLOAD_INLINE)
def _add_closed_row_moments(
    policy, hyper, law, curvature, std, offset, estimates, states, i, t, table, work, moments
):
    if isinstance(policy, types.NoneType):
        return _nothing
    return None if dispatch.rule_of_type(hyper).closed_form is None else _closed


@overload(add_row_moments, jit_options=OVERLOAD)
def _add_row_moments(
    policy, hyper, law, curvature, std, offset, estimates, states, i, t, table, work, moments
):
    is_wanted = not isinstance(policy, types.NoneType)
    return _quadrature if is_wanted and dispatch.rule_of_type(hyper).closed_form is None else None


def _nothing(
    policy, hyper, law, curvature, std, offset, estimates, states, i, t, table, work, moments
):
    pass


def _closed(
    policy, hyper, law, curvature, std, offset, estimates, states, i, t, table, work, moments
):
    wide_vectors()
    numerator, denominator = moments.numerator, moments.denominator
    for lane in range(numerator.size):
        gradient = curvature * offset[i, lane]
        extra = observe(hyper, gradient, variance_of(law, std), estimates, i, lane)
        first, second = closed_moments(hyper, law, std, gradient, extra, states, i, lane, t)
        numerator[lane] = fma(gradient, first, numerator[lane])
        denominator[lane] = fma(curvature, second, denominator[lane])


@jit_inline
def two_values(hyper, gradient, std, extra, states, i, lane, t):
    """Mean and half the difference of a two-valued rule's values, and E[g + c], whose sign selects the value."""
    c = dispatch.offset(hyper, extra, states, i, lane, t)
    if std > 0.0:
        probe = max(1.0, abs(c))
        above = dispatch.peek(hyper, probe - c, extra, states, i, lane, t)
        below = dispatch.peek(hyper, -probe - c, extra, states, i, lane, t)
        return 0.5 * (above + below), 0.5 * (above - below), gradient + c
    return dispatch.peek(hyper, gradient, extra, states, i, lane, t), 0.0, 0.0


def _quadrature(
    policy, hyper, law, curvature, std, offset, estimates, states, i, t, table, work, moments
):
    gradient, extra, first, second, missed = work[0], work[1], work[2], work[3], work[4]
    for lane in range(gradient.size):
        gradient[lane] = curvature * offset[i, lane]
        extra[lane] = observe(hyper, gradient[lane], variance_of(law, std), estimates, i, lane)
    row = Row(gradient, std, extra, states, i, t)
    averaged_row_moments(hyper, law, row, table, first, second, missed)
    for lane in range(gradient.size):
        moments.numerator[lane] += gradient[lane] * first[lane]
        moments.denominator[lane] += curvature * second[lane]
        # Twice, since an error of E[z^2] is an error of grad E[z] too.
        moments.error[lane] += 2.0 * curvature * missed[lane]


def averaged_row_moments(hyper, law, row, table, first, second, missed):
    """E[z] and E[z^2] of one coordinate in every lane and the latter's error, averaged over the noise's scale."""


@overload(averaged_row_moments, jit_options=OVERLOAD)
def _averaged_row_moments(hyper, law, row, table, first, second, missed):
    def gaussian(hyper, law, row, table, first, second, missed):
        row_moments(hyper, row, table, first, second, missed)

    def mixture(hyper, law, row, table, first, second, missed):
        given_scale = np.empty((3, first.size))
        first[:] = 0.0
        second[:] = 0.0
        missed[:] = 0.0
        for n in range(law.scales.size):
            scaled = Row(row.mean, row.std * law.scales[n], row.extra, row.states, row.i, row.t)
            row_moments(hyper, scaled, table, given_scale[0], given_scale[1], given_scale[2])
            for lane in range(first.size):
                first[lane] += law.weights[n] * given_scale[0, lane]
                second[lane] += law.weights[n] * given_scale[1, lane]
                missed[lane] += law.weights[n] * given_scale[2, lane]

    return gaussian if law.instance_class is Gaussian else mixture


@jit_inner
def ratio_or_zero(numerator, denominator, out):
    """Write alpha = numerator / denominator (Eq. 11); 0 where the direction is 0 or overflows."""
    for lane in range(out.size):
        value = numerator[lane] / denominator[lane]
        out[lane] = value if (denominator[lane] > 0.0 and abs(value) < 1e300) else 0.0
