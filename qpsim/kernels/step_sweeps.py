"""Coordinate descent on a schedule: each step size in turn is set to its best value, given the others.

With h, c, d0, d1, s0 and s1 as in :mod:`qpsim.theory.recursion` and the derivatives p, q of the value by E[e^2] and E[e
r] after a step, the value is a parabola in that step's size a: E[e^2] is quadratic in a, E[e r] is linear, and
everything after the step is linear in these two:

    value = const + a b1 + a^2 b2,      b2 = sum of p E[z^2],
    b1 = - sum of (2 p E[e z] + q E[z r']),

z being the direction and r' the new state in each eigen-direction. A backward pass through the run computes p and q, a
forward pass the moments, and either may replace each step by its best size. If steps have independent relative errors
of variance `blur`, b2 is multiplied by 1 + blur.
"""

import numpy as np

from qpsim.kernels.jit import arguments_are_apart, jit, jit_inline

# Smaller numbers become 0: subnormal numbers are many times slower.
_TINY = 1e-300


@jit_inline
def total(values):
    """Sum of an array (d,), in four independent sums, which a processor adds in parallel."""
    a, b, c, e = 0.0, 0.0, 0.0, 0.0
    fours = values.size // 4 * 4
    for i in range(0, fours, 4):
        a += values[i]
        b += values[i + 1]
        c += values[i + 2]
        e += values[i + 3]
    for i in range(fours, values.size):
        a += values[i]
    return (a + b) + (c + e)


@jit_inline
def moments_after(h, c, ee, er, rr, w, k, s0, s1, blur):
    """E[e^2], E[e r] and E[r^2] after a step, from those before it, in one eigen-direction: w = -a d1, k = -a d0."""
    kh, pull = k * h, s0 * h
    u = 1.0 + kh
    x = (u * u + blur * kh * kh) * ee + 2.0 * w * (u + blur * kh) * er
    x += (1.0 + blur) * (w * w * rr + k * k * c)
    y = u * pull * ee + (s1 * u + w * pull) * er + w * s1 * rr + k * s0 * c
    return x, y, pull * pull * ee + 2.0 * s1 * pull * er + s1 * s1 * rr + s0 * s0 * c


@jit_inline
def derivatives_before(h, p, q, r, w, k, s0, s1, blur):
    """Derivatives of the value by the three moments before a step, from those after it, without the loss before it."""
    kh, pull = k * h, s0 * h
    u = 1.0 + kh
    x = (u * u + blur * kh * kh) * p + u * pull * q + pull * pull * r
    y = 2.0 * w * (u + blur * kh) * p + (s1 * u + w * pull) * q + 2.0 * s1 * pull * r
    z = (1.0 + blur) * w * w * p + w * s1 * q + s1 * s1 * r
    x, y = x if abs(x) > _TINY else 0.0, y if abs(y) > _TINY else 0.0
    return x, y, z if abs(z) > _TINY else 0.0


@jit_inline
def parabola_in_step(h, c, p, q, ee, er, rr, d0, d1, s0, s1):
    """-b1 / 2 and b2 of one eigen-direction, where the value is const + a b1 + a^2 b2 in the step's size a, at no blur.

    p and q are the derivatives of the value by E[e^2] and E[e r] after the step; ee, er and rr the moments before it.
    """
    along = d0 * h * ee + d1 * er
    square = d0 * h * (along + d1 * er) + d1 * d1 * rr + d0 * d0 * c
    of_state = s0 * h * along + s1 * (d0 * h * er + d1 * rr) + s0 * d0 * c
    return p * along + 0.5 * q * of_state, p * square


