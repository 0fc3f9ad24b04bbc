"""E[z] and E[z^T Q z] on a dense Hessian, from the rule's closed form or its Hermite series.

The denominator of the exact step (Eq. 11) couples the coordinates through the correlation r of their gradients. A
linear rule needs nu^2 Q o QQ, a sign rule or two-valued rule Plackett's integrals (:mod:`qpsim.kernels.signs`), any
other a series (:mod:`qpsim.kernels.series`).
"""

import math
from typing import Any

import numpy as np
from numba.extending import overload

from qpsim.kernels import dispatch
from qpsim.kernels.columns import add_inner, inner
from qpsim.kernels.elementary import erf
from qpsim.kernels.forms import LANES, TILE_ROWS, add_forms, lane_array, padded
from qpsim.kernels.hermite import starts_as_sign
from qpsim.kernels.jit import OVERLOAD, jit_inner, jit_spliced
from qpsim.kernels.laws import INV_SQRT2, LARGEST_INVERSE, Gaussian
from qpsim.kernels.moments import two_values
from qpsim.kernels.series import Coupling, series_of_direction
from qpsim.kernels.signs import sign_integrals
from qpsim.rules.step_policies import BOUND

# A form is 0 if it is this small a part of the sum of its terms' sizes.
FORM_ROUNDING = 1e-13


def choose_gaussian_moments(hyper: Any) -> Any:
    """The function for Gaussian noise and a rule, given numba's type of the rule's hyper-parameters.

    Its arguments are those of :func:`qpsim.kernels.problems.add_moments`; the problem is a
    :class:`qpsim.kernels.dense.DenseProblem`.
    """
    rule = dispatch.rule_of_type(hyper)
    if rule.closed_form is None and rule.closed_form_at_first_step == "sign":
        return _sign_then_series
    return {
        "linear": _linear,
        "sign": _sign,
        "two-valued": _two_valued,
        None: _series.py_func,
    }[rule.closed_form]


def _linear(problem, hyper, step, policy, moments):
    d, lanes = step.gradient.shape
    mean = np.empty((d, lanes))
    scale = np.empty((d, lanes))
    for i in range(d):
        for lane in range(lanes):
            s = dispatch.scale(hyper, step.extra[i, lane], step.states, i, lane, step.t)
            c = dispatch.offset(hyper, step.extra[i, lane], step.states, i, lane, step.t)
            scale[i, lane] = s
            mean[i, lane] = s * (step.gradient[i, lane] + c)
    inner(step.gradient, mean, moments.numerator)
    inner(mean, np.dot(problem.hessian, mean), moments.denominator)
    add_noise_form(problem.law, problem.form_matrix, scale, moments.denominator)


def add_noise_form(law, form, scale, out):
    """Add s^T (Q o cov[g]) s for the scales s (d, lanes); with an infinite variance ``form`` is Q o C."""


@overload(add_noise_form, jit_options=OVERLOAD)
def _add_noise_form(law, form, scale, out):
    def finite(law, form, scale, out):
        add_inner(scale, np.dot(form, scale), out)

    def finite_or_infinite(law, form, scale, out):
        if not math.isinf(law.variance):
            add_inner(scale, np.dot(form, scale), out)
            return
        # Infinite unless it is 0 up to rounding errors.
        total, size = np.zeros(out.size), np.zeros(out.size)
        add_inner(scale, np.dot(form, scale), total)
        add_inner(np.abs(scale), np.dot(np.abs(form), np.abs(scale)), size)
        for lane in range(out.size):
            if total[lane] > FORM_ROUNDING * size[lane]:
                out[lane] = math.inf

    return finite if law.instance_class is Gaussian else finite_or_infinite


def _sign(problem, hyper, step, policy, moments):
    d, lanes = step.gradient.shape
    standard = lane_array(d, lanes)
    scale = lane_array(d, lanes)
    for i in range(d):
        inverse = min(1.0 / problem.std[i], LARGEST_INVERSE)
        for lane in range(lanes):
            c = dispatch.offset(hyper, step.extra[i, lane], step.states, i, lane, step.t)
            scale[i, lane] = dispatch.scale(
                hyper, step.extra[i, lane], step.states, i, lane, step.t
            )
            standard[i, lane] = (step.gradient[i, lane] + c) * inverse
    sign_moments(
        problem.hessian,
        problem.form_matrix,
        problem.table,
        step.gradient,
        standard,
        scale,
        policy,
        moments.numerator,
        moments.denominator,
    )


