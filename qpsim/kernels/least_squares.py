"""Kernels of least squares with Gaussian data of a dense covariance.

The symbols and the random draws are explained in :mod:`qpsim.kernels.least_squares_draws`. Given w = chi^2_B / B the
mean gradient of a minibatch of B draws is Gaussian with mean w h and covariance (w v / B) (K - h h^T / v). Moments are
averages over w.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from qpsim.kernels import dispatch
from qpsim.kernels.arguments import Moments, StepInput
from qpsim.kernels.columns import inner
from qpsim.kernels.elementary import erf
from qpsim.kernels.jit import is_set, jit_inner
from qpsim.kernels.laws import INV_SQRT2
from qpsim.kernels.least_squares_draws import (
    NOISELESS,
    kernels_with,
    residual_variance,
    standardised,
)
from qpsim.kernels.moments import two_values
from qpsim.kernels.one_draw import one_draw_moments
from qpsim.kernels.plackett import pair_integral
from qpsim.kernels.problems import register
from qpsim.kernels.series import MOST_TERMS, Coupling, SeriesTable, raise_power, series_of_direction
from qpsim.kernels.student_moments import two_valued_student_moments
from qpsim.kernels.student_signs import StudentTable
from qpsim.rules.step_policies import BOUND


class LeastSquaresProblem(NamedTuple):
    """Arrays of a least-squares problem with a dense covariance of the data.

    Attributes
    ----------
    covariance, factor : array (d, d)
        K, and F with F F^T = K.
    square : array (d, d)
        K o K, for linear rules.
    arcsines : array (d, d), or (0, 0)
        K_ij times E[s_i s_j] at batch size 1.
    signs : StudentTable
        The data's correlation, for signs at a batch size that has closed forms; of degree 0 at any other.
    label_std : float
        s.
    batch_size : int
        B.
    shares, weights : array (n,)
        Quadrature for averages over w.
    legendre_nodes, legendre_weights : array (classes, most)
        Gauss-Legendre rules on [0, 1], one a row; unused places have weight 0.
    legendre_counts : array (classes,) of int
    legendre_limits : array (classes,)
        Largest |r| for which each rule is used.
    series : SeriesTable or ()
        The part of the series that does not depend on the state, for a rule without a closed form.
    """

    covariance: np.ndarray
    factor: np.ndarray
    square: np.ndarray
    arcsines: np.ndarray
    signs: StudentTable
    label_std: float
    batch_size: int
    shares: np.ndarray
    weights: np.ndarray
    legendre_nodes: np.ndarray
    legendre_weights: np.ndarray
    legendre_counts: np.ndarray
    legendre_limits: np.ndarray
    series: Any


def _linear(problem, hyper, step, policy, moments):
    """E[z^T K z] = m^T K m + (v s^T (K o K) s + (s o h)^T K (s o h)) / B with m = s (h + c)."""
    d, lanes = step.gradient.shape
    mean, scale, turned = np.empty((d, lanes)), np.empty((d, lanes)), np.empty((d, lanes))
    for i in range(d):
        for lane in range(lanes):
            h = step.gradient[i, lane]
            s = dispatch.scale(hyper, step.extra[i, lane], step.states, i, lane, step.t)
            c = dispatch.offset(hyper, step.extra[i, lane], step.states, i, lane, step.t)
            mean[i, lane], scale[i, lane], turned[i, lane] = s * (h + c), s, s * h
    square = residual_variance(problem, step.offset, step.gradient)
    part = np.empty(lanes)
    inner(step.gradient, mean, moments.numerator)
    inner(mean, np.dot(problem.covariance, mean), moments.denominator)
    inner(scale, np.dot(problem.square, scale), part)
    for lane in range(lanes):
        moments.denominator[lane] += square[lane] * part[lane] / problem.batch_size
    inner(turned, np.dot(problem.covariance, turned), part)
    for lane in range(lanes):
        moments.denominator[lane] += part[lane] / problem.batch_size


def _sign(problem, hyper, step, policy, moments):
    d, lanes = step.gradient.shape
    middle, half, shift = np.zeros((d, lanes)), np.empty((d, lanes)), np.empty((d, lanes))
    for i in range(d):
        for lane in range(lanes):
            half[i, lane] = dispatch.scale(hyper, step.extra[i, lane], step.states, i, lane, step.t)
            shift[i, lane] = dispatch.offset(
                hyper, step.extra[i, lane], step.states, i, lane, step.t
            )
    two_valued_moments(problem, step.offset, step.gradient, middle, half, shift, policy, moments)


def _two_valued(problem, hyper, step, policy, moments):
    d, lanes = step.gradient.shape
    middle, half, shift = np.empty((d, lanes)), np.empty((d, lanes)), np.empty((d, lanes))
    for i in range(d):
        for lane in range(lanes):
            m, h, _ = two_values(hyper, 0.0, 1.0, step.extra[i, lane], step.states, i, lane, step.t)
            middle[i, lane], half[i, lane] = m, h
            shift[i, lane] = dispatch.offset(
                hyper, step.extra[i, lane], step.states, i, lane, step.t
            )
    two_valued_moments(problem, step.offset, step.gradient, middle, half, shift, policy, moments)


@jit_inner
def own_scales(problem, gradient, square, lane, own):
    """Write tau_i (d,) with tau_i^2 = K_ii - h_i^2 / v; 0 where this is a rounding error."""
    for i in range(own.size):
        h = gradient[i, lane]
        k = problem.covariance[i, i]
        left = k - h * h / square if square > 0.0 else 0.0
        own[i] = math.sqrt(left) if left > NOISELESS * k else 0.0


@jit_inner
def two_valued_moments(problem, offset, gradient, middle, half, shift, policy, moments):
    """Moments of z_i = middle_i + half_i sign(g_i + shift_i) in every lane.

    Given w, sign(g_i + shift_i) has the scaled mean a_i = (w h_i + shift_i) / (sqrt(w v / B) tau_i). Without shifts
    a_i = sqrt(w B / v) h_i / tau_i, and averages over w of exp(-w x / 2) are (1 + x / B)^(-B / 2): Student's t, which
    has closed forms. Those of B = 1 do not depend on the state.
    """
    d, lanes = gradient.shape
    square = residual_variance(problem, offset, gradient)
    if not np.any(shift):
        if problem.batch_size == 1 and policy != BOUND:
            one_draw_moments(problem, square, gradient, middle, half, moments)
            return
        if problem.signs.degrees > 0:
            student_moments(problem, square, gradient, middle, half, policy, moments)
            return
    own, ratio, mean, expected = np.empty(d), np.empty(d), np.empty(d), np.empty(d)
    a = np.empty((problem.shares.size, d))
    for lane in range(lanes):
        own_scales(problem, gradient, square[lane], lane, own)
        shifted = False
        for i in range(d):
            shifted = shifted or shift[i, lane] != 0.0
        form, mean[:] = 0.0, 0.0
        for n in range(problem.shares.size):
            w = problem.shares[n]
            length = math.sqrt(w * square[lane] / problem.batch_size)
            for i in range(d):
                a[n, i] = standardised(w * gradient[i, lane] + shift[i, lane], length * own[i])
                expected[i] = half[i, lane] * erf(a[n, i] * INV_SQRT2)
                mean[i] += problem.weights[n] * expected[i]
            if policy != BOUND:
                form += problem.weights[n] * off_diagonal_form(problem.covariance, expected)
        numerator, diagonal, constant = 0.0, 0.0, 0.0
        for i in range(d):
            m, h = middle[i, lane], half[i, lane]
            numerator += gradient[i, lane] * (m + mean[i])
            # E[z_i^2]; the sign of a gradient that is always 0 is 0.
            certain = own[i] == 0.0 and a[0, i] == 0.0
            expected[i] = m * m + 2.0 * m * mean[i] + (0.0 if certain else h * h)
            diagonal += problem.covariance[i, i] * expected[i]
        moments.numerator[lane] = numerator
        if policy == BOUND:
            total = 0.0
            for i in range(d):
                for j in range(d):
                    total += abs(problem.covariance[i, j]) * math.sqrt(expected[i] * expected[j])
            moments.denominator[lane] = total
            continue
        for i in range(d):
            for j in range(d):
                if j != i:
                    k = problem.covariance[i, j]
                    constant += k * middle[i, lane] * (middle[j, lane] + 2.0 * mean[j])
        if not shifted:
            # 0 where v = 0, since then no coordinate has noise.
            unit = math.sqrt(problem.batch_size / square[lane]) if square[lane] > 0.0 else 0.0
            for i in range(d):
                ratio[i] = unit * gradient[i, lane] / own[i] if own[i] > 0.0 else 0.0
        pairs = 0.0
        for i in range(d):
            if own[i] == 0.0:
                continue
            for j in range(i):
                k = problem.covariance[i, j]
                if own[j] == 0.0:
                    continue
                free = k - gradient[i, lane] * gradient[j, lane] / square[lane]
                r = min(max(free / (own[i] * own[j]), -1.0), 1.0)
                if k == 0.0 or r == 0.0:
                    continue
                if shifted:
                    value = 0.0
                    for n in range(problem.shares.size):
                        value += problem.weights[n] * pair_integral(
                            problem, r, a[n, i], a[n, j], 0.0
                        )
                else:
                    value = pair_integral(problem, r, ratio[i], ratio[j], float(problem.batch_size))
                pairs += 2.0 * k * half[i, lane] * half[j, lane] * value
        moments.denominator[lane] = diagonal + constant + form + pairs


@jit_inner
def student_moments(problem, square, gradient, middle, half, policy, moments):
    """Moments of z_i = middle_i + half_i sign(g_i) in every lane: Student's t with B degrees of freedom.

    With s_i = h_i / sqrt(K_ii v) the scaled mean is a_i = s_i / sqrt(1 - s_i^2), for chi and not chi / sqrt(B), and the
    noise's correlation r_ij = R_ij sqrt((1 + a_i^2) (1 + a_j^2)) - a_i a_j, R that of the data.
    """
    d, lanes = gradient.shape
    a, own = np.empty((d, lanes)), np.empty((d, lanes))
    for i in range(d):
        for lane in range(lanes):
            size = problem.covariance[i, i] * square[lane]
            share = gradient[i, lane] / math.sqrt(size) if size > 0.0 else 0.0
            own[i, lane] = 1.0 / math.sqrt(max(1.0 - share * share, NOISELESS))
            a[i, lane] = share * own[i, lane]
    weights = np.abs(problem.covariance) if policy == BOUND else problem.covariance
    two_valued_student_moments(
        problem.signs, own, weights, gradient, middle, half, a, policy, moments
    )


@jit_inner
def off_diagonal_form(matrix, vector):
    """sum over i != j of matrix_ij vector_i vector_j."""
    total = 0.0
    for i in range(vector.size):
        for j in range(i):
            total += matrix[i, j] * vector[i] * vector[j]
    return 2.0 * total


def _series(problem, hyper, step, policy, moments):
    """The Hermite series given w, with each lane's own correlation, averaged over w."""
    d, lanes = step.gradient.shape
    square = residual_variance(problem, step.offset, step.gradient)
    own = np.empty(d)
    mean, extra = np.empty((d, 1)), np.empty((d, 1))
    states = np.empty((step.states.shape[0], d, 1))
    average = Moments(np.empty(1), np.empty(1), np.zeros(1))
    form = np.abs(problem.covariance)
    for lane in range(lanes):
        own_scales(problem, step.gradient, square[lane], lane, own)
        table = lane_table(problem, step.gradient, square[lane], lane, own)
        moments.numerator[lane], moments.denominator[lane], moments.error[lane] = 0.0, 0.0, 0.0
        for i in range(d):
            extra[i, 0] = step.extra[i, lane]
            for k in range(states.shape[0]):
                states[k, i, 0] = step.states[k, i, lane]
        for n in range(problem.shares.size):
            if is_set(step.stop):
                return
            w = problem.shares[n]
            for i in range(d):
                mean[i, 0] = w * step.gradient[i, lane]
            std = own * math.sqrt(w * square[lane] / problem.batch_size)
            series_of_direction(
                Coupling(problem.covariance, form, table, std),
                hyper,
                StepInput(mean, mean, extra, states, step.t, step.stop),
                policy,
                average,
            )
            # The series multiplies E[z] by the mean that it was given, which is w times the gradient.
            moments.numerator[lane] += problem.weights[n] * average.numerator[0] / w
            moments.denominator[lane] += problem.weights[n] * average.denominator[0]
            moments.error[lane] += problem.weights[n] * average.error[0] * average.denominator[0]
        moments.error[lane] /= moments.denominator[lane]


@jit_inner
def lane_table(problem, gradient, square, lane, own):
    """The series' table for one lane: the correlation there, and the bounds of what the series leaves."""
    d = own.size
    correlation = np.eye(d)
    for i in range(d):
        for j in range(i):
            if own[i] > 0.0 and own[j] > 0.0:
                free = problem.covariance[i, j] - gradient[i, lane] * gradient[j, lane] / square
                r = min(max(free / (own[i] * own[j]), -1.0), 1.0)
                correlation[i, j], correlation[j, i] = r, r
    bounds = np.empty((MOST_TERMS, d))
    size, power = np.abs(correlation), np.abs(problem.series.off_diagonal)
    for n in range(MOST_TERMS):
        raise_power(power, size)
        for i in range(d):
            bounds[n, i] = power[i].sum()
    return SeriesTable(
        correlation,
        problem.series.off_diagonal,
        bounds,
        problem.series.quadrature,
        problem.series.signs,
        problem.series.tolerance,
    )


register(
    LeastSquaresProblem,
    kernels_with({"linear": _linear, "sign": _sign, "two-valued": _two_valued, None: _series}),
)
