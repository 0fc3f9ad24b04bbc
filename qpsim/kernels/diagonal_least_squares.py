"""Kernels of least squares with Gaussian data of a diagonal covariance K, without sums over pairs of coordinates.

E[z^T K z] = sum_i K_ii E[z_i^2] for any correlation of the gradients, so that exact steps take time and memory
proportional to d. The symbols are those of :mod:`qpsim.kernels.least_squares_draws`.
"""

import math
from typing import Any, NamedTuple

import numpy as np

from qpsim.kernels import dispatch
from qpsim.kernels.arguments import Row
from qpsim.kernels.elementary import TWO_OVER_PI, erf, polynomial
from qpsim.kernels.hermite import row_moments
from qpsim.kernels.jit import is_set, jit_inline, jit_inner
from qpsim.kernels.laws import INV_SQRT2
from qpsim.kernels.least_squares_draws import (
    NOISELESS,
    kernels_with,
    residual_variance,
    standardised,
)
from qpsim.kernels.moments import two_values
from qpsim.kernels.problems import register

_HALF_PI = 1.5707963267948966
# asin(sqrt(y)) / sqrt(y) on 0 <= y <= 1/2: Chebyshev interpolation, relative error 7e-11
ARCSINE = (
    1.0000000000353153,
    0.16666664960612718,
    0.07500135192415226,
    0.04460142088360356,
    0.031026955686869917,
    0.016586305874402952,
    0.049172747019893895,
    -0.09567911791029521,
    0.24457373405691585,
    -0.274530531552789,
    0.16832766779064512,
)
_arcsine = polynomial(ARCSINE)


class DiagonalLeastSquares(NamedTuple):
    """Arrays of a least-squares problem with a diagonal covariance of the data.

    Attributes
    ----------
    variance, std : array (d,)
        K_ii and its root.
    label_std : float
        s.
    batch_size : int
        B.
    degrees : int
        B, if signs have closed forms at that batch size; else 0.
    shares, weights : array (n,)
        Quadrature for averages over w.
    table : QuadratureTable, or () for a rule with a closed form
    """

    variance: np.ndarray
    std: np.ndarray
    label_std: float
    batch_size: int
    degrees: int
    shares: np.ndarray
    weights: np.ndarray
    table: Any


def _linear(problem, hyper, step, policy, moments):
    """E[z_i^2] = m_i^2 + s_i^2 (v K_ii + h_i^2) / B with m = s (h + c)."""
    square = residual_variance(problem, step.offset, step.gradient)
    moments.numerator[:] = 0.0
    moments.denominator[:] = 0.0
    for i in range(step.gradient.shape[0]):
        k = problem.variance[i]
        for lane in range(square.size):
            h, extra = step.gradient[i, lane], step.extra[i, lane]
            s = dispatch.scale(hyper, extra, step.states, i, lane, step.t)
            m = s * (h + dispatch.offset(hyper, extra, step.states, i, lane, step.t))
            spread = s * s * (square[lane] * k + h * h) / problem.batch_size
            moments.numerator[lane] += h * m
            moments.denominator[lane] += k * (m * m + spread)


def _sign(problem, hyper, step, policy, moments):
    square = residual_variance(problem, step.offset, step.gradient)
    moments.numerator[:] = 0.0
    moments.denominator[:] = 0.0
    for i in range(step.gradient.shape[0]):
        for lane in range(square.size):
            h, extra = step.gradient[i, lane], step.extra[i, lane]
            half = dispatch.scale(hyper, extra, step.states, i, lane, step.t)
            shift = dispatch.offset(hyper, extra, step.states, i, lane, step.t)
            moments.numerator[lane] += h * half * expected_sign(problem, i, h, shift, square[lane])
            moments.denominator[lane] += problem.variance[i] * half * half


def _two_valued(problem, hyper, step, policy, moments):
    square = residual_variance(problem, step.offset, step.gradient)
    moments.numerator[:] = 0.0
    moments.denominator[:] = 0.0
    for i in range(step.gradient.shape[0]):
        for lane in range(square.size):
            h, extra = step.gradient[i, lane], step.extra[i, lane]
            middle, half, _ = two_values(hyper, 0.0, 1.0, extra, step.states, i, lane, step.t)
            shift = dispatch.offset(hyper, extra, step.states, i, lane, step.t)
            mean = half * expected_sign(problem, i, h, shift, square[lane])
            second = middle * (middle + 2.0 * mean) + half * half
            moments.numerator[lane] += h * (middle + mean)
            moments.denominator[lane] += problem.variance[i] * second


