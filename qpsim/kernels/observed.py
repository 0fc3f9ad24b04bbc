"""What a rule observes besides the gradient: nothing, the exact relative variance, or a variance estimate.

The estimate is ``shat = ((1/B) sum_k g_k^2 - g^2) / (B - 1)`` of B draws around their mean g (Eq. 44 made unbiased).
The deviations from the mean are Gaussian and independent of the mean. So shat can be sampled exactly, after the mean,
without the B draws:

- one coordinate: shat = sigma^2 chi^2_{B-1} / (B - 1), with sigma the mean's own deviation;
- correlated coordinates: (B - 1) shat is the diagonal of C W C^T, C C^T the mean's covariance and W a Wishart matrix of
  B - 1 degrees. By Bartlett's decomposition W = L L^T with L lower trapezoidal, d x min(B - 1, d), of independent
  entries: normals below the diagonal and sqrt(chi^2_{B-1-k}) on it. The sum of (C L)^2 is computed column by column,
  with one column in memory and at most d columns for any B.
"""

import math

import numpy as np
from numba.extending import overload

from qpsim.kernels import dispatch
from qpsim.kernels.elementary import log
from qpsim.kernels.gradient_noise import IndependentNoise, fill_noise, is_correlated
from qpsim.kernels.jit import OVERLOAD, OVERLOAD_INLINE, jit, jit_inline
from qpsim.kernels.laws import Gaussian, draw_single_scales, uniform_of_word
from qpsim.kernels.noise import fill_normals, fill_raw

# Number of uniforms, each at least 2^-53, whose product is still a normal number.
_FACTORS = 16


def draws_estimates(hyper):
    """Whether the rule observes a variance estimate, which is drawn after all normals of the step."""


def draw_estimates(hyper, problem, stream, drawn, scales, estimates):
    """Draw a step's noise and, if the rule observes them, its variance estimates (d, lanes).

    problem is a :class:`qpsim.kernels.diagonal.DiagonalProblem`.
    """


def observe(hyper, gradient, variance, estimates, i, lane):
    """What the rule observes in one coordinate and lane; 0 if nothing."""


def observe_all(hyper, gradient, std, extra):
    """Write what the rule observes to extra (d, lanes), except estimates, which are drawn elsewhere."""


@overload(draws_estimates, jit_options=OVERLOAD)
def _draws_estimates(hyper):
    answer = dispatch.rule_of_type(hyper).observes == "variance_estimate"
    return lambda hyper: answer


@overload(draw_estimates, jit_options=OVERLOAD)
def _draw_estimates(hyper, problem, stream, drawn, scales, estimates):
    if dispatch.rule_of_type(hyper).observes != "variance_estimate":
        return lambda hyper, problem, stream, drawn, scales, estimates: None

    def by_chi_squares(hyper, problem, stream, drawn, scales, estimates):
        fill_noise(problem.noise, stream, drawn)
        fill_chi_squares(stream, problem.batch_size - 1, estimates)
        for i in range(problem.std.size):
            std = problem.std[i]
            for lane in range(estimates.shape[1]):
                estimates[i, lane] *= std * std / (problem.batch_size - 1)

    def by_all_draws(hyper, problem, stream, drawn, scales, estimates):
        fill_batch(
            problem.noise,
            problem.law,
            problem.batch_size,
            stream,
            drawn,
            scales,
            estimates,
        )
        if not is_correlated(problem.noise):
            for i in range(problem.std.size):
                std = problem.std[i]
                for lane in range(estimates.shape[1]):
                    estimates[i, lane] *= std * std

    noise = dispatch.field_class(problem, "noise")
    independent = noise is IndependentNoise and dispatch.field_class(problem, "law") is Gaussian
    return by_chi_squares if independent else by_all_draws


@overload(observe, jit_options=OVERLOAD_INLINE)
def _observe(hyper, gradient, variance, estimates, i, lane):
    def oracle(hyper, gradient, variance, estimates, i, lane):
        return relative_variance(gradient, variance)

    def estimate(hyper, gradient, variance, estimates, i, lane):
        return estimates[i, lane]

    observes = dispatch.rule_of_type(hyper).observes
    nothing = lambda hyper, gradient, variance, estimates, i, lane: 0.0  # noqa: E731
    return {None: nothing, "relative_variance": oracle, "variance_estimate": estimate}[observes]


