"""Moments of sign and two-valued rules under Student's t, by :mod:`qpsim.kernels.student_signs`."""

import math
from typing import Any

import numpy as np

from qpsim.kernels import dispatch
from qpsim.kernels.columns import inner
from qpsim.kernels.jit import jit_inner
from qpsim.kernels.laws import LARGEST_INVERSE
from qpsim.kernels.moments import two_values
from qpsim.kernels.student_signs import student_signs
from qpsim.rules.step_policies import BOUND


def choose_student_moments(hyper: Any) -> Any:
    """The function for a rule, given numba's type of its hyper-parameters; the problem's table is a StudentTable.

    Its arguments are those of :func:`qpsim.kernels.problems.add_moments`; the problem is a
    :class:`qpsim.kernels.dense.DenseProblem`.
    """
    return _sign if dispatch.rule_of_type(hyper).closed_form == "sign" else _two_valued


def _sign(problem, hyper, step, policy, moments):
    d, lanes = step.gradient.shape
    middle, half, a = np.zeros((d, lanes)), np.empty((d, lanes)), np.empty((d, lanes))
    unit = 1.0 / math.sqrt(problem.table.degrees)
    for i in range(d):
        inverse = min(unit / problem.std[i], LARGEST_INVERSE)
        for lane in range(lanes):
            extra = step.extra[i, lane]
            half[i, lane] = dispatch.scale(hyper, extra, step.states, i, lane, step.t)
            c = dispatch.offset(hyper, extra, step.states, i, lane, step.t)
            a[i, lane] = (step.gradient[i, lane] + c) * inverse
    if policy == BOUND and problem.form_matrix.shape[0] == 1:
        # With one scale for all coordinates the form is a constant times the scale's square.
        mean = np.empty((d, lanes))
        student_signs(problem.table, None, np.zeros((d, d)), a, half, mean, moments.denominator)
        inner(step.gradient, mean, moments.numerator)
        for lane in range(lanes):
            moments.denominator[lane] = problem.form_matrix[0, 0] * half[0, lane] ** 2
        return
    two_valued_student_moments(
        problem.table,
        None,
        problem.form_matrix if policy == BOUND else problem.hessian,
        step.gradient,
        middle,
        half,
        a,
        policy,
        moments,
    )


def _two_valued(problem, hyper, step, policy, moments):
    d, lanes = step.gradient.shape
    middle, half, a = np.empty((d, lanes)), np.empty((d, lanes)), np.empty((d, lanes))
    unit = 1.0 / math.sqrt(problem.table.degrees)
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
            middle[i, lane], half[i, lane] = m, h
            a[i, lane] = above * unit / std if std > 0.0 else 0.0
    two_valued_student_moments(
        problem.table,
        None,
        problem.form_matrix if policy == BOUND else problem.hessian,
        step.gradient,
        middle,
        half,
        a,
        policy,
        moments,
    )


@jit_inner
def two_valued_student_moments(table, own, weights, gradient, middle, half, a, policy, moments):
    """Moments of z_i = middle_i + half_i sign(a_i chi + Z_i) in every lane.

    table, own, weights and a are those of :func:`qpsim.kernels.student_signs.student_signs`; for the bound of Eq. 12
    the weights are |Q|.
    """
    d, lanes = gradient.shape
    mean, image = np.empty((d, lanes)), np.empty((d, lanes))
    form = np.empty(lanes)
    if policy == BOUND:
        student_signs(table, own, np.zeros((d, d)), a, half, mean, form)
        for i in range(d):
            for lane in range(lanes):
                m, h = middle[i, lane], half[i, lane]
                image[i, lane] = math.sqrt(max(m * (2.0 * mean[i, lane] + m) + h * h, 0.0))
                mean[i, lane] += m
        inner(gradient, mean, moments.numerator)
        inner(image, np.dot(weights, image), moments.denominator)
        return
    student_signs(table, own, weights, a, half, mean, form)
    for i in range(d):
        for lane in range(lanes):
            image[i, lane] = middle[i, lane] + 2.0 * mean[i, lane]
            mean[i, lane] += middle[i, lane]
    inner(gradient, mean, moments.numerator)
    moments.denominator[:] = 0.0
    if np.any(middle):
        inner(middle, np.dot(weights, image), moments.denominator)
    for lane in range(lanes):
        moments.denominator[lane] += form[lane]
