"""The exact risk of SGD on least squares with Gaussian data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import MethodError, ProblemError
from qpsim.methods import Method, plain
from qpsim.theory import arguments as check

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]


def least_squares_risk(
    problem: Any, method: Method, theta0: ArrayLike, step_size: Any, n_steps: int, with_bound: bool
) -> Any:
    """E[excess loss] (n_steps + 1,) of SGD; with ``with_bound`` also the bounds of its error, which are 0."""
    if method.rule is not plain.sgd:
        raise MethodError(
            f"The exact risk on least squares is known for sgd, not for {method.name}; simulate it, or see "
            "theory.high_dimensional_risk for ssd."
        )
    n = check.count(n_steps, "n_steps")
    start = check.finite(theta0, "theta0")
    if start.shape != (problem.dim,):
        raise ProblemError(f"theta0 must have shape ({problem.dim},), not {start.shape}.")
    risk = _sgd_risk(problem, start, check.schedule(step_size, n))
    return (risk, np.zeros(n + 1)) if with_bound else risk


def _sgd_risk(problem: Any, theta0: Array, steps: Array) -> Array:
    """E[excess loss] (n_steps + 1,) of SGD on least squares, exactly.

    ``S <- (I - a K) S (I - a K) + (a^2 / B) (K S K + tr(K S) K + s^2 K)`` for S = E[e e^T]; in K's eigenbasis the
    diagonal of S obeys a closed recursion.
    """
    offset = theta0 - problem.optimum
    if not problem.is_diagonal:
        offset = offset @ problem.eigenvectors
    k, s2, b = problem.eigenvalues, problem.label_noise_std**2, problem.batch_size
    square = offset**2
    risk = np.full(steps.size + 1, np.inf)
    risk[0] = 0.5 * k @ square
    for t, a in enumerate(steps.tolist(), start=1):
        kick = k * k * square + (k @ square) * k + s2 * k
        square = (1.0 - a * k) ** 2 * square + a * a / b * kick
        value = 0.5 * float(k @ square)
        if not np.isfinite(value):
            break
        risk[t] = value
    return risk
