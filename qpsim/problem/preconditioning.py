"""Preconditioning as a change of coordinates theta' = P^(-1/2) theta: Q becomes P^(1/2) Q P^(1/2), and so does C."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim import checks
from qpsim.errors import ProblemError
from qpsim.execution.blas import one_blas_thread
from qpsim.problem import noise as noises
from qpsim.problem.matrices import LARGEST, real_array, symmetric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qpsim.problem.interface import Quadratic
    from qpsim.problem.noise import Noise

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Preconditioned:
    """A problem in the coordinates theta' = P^(-1/2) theta.

    Attributes
    ----------
    hessian : ndarray (d, d), or (d,) if it is diagonal
        P^(1/2) Q P^(1/2).
    noise : Noise
        Its C is P^(1/2) C P^(1/2).
    root, inverse : ndarray (d, d), or (d,) if P is diagonal
        P^(1/2), which transforms gradients, and P^(-1/2), which transforms points.
    """

    hessian: Array
    noise: Noise
    root: Array
    inverse: Array

    @one_blas_thread(load_scipy=False)
    def point(self, theta: Array) -> Array:
        """A point (d,) in the new coordinates."""
        return self.inverse * theta if self.inverse.ndim == 1 else self.inverse @ theta

    @one_blas_thread(load_scipy=False)
    def gradient(self, gradient: Array) -> Array:
        """A gradient (d,) in the new coordinates."""
        return self.root * gradient if self.root.ndim == 1 else self.root @ gradient


@one_blas_thread(load_scipy=False)
def preconditioned(problem: Quadratic, preconditioner: Any) -> Preconditioned:
    """The parts of :meth:`qpsim.QuadraticProblem.preconditioned`."""
    root, inverse = _roots(problem, preconditioner)
    if root.ndim == 1:
        hessian = (
            problem.hessian * root**2
            if problem.is_diagonal
            else root[:, None] * problem.hessian * root[None, :]
        )
        return Preconditioned(hessian, _scaled_noise(problem, root), root, inverse)
    covariance = root @ problem.noise.dense_matrix(problem) @ root
    return Preconditioned(
        _symmetric_part(root @ problem.dense_hessian() @ root),
        _with_matrix(problem.noise, covariance),
        root,
        inverse,
    )


def _roots(problem: Quadratic, preconditioner: Any) -> tuple[Array, Array]:
    """P^(1/2) and its inverse: vectors if P is diagonal, else matrices."""
    if checks.is_number(preconditioner):
        power = float(preconditioner)
        values = problem.eigenvalues
        if power != 0.0 and not values.min() > 0.0:
            # A positive power is refused too: it is 0 along a direction without curvature.
            raise ProblemError(
                "A power of the Hessian preconditions only if the Hessian is positive definite, but its smallest "
                f"eigenvalue is {values.min():.3g}; add a multiple of the identity, and give its power as a matrix."
            )
        with np.errstate(over="ignore", under="ignore"):
            root, inverse = values ** (0.5 * power), values ** (-0.5 * power)
        if max(root.max(), inverse.max()) > LARGEST:
            raise ProblemError(
                f"The power {power:g} of the Hessian, with eigenvalues from {values.min():.3g} to {values.max():.3g}, "
                "leaves the floating-point range; take a power nearer to 0."
            )
        if problem.eigenvectors is None:
            return root, inverse
        v = problem.eigenvectors
        return _symmetric_part((v * root) @ v.T), _symmetric_part((v * inverse) @ v.T)
    given = real_array(preconditioner, "The preconditioner")
    if given.shape == (problem.dim,):
        if not given.min() > 0.0:
            raise ProblemError(
                f"A diagonal preconditioner must be positive, but its smallest entry is {given.min():.3g}."
            )
        return np.sqrt(given), 1.0 / np.sqrt(given)
    if given.shape != (problem.dim, problem.dim):
        raise ProblemError(
            f"The preconditioner must be a power, a vector ({problem.dim},) or a matrix "
            f"({problem.dim}, {problem.dim}), not of shape {given.shape}."
        )
    values, vectors = np.linalg.eigh(symmetric(given, given.dtype, "The preconditioner"))
    if not values.min() > 0.0:
        raise ProblemError(
            f"The preconditioner must be positive definite, but its smallest eigenvalue is {values.min():.3g}."
        )
    root = np.sqrt(values)
    return _symmetric_part((vectors * root) @ vectors.T), _symmetric_part(
        (vectors / root) @ vectors.T
    )


def _scaled_noise(problem: Quadratic, root: Array) -> Noise:
    """The noise of root * gradient, coordinate by coordinate."""
    noise = problem.noise
    if noise.family == "low_rank":
        factor, own = noise.values
        made = noises.low_rank(root[:, None] * factor, root**2 * own)
        return replace(made, level=noise.level, law=noise.law)
    unit = noise.unit_covariance(problem)
    if unit.ndim == 1:
        return replace(noises.diagonal(root**2 * unit), level=noise.level, law=noise.law)
    return _with_matrix(noise, root[:, None] * noise.matrix(problem) * root[None, :])


def _with_matrix(noise: Noise, matrix: Array) -> Noise:
    """A noise with the matrix C = ``matrix`` and the law of ``noise``."""
    return replace(noises.dense(_symmetric_part(matrix)), law=noise.law)


def _symmetric_part(matrix: Array) -> Array:
    return 0.5 * (matrix + matrix.T)
