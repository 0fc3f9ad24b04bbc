"""Random draws for least squares with Gaussian data, where the gradient noise depends on theta.

With x ~ N(0, K), y = x^T theta* + N(0, s^2) and e = theta - theta* the exact gradient is h = K e, and a residual has
the variance v = e^T K e + s^2. Let w = chi^2_B / B. Given w the mean gradient of a minibatch of B draws is Gaussian
with mean w h and covariance (w v / B) (K - h h^T / v): one draw of w and one of zeta ~ N(0, K) give it exactly,

    g = w h + sqrt(w v / B) (zeta - h rho / v),   rho = zeta^T e - s eps,   eps ~ N(0, 1).

A problem is a tuple with ``label_std`` s, ``batch_size`` B, and either ``covariance`` K and ``factor`` F (d, d) with
F F^T = K, or ``variance`` and ``std`` (d,), the diagonal of a diagonal K and its root.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numba.extending import overload

from qpsim.kernels import dispatch
from qpsim.kernels.columns import inner
from qpsim.kernels.jit import OVERLOAD, OVERLOAD_INLINE, jit_inline, jit_inner
from qpsim.kernels.laws import fill_gammas
from qpsim.kernels.noise import fill_normals
from qpsim.kernels.observed import relative_variance
from qpsim.kernels.problems import ProblemKernels

# A coordinate whose remaining variance is at most this fraction of K_ii is determined by the residual; the rest is
# rounding.
NOISELESS = 1e-14


def kernels_with(forms: Mapping[str | None, Callable[..., Any]]) -> ProblemKernels:
    """The functions of a class of least-squares problems; the classes differ only in their moments.

    ``forms`` has the function for moments for each closed form of a rule, and under None that for rules without one. A
    rule that observes a variance estimate has no moments.
    """

    def choose_moments(problem: Any, hyper: Any) -> Any:
        rule = dispatch.rule_of_type(hyper)
        return None if rule.observes == "variance_estimate" else forms[rule.closed_form]

    return ProblemKernels(_evaluate, _choose_noise, _multiply, choose_moments)


def times_covariance(problem, columns, out):
    """K times columns (d, lanes)."""


def times_factor(problem, columns, out):
    """F times columns (d, lanes)."""


def own_variance(problem, i):
    """K_ii."""


@overload(times_covariance, jit_options=OVERLOAD)
def _times_covariance(problem, columns, out):
    if "covariance" in problem.fields:
        return lambda problem, columns, out: np.dot(problem.covariance, columns, out)
    return lambda problem, columns, out: multiply_rows(problem.variance, columns, out)


@overload(times_factor, jit_options=OVERLOAD)
def _times_factor(problem, columns, out):
    if "covariance" in problem.fields:
        return lambda problem, columns, out: np.dot(problem.factor, columns, out)
    return lambda problem, columns, out: multiply_rows(problem.std, columns, out)


@overload(own_variance, jit_options=OVERLOAD_INLINE)
def _own_variance(problem, i):
    if "covariance" in problem.fields:
        return lambda problem, i: problem.covariance[i, i]
    return lambda problem, i: problem.variance[i]


@jit_inner
def multiply_rows(factors, columns, out):
    """out (d, lanes) is columns with row i multiplied by factors_i."""
    for i in range(factors.size):
        for lane in range(columns.shape[1]):
            out[i, lane] = factors[i] * columns[i, lane]


def _evaluate(problem, offset, gradient, loss):
    times_covariance(problem, offset, gradient)
    inner(offset, gradient, loss)
    for lane in range(loss.size):
        loss[lane] *= 0.5


def _multiply(problem, direction, image):
    times_covariance(problem, direction, image)


@jit_inner
def fill_shares(stream, degrees, out):
    """Fill ``out`` (lanes,) with chi^2 / degrees variables."""
    fill_gammas(stream, 0.5 * degrees, out)
    for lane in range(out.size):
        out[lane] = 2.0 * out[lane] / degrees


@jit_inner
def draw_means(problem, batch_size, offset, gradient, stream, normals, out):
    """Draw the mean gradients (d, lanes) of minibatches of that size; normals (d + 1, lanes) is scratch memory."""
    d, lanes = out.shape
    share = np.empty(lanes)
    fill_shares(stream, float(batch_size), share)
    fill_normals(stream, normals)
    times_factor(problem, normals[:d], out)
    for lane in range(lanes):
        square, rho = problem.label_std * problem.label_std, -problem.label_std * normals[d, lane]
        for i in range(d):
            square += offset[i, lane] * gradient[i, lane]
            rho += out[i, lane] * offset[i, lane]
        w = share[lane]
        length = math.sqrt(w * max(square, 0.0) / batch_size)
        along = rho / square if square > 0.0 else 0.0
        for i in range(d):
            h = gradient[i, lane]
            out[i, lane] = w * h + length * (out[i, lane] - h * along)


def _choose_noise(problem: Any, hyper: Any) -> Any:
    observes = dispatch.rule_of_type(hyper).observes
    return {None: _plain, "relative_variance": _oracle, "variance_estimate": _batch}[observes]


def _plain(problem, hyper, offset, gradient, stream, t, normals, noise, extra):
    draw_means(problem, problem.batch_size, offset, gradient, stream, normals, noise)
    for i in range(noise.shape[0]):
        for lane in range(noise.shape[1]):
            noise[i, lane] = gradient[i, lane] - noise[i, lane]


def _oracle(problem, hyper, offset, gradient, stream, t, normals, noise, extra):
    draw_means(problem, problem.batch_size, offset, gradient, stream, normals, noise)
    d, lanes = noise.shape
    square = residual_variance(problem, offset, gradient)
    for i in range(d):
        for lane in range(lanes):
            h = gradient[i, lane]
            noise[i, lane] = h - noise[i, lane]
            variance = (square[lane] * own_variance(problem, i) + h * h) / problem.batch_size
            extra[i, lane] = relative_variance(h, variance)


def _batch(problem, hyper, offset, gradient, stream, t, normals, noise, extra):
    d, lanes = noise.shape
    one = np.empty((d, lanes))
    noise[:] = 0.0
    extra[:] = 0.0
    for _ in range(problem.batch_size):
        draw_means(problem, 1, offset, gradient, stream, normals, one)
        for i in range(d):
            for lane in range(lanes):
                noise[i, lane] += one[i, lane] / problem.batch_size
                extra[i, lane] += one[i, lane] * one[i, lane] / problem.batch_size
    for i in range(d):
        for lane in range(lanes):
            mean = noise[i, lane]
            extra[i, lane] = max(extra[i, lane] - mean * mean, 0.0) / (problem.batch_size - 1)
            noise[i, lane] = gradient[i, lane] - mean


@jit_inline
def standardised(mean, std):
    """mean / std; without noise +-40, whose error function is +-1, or 0."""
    if std > 0.0:
        return mean / std
    return 40.0 if mean > 0.0 else (-40.0 if mean < 0.0 else 0.0)


@jit_inner
def residual_variance(problem, offset, gradient):
    """v = e^T K e + s^2 in every lane (lanes,)."""
    square = np.empty(offset.shape[1])
    inner(offset, gradient, square)
    for lane in range(square.size):
        square[lane] = max(square[lane], 0.0) + problem.label_std * problem.label_std
    return square
