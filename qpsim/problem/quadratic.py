"""The stochastic quadratic problem: what is minimised, and how noisily its gradient is seen.

Balles & Hennig (2018), Section 2: ``l(theta, x) = 0.5 (theta - x)^T Q (theta - x)`` with
``x ~ N(optimum, noise_std^2 I)``. The stochastic gradient ``Q (theta - x)`` is Gaussian with mean
``Q (theta - optimum)`` and covariance ``noise_std^2 Q Q`` (the text after Eq. 9 prints another
law). A diagonal Hessian is held as its diagonal and never becomes a dense matrix.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim import checks
from qpsim.errors import ProblemError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

# Entries of the Hessian, noise and coordinates beyond these have squares and cubes that no float
# holds: a variance that underflows to 0 would pass for a problem without noise.
_SMALLEST_HESSIAN, LARGEST = 1e-50, 1e50
# Asymmetry that rounding in a user's own Q = V L V^T leaves, in units of the largest entry; anything
# above is a mistake. For a Hessian in single precision it is 256 of its rounding errors, 3e-5.
_SYMMETRY_TOLERANCE = 1e-10
_ROUNDING_ERRORS = 256


class QuadraticProblem:
    """A quadratic loss with Gaussian gradient noise.

    Parameters
    ----------
    hessian : array_like, shape (d, d) or (d,)
        Symmetric positive definite matrix Q; a vector gives the eigenvalues of a diagonal Q. A
        matrix without off-diagonal entries is held as its diagonal. Its largest entry lies between
        1e-50 and 1e50.
    optimum : array_like, shape (d,), optional
        The minimiser; zeros by default. Coordinates are at most 1e50.
    noise_std : float, default 0.1
        Standard deviation nu of the data around the optimum, in units of theta; at most 1e50.

    Raises
    ------
    ProblemError
        The Hessian is empty, of the wrong shape or type, not finite, not symmetric or not
        positive definite; the optimum has another shape; the noise is negative or not finite;
        numbers so large or small that their powers leave the floating-point range.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([[2.0, 1.0], [1.0, 3.0]], optimum=[1.0, -1.0], noise_std=0.5)
    >>> p.excess_loss([0.0, 0.0])
    1.5
    >>> p.gradient([0.0, 0.0]), p.gradient_std()
    (array([-1.,  2.]), array([1.11803399, 1.58113883]))
    """

    def __init__(
        self, hessian: ArrayLike, optimum: ArrayLike | None = None, noise_std: float = 0.1
    ) -> None:
        given = checks.array("The Hessian", hessian, ProblemError)
        matrix = real_array(given, "The Hessian")
        if matrix.size == 0:
            raise ProblemError("The Hessian is empty; give a (d, d) matrix or d eigenvalues.")
        if matrix.ndim == 2 and matrix.shape[0] != matrix.shape[1]:
            raise ProblemError(
                f"The Hessian must be square, not of shape {matrix.shape}; "
                "give a (d, d) matrix or d eigenvalues."
            )
        if matrix.ndim not in (1, 2):
            raise ProblemError(
                f"The Hessian must have 1 or 2 axes, not {matrix.ndim}; "
                "give a (d, d) matrix or d eigenvalues."
            )
        _check_magnitude(matrix)
        if matrix.ndim == 2:
            matrix = _as_diagonal_if_so(_symmetric(matrix, given.dtype))
        decomposition = None
        if matrix.ndim == 2:
            values, vectors = np.linalg.eigh(matrix)
            decomposition = values, vectors
        self._set(matrix, decomposition, optimum, noise_std)
        smallest = float(self.eigenvalues.min())
        # What eigh finds below its own rounding error is no evidence of a positive eigenvalue.
        floor = 0.0 if self.is_diagonal else self.dim * 2.3e-16 * float(self.eigenvalues.max())
        if not smallest > floor:
            raise ProblemError(
                "The Hessian must be positive definite, but its smallest eigenvalue is "
                f"{smallest:.3g}; add a multiple of the identity or drop the flat directions."
            )

    def _set(
        self,
        hessian: NDArray[np.float64],
        decomposition: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
        optimum: ArrayLike | None,
        noise_std: float,
    ) -> None:
        self._hessian = _frozen(hessian)
        self._eigenvalues = self._hessian if decomposition is None else _frozen(decomposition[0])
        self._eigenvectors = None if decomposition is None else _frozen(decomposition[1])
        if optimum is None:
            optimum = np.zeros(hessian.shape[0])
        point = real_array(optimum, "The optimum")
        if point.shape != (hessian.shape[0],):
            raise ProblemError(
                f"The optimum must have shape ({hessian.shape[0]},) like the Hessian, "
                f"not {point.shape}."
            )
        check_coordinates(point, "The optimum")
        self._optimum = _frozen(point)
        self._noise_std = _noise(noise_std)

    @classmethod
    def from_eigenbasis(
        cls,
        eigenvalues: ArrayLike,
        eigenvectors: ArrayLike,
        optimum: ArrayLike | None = None,
        noise_std: float = 0.1,
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
        values = real_array(eigenvalues, "The eigenvalues")
        vectors = real_array(eigenvectors, "The eigenvectors")
        if values.ndim != 1 or vectors.shape != (values.size, values.size):
            raise ProblemError(
                f"Eigenvalues of shape (d,) need eigenvectors of shape (d, d), not {values.shape} "
                f"and {vectors.shape}."
            )
        if values.size == 0 or not values.min() > 0:
            raise ProblemError("The eigenvalues must all be positive.")
        _check_magnitude(values)
        error = float(np.abs(vectors.T @ vectors - np.eye(values.size)).max())
        if error > 1e-8:
            raise ProblemError(
                f"The eigenvectors must be orthonormal, but max |V^T V - I| is {error:.2g}."
            )
        problem = cls.__new__(cls)
        hessian = (vectors * values) @ vectors.T
        problem._set(0.5 * (hessian + hessian.T), (values, vectors), optimum, noise_std)
        return problem

    @classmethod
    def from_parts(
        cls,
        hessian: NDArray[np.float64],
        eigenvalues: NDArray[np.float64],
        eigenvectors: NDArray[np.float64],
        optimum: ArrayLike,
        noise_std: float,
    ) -> QuadraticProblem:
        """A dense problem put together again from what it was saved as, bit for bit.

        Raises
        ------
        ProblemError
            The parts do not fit: V diag(eigenvalues) V^T is not the Hessian.
        """
        again = cls.from_eigenbasis(eigenvalues, eigenvectors, optimum, noise_std)
        matrix = real_array(hessian, "The Hessian")
        if matrix.shape != again.hessian.shape or not np.allclose(
            matrix, again.hessian, rtol=1e-7, atol=1e-7 * float(np.abs(matrix).max(initial=0.0))
        ):
            raise ProblemError("The Hessian does not have the eigenvalues and eigenvectors given.")
        problem = cls.__new__(cls)
        problem._set(matrix, (again.eigenvalues, np.array(eigenvectors)), optimum, noise_std)
        return problem

    @property
    def dim(self) -> int:
        """Number of coordinates d."""
        return int(self._hessian.shape[0])

    @property
    def is_diagonal(self) -> bool:
        """Whether the Hessian is diagonal, and so held as a vector."""
        return self._hessian.ndim == 1

    @property
    def hessian(self) -> NDArray[np.float64]:
        """Q, read-only: shape (d, d), or (d,) for a diagonal problem."""
        return self._hessian

    @property
    def eigenvalues(self) -> NDArray[np.float64]:
        """Eigenvalues of Q, shape (d,), in the order of :attr:`eigenvectors`."""
        return self._eigenvalues

    @property
    def eigenvectors(self) -> NDArray[np.float64] | None:
        """Orthonormal eigenvectors as columns, shape (d, d); None if diagonal (the identity)."""
        return self._eigenvectors

    @property
    def optimum(self) -> NDArray[np.float64]:
        """The minimiser, shape (d,)."""
        return self._optimum

    @property
    def noise_std(self) -> float:
        """Standard deviation nu of the data around the optimum."""
        return self._noise_std

    @cached_property
    def hessian_square_diagonal(self) -> NDArray[np.float64]:
        """Diagonal of Q Q, shape (d,): the gradient's variances at nu = 1."""
        if self.is_diagonal:
            return _frozen(self._hessian**2)
        return _frozen(np.einsum("ij,ij->i", self._hessian, self._hessian))

    @cached_property
    def diagonal_mass(self) -> float:
        """c of Eq. 13: sum_i |q_ii| / sum_ij |q_ij|, in (0, 1]; 1 for a diagonal Hessian."""
        if self.is_diagonal:
            return 1.0
        return float(np.trace(self._hessian) / np.abs(self._hessian).sum())

    @property
    def noise_floor(self) -> float:
        """The constant 0.5 nu^2 tr Q by which the expected loss (Eq. 9) exceeds the excess loss."""
        return 0.5 * self._noise_std**2 * float(self._eigenvalues.sum())

    def matvec(self, vectors: ArrayLike) -> NDArray[np.float64]:
        """Q v for vectors of shape (..., d)."""
        v = self._points(vectors, "A vector")
        return self._hessian * v if self.is_diagonal else v @ self._hessian

    def gradient(self, theta: ArrayLike) -> NDArray[np.float64]:
        """Exact gradient Q (theta - optimum), shape (..., d)."""
        return self.matvec(self._error(theta))

    def excess_loss(self, theta: ArrayLike) -> Any:
        """0.5 (theta - optimum)^T Q (theta - optimum), shape (...); a float for one theta."""
        error = self._error(theta)
        loss = 0.5 * np.sum(error * self.matvec(error), axis=-1)
        return float(loss) if loss.ndim == 0 else loss

    def gradient_std(self) -> NDArray[np.float64]:
        """sigma_i = nu sqrt((QQ)_ii), shape (d,): one draw's deviation in each coordinate."""
        return self._noise_std * np.sqrt(self.hessian_square_diagonal)

    def gradient_covariance(self) -> NDArray[np.float64]:
        """Covariance nu^2 Q Q of one draw's gradient, shape (d, d), or (d,) if diagonal."""
        square = self._hessian**2 if self.is_diagonal else self._hessian @ self._hessian
        return self._noise_std**2 * square

    def gradient_correlation(self) -> NDArray[np.float64]:
        """Correlation r_ij = (QQ)_ij / sqrt((QQ)_ii (QQ)_jj) of a dense problem, shape (d, d).

        Raises
        ------
        ProblemError
            The Hessian is diagonal: the correlation is the identity, which is not materialised.
        """
        if self.is_diagonal:
            raise ProblemError("A diagonal problem has uncorrelated gradients; r is the identity.")
        square = self._hessian @ self._hessian
        scale = 1.0 / np.sqrt(self.hessian_square_diagonal)
        correlation = np.clip(square * scale[:, None] * scale[None, :], -1.0, 1.0)
        np.fill_diagonal(correlation, 1.0)
        return correlation

    def with_noise(self, noise_std: float) -> QuadraticProblem:
        """The same problem at another noise level.

        Examples
        --------
        >>> import qpsim
        >>> qpsim.QuadraticProblem([1.0, 2.0]).with_noise(4.0).noise_std
        4.0
        """
        return self._replaced(self._optimum, noise_std)

    def with_optimum(self, optimum: ArrayLike) -> QuadraticProblem:
        """The same problem with its minimiser elsewhere."""
        return self._replaced(optimum, self._noise_std)

    def _replaced(self, optimum: ArrayLike, noise_std: float) -> QuadraticProblem:
        problem = type(self).__new__(type(self))
        basis = self._eigenvectors
        decomposition = None if basis is None else (self._eigenvalues, basis)
        problem._set(self._hessian, decomposition, optimum, noise_std)
        return problem

    def _error(self, theta: ArrayLike) -> NDArray[np.float64]:
        return self._points(theta, "theta") - self._optimum

    def _points(self, values: ArrayLike, what: str) -> NDArray[np.float64]:
        point = checks.numbers(what, values, ProblemError)
        if point.ndim == 0 or point.shape[-1] != self.dim:
            raise ProblemError(
                f"{what} must have {self.dim} entries in its last axis, not shape {point.shape}."
            )
        return point

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_") and name not in self.__dict__:
            object.__setattr__(self, name, value)
        else:
            raise AttributeError(
                f"A QuadraticProblem is frozen; {name} cannot be set, make a new one."
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Neither pickle nor copy keeps an array's read-only flag.
        for value in state.values():
            if isinstance(value, np.ndarray):
                _frozen(value)
        self.__dict__.update(state)

    def __repr__(self) -> str:
        kind = "diagonal" if self.is_diagonal else "dense"
        low, high = self._eigenvalues.min(), self._eigenvalues.max()
        return (
            f"<QuadraticProblem {kind}, dim={self.dim}, eigenvalues in [{low:.3g}, {high:.3g}], "
            f"noise_std={self._noise_std:g}>"
        )


def real_array(values: Any, what: str) -> NDArray[np.float64]:
    """A float64 copy of an array of finite real numbers; anything else is a ProblemError."""
    return checks.finite_numbers(what, values, ProblemError)


def check_coordinates(points: NDArray[np.float64], what: str) -> None:
    """Refuse coordinates whose squares would leave the floating-point range."""
    largest = float(np.abs(points).max(initial=0.0))
    if largest > LARGEST:
        raise ProblemError(
            f"{what} has a coordinate of size {largest:.3g}, beyond {LARGEST:g}; take another unit."
        )


def _check_magnitude(hessian: NDArray[np.float64]) -> None:
    largest = float(np.abs(hessian).max())
    if 0.0 < largest < _SMALLEST_HESSIAN or largest > LARGEST:
        raise ProblemError(
            f"The largest entry of the Hessian is {largest:.3g}, whose powers leave the "
            f"floating-point range; scale the loss so that it lies between {_SMALLEST_HESSIAN:g} "
            f"and {LARGEST:g}."
        )


def _symmetric(matrix: NDArray[np.float64], precision: np.dtype) -> NDArray[np.float64]:
    asymmetry = float(np.abs(matrix - matrix.T).max())
    rounding = float(np.finfo(precision).eps) if precision.kind == "f" else 0.0
    tolerance = max(_SYMMETRY_TOLERANCE, _ROUNDING_ERRORS * rounding)
    if asymmetry > tolerance * float(np.abs(matrix).max()):
        raise ProblemError(
            f"The Hessian must be symmetric, but max |Q - Q^T| is {asymmetry:.3g}; "
            "use (Q + Q.T) / 2 if that is what is meant."
        )
    return 0.5 * (matrix + matrix.T)


def _as_diagonal_if_so(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    diagonal = np.diagonal(matrix)
    is_diagonal = np.count_nonzero(matrix) == np.count_nonzero(diagonal)
    return diagonal.copy() if is_diagonal else matrix


def _noise(noise_std: Any) -> float:
    return checks.number("noise_std", noise_std, ProblemError, f"[0, {LARGEST:g}]")


def _frozen(array: NDArray[np.float64]) -> NDArray[np.float64]:
    array.flags.writeable = False
    return array
