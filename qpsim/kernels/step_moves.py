"""A search over the order of a schedule's steps: each step is removed and inserted at its best place.

A sweep (:mod:`qpsim.kernels.step_sweeps`) changes the sizes of steps, but not their order. Without noise the order does
not matter; with noise it decides how much noise remains at the end, so that very many orders have a local minimum of
their own. If one step is removed and inserted at another place, the value is a parabola in its size, whose coefficients
follow from the moments before that place and the adjoint after it. So the best place and size of one step take as long
as two passes through the run.

The recursion of the moments is that of :mod:`qpsim.theory.recursion`; a step's coefficients do not depend on its place.
"""

import numpy as np

from qpsim.kernels.jit import arguments_are_apart, jit, jit_inner
from qpsim.kernels.step_sweeps import (
    derivatives_before,
    moments_after,
    parabola_in_step,
    sweep_back,
    sweep_forth,
    total,
)


@jit_inner
def copy(source, target):
    """Copy an array (n,) to the first n entries of another.

    For an assignment between arrays numba compiles the text of its error message, which takes seconds.
    """
    for i in range(source.size):
        target[i] = source[i]


@jit_inner
def last_adjoint(weight, curvature, adjoint):
    """The adjoint (3, d) after the last step, whose loss has this weight."""
    for i in range(curvature.size):
        adjoint[0, i] = 0.5 * weight * curvature[i]
        adjoint[1, i] = 0.0
        adjoint[2, i] = 0.0


@jit_inner
def advance(now, after, step, curvature, variance, coefficients, blur):
    """Moments (3, d) after a step, from those before it. Without a state only the first row is read and written."""
    d0, d1, s0, s1 = coefficients[0], coefficients[1], coefficients[2], coefficients[3]
    w, k = -step * d1, -step * d0
    for i in range(curvature.size):
        h, c = curvature[i], variance[i]
        if d1 == 0.0 and s0 == 0.0 and s1 == 0.0:
            after[0, i], _, _ = moments_after(h, c, now[0, i], 0.0, 0.0, 0.0, k, 0.0, 0.0, blur)
        else:
            ee, er, rr = now[0, i], now[1, i], now[2, i]
            x, y, z = moments_after(h, c, ee, er, rr, w, k, s0, s1, blur)
            after[0, i], after[1, i], after[2, i] = x, y, z


@jit_inner
def step_back(after, now, step, curvature, coefficients, blur, half):
    """Derivatives (3, d) by the moments before a step, from those after it; half the weight of the loss before it."""
    d0, d1, s0, s1 = coefficients[0], coefficients[1], coefficients[2], coefficients[3]
    w, k = -step * d1, -step * d0
    for i in range(curvature.size):
        h = curvature[i]
        if d1 == 0.0 and s0 == 0.0 and s1 == 0.0:
            x, _, _ = derivatives_before(h, after[0, i], 0.0, 0.0, 0.0, k, 0.0, 0.0, blur)
            now[0, i] = x + half * h
        else:
            p, q, r = after[0, i], after[1, i], after[2, i]
            x, y, z = derivatives_before(h, p, q, r, w, k, s0, s1, blur)
            now[0, i], now[1, i], now[2, i] = x + half * h, y, z


@jit_inner
def noise_contribution(by, step, variance, coefficients, blur):
    """The part of the value that is due to the noise of a step, from the adjoint (3, d) after it."""
    d0, s0 = coefficients[0], coefficients[2]
    k = -step * d0
    p, q, r = 0.0, 0.0, 0.0
    for i in range(variance.size):
        p += by[0, i] * variance[i]
        q += by[1, i] * variance[i]
        r += by[2, i] * variance[i]
    return (1.0 + blur) * k * k * p + k * s0 * q + s0 * s0 * r


