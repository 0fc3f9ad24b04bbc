"""SGD with optimal steps by a Gaussian closure, where each run has the optimal step at its own offset.

Eq. 11's step at an offset e is a = A / B with A = |H e|^2 and B = e^T H^3 e + tr(H C). It depends on e, so that e does
not stay Gaussian. The approximation is that before every step the coordinates of e in the Hessian's eigenbasis are
independent and Gaussian. The moments of the next offset, (1 - a h) e - a noise, are then computed exactly: with 1 / B =
int_0^inf exp(-s B) ds and 1 / B^2 the same integral with a factor s,

    E[a e_i^k] = int E[A e_i^k exp(-s B)] ds,      E[a^2 e_i^k] = int s E[A^2 e_i^k exp(-s B)] ds,

and under the weight exp(-s B) the coordinates are independent Gaussians again. (Integrals of this kind for ratios of
quadratic forms: Magnus, 1986, "The exact moments of a ratio of quadratic forms in normal variables".) The first two
steps are exact, since a known start leads to a Gaussian offset; from the third on the closure is an approximation.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# Trapezoidal rule in log s: spacing, lowest node (s in units of 1 / E[B]) and highest node. The integrands are
# analytic, so that the error falls exponentially with the spacing.
_DISTANCE, _LOWEST, _HIGHEST = 0.25, -24.0, 60.0
# exp(-x) is negligible beyond this x.
_GONE = 40.0


class GradientPath(NamedTuple):
    """The prediction of the closure for runs of SGD.

    Attributes
    ----------
    risk : ndarray, shape (n_steps + 1,)
        Expected excess loss.
    step_size : ndarray, shape (n_steps,)
        Mean step size.
    mean, variance : ndarray, shape (d,)
        Of the offset after the last step, along the eigenvectors.
    """

    risk: Array
    step_size: Array
    mean: Array
    variance: Array


def gaussian_gradient_path(h: Array, c: Array, offset: Array, n_steps: int) -> GradientPath:
    """Follow SGD from an offset (d,) along eigenvectors of curvature h (d,), with gradient variances c (d,).

    Cost O(n_steps d) times some hundred nodes.
    """
    m, v = np.array(offset), np.zeros(offset.size)
    risk, taken = np.empty(n_steps + 1), np.zeros(n_steps)
    risk[0] = 0.5 * float(h @ m**2)
    for t in range(n_steps):
        if v.any():
            taken[t], m, v = _next(h, c, m, v)
        else:
            slope, size = float(h**2 @ m**2), float(h**3 @ m**2 + h @ c)
            a = taken[t] = slope / size if slope > 0.0 else 0.0
            m, v = (1.0 - a * h) * m, a * a * c
        risk[t + 1] = 0.5 * float(h @ (m**2 + v))
    return GradientPath(risk, taken, m, v)


def _next(h: Array, c: Array, m: Array, v: Array) -> tuple[float, Array, Array]:
    """The mean step, and the mean and variance of the offset after it."""
    fixed = float(h @ c)
    size = float(h**3 @ (m**2 + v)) + fixed
    # Without noise in a moving direction B may be close to 0, and larger s are needed.
    highest = math.log(_GONE * size / fixed) if fixed > 0.0 else _HIGHEST
    log_s = np.arange(_LOWEST, min(highest, _HIGHEST) + _DISTANCE, _DISTANCE)
    s = np.exp(log_s)[:, None] / size
    # Under the weight exp(-s B) coordinate i is N(mean, var), and its square has the mean `square`.
    shrunk = 1.0 + 2.0 * s * h**3 * v
    mean, var = m / shrunk, v / shrunk
    square = mean**2 + var
    weight = np.exp(
        -0.5 * np.log(shrunk).sum(axis=1) - s[:, 0] * ((h**3 * m * mean).sum(axis=1) + fixed)
    )
    once = _DISTANCE * s[:, 0] * weight
    twice = s[:, 0] * once
    # E[A], E[A^2], and joint cumulants of A with e_i and e_i^2, as the moments below need them.
    a1 = square @ h**2
    with_e = 2.0 * h**2 * mean * var
    with_square = h**2 * var * (2.0 * var + 4.0 * mean**2)
    a2 = a1**2 + with_square @ h**2
    third = h**4 * var**2 * (8.0 * var + 24.0 * mean**2)
    step_offset = once @ (a1[:, None] * mean + with_e)
    step_square = once @ (a1[:, None] * square + with_square)
    step2_square = twice @ (a2[:, None] * square + 2.0 * a1[:, None] * with_square + third)
    moved = m - h * step_offset
    second = m**2 + v - 2.0 * h * step_square + h**2 * step2_square + float(twice @ a2) * c
    return float(once @ a1), moved, np.maximum(second - moved**2, 0.0)
