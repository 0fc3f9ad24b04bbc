"""First and second derivatives of a run's value by its step sizes.

With the moments x before a step and the derivatives p of the value by the moments after it (as in
:mod:`qpsim.kernels.step_sweeps`), x' = M(a) x + n(a) after a step of size a. For steps t < u

    d value / d a_u = p_u (M_u' x_u + n_u'),
    d^2 value / d a_t d a_u = p_u M_u' M_{u-1} ... M_{t+1} (M_t' x_t + n_t'),

where ' is the derivative by the step's own size. The product from the right is followed through the run, so that all
second derivatives of n steps take as long as n / 2 passes. E[r^2] does not depend on the step right before it.
"""

import numpy as np

from qpsim.kernels.jit import arguments_are_apart, jit, jit_inline
from qpsim.kernels.step_sweeps import moments_after, total


@jit_inline
def slopes(h, w, k, d0, d1, s0, s1, blur):
    """Derivatives by the step's size of the coefficients of E[e^2], E[e r], E[r^2] in E[e^2], and then in E[e r]."""
    kh, pull, by = k * h, s0 * h, d0 * h
    u = 1.0 + kh
    blurred = u + blur * kh
    of_ee = -2.0 * (d1 * blurred + (1.0 + blur) * w * by)
    return (
        -2.0 * by * blurred,
        of_ee,
        -2.0 * (1.0 + blur) * w * d1,
        -by * pull,
        -(s1 * by + d1 * pull),
        -d1 * s1,
    )


@jit
def second_derivatives(
    curvature, variance, maps, steps, moments, adjoint, blur, covectors, gradient, matrix
):
    """Write the derivatives of the value by the steps into gradient (n,), the second ones into matrix (n, n).

    The other arguments are those of :func:`qpsim.kernels.step_sweeps.sweep_back` after a backward and a forward pass
    without an update; covectors (n, 3, d) is scratch.
    """
    arguments_are_apart()
    n, d = steps.size, curvature.size
    sums, carried = np.empty((2, d)), np.empty((3, d))
    for u in range(n):
        d0, d1, s0, s1 = maps[u, 0], maps[u, 1], maps[u, 2], maps[u, 3]
        w, k = -steps[u] * d1, -steps[u] * d0
        for i in range(d):
            h, c = curvature[i], variance[i]
            p, q = adjoint[u + 1, 0, i], adjoint[u + 1, 1, i]
            ee, er, rr = moments[u, 0, i], moments[u, 1, i], moments[u, 2, i]
            xe, xr, xs, ye, yr, ys = slopes(h, w, k, d0, d1, s0, s1, blur)
            x, y, z = p * xe + q * ye, p * xr + q * yr, p * xs + q * ys
            covectors[u, 0, i], covectors[u, 1, i], covectors[u, 2, i] = x, y, z
            of_noise = (2.0 * (1.0 + blur) * k * p + s0 * q) * d0 * c
            sums[0, i] = x * ee + y * er + z * rr - of_noise
            square = d0 * h * (d0 * h * ee + 2.0 * d1 * er) + d1 * d1 * rr + d0 * d0 * c
            sums[1, i] = 2.0 * (1.0 + blur) * p * square
        gradient[u] = total(sums[0])
        matrix[u, u] = total(sums[1])
    for t in range(n - 1):
        d0, d1, s0, s1 = maps[t, 0], maps[t, 1], maps[t, 2], maps[t, 3]
        w, k = -steps[t] * d1, -steps[t] * d0
        for i in range(d):
            c = variance[i]
            ee, er, rr = moments[t, 0, i], moments[t, 1, i], moments[t, 2, i]
            xe, xr, xs, ye, yr, ys = slopes(curvature[i], w, k, d0, d1, s0, s1, blur)
            carried[0, i] = xe * ee + xr * er + xs * rr - 2.0 * (1.0 + blur) * k * d0 * c
            carried[1, i] = ye * ee + yr * er + ys * rr - s0 * d0 * c
            carried[2, i] = 0.0
        for u in range(t + 1, n):
            d0, d1, s0, s1 = maps[u, 0], maps[u, 1], maps[u, 2], maps[u, 3]
            w, k = -steps[u] * d1, -steps[u] * d0
            for i in range(d):
                ee, er, rr = carried[0, i], carried[1, i], carried[2, i]
                sums[0, i] = (
                    covectors[u, 0, i] * ee + covectors[u, 1, i] * er + covectors[u, 2, i] * rr
                )
                x, y, z = moments_after(curvature[i], 0.0, ee, er, rr, w, k, s0, s1, blur)
                carried[0, i], carried[1, i], carried[2, i] = x, y, z
            matrix[t, u] = matrix[u, t] = total(sums[0])
