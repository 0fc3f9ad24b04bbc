"""Second moments of a linear method along a run, and the derivative of its expected loss by every step size.

The recursion is written out in :mod:`qpsim.theory.recursion`. Coordinates are independent except for sums, so that each
block of ``WIDTH`` coordinates runs through all steps, forwards and backwards, before the next block begins: its history
stays in the cache. ee, er and rr stand for E[e^2], E[e r] and E[r^2] of one coordinate, by_ee, by_er and by_rr for the
derivatives of the value by them.
"""

import numpy as np

from qpsim.kernels.jit import jit, jit_inline

# Coordinates of one block: two vectors of eight.
WIDTH = 16


@jit_inline
def moved(ee, er, rr, h, c, w, k, s0, s1):
    """ee, er, rr of one coordinate after a step of size a, where w = -a d1 and k = -a d0."""
    u, pull = 1.0 + k * h, s0 * h
    return (
        u * u * ee + 2.0 * w * u * er + w * w * rr + k * k * c,
        u * pull * ee + (s1 * u + w * pull) * er + w * s1 * rr + k * s0 * c,
        pull * pull * ee + 2.0 * s1 * pull * er + s1 * s1 * rr + s0 * s0 * c,
    )


@jit
def greedy_steps(curvature, variance, square, maps, steps):
    """Write the steps (n_steps,) each of which makes the expected loss right after it smallest (Eq. 10).

    The other arguments are those of `losses_and_gradient`.
    """
    d = curvature.size
    ee, er, rr = square.copy(), np.zeros(d), np.zeros(d)
    for t in range(steps.size):
        d0, d1, s0, s1 = maps[t, 0], maps[t, 1], maps[t, 2], maps[t, 3]
        # grad^T E[z] and E[z^T Q z]: the loss after the step is a parabola in its size with these coefficients.
        along, size = 0.0, 0.0
        for i in range(d):
            h = curvature[i]
            along += h * (d0 * h * ee[i] + d1 * er[i])
            of_mean = (d0 * h) ** 2 * ee[i] + 2.0 * d0 * d1 * h * er[i] + d1 * d1 * rr[i]
            size += h * (of_mean + d0 * d0 * variance[i])
        a = max(0.0, along / size) if size > 0.0 else 0.0
        steps[t] = a
        for i in range(d):
            ee[i], er[i], rr[i] = moved(
                ee[i], er[i], rr[i], curvature[i], variance[i], -a * d1, -a * d0, s0, s1
            )


@jit
def losses_and_gradient(curvature, variance, square, maps, steps, weight, losses, gradient):
    """Expected losses of a run, and the derivative of their weighted sum by the step sizes.

    Parameters
    ----------
    curvature, variance, square : (d,)
        Eigenvalues h of the Hessian, variances c of the gradient, E[e^2] at the start.
    maps : (n_steps, 4)
        d0, d1, s0, s1 of every step: the direction is d0 g + d1 r, the new state s0 g + s1 r.
    steps, weight : (n_steps,)
        Step sizes, and the weight of the loss after each step.
    losses, gradient : (n_steps,)
        Written: the loss after each step, and the derivatives. With an empty gradient only the losses.
    """
    n, d = steps.size, curvature.size
    losses[:] = 0.0
    gradient[:] = 0.0
    past = np.empty((n, 3, WIDTH))
    now, adjoint = np.zeros((3, WIDTH)), np.zeros((3, WIDTH))
    h, c = np.zeros(WIDTH), np.zeros(WIDTH)
    for first in range(0, d, WIDTH):
        # The last block is filled with coordinates of zero curvature, noise and error.
        for i in range(WIDTH):
            inside = first + i < d
            h[i] = curvature[first + i] if inside else 0.0
            c[i] = variance[first + i] if inside else 0.0
            now[0, i] = square[first + i] if inside else 0.0
            now[1, i] = now[2, i] = 0.0
        for t in range(n):
            a, d0, d1, s0, s1 = steps[t], maps[t, 0], maps[t, 1], maps[t, 2], maps[t, 3]
            w, k = -a * d1, -a * d0
            total = 0.0
            for i in range(WIDTH):
                ee, er, rr = now[0, i], now[1, i], now[2, i]
                past[t, 0, i], past[t, 1, i], past[t, 2, i] = ee, er, rr
                now[0, i], now[1, i], now[2, i] = moved(ee, er, rr, h[i], c[i], w, k, s0, s1)
                total += h[i] * now[0, i]
            losses[t] += 0.5 * total
        if gradient.size == 0:
            continue
        adjoint[:] = 0.0
        for t in range(n - 1, -1, -1):
            a, d0, d1, s0, s1 = steps[t], maps[t, 0], maps[t, 1], maps[t, 2], maps[t, 3]
            w, k = -a * d1, -a * d0
            total = 0.0
            for i in range(WIDTH):
                ee, er, rr = past[t, 0, i], past[t, 1, i], past[t, 2, i]
                # Derivatives of the value by the moments after this step.
                by_ee, by_er, by_rr = (
                    adjoint[0, i] + 0.5 * weight[t] * h[i],
                    adjoint[1, i],
                    adjoint[2, i],
                )
                u, pull, du = 1.0 + k * h[i], s0 * h[i], -d0 * h[i]
                of_ee = 2.0 * u * du * ee + 2.0 * (du * w - u * d1) * er - 2.0 * w * d1 * rr
                of_ee -= 2.0 * k * d0 * c[i]
                of_er = du * pull * ee + (s1 * du - d1 * pull) * er - d1 * s1 * rr - d0 * s0 * c[i]
                total += by_ee * of_ee + by_er * of_er
                adjoint[0, i] = u * u * by_ee + u * pull * by_er + pull * pull * by_rr
                adjoint[1, i] = (
                    2.0 * w * u * by_ee + (s1 * u + w * pull) * by_er + 2.0 * s1 * pull * by_rr
                )
                adjoint[2, i] = w * w * by_ee + w * s1 * by_er + s1 * s1 * by_rr
            gradient[t] += total
