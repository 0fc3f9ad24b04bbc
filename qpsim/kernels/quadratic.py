"""E[z] and E[z^T Q z] on a dense Hessian, from the rule's closed form or its Hermite series.

The denominator of the exact step (Eq. 11) couples the coordinates through the correlation r of their gradients. A
linear rule needs nu^2 Q o QQ, a rule of two values Plackett's integrals (:mod:`qpsim.kernels.signs`). Any other is a
series (Mehler's formula): with a_n the coordinates' Hermite coefficients, off-diagonal and elementwise,

    E[z^T Q z] = sum_i q_ii E[z_i^2] + sum_n a_n^T ((Q - diag Q) o R^n) a_n.

What N + 1 terms leave is bounded by Cauchy and Schwarz and the energy tail_i = E[z_i^2] - sum_{n<=N} a_n(i)^2 that
coordinate i has left: sum_{i != j} |q_ij| |r_ij|^(N+1) sqrt(tail_i tail_j) <= sum_i b_i tail_i with
b_i = sum_j |q_ij| |r_ij|^(N+1), since 2 sqrt(x y) <= x + y. Terms are added until that is within the tolerance; the
pairs for which there are never enough of them are integrated instead (:mod:`qpsim.kernels.pair_quadrature`).
"""

import math
from typing import Any, NamedTuple

import numpy as np

from qpsim.kernels import dispatch
from qpsim.kernels.columns import add_inner, inner
from qpsim.kernels.elementary import erf
from qpsim.kernels.forms import LANES, TILE_ROWS, add_forms, lane_array, padded
from qpsim.kernels.hermite import (
    QuadratureTable,
    quadrature_table,
    row_coefficients,
    starts_as_sign,
)
from qpsim.kernels.jit import jit, jit_inner, jit_spliced
from qpsim.kernels.laws import INV_SQRT2, LARGEST_INVERSE
from qpsim.kernels.moments import two_values
from qpsim.kernels.pair_quadrature import add_planes
from qpsim.kernels.policy import BOUND
from qpsim.kernels.signs import SignTable, pair_table, sign_integrals

# Terms computed at once at first, and the most there are: signs of coordinates correlated by more than 0.93 do not
# reach 1e-9 with these, smooth directions do with about ten.
_FIRST_TERMS = 24
_MOST_TERMS = 256
# Doubles that the coefficients of one block may take.
_MOST_ELEMENTS = 1 << 23
_NEGLIGIBLE = 1e-150
# What remains of E[z_i^2] after the squares of many terms is not known more closely than this.
_ROUNDING = 1e-14


class SeriesTable(NamedTuple):
    """What the Hermite series of a problem needs.

    correlation (d, d); off_diagonal (d, d) = Q - diag Q; bounds (terms, d) = the b_i of every N; signs is for rules
    that begin as a sign; tolerance relative to E[z^T Q z].
    """

    correlation: np.ndarray
    off_diagonal: np.ndarray
    bounds: np.ndarray
    quadrature: QuadratureTable
    signs: SignTable
    tolerance: float


def series_table(hessian: np.ndarray, correlation: np.ndarray, tolerance: float) -> SeriesTable:
    """Tabulate a Hessian (d, d) and its gradients' correlation (d, d)."""
    off_diagonal = hessian - np.diag(np.diagonal(hessian))
    size = np.abs(correlation)
    power = np.abs(off_diagonal)
    bounds = np.empty((_MOST_TERMS, hessian.shape[0]))
    for n in range(_MOST_TERMS):
        power *= size
        bounds[n] = power.sum(axis=1)
    return SeriesTable(
        np.array(correlation),
        off_diagonal,
        bounds,
        quadrature_table(_MOST_TERMS),
        pair_table(hessian, correlation),
        float(tolerance),
    )


def choose_gaussian_moments(hyper: Any) -> Any:
    """The function for Gaussian noise that belongs to numba's type of a rule's hyper-parameters.

    Its arguments are those of :func:`qpsim.kernels.problems.add_moments`; the problem is a
    :class:`qpsim.kernels.dense.DenseProblem`.
    """
    rule = dispatch.rule_of_type(hyper)
    if rule.closed_form is None and rule.closed_form_at_first_step == "sign":
        return _sign_then_series
    return {"linear": _linear, "sign": _sign, "two-valued": _two_valued, None: _series}[
        rule.closed_form
    ]


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
    add_inner(scale, np.dot(problem.form_matrix, scale), moments.denominator)


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
        # What is constant has no covariance: that of the signs is all there is beside the means.
        sign_integrals(problem.table, standard, half, denominator)
        add_inner(mean, np.dot(problem.hessian, mean), denominator)
        for i in range(d):
            for lane in range(lanes):
                h, s = half[i, lane], mean[i, lane] - middle[i, lane]
                denominator[lane] += problem.hessian[i, i] * (h * h - s * s)


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
        series_moments(
            hyper,
            problem.hessian,
            problem.form_matrix,
            problem.table,
            step.gradient,
            problem.std,
            step.extra,
            step.states,
            step.t,
            policy,
            moments.numerator,
            moments.denominator,
            moments.error,
        )


