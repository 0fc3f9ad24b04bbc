"""The step loop on a diagonal Hessian: coordinates couple through the step size alone.

It also runs rotation-equivariant rules on any Hessian, in its eigenbasis.
"""

import numpy as np

from qpsim.kernels import dispatch
from qpsim.kernels.elementary import fma
from qpsim.kernels.jit import arguments_are_apart, jit, wide_vectors
from qpsim.kernels.moments import add_row_moments, closed_moments, is_linear, ratio_or_zero
from qpsim.kernels.noise import fill_normals
from qpsim.kernels.observed import draw_estimates, draws_estimates, observe
from qpsim.kernels.policy import BOUND, GIVEN, LINE_SEARCH, OPTIMAL
from qpsim.kernels.record import record_loss
from qpsim.rules.declaration import declaration_of

# Normals that are drawn at a time: they are used up before they leave the first cache.
_CACHED_ELEMENTS = 1 << 11


def advance(
    hyper,
    eigenvalues,
    noise_std,
    batch_size,
    table,
    error,
    states,
    stream,
    t0,
    policy,
    given,
    losses,
    steps,
    dead,
):
    """Take ``given.size`` steps from t0 in every lane.

    noise_std is that of a minibatch mean of batch_size draws; table a
    :class:`qpsim.kernels.hermite.QuadratureTable` for a rule without a closed form. error (d,
    lanes), states (names, d, lanes), stream (4, lanes) and dead (lanes) are updated in place; losses
    (n_steps, lanes) and steps (n_steps, lanes) are written.
    """
    d, lanes = error.shape
    ahead = declaration_of(type(hyper)).observes == "variance_estimate"
    rows = d if ahead else min(d, max(2, _CACHED_ELEMENTS // lanes // 2 * 2))
    walk(
        hyper,
        eigenvalues,
        noise_std * eigenvalues,
        batch_size,
        table,
        error,
        states,
        stream,
        t0,
        policy,
        given,
        losses,
        steps,
        dead,
        np.empty((rows, lanes), error.dtype),
        np.empty((d if ahead else 0, lanes)),
        np.empty((d if policy == LINE_SEARCH else 0, lanes)),
        np.empty((4, lanes)),
        np.zeros(lanes),
        np.zeros(lanes),
        np.empty(lanes),
        np.empty(lanes),
    )


@jit
def walk(
    hyper,
    eigenvalues,
    stds,
    batch_size,
    table,
    error,
    states,
    stream,
    t0,
    policy,
    given,
    losses,
    steps,
    dead,
    normals,
    estimates,
    direction,
    work,
    numerator,
    denominator,
    alpha,
    loss,
):
    """`advance` with its scratch arrays, which as arguments are known not to overlap."""
    arguments_are_apart()
    wide_vectors()
    d, lanes = error.shape
    rows = normals.shape[0]
    ahead = draws_estimates(hyper)
    exact = policy == OPTIMAL or policy == BOUND
    for step in range(given.size):
        t = float(t0 + step + 1)
        if ahead:
            fill_normals(stream, normals)
            draw_estimates(hyper, stream, stds, batch_size, estimates)
        if exact and (ahead or step == 0):
            for i in range(d):
                add_row_moments(
                    hyper,
                    eigenvalues[i],
                    stds[i],
                    error,
                    estimates,
                    states,
                    i,
                    t,
                    table,
                    work,
                    numerator,
                    denominator,
                )
        if exact:
            ratio_or_zero(numerator, denominator, alpha)
        elif policy == GIVEN:
            alpha[:] = given[step]
        numerator[:] = 0.0
        denominator[:] = 0.0
        loss[:] = 0.0
        following = exact and not ahead and step + 1 < given.size
        for first in range(0, d, rows):
            last = min(first + rows, d)
            if not ahead:
                fill_normals(stream, normals[: last - first])
            for i in range(first, last):
                q, std = eigenvalues[i], stds[i]
                variance = std * std
                if policy == LINE_SEARCH:
                    for lane in range(lanes):
                        mean = q * error[i, lane]
                        noise = std * normals[i - first, lane]
                        extra = observe(hyper, mean, variance, estimates, i, lane)
                        z = dispatch.move(hyper, mean - noise, extra, states, i, lane, t)
                        direction[i, lane] = z
                        numerator[lane] += mean * z
                        denominator[lane] += q * z * z
                elif following and is_linear(hyper):
                    # The next step's sums are taken while the coordinate is at hand.
                    for lane in range(lanes):
                        mean = q * error[i, lane]
                        noise = std * normals[i - first, lane]
                        extra = observe(hyper, mean, variance, estimates, i, lane)
                        z = dispatch.move(hyper, mean - noise, extra, states, i, lane, t)
                        error[i, lane] -= alpha[lane] * z
                        e = float(error[i, lane])
                        mean = q * e
                        loss[lane] = fma(mean, e, loss[lane])
                        extra = observe(hyper, mean, variance, estimates, i, lane)
                        first_moment, second_moment = closed_moments(
                            hyper, std, mean, extra, states, i, lane, t + 1.0
                        )
                        numerator[lane] = fma(mean, first_moment, numerator[lane])
                        denominator[lane] = fma(q, second_moment, denominator[lane])
                else:
                    for lane in range(lanes):
                        mean = q * error[i, lane]
                        noise = std * normals[i - first, lane]
                        extra = observe(hyper, mean, variance, estimates, i, lane)
                        z = dispatch.move(hyper, mean - noise, extra, states, i, lane, t)
                        error[i, lane] -= alpha[lane] * z
                        e = float(error[i, lane])
                        loss[lane] = fma(q * e, e, loss[lane])
                    if following:
                        add_row_moments(
                            hyper,
                            q,
                            std,
                            error,
                            estimates,
                            states,
                            i,
                            t + 1.0,
                            table,
                            work,
                            numerator,
                            denominator,
                        )
        if policy == LINE_SEARCH:
            ratio_or_zero(numerator, denominator, alpha)
            for i in range(d):
                q = eigenvalues[i]
                for lane in range(lanes):
                    error[i, lane] -= alpha[lane] * direction[i, lane]
                    e = float(error[i, lane])
                    loss[lane] = fma(q * e, e, loss[lane])
        for lane in range(lanes):
            loss[lane] *= 0.5
        record_loss(loss, dead, losses[step])
        # An assignment of whole rows would compile its error message too: two seconds.
        for lane in range(lanes):
            steps[step, lane] = alpha[lane]


@jit
def excess_loss(eigenvalues, error, out):
    """0.5 sum_i lambda_i e_i^2 in every lane."""
    out[:] = 0.0
    for i in range(error.shape[0]):
        for lane in range(out.size):
            out[lane] += 0.5 * eigenvalues[i] * error[i, lane] * error[i, lane]