@jit_inline
def own_scale(problem, i, h, square):
    """tau_i with tau_i^2 = K_ii - h_i^2 / v; 0 where this is a rounding error."""
    k = problem.variance[i]
    left = k - h * h / square if square > 0.0 else 0.0
    return math.sqrt(left) if left > NOISELESS * k else 0.0


@jit_inline
def angle(sine, cosine):
    """The angle from -pi/2 to pi/2 that has this sine and this cosine, within 6e-11."""
    size = abs(sine)
    small = size <= cosine
    short = size if small else cosine
    value = short * _arcsine(short * short)
    return math.copysign(value if small else _HALF_PI - value, sine)


@jit_inline
def mean_of_sign(degrees, sine, cosine):
    """A_k at the angle with this sine and cosine: E[sign(a chi + Z)] if tan of the angle is a."""
    odd = degrees % 2 == 1
    total = TWO_OVER_PI * angle(sine, cosine) if odd else 0.0
    term = TWO_OVER_PI * sine * cosine if odd else sine
    for n in range(degrees // 2):
        total += term
        even = 2.0 * n + 1.0
        term *= cosine * cosine * ((even + 1.0) / (even + 2.0) if odd else even / (even + 1.0))
    return total


@jit_inner
def expected_sign(problem, i, h, shift, square):
    """E[sign(g_i + shift)] where the exact gradient is h and the residual's variance ``square``."""
    own = own_scale(problem, i, h, square)
    if shift == 0.0 and problem.degrees > 0:
        # Student's t with B degrees of freedom: a_i = h_i / (sqrt(v) tau_i).
        if own == 0.0:
            return 1.0 if h > 0.0 else (-1.0 if h < 0.0 else 0.0)
        sine = h / math.sqrt(square * problem.variance[i])
        return mean_of_sign(problem.degrees, sine, own / problem.std[i])
    total = 0.0
    for n in range(problem.shares.size):
        w = problem.shares[n]
        a = standardised(w * h + shift, math.sqrt(w * square / problem.batch_size) * own)
        total += problem.weights[n] * erf(a * INV_SQRT2)
    return total


def _quadrature(problem, hyper, step, policy, moments):
    """E[z_i] and E[z_i^2] by quadrature given w, averaged over w."""
    d, lanes = step.gradient.shape
    square = residual_variance(problem, step.offset, step.gradient)
    states = np.empty((step.states.shape[0], 1, 1))
    work = np.empty((5, 1))
    mean, extra, first, second, missed = work[0], work[1], work[2], work[3], work[4]
    for lane in range(lanes):
        numerator, denominator, error = 0.0, 0.0, 0.0
        for i in range(d):
            if is_set(step.stop):
                return
            h = step.gradient[i, lane]
            own = own_scale(problem, i, h, square[lane])
            extra[0] = step.extra[i, lane]
            for k in range(states.shape[0]):
                states[k, 0, 0] = step.states[k, i, lane]
            for n in range(problem.shares.size):
                w, weight = problem.shares[n], problem.weights[n]
                mean[0] = w * h
                std = own * math.sqrt(w * square[lane] / problem.batch_size)
                if std > 0.0:
                    row = Row(mean, std, extra, states, np.int64(0), step.t)  # type: ignore[arg-type]
                    row_moments(hyper, row, problem.table, first, second, missed)
                else:
                    z = dispatch.peek(hyper, mean[0], extra[0], states, np.int64(0), 0, step.t)
                    first[0], second[0], missed[0] = z, z * z, 0.0
                numerator += weight * h * first[0]
                denominator += weight * problem.variance[i] * second[0]
                # Twice, since an error of E[z^2] is an error of h E[z] too.
                error += 2.0 * weight * problem.variance[i] * missed[0]
        moments.numerator[lane] = numerator
        moments.denominator[lane] = denominator
        moments.error[lane] = error / denominator


register(
    DiagonalLeastSquares,
    kernels_with({"linear": _linear, "sign": _sign, "two-valued": _two_valued, None: _quadrature}),
)
