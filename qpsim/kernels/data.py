"""Kernels of problems on a table of data: the rows of each minibatch, and exact moments as sums over all rows.

A lane's random stream is not advanced here. It serves as a key, from which the rows of step t are computed. For least
squares row k has the gradient x_k (x_k^T e + r_k) with e = theta - optimum. For the paper's model it is the exact
gradient minus a constant vector of the row.
"""

from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

from qpsim.kernels import dispatch
from qpsim.kernels.columns import inner
from qpsim.kernels.dense import evaluate, multiply
from qpsim.kernels.jit import OVERLOAD, jit_inline, jit_inner
from qpsim.kernels.observed import relative_variance
from qpsim.kernels.problems import ProblemKernels, register

REPLACEMENT, RESHUFFLED, FIXED = 0, 1, 2

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFT_30, _SHIFT_27, _SHIFT_31, _SHIFT_11 = (
    np.uint64(30),
    np.uint64(27),
    np.uint64(31),
    np.uint64(11),
)


class RegressionProblem(NamedTuple):
    """Least squares on a table.

    Attributes
    ----------
    hessian : array (d, d)
        X^T X / n.
    rows : array (n, d)
    residuals : array (n,)
        x_k^T optimum - y_k.
    order, batch_size : int
    batches : int
        Minibatches of an epoch, the last of which may be short.
    """

    hessian: np.ndarray
    rows: np.ndarray
    residuals: np.ndarray
    order: int
    batch_size: int
    batches: int


class SampleProblem(NamedTuple):
    """The paper's model on a finite sample: row k's gradient is the exact one minus rows[k], whose mean is 0."""

    hessian: np.ndarray
    rows: np.ndarray
    residuals: np.ndarray
    order: int
    batch_size: int
    batches: int


@jit_inline
def hash_of_word(word):
    """A hash of 64 bits: the finaliser of SplitMix64 (Steele, Lea & Flood, 2014)."""
    word = (word ^ (word >> _SHIFT_30)) * _FIRST
    word = (word ^ (word >> _SHIFT_27)) * _SECOND
    return word ^ (word >> _SHIFT_31)


@jit_inline
def random_below(key, number, limit):
    """A pseudo-random integer in [0, limit), a function of the key and of ``number``."""
    word = hash_of_word(key + _GOLDEN * (np.uint64(number) + np.uint64(1)))
    return int(float(word >> _SHIFT_11) * 2.0**-53 * limit)


@jit_inner
def fill_batch_rows(problem, stream, lane, t, permutation, chosen):
    """Write the rows of step t = 1, 2, ... into ``chosen`` (B,), and return their number."""
    n, b = problem.rows.shape[0], problem.batch_size
    key = hash_of_word(
        stream[0, lane] ^ hash_of_word(stream[1, lane] ^ hash_of_word(stream[2, lane]))
    )
    step = int(t) - 1
    if problem.order == REPLACEMENT:
        for k in range(b):
            chosen[k] = random_below(key, step * b + k, n)
        return b
    epoch, place = step // problem.batches, step % problem.batches
    first = place * b
    count = min(b, n - first)
    if problem.order == FIXED:
        for k in range(count):
            chosen[k] = first + k
        return count
    # The shuffle of an epoch (Fisher & Yates) is repeated in each of its steps, so that nothing is stored.
    key = hash_of_word(key + _GOLDEN * np.uint64(epoch + 1))
    for k in range(n):
        permutation[k] = k
    for k in range(first + count):
        other = k + random_below(key, k, n - k)
        permutation[k], permutation[other] = permutation[other], permutation[k]
    for k in range(count):
        chosen[k] = permutation[first + k]
    return count


def fill_row_gradient(problem, k, offset, gradient, lane, out):
    """Gradient of row k alone, (d,)."""


@overload(fill_row_gradient, jit_options=OVERLOAD)
def _fill_row_gradient(problem, k, offset, gradient, lane, out):
    def regression(problem, k, offset, gradient, lane, out):
        residual = problem.residuals[k]
        for i in range(out.size):
            residual += problem.rows[k, i] * offset[i, lane]
        for i in range(out.size):
            out[i] = problem.rows[k, i] * residual

    def sample(problem, k, offset, gradient, lane, out):
        for i in range(out.size):
            out[i] = gradient[i, lane] - problem.rows[k, i]

    return regression if problem.instance_class is RegressionProblem else sample


def _choose_noise(problem: Any, hyper: Any) -> Any:
    observes = dispatch.rule_of_type(hyper).observes
    return {None: _plain, "relative_variance": _oracle, "variance_estimate": _estimated}[observes]