@jit_inner
def best_insertion(now, by, curvature, variance, coefficients, blur, scratch):
    """Best step size between moments (3, d) and an adjoint (3, d), and the part of the value that depends on it."""
    d0, d1, s0, s1 = coefficients[0], coefficients[1], coefficients[2], coefficients[3]
    has_no_state = d1 == 0.0 and s0 == 0.0 and s1 == 0.0
    for i in range(curvature.size):
        h, c = curvature[i], variance[i]
        p, ee = by[0, i], now[0, i]
        if has_no_state:
            scratch[0, i] = p * d0 * h * ee
            scratch[1, i] = p * d0 * d0 * (h * h * ee + c)
            scratch[2, i] = p * ee
            continue
        q, r, er, rr = by[1, i], by[2, i], now[1, i], now[2, i]
        pull = s0 * h
        slope, size = parabola_in_step(h, c, p, q, ee, er, rr, d0, d1, s0, s1)
        scratch[0, i], scratch[1, i] = slope, size
        scratch[2, i] = p * ee + q * (pull * ee + s1 * er)
        scratch[2, i] += r * (pull * pull * ee + 2.0 * s1 * pull * er + s1 * s1 * rr + s0 * s0 * c)
    slope, size = total(scratch[0]), total(scratch[1]) * (1.0 + blur)
    without_step = total(scratch[2])
    if slope > 0.0 and size > 0.0:
        return slope / size, without_step - slope * slope / size
    return 0.0, without_step


@jit
def reinsert_steps(
    curvature, variance, coefficients, weight, start, steps, order, blur, least, rounding
):
    """Remove each of the steps with these numbers (k,), and insert it at its best place; `steps` is changed in place.

    Parameters
    ----------
    curvature, variance, start : (d,)
        Eigenvalues, gradient variances and E[e^2] at the start.
    coefficients : (4,)
        d0, d1, s0 and s1 of every step.
    weight : (n_steps,)
        Weight of the loss after each step.
    blur : float
        Variance of the steps' relative errors.
    least : float
        Smallest gain of a move, as a fraction of the value.
    rounding : float
        Largest tolerated rounding error of a value, in units of the machine's precision.

    Returns
    -------
    int
        Number of moved steps.
    """
    arguments_are_apart()
    n, d = steps.size, curvature.size
    moments, adjoint = np.zeros((n + 1, 3, d)), np.zeros((n + 1, 3, d))
    noise, before = np.zeros(n + 1), np.zeros(n + 1)
    scratch = np.zeros((3, d))
    others, tried = np.empty(n), np.empty(n)
    maps = np.empty((n, 4))
    for t in range(n):
        copy(coefficients, maps[t])
    copy(start, moments[0, 0])
    value, _ = _value_of(curvature, variance, maps, weight, steps, moments, adjoint, blur)
    moved = 0
    for number in order:
        copy(steps[:number], others)
        copy(steps[number + 1 :], others[number:])
        # `before` is the value of the losses before a place, `noise` that of the noise of all later steps.
        for t in range(n - 1):
            advance(moments[t], moments[t + 1], others[t], curvature, variance, coefficients, blur)
            before[t + 1] = before[t]
            if weight[t] != 0.0:
                for i in range(d):
                    scratch[0, i] = curvature[i] * moments[t + 1, 0, i]
                before[t + 1] += 0.5 * weight[t] * total(scratch[0])
        last_adjoint(weight[n - 1], curvature, adjoint[n - 1])
        for t in range(n - 2, -1, -1):
            half = 0.5 * weight[t]
            step_back(adjoint[t + 1], adjoint[t], others[t], curvature, coefficients, blur, half)
            noise[t] = noise[t + 1] + noise_contribution(
                adjoint[t + 1], others[t], variance, coefficients, blur
            )
        lowest, place, size = value * (1.0 - least), -1, 0.0
        for t in range(n):
            a, height = best_insertion(
                moments[t], adjoint[t], curvature, variance, coefficients, blur, scratch
            )
            height += before[t] + noise[t]
            if 0.0 <= height < lowest:
                lowest, place, size = height, t, a
        if place < 0:
            continue
        copy(others[:place], tried)
        tried[place] = size
        copy(others[place : n - 1], tried[place + 1 :])
        found, lost = _value_of(curvature, variance, maps, weight, tried, moments, adjoint, blur)
        if found < value and lost <= rounding * found:
            copy(tried, steps)
            value = found
            moved += 1
    return moved


@jit_inner
def _value_of(curvature, variance, maps, weight, steps, moments, adjoint, blur):
    """The value of steps (n,), and a measure of its rounding error, as `sweep_forth` returns them."""
    n = steps.size
    last_adjoint(weight[n - 1], curvature, adjoint[n])
    sweep_back(curvature, variance, maps, weight, steps, moments, adjoint, False, blur)
    return sweep_forth(curvature, variance, maps, weight, steps, moments, adjoint, False, blur)