@jit_inline
def best_step(now, by, curvature, variance, coefficients, blur, old, scratch):
    """The step that minimises the value, given the moments (3, d) before it and the adjoint (3, d) after it.

    coefficients (4,) are d0, d1, s0 and s1 of the step.
    """
    d0, d1, s0, s1 = coefficients[0], coefficients[1], coefficients[2], coefficients[3]
    for i in range(curvature.size):
        h, c, p, q = curvature[i], variance[i], by[0, i], by[1, i]
        ee, er, rr = now[0, i], now[1, i], now[2, i]
        slope, size = parabola_in_step(h, c, p, q, ee, er, rr, d0, d1, s0, s1)
        scratch[0, i], scratch[1, i] = slope, size
    size = total(scratch[1]) * (1.0 + blur)
    return max(0.0, total(scratch[0]) / size) if size > 0.0 else old


@jit
def sweep_back(curvature, variance, maps, weight, steps, moments, adjoint, update, blur):
    """Write the adjoint of a run from its last step to its first; if `update`, also replace each step by the best.

    Parameters
    ----------
    curvature, variance : (d,)
    maps : (n_steps, 4)
    steps, weight : (n_steps,)
        As in :func:`qpsim.kernels.second_moments.losses_and_gradient`.
    moments, adjoint : (n_steps + 1, 3, d)
        E[e^2], E[e r], E[r^2] before each step and after the last, and the derivatives of the value by them. The last
        row of the adjoint must be given: 0.5 h times the last weight for E[e^2], 0 for the others.
    blur : float
        Variance of the steps' relative errors.
    """
    arguments_are_apart()
    n, d = steps.size, curvature.size
    scratch = np.empty((2, d))
    for t in range(n - 1, -1, -1):
        d0, d1, s0, s1 = maps[t, 0], maps[t, 1], maps[t, 2], maps[t, 3]
        if update:
            now, by = moments[t], adjoint[t + 1]
            steps[t] = best_step(now, by, curvature, variance, maps[t], blur, steps[t], scratch)
        w, k = -steps[t] * d1, -steps[t] * d0
        half = 0.5 * weight[t - 1] if t > 0 else 0.0
        for i in range(d):
            p, q, r = adjoint[t + 1, 0, i], adjoint[t + 1, 1, i], adjoint[t + 1, 2, i]
            x, y, z = derivatives_before(curvature[i], p, q, r, w, k, s0, s1, blur)
            adjoint[t, 0, i], adjoint[t, 1, i], adjoint[t, 2, i] = x + half * curvature[i], y, z


@jit
def sweep_forth(curvature, variance, maps, weight, steps, moments, adjoint, update, blur):
    """Write the moments of a run from its first step to its last; if `update`, also replace each step by the best.

    The arguments are those of `sweep_back`. Returns the value, and a measure of its rounding error in units of the
    machine's precision: the sum of |moment x derivative| over all steps.
    """
    arguments_are_apart()
    n, d = steps.size, curvature.size
    value = 0.0
    scratch, lost = np.empty((2, d)), np.zeros(d)
    for t in range(n):
        d0, d1, s0, s1 = maps[t, 0], maps[t, 1], maps[t, 2], maps[t, 3]
        if update:
            now, by = moments[t], adjoint[t + 1]
            steps[t] = best_step(now, by, curvature, variance, maps[t], blur, steps[t], scratch)
        w, k = -steps[t] * d1, -steps[t] * d0
        for i in range(d):
            ee, er, rr = moments[t, 0, i], moments[t, 1, i], moments[t, 2, i]
            x, y, z = moments_after(curvature[i], variance[i], ee, er, rr, w, k, s0, s1, blur)
            moments[t + 1, 0, i], moments[t + 1, 1, i], moments[t + 1, 2, i] = x, y, z
            lost[i] += (
                abs(x * adjoint[t + 1, 0, i])
                + abs(y * adjoint[t + 1, 1, i])
                + abs(z * adjoint[t + 1, 2, i])
            )
        if weight[t] != 0.0:
            for i in range(d):
                scratch[0, i] = curvature[i] * moments[t + 1, 0, i]
            value += 0.5 * weight[t] * total(scratch[0])
    return value, total(lost)
