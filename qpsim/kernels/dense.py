"""The step loop on a dense Hessian: matrix products couple the coordinates, lanes stay apart."""

import numpy as np

from qpsim.kernels import dispatch
from qpsim.kernels.diagonal import relative_variance
from qpsim.kernels.elementary import erf
from qpsim.kernels.jit import jit
from qpsim.kernels.moments import INV_SQRT2, LARGEST_INVERSE, ratio_or_zero
from qpsim.kernels.noise import fill_normals
from qpsim.kernels.policy import BOUND, GIVEN, LINE_SEARCH, OPTIMAL
from qpsim.kernels.record import record_loss
from qpsim.kernels.signs import sign_integrals


@jit
def advance(
    hyper,
    hessian,
    noise_factor,
    std,
    form_matrix,
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

    hessian (d, d); noise_factor (d, d) = nu V diag(lambda), so that the noise is noise_factor @
    normals; std (d,) the gradient's deviations; form_matrix (d, d) what the policy's quadratic form
    needs beside Q: nu^2 Q o QQ for a linear rule's exact step, |Q| for the bound. The rest is as
    in :func:`qpsim.kernels.diagonal.advance`.
    """
    d, lanes = error.shape
    normals = np.empty((d, lanes))
    noise = np.empty((d, lanes))
    gradient = np.empty((d, lanes))
    direction = np.empty((d, lanes))
    extra = np.zeros((d, lanes))
    image = np.empty((d, lanes))
    mean = np.empty((d, lanes))
    scale = np.empty((d, lanes))
    standard = np.empty((d, lanes))
    numerator = np.empty(lanes)
    denominator = np.empty(lanes)
    alpha = np.empty(lanes)
    loss = np.empty(lanes)
    np.dot(hessian, error, gradient)
    for step in range(given.size):
        t = float(t0 + step + 1)
        fill_normals(stream, normals)
        np.dot(noise_factor, normals, noise)
        if dispatch.is_oracle(hyper):
            for i in range(d):
                relative_variance(gradient[i], std[i] * std[i], extra[i])
        if policy == OPTIMAL or policy == BOUND:
            closed_form(hyper, gradient, std, extra, states, t, mean, scale, standard)
            inner(gradient, mean, numerator)
            if policy == BOUND and dispatch.is_sign(hyper):
                np.dot(form_matrix, scale, image)
                inner(scale, image, denominator)
            elif dispatch.is_sign(hyper):
                np.dot(hessian, mean, image)
                inner(mean, image, denominator)
                add_sign_variance(hessian, mean, scale, denominator)
                sign_integrals(table, standard, scale, loss)
                denominator += loss
            else:
                np.dot(hessian, mean, image)
                inner(mean, image, denominator)
                np.dot(form_matrix, scale, image)
                add_inner(scale, image, denominator)
        for i in range(d):
            for lane in range(lanes):
                g = gradient[i, lane] - noise[i, lane]
                direction[i, lane] = dispatch.move(hyper, g, extra[i, lane], states, i, lane, t)
        if policy == LINE_SEARCH:
            np.dot(hessian, direction, image)
            inner(gradient, direction, numerator)
            inner(direction, image, denominator)
        if policy == GIVEN:
            alpha[:] = given[step]
        else:
            ratio_or_zero(numerator, denominator, alpha)
        for i in range(d):
            for lane in range(lanes):
                error[i, lane] -= alpha[lane] * direction[i, lane]
        np.dot(hessian, error, gradient)
        inner(error, gradient, loss)
        for lane in range(lanes):
            loss[lane] *= 0.5
        record_loss(loss, dead, losses[step])
        steps[step] = alpha


@jit
def inner(a, b, out):
    """Inner products sum_i a_i b_i of the columns."""
    out[:] = 0.0
    add_inner(a, b, out)


@jit
def add_inner(a, b, out):
    """Add the columns' inner products."""
    for i in range(a.shape[0]):
        for lane in range(out.size):
            out[lane] += a[i, lane] * b[i, lane]


@jit
def excess_loss(hessian, error, out):
    """0.5 e^T Q e in every lane."""
    inner(error, np.dot(hessian, error), out)
    out *= 0.5


@jit
def closed_form(hyper, gradient, std, extra, states, t, mean, scale, standard):
    """E[z] and the closed form's scale; for a sign rule also a_i = E[g_i + c_i] / sigma_i."""
    d, lanes = gradient.shape
    for i in range(d):
        inverse = min(1.0 / std[i], LARGEST_INVERSE)
        for lane in range(lanes):
            s = dispatch.scale(hyper, extra[i, lane], states, i, lane, t)
            c = dispatch.offset(hyper, extra[i, lane], states, i, lane, t)
            shifted = gradient[i, lane] + c
            scale[i, lane] = s
            if dispatch.is_sign(hyper):
                standard[i, lane] = shifted * inverse
                mean[i, lane] = s * erf(shifted * inverse * INV_SQRT2)
            else:
                mean[i, lane] = s * shifted


@jit
def add_sign_variance(hessian, mean, scale, out):
    """Add sum_i q_ii (s_i^2 - E[z_i]^2): the diagonal, where E[z_i^2] = s_i^2."""
    for i in range(mean.shape[0]):
        for lane in range(out.size):
            s, m = scale[i, lane], mean[i, lane]
            out[lane] += hessian[i, i] * (s * s - m * m)