def _two_valued(problem, hyper, step, policy, moments):
    d, lanes = step.gradient.shape
    mean = np.empty((d, lanes))
    middle = np.empty((d, lanes))
    half = np.empty((d, lanes))
    standard = np.empty((d, lanes))
    for i in range(d):
        std = problem.std[i]
        for lane in range(lanes):
            m, h, above = two_values(
                hyper,
                step.gradient[i, lane],
                std,
                step.extra[i, lane],
                step.states,
                i,
                lane,
                step.t,
            )
            a = above / std if std > 0.0 else 0.0
            middle[i, lane], half[i, lane], standard[i, lane] = m, h, a
            mean[i, lane] = m + h * erf(a * INV_SQRT2)
    inner(step.gradient, mean, moments.numerator)
    denominator = moments.denominator
    if policy == BOUND:
        for i in range(d):
            for lane in range(lanes):
                m, h = middle[i, lane], half[i, lane]
                middle[i, lane] = math.sqrt(max(m * (2.0 * mean[i, lane] - m) + h * h, 0.0))
        inner(middle, np.dot(problem.form_matrix, middle), denominator)
    else:
        # The constant part has no covariance, so that only the covariance of the signs is added to the means.
        sign_integrals(problem.table, standard, half, denominator)
        add_inner(mean, np.dot(problem.hessian, mean), denominator)
        for i in range(d):
            for lane in range(lanes):
                h, s = half[i, lane], mean[i, lane] - middle[i, lane]
                denominator[lane] += problem.hessian[i, i] * (h * h - s * s)


@jit_spliced
def _series(problem, hyper, step, policy, moments):
    # The same tuple under every noise, so that a rule's series is compiled once.
    coupling = Coupling(problem.hessian, problem.form_matrix, problem.table, problem.std)
    series_of_direction(coupling, hyper, step, policy, moments)


def _sign_then_series(problem, hyper, step, policy, moments):
    if starts_as_sign(hyper, step.t):
        d, lanes = step.gradient.shape
        standard = np.empty((d, lanes))
        scale = np.empty((d, lanes))
        for i in range(d):
            inverse = min(1.0 / problem.std[i], LARGEST_INVERSE)
            for lane in range(lanes):
                scale[i, lane] = dispatch.peek(
                    hyper, 1.0, step.extra[i, lane], step.states, i, lane, step.t
                )
                standard[i, lane] = step.gradient[i, lane] * inverse
        sign_moments(
            problem.hessian,
            problem.form_matrix,
            problem.table.signs,
            step.gradient,
            standard,
            scale,
            policy,
            moments.numerator,
            moments.denominator,
        )
    else:
        _series(problem, hyper, step, policy, moments)


@jit_inner
def sign_moments(hessian, form, table, gradient, standard, scale, policy, numerator, denominator):
    """Moments of scale * sign(standard + Z)."""
    d, lanes = gradient.shape
    mean = lane_array(padded(d, TILE_ROWS), padded(lanes, LANES))
    mean[:] = 0.0
    for i in range(d):
        for lane in range(lanes):
            mean[i, lane] = scale[i, lane] * erf(standard[i, lane] * INV_SQRT2)
    inner(gradient, mean, numerator)
    if policy == BOUND:
        if form.shape[0] == 1:
            for lane in range(lanes):
                denominator[lane] = form[0, 0] * scale[0, lane] * scale[0, lane]
        else:
            image = lane_array(d, lanes)
            np.dot(form, scale, image)
            inner(scale, image, denominator)
        return
    sign_integrals(table, standard, scale, denominator)
    form_of_means = lane_array(np.int64(1), mean.shape[1])[0]
    form_of_means[:] = 0.0
    add_forms(table.double[:1], mean, form_of_means)
    for lane in range(lanes):
        denominator[lane] += form_of_means[lane]
    for i in range(d):
        for lane in range(lanes):
            denominator[lane] += hessian[i, i] * scale[i, lane] * scale[i, lane]
