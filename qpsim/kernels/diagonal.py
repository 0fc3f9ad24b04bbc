"""The step loop for problems whose coordinates are coupled only by the step size.

These are a diagonal Hessian under any noise, and any Hessian in its eigenbasis for a rule that commutes with rotations.
The noise may be correlated between coordinates: the moments of a step are sums over coordinates in any case (Eq. 11).
"""

from typing import Any, NamedTuple

import numpy as np

from qpsim.kernels import dispatch
from qpsim.kernels.arguments import Lanes, Moments, Record, Steps
from qpsim.kernels.elementary import fma
from qpsim.kernels.gradient_noise import (
    IndependentNoise,
    coordinate_noise,
    fill_noise,
    is_correlated,
)
from qpsim.kernels.jit import arguments_are_apart, jit, wide_vectors
from qpsim.kernels.laws import draw_scales, scaled, variance_of
from qpsim.kernels.moments import (
    add_row_moments,
    closed_moments,
    is_linear,
    ratio_or_zero,
    record_error,
)
from qpsim.kernels.observed import draw_estimates, draws_estimates, observe
from qpsim.kernels.record import record_loss
from qpsim.rules.declaration import declaration_of
from qpsim.rules.step_policies import BOUND, GIVEN, LINE_SEARCH, OPTIMAL

# Number of normals drawn at once, so few that they are used while they are in the L1 cache.
_CACHED_ELEMENTS = 1 << 11


class DiagonalProblem(NamedTuple):
    """A quadratic problem in coordinates in which its Hessian is diagonal.

    Attributes
    ----------
    eigenvalues : array (d,)
        The Hessian's diagonal q.
    std : array (d,)
        Scale of the gradient noise of a minibatch in each coordinate: its standard deviation, if it is Gaussian.
    noise : a type of :mod:`qpsim.kernels.gradient_noise`
        How the noise of a minibatch is drawn.
    law : a type of :mod:`qpsim.kernels.laws`
    table : QuadratureTable, or () for a rule with a closed form
    batch_size : int
        Number of draws whose mean a gradient is.
    """

    eigenvalues: np.ndarray
    std: np.ndarray
    noise: Any
    law: Any
    table: Any
    batch_size: int


class Scratch(NamedTuple):
    """Scratch arrays of `run_lanes`; they are arguments so that the compiler may assume that they do not overlap."""

    drawn: np.ndarray
    scales: np.ndarray
    estimates: np.ndarray
    direction: np.ndarray
    work: np.ndarray
    moments: Moments
    alpha: np.ndarray
    loss: np.ndarray


