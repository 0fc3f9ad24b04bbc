"""The step loop on a diagonal Hessian: coordinates couple through the step size alone.

It also runs rotation-equivariant rules on any Hessian, in its eigenbasis.
"""

import numpy as np

from qpsim.kernels import dispatch
from qpsim.kernels.jit import jit
from qpsim.kernels.moments import add_row_moments, ratio_or_zero
from qpsim.kernels.noise import fill_normals
from qpsim.kernels.observed import draw_estimates, observe_row
from qpsim.kernels.policy import BOUND, GIVEN, LINE_SEARCH, OPTIMAL
from qpsim.kernels.record import record_loss


@jit
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
    normals = np.empty((d, lanes))
    direction = np.empty((d, lanes))
    gradient = np.empty(lanes)
    extra = np.zeros(lanes)
    estimates = np.empty((d, lanes))
    stds = noise_std * eigenvalues
    numerator = np.empty(lanes)
    denominator = np.empty(lanes)
    alpha = np.empty(lanes)
    loss = np.empty(lanes)
    for step in range(given.size):
        t = float(t0 + step + 1)
        fill_normals(stream, normals)
        draw_estimates(hyper, stream, stds, batch_size, estimates)
        numerator[:] = 0.0
        denominator[:] = 0.0
        for i in range(d):
            curvature = eigenvalues[i]
            std = stds[i]
            for lane in range(lanes):
                gradient[lane] = curvature * error[i, lane]
            observe_row(hyper, gradient, std, estimates, i, extra)
            if policy == OPTIMAL or policy == BOUND:
                add_row_moments(
                    hyper,
                    curvature,
                    std,
                    gradient,
                    extra,
                    states,
                    i,
                    t,
                    table,
                    numerator,
                    denominator,
                )
            for lane in range(lanes):
                g = gradient[lane] - std * normals[i, lane]
                direction[i, lane] = dispatch.move(hyper, g, extra[lane], states, i, lane, t)
            if policy == LINE_SEARCH:
                for lane in range(lanes):
                    z = direction[i, lane]
                    numerator[lane] += gradient[lane] * z
                    denominator[lane] += curvature * z * z
        if policy == GIVEN:
            alpha[:] = given[step]
        else:
            ratio_or_zero(numerator, denominator, alpha)
        loss[:] = 0.0
        for i in range(d):
            half = 0.5 * eigenvalues[i]
            for lane in range(lanes):
                e = error[i, lane] - alpha[lane] * direction[i, lane]
                error[i, lane] = e
                loss[lane] += half * e * e
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
