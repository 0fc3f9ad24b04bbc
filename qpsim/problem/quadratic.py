"""``QuadraticProblem``: a quadratic loss, and the noise of its stochastic gradients.

Balles & Hennig (2018), Section 2: ``l(theta, x) = 0.5 (theta - x)^T Q (theta - x)`` with
``x ~ N(optimum, noise_std^2 I)``. The stochastic gradient ``Q (theta - x)`` is Gaussian with mean
``Q (theta - optimum)`` and covariance ``noise_std^2 Q Q`` (the text after Eq. 9 prints another
law). A diagonal Hessian is stored as a vector and never becomes a matrix.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim import checks
from qpsim.errors import ProblemError
from qpsim.execution.blas import one_blas_thread
from qpsim.problem import noise as noises
from qpsim.problem.matrices import (
    LARGEST,
    check_coordinates,
    eigenbasis,
    frozen,
    precision,
    real_array,
    semidefinite,
    square_or_diagonal,
    without_negative,
)
from qpsim.problem.noise import Noise
from qpsim.problem.quadratic_loss import QuadraticLoss
from qpsim.problem.quadratic_simulated import Simulated

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]


class QuadraticProblem(Simulated, QuadraticLoss):
    """A quadratic loss with noisy gradients.

    Parameters
    ----------
    hessian : array_like, shape (d, d) or (d,)
        Symmetric positive semi-definite matrix Q; a vector gives the eigenvalues of a diagonal Q. A matrix without
        off-diagonal entries is stored as a vector. Its largest entry lies between 1e-50 and 1e50. Eigenvalues of a
        dense matrix of the size of rounding errors count as 0.
    optimum : array_like, shape (d,), optional
        The minimiser, or any of them if Q is singular; zeros by default. Coordinates are at most 1e50.
    noise_std : float, default 0.1
        Standard deviation nu of the data around the optimum, in units of theta; at most 1e50.
    noise : Noise, optional
        Another noise, made by a function of ``qpsim.noise``, instead of noise_std.

    Raises
    ------
    ProblemError
        The Hessian is empty, of the wrong shape or type, not finite, not symmetric or not positive
        semi-definite; the optimum or the noise has another dimension; the noise is negative or not
        finite; noise_std and noise are both given; numbers so large or small that their powers
        leave the floating-point range.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([[2.0, 1.0], [1.0, 3.0]], optimum=[1.0, -1.0], noise_std=0.5)
    >>> p.excess_loss([0.0, 0.0])
    1.5
    >>> p.gradient([0.0, 0.0]), p.gradient_std()
    (array([-1.,  2.]), array([1.11803399, 1.58113883]))
    """

    @one_blas_thread(load_scipy=False)
    def __init__(
        self,
        hessian: ArrayLike,
        optimum: ArrayLike | None = None,
        noise_std: float | None = None,
        *,
        noise: Noise | None = None,
    ) -> None:
        matrix = square_or_diagonal(hessian)
        chosen = _noise(noise_std, noise)
        if matrix.ndim == 1:
            self._set(semidefinite(matrix, True), None, optimum, chosen)
        else:
            values, vectors = np.linalg.eigh(matrix)
            matrix, values = without_negative(matrix, values, vectors, precision(hessian))
            self._set(matrix, (values, vectors), optimum, chosen)

    def _set(
        self,
        hessian: Array,
        decomposition: tuple[Array, Array] | None,
        optimum: ArrayLike | None,
        noise: Noise,
    ) -> None:
        self._hessian = frozen(hessian)
        self._eigenvalues = self._hessian if decomposition is None else frozen(decomposition[0])
        self._eigenvectors = None if decomposition is None else frozen(decomposition[1])
        if optimum is None:
            optimum = np.zeros(hessian.shape[0])
        point = real_array(optimum, "The optimum")
        if point.shape != (hessian.shape[0],):
            raise ProblemError(
                f"The optimum must have shape ({hessian.shape[0]},) like the Hessian, "
                f"not {point.shape}."
            )
        check_coordinates(point, "The optimum")
        self._optimum = frozen(point)
        noise.fits(self)
        self._noise = noise

    @classmethod
    @one_blas_thread(load_scipy=False)
    def from_eigenbasis(
        cls,
        eigenvalues: ArrayLike,
        eigenvectors: ArrayLike,
        optimum: ArrayLike | None = None,
        noise_std: float | None = None,
        *,
        noise: Noise | None = None,
    ) -> QuadraticProblem:
        """Problem with Q = V diag(eigenvalues) V^T, V's columns orthonormal.

        Raises
        ------
        ProblemError
            As the class; also if V is not orthogonal to 1e-8.

        Examples
        --------
        >>> import numpy as np, qpsim
        >>> v = np.array([[0.6, -0.8], [0.8, 0.6]])
        >>> qpsim.QuadraticProblem.from_eigenbasis([1.0, 2.0], v).hessian
        array([[ 1.64, -0.48],
               [-0.48,  1.36]])
        """
        values, vectors = eigenbasis(eigenvalues, eigenvectors)
        problem = cls.__new__(cls)
        hessian = (vectors * values) @ vectors.T
        problem._set(
            0.5 * (hessian + hessian.T), (values, vectors), optimum, _noise(noise_std, noise)
        )
        return problem

    @classmethod
    def from_parts(
        cls,
        hessian: Array,
        eigenvalues: Array,
        eigenvectors: Array,
        optimum: ArrayLike,
        noise: Noise,
    ) -> QuadraticProblem:
        """A dense problem from the arrays with which it was saved, bit for bit.

        Raises
        ------
        ProblemError
            The parts do not fit: V diag(eigenvalues) V^T is not the Hessian.
        """
        again = cls.from_eigenbasis(eigenvalues, eigenvectors, optimum, noise=noise)
        matrix = real_array(hessian, "The Hessian")
        if matrix.shape != again.hessian.shape or not np.allclose(
            matrix, again.hessian, rtol=1e-7, atol=1e-7 * float(np.abs(matrix).max(initial=0.0))
        ):
            raise ProblemError("The Hessian does not have the eigenvalues and eigenvectors given.")
        problem = cls.__new__(cls)
        problem._set(matrix, (again.eigenvalues, np.array(eigenvectors)), optimum, noise)
        return problem

    @property
    def is_diagonal(self) -> bool:
        """Whether the Hessian is diagonal, and so stored as a vector."""
        return self._hessian.ndim == 1

    @property
    def hessian(self) -> Array:
        """Q, read-only: shape (d, d), or (d,) for a diagonal problem."""
        return self._hessian

    @property
    def eigenvalues(self) -> Array:
        """Eigenvalues of Q, shape (d,), in the order of :attr:`eigenvectors`."""
        return self._eigenvalues

    @property
    def eigenvectors(self) -> Array | None:
        """Orthonormal eigenvectors as columns, shape (d, d); None if diagonal (the identity)."""
        return self._eigenvectors

    @property
    def noise(self) -> Noise:
        """The noise of one draw's gradient."""
        return self._noise

    @property
    def noise_std(self) -> Any:
        """The level nu of the noise: that of the data around the optimum, or of another noise that was given.

        None for a noise given by a matrix or by variances.
        """
        return self._noise.level if self._noise.has_level else None

    @cached_property
    def hessian_square_diagonal(self) -> Array:
        """Diagonal of Q Q, shape (d,): the gradient's variances at nu = 1."""
        if self.is_diagonal:
            return frozen(self._hessian**2)
        return frozen(np.einsum("ij,ij->i", self._hessian, self._hessian))

    @cached_property
    def diagonal_mass(self) -> float:
        """c of Eq. 13: sum_i |q_ii| / sum_ij |q_ij|, in (0, 1]; 1 for a diagonal Hessian."""
        if self.is_diagonal:
            return 1.0
        return float(np.trace(self._hessian) / np.abs(self._hessian).sum())

    @property
    def noise_floor(self) -> float:
        """The constant 0.5 nu^2 tr Q by which the expected loss (Eq. 9) exceeds the excess loss.

        Only data around the optimum (:func:`qpsim.noise.data`) have it; it is 0 for any other noise.
        """
        if self._noise.family != "data":
            return 0.0
        variance = self._noise.level**2 * self._noise.law.variance
        return 0.5 * variance * float(self._eigenvalues.sum())

    def matvec(self, vectors: ArrayLike) -> Array:
        """Q v for vectors of shape (..., d)."""
        return self._times(self._points(vectors, "A vector"))

    def dense_hessian(self) -> Array:
        """Q as a matrix (d, d), also for a diagonal problem."""
        return np.diag(self._hessian) if self.is_diagonal else self._hessian

    def _times(self, vectors: Array) -> Array:
        return self._hessian * vectors if self.is_diagonal else vectors @ self._hessian

    def gradient_std(self) -> Array:
        """Standard deviation of one draw's gradient in each coordinate, shape (d,).

        nu sqrt((QQ)_ii) for data around the optimum; infinite for Student's t with df <= 2.
        """
        return self._noise.std(self)

    def gradient_scale(self) -> Array:
        """sqrt(C_ii), shape (d,): :meth:`gradient_std` for Gaussian noise, the scale of a Student t."""
        return self._noise.scale(self)

    def gradient_covariance(self) -> Array:
        """C of one draw's gradient, shape (d, d), or (d,) if it is diagonal.

        Its covariance for Gaussian and Laplace noise; its scale matrix for Student's t.
        """
        return self._noise.matrix(self)

    def gradient_correlation(self) -> Array:
        """Correlation r_ij = C_ij / sqrt(C_ii C_jj) of one draw's gradient, shape (d, d).

        Raises
        ------
        ProblemError
            Hessian and C are diagonal; then r is the identity matrix, which is not made.
        """
        if self.coordinates_are_independent:
            raise ProblemError("A diagonal problem has uncorrelated gradients; r is the identity.")
        return self._noise.correlation(self)

    @property
    def coordinates_are_independent(self) -> bool:
        """Whether the Hessian is diagonal and the gradient's coordinates are uncorrelated."""
        return self.is_diagonal and self._noise.eigen_std(self) is not None

    def with_noise(self, noise: float | Noise) -> QuadraticProblem:
        """The same problem at another noise level, or with another noise.

        Examples
        --------
        >>> import qpsim
        >>> p = qpsim.QuadraticProblem([1.0, 2.0])
        >>> p.with_noise(4.0).noise_std, p.with_noise(qpsim.noise.white(1.0)).noise
        (4.0, noise.white(1))
        """
        given = noise if isinstance(noise, Noise) else self._at_level(noise)
        return self._replaced(self._optimum, given)

    def _at_level(self, level: Any) -> Noise:
        checked = noises.default(level).level
        return replace(self._noise, level=checked)

    def with_optimum(self, optimum: ArrayLike) -> QuadraticProblem:
        """The same problem with its minimiser elsewhere."""
        return self._replaced(optimum, self._noise)

    def at_batch(self, batch_size: int) -> QuadraticProblem:
        """The problem whose gradients are means of so many draws.

        Examples
        --------
        >>> import qpsim
        >>> qpsim.QuadraticProblem([1.0, 2.0], noise_std=4.0).at_batch(4).noise_std
        2.0
        """
        count = checks.count("batch_size", batch_size, ProblemError)
        return self._replaced(self._optimum, self._noise.at_batch(count))

    def preconditioned(self, preconditioner: Any) -> QuadraticProblem:
        """The problem in preconditioned coordinates theta' = P^(-1/2) theta, with Hessian P^(1/2) Q P^(1/2).

        SGD on it takes the same steps as SGD with direction P g on this problem. The values of the loss are the same.

        Parameters
        ----------
        preconditioner : float, array_like of shape (d,), or (d, d)
            A number a stands for the power Q^a of the Hessian, such as -0.5; a vector for a diagonal P > 0; a matrix
            for a symmetric positive definite one.

        Raises
        ------
        ProblemError
            P is not positive definite, as a power of a singular Hessian is not.

        Examples
        --------
        >>> import qpsim
        >>> p = qpsim.QuadraticProblem([1.0, 16.0], noise=qpsim.noise.hessian(1.0))
        >>> p.preconditioned(-0.5).hessian
        array([1., 4.])
        """
        from qpsim.problem.preconditioning import preconditioned

        parts = preconditioned(self, preconditioner)
        return QuadraticProblem(parts.hessian, parts.point(self._optimum), noise=parts.noise)

    def _replaced(self, optimum: ArrayLike, noise: Noise) -> QuadraticProblem:
        problem = type(self).__new__(type(self))
        basis = self._eigenvectors
        decomposition = None if basis is None else (self._eigenvalues, basis)
        problem._set(self._hessian, decomposition, optimum, noise)
        return problem

    kind = "quadratic"

    def to_dict(self) -> dict[str, Any]:
        """Dimension, form and noise as plain JSON values."""
        return {
            "dim": self.dim,
            "diagonal": self.is_diagonal,
            "noise_std": self.noise_std,
            "noise": self._noise.to_dict(),
            "smallest_eigenvalue": float(self._eigenvalues.min()),
            "largest_eigenvalue": float(self._eigenvalues.max()),
            "diagonal_mass": self.diagonal_mass,
        }

    def arrays(self) -> dict[str, Array]:
        """Hessian, eigenvalues and eigenvectors, optimum, and the noise's arrays."""
        found = {
            "hessian": self._hessian,
            "eigenvalues": self._eigenvalues,
            "optimum": self._optimum,
        }
        if self._eigenvectors is not None:
            found["eigenvectors"] = self._eigenvectors
        return found | {f"noise {name}": array for name, array in self._noise.arrays().items()}

    def __repr__(self) -> str:
        kind = "diagonal" if self.is_diagonal else "dense"
        low, high = self._eigenvalues.min(), self._eigenvalues.max()
        usual = self._noise.family == "data" and self._noise.law.is_gaussian
        noise = f"noise_std={self._noise.level:g}" if usual else f"{self._noise!r}"
        return (
            f"<QuadraticProblem {kind}, dim={self.dim}, eigenvalues in [{low:.3g}, {high:.3g}], "
            f"{noise}>"
        )


def _noise(noise_std: Any, noise: Any) -> Noise:
    if noise is None:
        level = 0.1 if noise_std is None else noise_std
        return noises.default(checks.number("noise_std", level, ProblemError, f"[0, {LARGEST:g}]"))
    if noise_std is not None:
        raise ProblemError("Give a problem either noise_std or noise, and not both.")
    if not isinstance(noise, Noise):
        raise ProblemError(
            f"noise must be one of qpsim.noise, such as qpsim.noise.white(0.1), not {checks.shown(noise)}."
        )
    return noise