def _series(problem, hyper, step, policy, moments):
    series_moments(
        hyper,
        problem.hessian,
        problem.form_matrix,
        problem.table,
        step.gradient,
        problem.std,
        step.extra,
        step.states,
        step.t,
        policy,
        moments.numerator,
        moments.denominator,
        moments.error,
    )


@jit_spliced
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


@jit
def series_moments(
    hyper,
    hessian,
    form,
    table,
    gradient,
    std,
    extra,
    states,
    t,
    policy,
    numerator,
    denominator,
    error,
):
    """Moments of any direction by its Hermite series; returns how many terms the last lane took."""
    d, lanes = gradient.shape
    second = np.empty((d, lanes))
    missed = np.empty((d, lanes))
    terms = 1 if policy == BOUND else _FIRST_TERMS
    # A number that numba does not take for a constant, lest all below be compiled for it and for others.
    begin = np.int64(0)
    power = table.off_diagonal.copy()
    image = np.empty((d, lanes))
    open_lanes = np.ones(lanes, np.uint8)
    error[:] = 0.0
    while True:
        coefficients = np.empty((d, terms, lanes))
        n_sharp = 0
        for i in range(d):
            n_sharp += row_coefficients(
                hyper,
                gradient[i],
                std[i],
                extra[i],
                states,
                i,
                t,
                table.quadrature,
                begin,
                second[i],
                missed[i],
                coefficients[i],
                False,
            )
        if begin == 0:
            tail = second.copy()
            inner(gradient, coefficients[:, 0], numerator)
            if policy == BOUND:
                # |E[z_i z_j]| <= sqrt(E[z_i^2] E[z_j^2]), for a sign method the |s_i s_j| of Eq. 12.
                root = np.sqrt(second)
                inner(root, np.dot(form, root), denominator)
                return 0
            denominator[:] = 0.0
            for i in range(d):
                for lane in range(lanes):
                    denominator[lane] += hessian[i, i] * second[i, lane]
        term = np.empty((d, lanes))
        for k in range(terms):
            n = begin + k
            if n > 0:
                raise_power(power, table.correlation)
            for i in range(d):
                for lane in range(lanes):
                    term[i, lane] = coefficients[i, k, lane]
            np.dot(power, term, image)
            n_open = add_term(
                term,
                image,
                second,
                tail,
                table.bounds[n],
                table.tolerance,
                open_lanes,
                denominator,
                error,
            )
            if n_open == 0:
                add_missed(hessian, second, missed, denominator, error)
                return n + 1
        begin += terms
        if begin == _MOST_TERMS:
            raise_power(power, table.correlation)
            add_planes(
                hyper,
                hessian,
                table,
                gradient,
                std,
                extra,
                states,
                t,
                second,
                tail,
                power,
                open_lanes,
                denominator,
                error,
            )
            add_missed(hessian, second, missed, denominator, error)
            return begin
        # Panels are dear and need many terms: no coordinate should go through them a third time.
        wanted = _MOST_TERMS if 4 * n_sharp > d * lanes else 2 * begin
        affordable = max(_FIRST_TERMS, _MOST_ELEMENTS // (d * lanes))
        terms = min(wanted, _MOST_TERMS - begin, affordable)


@jit_inner
def raise_power(power, correlation):
    """(Q - diag Q) o R^n to the next n; what has become negligible is 0, since subnormal numbers are slow."""
    for i in range(power.shape[0]):
        for j in range(power.shape[1]):
            value = power[i, j] * correlation[i, j]
            power[i, j] = 0.0 if abs(value) < _NEGLIGIBLE else value


@jit_inner
def add_term(term, image, second, tail, bounds, tolerance, open_lanes, denominator, error):
    """Add one term of the series to the lanes that still need it; returns how many need another."""
    d, lanes = term.shape
    total = np.zeros(lanes)
    rest = np.zeros(lanes)
    for i in range(d):
        bound = bounds[i]
        for lane in range(lanes):
            a = term[i, lane]
            total[lane] += a * image[i, lane]
            tail[i, lane] = max(tail[i, lane] - a * a, _ROUNDING * second[i, lane])
            rest[lane] += bound * tail[i, lane]
    n_open = 0
    for lane in range(lanes):
        if open_lanes[lane]:
            denominator[lane] += total[lane]
            # Relative to the least that the whole may be; nothing at all where the rest may be more than is known.
            least = denominator[lane] - rest[lane]
            error[lane] = rest[lane] / (0.0 if least < 0.0 else least)
            # NaN, of a lane that has left the finite numbers, needs no more terms.
            open_lanes[lane] = error[lane] > tolerance
            n_open += open_lanes[lane]
    return n_open


@jit_inner
def add_missed(hessian, second, missed, denominator, error):
    """Add to the error what coordinates miss that were not resolved: as much of E[z_i z_j] as of E[z_i^2]."""
    d, lanes = second.shape
    for lane in range(lanes):
        for i in range(d):
            if missed[i, lane] > 0.0:
                share = 2.0 * missed[i, lane] / math.sqrt(second[i, lane]) / denominator[lane]
                for j in range(d):
                    error[lane] += share * abs(hessian[i, j]) * math.sqrt(second[j, lane])
