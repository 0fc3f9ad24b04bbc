"""Second moments of a linear method along each eigenvector of the Hessian: each step is an affine map of them.

With x = (theta - optimum, state...) along one eigenvector, a step is x <- A x + b xi with xi of mean 0 and variance 1,
so that E[x_i x_j], i <= j, follow ``m <- T m + n`` exactly. Arrays have the eigenvector as their last axis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qpsim.problem.growth import noise_in_loss

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qpsim.methods import Method
    from qpsim.problem.quadratic import QuadraticProblem

    Array = NDArray[np.float64]


def eigen_variance(p: QuadraticProblem) -> Array:
    """Variance of the gradient along each eigenvector of the Hessian, shape (d,).

    An infinite one counts as 0 along eigenvectors of eigenvalue 0, whose moments are no part of the loss.
    """
    std = p.noise.eigen_std(p)
    if p.eigenvectors is None:
        square = p.noise.scale(p) ** 2 if std is None else std**2
    elif std is None:
        factor = p.eigenvectors.T @ p.noise.factor(p)
        square = np.einsum("ik,ik->i", factor, factor)
    else:
        square = std**2
    if not np.isinf(p.noise.law.variance):
        return p.noise.law.variance * square
    infinite = (square > 0.0) & (p.eigenvalues != 0.0) & (noise_in_loss(p) != 0.0)
    return np.where(infinite, np.inf, 0.0)


def linear_map(method: Method, t: float) -> tuple[tuple[float, ...], ...]:
    """Coefficients of (gradient, state...) in the direction and in each new state.

    They are the results of the rule for unit vectors.
    """
    width = 1 + len(method.state_names)
    answers = []
    for k in range(width):
        unit = [float(i == k) for i in range(width)]
        answer = method.rule.function(*unit, t, *method.hyper)
        answers.append(answer if method.state_names else (answer,))
    return tuple(zip(*answers, strict=True))


def one_step(
    curvature: Array, variance: Array, alpha: float, rows: tuple[tuple[float, ...], ...]
) -> tuple[Array, Array]:
    """A (k, k, d) and b (k, d) of a step of size alpha.

    curvature and variance (d,) are the eigenvalues and :func:`eigen_variance`, rows a method's :func:`linear_map`.
    """
    width = len(rows)
    lengths = np.array([-alpha, *([1.0] * (width - 1))])
    coefficients = lengths[:, None] * np.array(rows)
    a = np.repeat(coefficients[:, :, None], curvature.size, axis=2)
    a[:, 0] *= curvature
    a[0, 0] += 1.0
    return a, coefficients[:, :1] * np.sqrt(variance)


def averaged(a: Array, push: Array, kept: float) -> tuple[Array, Array]:
    """The same with one more variable, the last: kept * average + (1 - kept) * offset after the step."""
    width = push.shape[0]
    wider = np.zeros((width + 1, width + 1, push.shape[1]))
    wider[:width, :width] = a
    wider[width, :width] = (1.0 - kept) * a[0]
    wider[width, width] = kept
    return wider, np.concatenate([push, (1.0 - kept) * push[:1]])


def affine_map(a: Array, push: Array, pairs: list[tuple[int, int]]) -> tuple[Array, Array]:
    """T (p, p, d) and n (p, d) of the affine map of the second moments E[x_i x_j] for these pairs i <= j."""
    width, d = push.shape
    transition = np.zeros((len(pairs), len(pairs), d))
    for row, (i, j) in enumerate(pairs):
        for m in range(width):
            for n in range(width):
                transition[row, pairs.index((min(m, n), max(m, n)))] += a[i, m] * a[j, n]
    return transition, np.stack([push[i] * push[j] for i, j in pairs])
