"""The mean of the logarithm of a random loss, from the Laplace transform of the loss.

For X > 0 with M(s) = E[exp(-s X / E[X])], Frullani's integral gives

    E[log X] = log E[X] + int_0^inf (exp(-s) - M(s)) ds / s.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# Trapezoidal nodes in log s, over a wide range, since M may fall only like a power of s.
_NODES, _DISTANCE = np.arange(-20.0, 90.0, 0.25), 0.25


def mean_log10(mean: float, transform: Callable[[Array], Array]) -> float:
    """E[log10 X] of X with this mean, from s (n,) -> M(s) (n,); -inf for a mean of 0.

    >>> import numpy as np
    >>> exponential = mean_log10(1.0, lambda s: 1.0 / (1.0 + s))
    >>> f"{exponential * np.log(10.0):.6f}"  # minus Euler's constant
    '-0.577216'
    """
    if mean <= 0.0:
        return -math.inf
    s = np.exp(_NODES)
    gap = _DISTANCE * float(np.sum(np.exp(-s) - transform(s)))
    return math.log10(mean) + gap / math.log(10.0)


def of_gaussian(weight: Array, mean: Array, variance: Array) -> float:
    """E[log10] of 0.5 sum of weight x^2 for independent x ~ N(mean, variance), all of shape (d,)."""
    total = 0.5 * float(weight @ (mean**2 + variance))

    def transform(s: Array) -> Array:
        scaled = 0.5 * s[:, None] * weight / total
        shrunk = 1.0 + 2.0 * scaled * variance
        exponent = 0.5 * np.log(shrunk) + scaled * mean**2 / shrunk
        return np.asarray(np.exp(-exponent.sum(axis=1)))

    return mean_log10(total, transform)


def of_dense_gaussian(hessian: Array, mean: Array, covariance: Array) -> float:
    """E[log10] of 0.5 e^T H e for e ~ N(mean (d,), covariance (d, d)) and a positive semi-definite H (d, d)."""
    eigenvalues, vectors = np.linalg.eigh(hessian)
    root = np.sqrt(np.maximum(eigenvalues, 0.0))[:, None] * vectors.T
    variance, axes = np.linalg.eigh(root @ covariance @ root.T)
    return of_gaussian(np.ones(mean.size), axes.T @ (root @ mean), np.maximum(variance, 0.0))
