"""The step loop for problems whose coordinates are coupled: by their Hessian, or in any other way."""

from typing import Any, NamedTuple

import numpy as np

from qpsim.kernels import dispatch
from qpsim.kernels.arguments import Lanes, Moments, Record, StepInput, Steps
from qpsim.kernels.columns import inner
from qpsim.kernels.jit import arguments_are_apart, jit, wide_vectors
from qpsim.kernels.moments import ratio_or_zero
from qpsim.kernels.problems import add_moments, draw_noise, evaluate, multiply
from qpsim.kernels.record import record_loss
from qpsim.rules.step_policies import BOUND, GIVEN, LINE_SEARCH, OPTIMAL


class Scratch(NamedTuple):
    """Arrays that `run_lanes` writes over; as arguments they are known not to overlap."""

    normals: np.ndarray
    noise: np.ndarray
    direction: np.ndarray
    extra: np.ndarray
    image: np.ndarray
    alpha: np.ndarray
    loss: np.ndarray
    moments: Moments


def advance(
    hyper: Any,
    problem: Any,
    n_normals: int,
    lanes: Lanes,
    gradient: np.ndarray,
    steps: Steps,
    record: Record,
) -> np.ndarray:
    """Take ``steps.given.size`` steps of the rule of ``hyper`` in every lane, and return the excess loss (lanes,).

    A call for no steps writes the gradient and the loss at the present offset.

    problem is a tuple whose class is registered in :mod:`qpsim.kernels.problems`, n_normals the rows of normals that
    one step draws; gradient (d, lanes) the exact gradient at the lanes' offset, updated with it. The lanes are updated
    in place, the record is written; see :mod:`qpsim.kernels.arguments` for their shapes.
    """
    d, count = lanes.offset.shape
    scratch = Scratch(
        normals=np.zeros((n_normals, count)),
        noise=np.zeros((d, count)),
        direction=np.zeros((d, count)),
        extra=np.zeros((d, count)),
        image=np.zeros((d, count)),
        alpha=np.zeros(count),
        loss=np.zeros(count),
        moments=Moments(np.zeros(count), np.zeros(count), np.zeros(count)),
    )
    run_lanes(hyper, problem, lanes, gradient, steps, record, scratch)
    return scratch.loss


@jit
def run_lanes(hyper, problem, lanes, gradient, steps, record, scratch):
    """`advance` with its scratch arrays."""
    arguments_are_apart()
    wide_vectors()
    offset, states, policy, given = lanes.offset, lanes.states, steps.policy, steps.given
    direction, noise, extra = scratch.direction, scratch.noise, scratch.extra
    alpha, loss = scratch.alpha, scratch.loss
    d, count = offset.shape
    # A call for no steps evaluates loss and gradient at the present offset.
    if given.size == 0:
        evaluate(problem, offset, gradient, loss)
    for step in range(given.size):
        t = float(steps.taken + step + 1)
        draw_noise(problem, hyper, offset, gradient, lanes.stream, t, scratch.normals, noise, extra)
        if policy == OPTIMAL or policy == BOUND:
            moments = Moments(
                scratch.moments.numerator, scratch.moments.denominator, record.moment_error[step]
            )
            inputs = StepInput(offset, gradient, extra, states, t, steps.stop)
            add_moments(problem, hyper, inputs, steps.moments_for, moments)
        for i in range(d):
            for lane in range(count):
                g = gradient[i, lane] - noise[i, lane]
                direction[i, lane] = dispatch.move(hyper, g, extra[i, lane], states, i, lane, t)
        if policy == LINE_SEARCH:
            multiply(problem, direction, scratch.image)
            inner(gradient, direction, scratch.moments.numerator)
            inner(direction, scratch.image, scratch.moments.denominator)
        if policy == GIVEN:
            for lane in range(count):
                alpha[lane] = given[step]
        else:
            ratio_or_zero(scratch.moments.numerator, scratch.moments.denominator, alpha)
        for i in range(d):
            for lane in range(count):
                offset[i, lane] -= alpha[lane] * direction[i, lane]
        evaluate(problem, offset, gradient, loss)
        record_loss(loss, lanes.diverged, record.loss[step])
        for lane in range(count):
            record.step_size[step, lane] = alpha[lane]
