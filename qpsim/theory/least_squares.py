"""Moments of one step, and the risk of SGD, on least squares with Gaussian data; moments on a table of data.

Given w ~ chi^2_B / B the mean gradient of B draws is Gaussian with mean w h and covariance (w v / B) (K - h h^T / v):
moments are those of a local model, averaged over w by the trapezoidal rule in its logarithm. On finite data they are
means over the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import MethodError, ProblemError
from qpsim.methods import Method, State
from qpsim.problem import noise
from qpsim.problem.local import LocalModel
from qpsim.theory import arguments as check

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]
    # (local model, gradient, state) -> E[z], E[z^T Q z]
    Moments = Callable[[Any, Array], tuple[Array, Any]]

# Spacing of the nodes in log w at B = 1, and the probability of a w below the first node.
_SPACING = 0.35
_LEFT_OUT = 1e-14


def least_squares_moments(
    problem: Any, method: Method, theta: ArrayLike, local_moments: Moments
) -> tuple[Array, float]:
    """E[z] (d,) and E[z^T K z] at one theta (d,); ``local_moments`` gives those of a Gaussian local model."""
    point = check.finite(theta, "theta")
    if point.shape != (problem.dim,):
        raise ProblemError(
            f"On least squares theta is one point of shape ({problem.dim},), not {point.shape}."
        )
    h, v = problem.gradient(point), float(problem.residual_variance(point))
    if v == 0.0:
        silent = LocalModel(h, problem.hessian, noise.white(0.0))
        return local_moments(silent, h)
    free = problem.covariance - np.outer(h, h) / v
    mean: Any = 0.0
    quadratic: Any = 0.0
    for w, weight in zip(*_shares(problem.batch_size), strict=True):
        spread = noise.dense(0.5 * w * v / problem.batch_size * (free + free.T))
        first, second = local_moments(LocalModel(w * h, problem.hessian, spread), w * h)
        mean, quadratic = mean + weight * first, quadratic + weight * second
    return mean, float(quadratic)


def _shares(batch_size: int) -> tuple[Array, Array]:
    """Nodes and weights for averages over w = chi^2_B / B, by the trapezoidal rule in log w.

    Expectations of signs are as smooth as erf(c sqrt(w)) for any c: analytic within pi / 2 of the real axis of log w,
    so that the error of the rule is exp(-pi^2 / spacing). For larger B the density is narrower, and so is the spacing.
    """
    from scipy.special import gammainccinv, gammaincinv, gammaln

    half = 0.5 * batch_size
    low, high = gammaincinv(half, _LEFT_OUT) / half, gammainccinv(half, 1e-3 * _LEFT_OUT) / half
    spacing = _SPACING / np.sqrt(0.5 + half)
    x = np.arange(np.log(low), np.log(high) + spacing, spacing)
    weights = np.exp(half * np.log(half) - gammaln(half) + half * x - half * np.exp(x))
    return np.exp(x), weights / weights.sum()


def row_moments(
    problem: Any, method: Method, theta: ArrayLike, state: State
) -> tuple[Array, float]:
    """E[z] (d,) and E[z^T H z] of a minibatch of one row of a :class:`qpsim.DataProblem`, as means over its rows."""
    point = check.finite(theta, "theta")
    if point.shape != (problem.dim,):
        raise ProblemError(
            f"On data theta is one point of shape ({problem.dim},), not {point.shape}."
        )
    if method.observes == "variance_estimate":
        raise MethodError(
            f"{method.name} needs a minibatch of at least 2 rows, which has no finite sum here."
        )
    gradients = problem.row_gradients(point)
    exact = gradients.mean(axis=0)
    given = {}
    if method.observes is not None:
        ratio = gradients.var(axis=0) / exact**2
        given = {method.observes: np.where(gradients.var(axis=0) > 0.0, ratio, 0.0)}
    directions = np.array([method.update(row, state, **given)[0] for row in gradients])
    quadratic = np.einsum("ki,ij,kj->", directions, problem.hessian, directions) / len(directions)
    return directions.mean(axis=0), float(quadratic)


def sgd_risk(problem: Any, theta0: Array, steps: Array) -> Array:
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
