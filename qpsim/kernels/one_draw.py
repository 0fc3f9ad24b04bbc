"""Moments of signs on least squares at batch size 1, in closed form.

The gradient x r of one draw is a product of two Gaussians, whose signs multiply: E[s_i] = (2 / pi) asin(h_i /
sqrt(K_ii v)) and E[s_i s_j] = (2 / pi) asin(K_ij / sqrt(K_ii K_jj)), which does not depend on the state
(Xiao et al., 2024). With v = 0 the gradient is 0, and so is its sign.
"""

import math

import numpy as np

from qpsim.kernels.columns import inner
from qpsim.kernels.elementary import TWO_OVER_PI
from qpsim.kernels.jit import jit


@jit
def one_draw_moments(problem, square, gradient, middle, half, moments):
    """Moments of z_i = middle_i + half_i sign(g_i) in every lane; square (lanes,) is the residual's variance v.

    ``problem.arcsines`` (d, d) is K_ij times E[s_i s_j].
    """
    d, lanes = gradient.shape
    mean, turned, sized = np.empty((d, lanes)), np.empty((d, lanes)), np.empty((d, lanes))
    for i in range(d):
        for lane in range(lanes):
            size = problem.covariance[i, i] * square[lane]
            sign = 0.0
            if size > 0.0:
                ratio = min(max(gradient[i, lane] / math.sqrt(size), -1.0), 1.0)
                sign = TWO_OVER_PI * math.asin(ratio)
            move = half[i, lane] * sign
            mean[i, lane] = middle[i, lane] + move
            turned[i, lane] = middle[i, lane] + 2.0 * move
            sized[i, lane] = half[i, lane] if size > 0.0 else 0.0
    inner(gradient, mean, moments.numerator)
    inner(middle, np.dot(problem.covariance, turned), moments.denominator)
    part = np.empty(lanes)
    inner(sized, np.dot(problem.arcsines, sized), part)
    for lane in range(lanes):
        moments.denominator[lane] += part[lane]
