"""Kernels of quadratic problems with a dense Hessian."""

import math
from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

from qpsim.kernels import dispatch
from qpsim.kernels.arguments import Moments
from qpsim.kernels.columns import inner
from qpsim.kernels.gradient_noise import FactorNoise, fill_noise
from qpsim.kernels.jit import OVERLOAD, is_set, jit_inner
from qpsim.kernels.laws import Gaussian, draw_scales, variance_of
from qpsim.kernels.noise import fill_normals
from qpsim.kernels.observed import fill_batch, fill_correlated_estimates, observe_all
from qpsim.kernels.problems import ProblemKernels, add_moments, register
from qpsim.kernels.quadratic import choose_gaussian_moments
from qpsim.kernels.student_moments import choose_student_moments
from qpsim.kernels.student_signs import StudentTable


class DenseProblem(NamedTuple):
    """Arrays of a quadratic problem with a dense Hessian.

    Attributes
    ----------
    hessian : array (d, d)
    noise : FactorNoise or LowRankNoise
        How the noise of a minibatch is drawn.
    law : a type of :mod:`qpsim.kernels.laws`
    std : array (d,)
        Scale of a minibatch's noise in each coordinate, sqrt(C_ii): its standard deviation, if it is Gaussian.
    form_matrix : array (d, d), (1, 1) or (0, 0)
        The second matrix of the step's denominator: Q o C for the exact step of a linear rule; |Q| for the bound, or
        its sum for signs with one common scale; else empty.
    table : SignTable, StudentTable, SeriesTable or ()
        The table for the exact step of the rule's closed form (:mod:`qpsim.kernels.quadratic`,
        :mod:`qpsim.kernels.student_moments`).
    batch_size : int
    transposed_factor : array (k, d) or (0, 0)
        The noise's factor^T, for a rule that observes a minibatch's variance estimate.
    """

    hessian: np.ndarray
    noise: Any
    law: Any
    std: np.ndarray
    form_matrix: np.ndarray
    table: Any
    batch_size: int
    transposed_factor: np.ndarray


def evaluate(problem, offset, gradient, loss):
    """Gradient Q offset (d, lanes) and loss (lanes,), for a problem with a ``hessian`` (d, d)."""
    np.dot(problem.hessian, offset, gradient)
    inner(offset, gradient, loss)
    for lane in range(loss.size):
        loss[lane] *= 0.5


def multiply(problem, direction, image):
    """The Hessian times the direction (d, lanes)."""
    np.dot(problem.hessian, direction, image)


def _choose_noise(problem: Any, hyper: Any) -> Any:
    estimated = dispatch.rule_of_type(hyper).observes == "variance_estimate"
    gaussian = dispatch.field_class(problem, "law") is Gaussian
    if gaussian and dispatch.field_class(problem, "noise") is FactorNoise:
        return _gaussian_estimates if estimated else _gaussian
    return _batch if estimated else _scaled


def _gaussian(problem, hyper, offset, gradient, stream, t, normals, noise, extra):
    fill_normals(stream, normals)
    np.dot(problem.noise.factor, normals, noise)
    observe_all(hyper, gradient, problem.std, extra)


def _gaussian_estimates(problem, hyper, offset, gradient, stream, t, normals, noise, extra):
    fill_normals(stream, normals)
    np.dot(problem.noise.factor, normals, noise)
    fill_correlated_estimates(stream, problem.transposed_factor, problem.batch_size, extra)


def _scaled(problem, hyper, offset, gradient, stream, t, normals, noise, extra):
    d, lanes = noise.shape
    scales = np.ones(lanes)
    draw_scales(problem.law, stream, scales)
    fill_noise(problem.noise, stream, noise)
    for i in range(d):
        for lane in range(lanes):
            noise[i, lane] *= scales[lane]
    std = np.empty(d)
    for i in range(d):
        std[i] = np.sqrt(variance_of(problem.law, problem.std[i]))
    observe_all(hyper, gradient, std, extra)


def _batch(problem, hyper, offset, gradient, stream, t, normals, noise, extra):
    scales = np.empty(noise.shape[1])
    fill_batch(problem.noise, problem.law, problem.batch_size, stream, noise, scales, extra)


def _choose_moments(problem: Any, hyper: Any) -> Any:
    # For a linear rule form_matrix contains the variance of any law.
    if dispatch.field_class(problem, "law") is Gaussian or dispatch.is_linear_type(hyper):
        return choose_gaussian_moments(hyper)
    if dispatch.field_class(problem, "table") is StudentTable:
        return choose_student_moments(hyper)
    return _averaged_moments


# Where noise is so many times larger than all means, the mean of a sign is proportional to 1 / scale, and the mean
# product of two signs is that without means, within 1 / FAR^2.
FAR = 1e5


def far_scale(hyper, problem, step):
    """The scale of noise from which on moments of signs have their limiting form; infinite for other rules."""


@overload(far_scale, jit_options=OVERLOAD)
def _far_scale(hyper, problem, step):
    def of_signs(hyper, problem, step):
        largest = 0.0
        d, lanes = step.gradient.shape
        for i in range(d):
            for lane in range(lanes):
                c = dispatch.offset(hyper, step.extra[i, lane], step.states, i, lane, step.t)
                mean = abs(step.gradient[i, lane] + c)
                # Without noise the sign does not depend on its scale. NaN counts as far away.
                if problem.std[i] > 0.0 and not mean <= largest * problem.std[i]:
                    largest = mean / problem.std[i]
        return FAR * largest if largest > 0.0 else math.inf

    if dispatch.rule_of_type(hyper).closed_form == "sign":
        return of_signs
    return lambda hyper, problem, step: math.inf


@jit_inner
def merged_scales(scales, weights, far):
    """Scales and weights of an average over the scale, in which one node replaces all beyond ``far``.

    It has their total weight and their mean of 1 / scale.
    """
    kept = 0
    total, inverse = 0.0, 0.0
    merged, shares = np.empty(scales.size), np.empty(scales.size)
    for n in range(scales.size):
        if scales[n] > far:
            total += weights[n]
            inverse += weights[n] / scales[n]
        else:
            merged[kept], shares[kept] = scales[n], weights[n]
            kept += 1
    if total > 0.0:
        merged[kept], shares[kept] = total / inverse, total
        kept += 1
    return merged[:kept], shares[:kept]


def _averaged_moments(problem, hyper, step, policy, moments):
    """Moments given the noise's scale, averaged over it."""
    lanes = moments.numerator.size
    part = Moments(np.zeros(lanes), np.zeros(lanes), np.zeros(lanes))
    moments.numerator[:] = 0.0
    moments.denominator[:] = 0.0
    moments.error[:] = 0.0
    law = problem.law
    scales, weights = merged_scales(law.scales, law.weights, far_scale(hyper, problem, step))
    for n in range(scales.size):
        if is_set(step.stop):
            return
        given_scale = DenseProblem(
            problem.hessian,
            problem.noise,
            Gaussian(1.0),
            problem.std * scales[n],
            problem.form_matrix,
            problem.table,
            problem.batch_size,
            problem.transposed_factor,
        )
        add_moments(given_scale, hyper, step, policy, part)
        for lane in range(lanes):
            moments.numerator[lane] += weights[n] * part.numerator[lane]
            moments.denominator[lane] += weights[n] * part.denominator[lane]
            # A sum of absolute errors; it becomes relative below.
            moments.error[lane] += weights[n] * part.error[lane] * part.denominator[lane]
    for lane in range(lanes):
        moments.error[lane] /= moments.denominator[lane]


register(DenseProblem, ProblemKernels(evaluate, _choose_noise, multiply, _choose_moments))