def _plain(problem, hyper, offset, gradient, stream, t, normals, noise, extra):
    draw_batch(problem, offset, gradient, stream, t, noise, extra, False)


def _estimated(problem, hyper, offset, gradient, stream, t, normals, noise, extra):
    draw_batch(problem, offset, gradient, stream, t, noise, extra, True)


def _oracle(problem, hyper, offset, gradient, stream, t, normals, noise, extra):
    draw_batch(problem, offset, gradient, stream, t, noise, extra, False)
    d, lanes = noise.shape
    n = problem.rows.shape[0]
    one, square = np.empty(d), np.empty(d)
    for lane in range(lanes):
        square[:] = 0.0
        for k in range(n):
            fill_row_gradient(problem, k, offset, gradient, lane, one)
            for i in range(d):
                square[i] += (one[i] - gradient[i, lane]) ** 2
        for i in range(d):
            variance = square[i] / n / problem.batch_size
            extra[i, lane] = relative_variance(gradient[i, lane], variance)


@jit_inner
def draw_batch(problem, offset, gradient, stream, t, noise, extra, estimated):
    """The noise of a minibatch's mean gradient and, if ``estimated``, its variance estimates (Eq. 44, unbiased)."""
    d, lanes = noise.shape
    permutation, chosen = (
        np.empty(problem.rows.shape[0], np.int64),
        np.empty(problem.batch_size, np.int64),
    )
    one, mean, square = np.empty(d), np.empty(d), np.empty(d)
    for lane in range(lanes):
        count = fill_batch_rows(problem, stream, lane, t, permutation, chosen)
        mean[:] = 0.0
        square[:] = 0.0
        for k in range(count):
            fill_row_gradient(problem, chosen[k], offset, gradient, lane, one)
            for i in range(d):
                mean[i] += one[i]
                if estimated:
                    square[i] += one[i] * one[i]
        for i in range(d):
            g = mean[i] / count
            noise[i, lane] = gradient[i, lane] - g
            if estimated:
                # A batch of one row has the estimate 0.
                extra[i, lane] = max(square[i] / count - g * g, 0.0) / max(count - 1, 1)


def _choose_moments(problem: Any, hyper: Any) -> Any:
    rule = dispatch.rule_of_type(hyper)
    if rule.observes == "variance_estimate":
        return None
    return _linear if rule.closed_form == "linear" else _single_rows


def _linear(problem, hyper, step, policy, moments):
    """E[z^T H z] = m^T H m + the mean over rows of (s o (g_k - h))^T H (s o (g_k - h)) / B, m = s (h + c)."""
    d, lanes = step.gradient.shape
    n = problem.rows.shape[0]
    mean, scale, one = np.empty((d, lanes)), np.empty((d, lanes)), np.empty(d)
    turned = np.empty((d, n))
    for i in range(d):
        for lane in range(lanes):
            s = dispatch.scale(hyper, step.extra[i, lane], step.states, i, lane, step.t)
            c = dispatch.offset(hyper, step.extra[i, lane], step.states, i, lane, step.t)
            mean[i, lane], scale[i, lane] = s * (step.gradient[i, lane] + c), s
    inner(step.gradient, mean, moments.numerator)
    inner(mean, np.dot(problem.hessian, mean), moments.denominator)
    for lane in range(lanes):
        for k in range(n):
            fill_row_gradient(problem, k, step.offset, step.gradient, lane, one)
            for i in range(d):
                turned[i, k] = scale[i, lane] * (one[i] - step.gradient[i, lane])
        spread = np.sum(turned * np.dot(problem.hessian, turned)) / n
        moments.denominator[lane] += spread / problem.batch_size


def _single_rows(problem, hyper, step, policy, moments):
    """Moments of any rule at batch size 1: means over all rows of its direction."""
    d, lanes = step.gradient.shape
    n = problem.rows.shape[0]
    one, directions = np.empty(d), np.empty((d, n))
    for lane in range(lanes):
        numerator = 0.0
        for k in range(n):
            fill_row_gradient(problem, k, step.offset, step.gradient, lane, one)
            for i in range(d):
                z = dispatch.peek(hyper, one[i], step.extra[i, lane], step.states, i, lane, step.t)
                directions[i, k] = z
                numerator += step.gradient[i, lane] * z
        moments.numerator[lane] = numerator / n
        moments.denominator[lane] = np.sum(directions * np.dot(problem.hessian, directions)) / n


for _problem_class in (RegressionProblem, SampleProblem):
    register(_problem_class, ProblemKernels(evaluate, _choose_noise, multiply, _choose_moments))