@overload(observe_all, jit_options=OVERLOAD)
def _observe_all(hyper, gradient, std, extra):
    def oracle(hyper, gradient, std, extra):
        for i in range(std.size):
            variance = std[i] * std[i]
            for lane in range(extra.shape[1]):
                extra[i, lane] = relative_variance(gradient[i, lane], variance)

    oracles = dispatch.rule_of_type(hyper).observes == "relative_variance"
    return oracle if oracles else (lambda hyper, gradient, std, extra: None)


@jit_inline
def relative_variance(gradient, variance):
    """eta^2 = sigma^2 / grad^2 (Eq. 7): infinite where only the gradient vanishes, 0 if both do."""
    square = gradient * gradient
    limit = np.inf if variance > 0.0 else 0.0
    return variance / square if square > 0.0 else limit


@jit
def fill_chi_squares(stream, degrees, out):
    """Fill ``out`` (n, lanes) with chi-square variables of as many degrees of freedom.

    With two degrees it is -2 log of a uniform, with an even number -2 log of a product of uniforms; for an odd number
    the square of a normal is added. Nothing is rejected, so that every lane uses the same number of random words.
    """
    n, lanes = out.shape
    if degrees % 2 == 1:
        fill_normals(stream, out)
        for i in range(n):
            for lane in range(lanes):
                out[i, lane] *= out[i, lane]
    else:
        out[:] = 0.0
    words = np.empty((_FACTORS, lanes), np.uint64)
    product = np.empty(lanes)
    for i in range(n):
        left = degrees // 2
        while left > 0:
            now = min(left, _FACTORS)
            fill_raw(stream, words[:now])
            product[:] = 1.0
            for k in range(now):
                for lane in range(lanes):
                    product[lane] *= uniform_of_word(words[k, lane])
            for lane in range(lanes):
                out[i, lane] -= 2.0 * log(product[lane])
            left -= now


@jit
def fill_batch(noise, law, batch_size, stream, mean, scales, estimates):
    """Draw a minibatch one by one: the mean of its noise (d, lanes) and the variance estimates (d, lanes).

    noise is that of the mean of batch_size draws, one draw's being sqrt(batch_size) times it. ``scales`` (lanes) become
    1, since the mean includes the scales already.
    """
    d, lanes = estimates.shape
    one = np.empty((d, lanes))
    mean[:] = 0.0
    estimates[:] = 0.0
    for _ in range(batch_size):
        draw_single_scales(law, stream, scales)
        fill_noise(noise, stream, one)
        for i in range(d):
            for lane in range(lanes):
                g = math.sqrt(batch_size) * scales[lane] * one[i, lane]
                mean[i, lane] += g / batch_size
                estimates[i, lane] += g * g / batch_size
    for i in range(d):
        for lane in range(lanes):
            square = float(mean[i, lane]) * mean[i, lane]
            estimates[i, lane] = max(estimates[i, lane] - square, 0.0) / (batch_size - 1)
    scales[:] = 1.0


@jit
def fill_correlated_estimates(stream, factor, batch_size, out):
    """Fill ``out`` (d, lanes) with the diagonal of F W F^T / (B - 1), W ~ Wishart_k(I, B - 1).

    factor is F^T, shape (k, d), of the noise F times k normals.
    """
    d, lanes = out.shape
    rows = factor.shape[0]
    column = np.empty((rows, lanes))
    image = np.empty((d, lanes))
    out[:] = 0.0
    for k in range(min(batch_size - 1, rows)):
        fill_chi_squares(stream, batch_size - 1 - k, column[k : k + 1])
        for lane in range(lanes):
            column[k, lane] = np.sqrt(column[k, lane])
        fill_normals(stream, column[k + 1 :])
        np.dot(factor[k:].T, column[k:], image)
        for i in range(d):
            for lane in range(lanes):
                out[i, lane] += image[i, lane] * image[i, lane]
    for i in range(d):
        for lane in range(lanes):
            out[i, lane] /= batch_size - 1