def advance(
    hyper: Any, problem: DiagonalProblem, lanes: Lanes, steps: Steps, record: Record
) -> np.ndarray:
    """Take ``steps.given.size`` steps of the rule of ``hyper`` in every lane.

    Returns the excess loss (lanes,) after the last step; no steps leave it unset.

    The lanes are updated in place, the record is written; see :mod:`qpsim.kernels.arguments` for their shapes.
    """
    d, count = lanes.offset.shape
    estimated = declaration_of(type(hyper)).observes == "variance_estimate"
    # Estimates and correlated noise are drawn for all coordinates before the first coordinate moves.
    ahead = estimated or not isinstance(problem.noise, IndependentNoise)
    rows = d if ahead else min(d, max(2, _CACHED_ELEMENTS // count // 2 * 2))
    scratch = Scratch(
        drawn=np.empty((rows, count), lanes.states.dtype),
        scales=np.ones(count),
        estimates=np.empty((d if estimated else 0, count)),
        direction=np.empty((d if steps.policy == LINE_SEARCH else 0, count)),
        work=np.empty((5, count)),
        moments=Moments(np.zeros(count), np.zeros(count), np.zeros(count)),
        alpha=np.empty(count),
        loss=np.empty(count),
    )
    run_lanes(hyper, problem, lanes, steps, record, scratch)
    return scratch.loss


@jit
def run_lanes(hyper, problem, lanes, steps, record, scratch):
    """`advance` with its scratch arrays."""
    arguments_are_apart()
    wide_vectors()
    offset, states, stream = lanes.offset, lanes.states, lanes.stream
    law, policy, given = problem.law, steps.policy, steps.given
    drawn, estimates, direction = scratch.drawn, scratch.estimates, scratch.direction
    moments = scratch.moments
    numerator, denominator, error = moments.numerator, moments.denominator, moments.error
    alpha, loss, scales = scratch.alpha, scratch.loss, scratch.scales
    d, count = offset.shape
    rows = drawn.shape[0]
    ahead = draws_estimates(hyper)
    exact = policy == OPTIMAL or policy == BOUND
    for step in range(given.size):
        t = float(steps.taken + step + 1)
        if ahead:
            draw_estimates(hyper, problem, stream, drawn, scales, estimates)
        else:
            draw_scales(law, stream, scales)
            if is_correlated(problem.noise):
                fill_noise(problem.noise, stream, drawn)
        if exact and (ahead or step == 0):
            for i in range(d):
                add_row_moments(
                    steps.moments_for,
                    hyper,
                    law,
                    problem.eigenvalues[i],
                    problem.std[i],
                    offset,
                    estimates,
                    states,
                    i,
                    t,
                    problem.table,
                    scratch.work,
                    moments,
                )
        if exact:
            ratio_or_zero(numerator, denominator, alpha)
            record_error(hyper, error, denominator, step, record.moment_error)
        elif policy == GIVEN:
            for lane in range(count):
                alpha[lane] = given[step]
        # Assignments of whole arrays would be ten times as long in LLVM's language.
        for lane in range(count):
            numerator[lane], denominator[lane], loss[lane] = 0.0, 0.0, 0.0
        following = exact and not ahead and step + 1 < given.size
        for first in range(0, d, rows):
            last = min(first + rows, d)
            if not (ahead or is_correlated(problem.noise)):
                fill_noise(problem.noise, stream, drawn[: last - first])
            for i in range(first, last):
                q, std = problem.eigenvalues[i], problem.std[i]
                variance = variance_of(law, std)
                if policy == LINE_SEARCH:
                    for lane in range(count):
                        mean = q * offset[i, lane]
                        noise = coordinate_noise(problem.noise, std, drawn[i - first, lane])
                        g = mean - scaled(law, noise, scales, lane)
                        extra = observe(hyper, mean, variance, estimates, i, lane)
                        z = dispatch.move(hyper, g, extra, states, i, lane, t)
                        direction[i, lane] = z
                        numerator[lane] += mean * z
                        denominator[lane] += q * z * z
                elif following and is_linear(hyper):
                    # Add the coordinate's terms of the next step's sums, while it is in the cache.
                    for lane in range(count):
                        mean = q * offset[i, lane]
                        noise = coordinate_noise(problem.noise, std, drawn[i - first, lane])
                        g = mean - scaled(law, noise, scales, lane)
                        extra = observe(hyper, mean, variance, estimates, i, lane)
                        z = dispatch.move(hyper, g, extra, states, i, lane, t)
                        offset[i, lane] -= alpha[lane] * z
                        e = float(offset[i, lane])
                        mean = q * e
                        loss[lane] = fma(mean, e, loss[lane])
                        extra = observe(hyper, mean, variance, estimates, i, lane)
                        first_moment, second_moment = closed_moments(
                            hyper, law, std, mean, extra, states, i, lane, t + 1.0
                        )
                        numerator[lane] = fma(mean, first_moment, numerator[lane])
                        denominator[lane] = fma(q, second_moment, denominator[lane])
                else:
                    for lane in range(count):
                        mean = q * offset[i, lane]
                        noise = coordinate_noise(problem.noise, std, drawn[i - first, lane])
                        g = mean - scaled(law, noise, scales, lane)
                        extra = observe(hyper, mean, variance, estimates, i, lane)
                        z = dispatch.move(hyper, g, extra, states, i, lane, t)
                        offset[i, lane] -= alpha[lane] * z
                        e = float(offset[i, lane])
                        loss[lane] = fma(q * e, e, loss[lane])
                    if following:
                        add_row_moments(
                            steps.moments_for,
                            hyper,
                            law,
                            q,
                            std,
                            offset,
                            estimates,
                            states,
                            i,
                            t + 1.0,
                            problem.table,
                            scratch.work,
                            moments,
                        )
        if policy == LINE_SEARCH:
            ratio_or_zero(numerator, denominator, alpha)
            for i in range(d):
                q = problem.eigenvalues[i]
                for lane in range(count):
                    offset[i, lane] -= alpha[lane] * direction[i, lane]
                    e = float(offset[i, lane])
                    loss[lane] = fma(q * e, e, loss[lane])
        for lane in range(count):
            loss[lane] *= 0.5
        record_loss(loss, lanes.diverged, record.loss[step])
        # A loop, since numba's assignment of whole rows takes two seconds more to compile.
        for lane in range(count):
            record.step_size[step, lane] = alpha[lane]


@jit
def excess_loss(eigenvalues, offset, out):
    """0.5 sum_i lambda_i e_i^2 in every lane."""
    out[:] = 0.0
    for i in range(offset.shape[0]):
        for lane in range(out.size):
            out[lane] += 0.5 * eigenvalues[i] * offset[i, lane] * offset[i, lane]
