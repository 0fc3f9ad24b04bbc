"""The step loop on a dense Hessian: matrix products couple the coordinates, lanes stay apart."""

import numpy as np

from qpsim.kernels import dispatch
from qpsim.kernels.jit import arguments_are_apart, jit, wide_vectors
from qpsim.kernels.moments import ratio_or_zero
from qpsim.kernels.noise import fill_normals
from qpsim.kernels.observed import observe_all
from qpsim.kernels.policy import BOUND, GIVEN, LINE_SEARCH, OPTIMAL
from qpsim.kernels.quadratic import add_moments, inner
from qpsim.kernels.record import record_loss
from qpsim.rules.declaration import declaration_of


def advance(
    hyper,
    hessian,
    noise_factor,
    std,
    form_matrix,
    table,
    batch_size,
    error,
    gradient,
    states,
    stream,
    t0,
    policy,
    given,
    losses,
    steps,
    errors,
    dead,
):
    """Take ``given.size`` steps from t0 in every lane.

    hessian (d, d); noise_factor (d, d) = nu V diag(lambda), so that the noise is noise_factor @
    normals; std (d,) the gradient's deviations; form_matrix (d, d) what the policy's quadratic form
    needs beside Q: nu^2 Q o QQ for a linear rule's exact step, |Q| or its sum for the bound; table and
    errors (n_steps, lanes), the relative error of the exact step's denominator, as in
    :mod:`qpsim.kernels.quadratic`; gradient (d, lanes) = hessian @ error, updated with it. The rest is
    as in :func:`qpsim.kernels.diagonal.advance`.
    """
    d, lanes = error.shape
    # Only minibatch estimates need it, and at d = 2000 the copy takes as long as a product.
    draws = declaration_of(type(hyper)).observes == "variance_estimate"
    transposed_factor = noise_factor.T.copy() if draws else np.empty((0, 0))
    walk(
        hyper,
        hessian,
        noise_factor,
        std,
        form_matrix,
        table,
        batch_size,
        error,
        gradient,
        states,
        stream,
        t0,
        policy,
        given,
        losses,
        steps,
        errors,
        dead,
        transposed_factor,
        *[np.zeros((d, lanes)) for _ in range(5)],
        *[np.zeros(lanes) for _ in range(4)],
    )


@jit
def walk(
    hyper,
    hessian,
    noise_factor,
    std,
    form_matrix,
    table,
    batch_size,
    error,
    gradient,
    states,
    stream,
    t0,
    policy,
    given,
    losses,
    steps,
    errors,
    dead,
    transposed_factor,
    normals,
    noise,
    direction,
    extra,
    image,
    numerator,
    denominator,
    alpha,
    loss,
):
    """`advance` with its scratch arrays, which as arguments are known not to overlap."""
    arguments_are_apart()
    wide_vectors()
    d, lanes = error.shape
    for step in range(given.size):
        t = float(t0 + step + 1)
        fill_normals(stream, normals)
        np.dot(noise_factor, normals, noise)
        observe_all(hyper, gradient, std, transposed_factor, stream, batch_size, extra)
        if policy == OPTIMAL or policy == BOUND:
            add_moments(
                hyper,
                hessian,
                form_matrix,
                table,
                gradient,
                std,
                extra,
                states,
                t,
                policy,
                numerator,
                denominator,
                errors[step],
            )
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
        for lane in range(lanes):
            steps[step, lane] = alpha[lane]


def excess_loss(hessian, error, gradient, out):
    """0.5 e^T Q e in every lane; the gradient Q e (d, lanes) is written too."""
    multiply(hessian, error, gradient)
    np.multiply(0.5, np.sum(error * gradient, axis=0), out=out)


@jit
def multiply(matrix, columns, out):
    """A product by the BLAS of the steps, whose bits that of NumPy may not give."""
    np.dot(matrix, columns, out)
