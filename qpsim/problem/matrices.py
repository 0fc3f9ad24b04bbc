"""Checks of a problem's matrices and coordinates, with tolerances for rounding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim import checks
from qpsim.errors import ProblemError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# Limits for entries of the Hessian, noise and coordinates. Beyond them squares and cubes overflow or underflow, and a
# variance that underflows to 0 would look like a problem without noise.
SMALLEST_HESSIAN, LARGEST = 1e-50, 1e50
# The same for given variances, and for the entries of a factor of a covariance.
LARGEST_VARIANCE, LARGEST_FACTOR = 1e200, 1e100
# Tolerated asymmetry, relative to the largest entry: rounding errors of a Q = V L V^T. For a Hessian in single
# precision it is 256 of its rounding errors, 3e-5.
_SYMMETRY_TOLERANCE = 1e-10
_ROUNDING_ERRORS = 256
# Rounding of an eigenvalue, in units of the dimension times the largest one.
_EPSILON = 2.3e-16


def real_array(values: Any, what: str) -> Array:
    """A float64 copy of an array of finite real numbers. Raises ProblemError for anything else."""
    return checks.finite_numbers(what, values, ProblemError)


def check_coordinates(points: Array, what: str) -> None:
    """Raise ProblemError for coordinates whose squares would overflow."""
    largest = float(np.abs(points).max(initial=0.0))
    if largest > LARGEST:
        raise ProblemError(
            f"{what} has an entry of size {largest:.3g}, beyond {LARGEST:g}; take another unit."
        )


def check_noise(values: Array, what: str, limit: float) -> None:
    """Raise ProblemError for entries of a given noise that are so large that their squares would overflow."""
    largest = float(np.abs(values).max(initial=0.0))
    if largest > limit:
        raise ProblemError(
            f"{what} has an entry of size {largest:.3g}, beyond {limit:g}; take another unit."
        )


def check_magnitude(hessian: Array, what: str = "The Hessian") -> None:
    """Raise ProblemError for a Hessian that is 0, or whose powers would overflow or underflow."""
    largest = float(np.abs(hessian).max())
    if largest == 0.0:
        raise ProblemError(f"{what} is zero everywhere; at least one direction needs a curvature.")
    if largest < SMALLEST_HESSIAN or largest > LARGEST:
        raise ProblemError(
            f"The largest entry of {what[0].lower()}{what[1:]} is {largest:.3g}, whose powers leave the "
            f"floating-point range; scale the loss so that it lies between {SMALLEST_HESSIAN:g} "
            f"and {LARGEST:g}."
        )


def square_or_diagonal(values: Any, what: str = "The Hessian") -> Array:
    """A symmetric matrix (d, d) or, if it has no off-diagonal entries or is a vector, its diagonal (d,).

    Raises
    ------
    ProblemError
        It is empty, of the wrong shape, not finite, not symmetric, or too large or small.
    """
    given = checks.array(what, values, ProblemError)
    matrix = real_array(given, what)
    if matrix.size == 0:
        raise ProblemError(f"{what} is empty; give a (d, d) matrix or d eigenvalues.")
    if matrix.ndim == 2 and matrix.shape[0] != matrix.shape[1]:
        raise ProblemError(
            f"{what} must be square, not of shape {matrix.shape}; "
            "give a (d, d) matrix or d eigenvalues."
        )
    if matrix.ndim not in (1, 2):
        raise ProblemError(
            f"{what} must have 1 or 2 axes, not {matrix.ndim}; "
            "give a (d, d) matrix or d eigenvalues."
        )
    check_magnitude(matrix, what)
    if matrix.ndim == 1:
        return matrix
    matrix = symmetric(matrix, given.dtype, what)
    diagonal = np.diagonal(matrix)
    is_diagonal = np.count_nonzero(matrix) == np.count_nonzero(diagonal)
    return diagonal.copy() if is_diagonal else matrix


def symmetric(matrix: Array, precision: np.dtype, what: str = "The Hessian") -> Array:
    """The symmetric part of a matrix that is symmetric up to the rounding of its precision."""
    asymmetry = float(np.abs(matrix - matrix.T).max())
    rounding = float(np.finfo(precision).eps) if precision.kind == "f" else 0.0
    tolerance = max(_SYMMETRY_TOLERANCE, _ROUNDING_ERRORS * rounding)
    if asymmetry > tolerance * float(np.abs(matrix).max()):
        raise ProblemError(
            f"{what} must be symmetric, but max |Q - Q^T| is {asymmetry:.3g}; "
            "use (Q + Q.T) / 2 if that is what is meant."
        )
    return 0.5 * (matrix + matrix.T)


def precision(values: Any, what: str = "The Hessian") -> float:
    """The relative rounding of the numbers of an array: that of single precision if they are held so."""
    given = checks.array(what, values, ProblemError).dtype
    return max(_EPSILON, float(np.finfo(given).eps)) if given.kind == "f" else _EPSILON


def rounding_of_eigenvalues(eigenvalues: Array) -> float:
    """Rounding error of the eigenvalues of a dense matrix in double precision: d eps lambda_max."""
    return eigenvalues.size * _EPSILON * float(np.abs(eigenvalues).max())


def semidefinite(eigenvalues: Array, is_diagonal: bool, rounding: float = _EPSILON) -> Array:
    """Eigenvalues of a positive semi-definite Hessian; those of the size of rounding errors become 0.

    ``rounding`` is the :func:`precision` of the matrix. That of single precision makes larger negative eigenvalues 0,
    but no positive ones.

    Raises
    ------
    ProblemError
        An eigenvalue is negative beyond rounding.
    """
    smallest = float(eigenvalues.min())
    limit = 0.0 if is_diagonal else rounding_of_eigenvalues(eigenvalues)
    if smallest < -limit * rounding / _EPSILON:
        raise ProblemError(
            "The Hessian must be positive semi-definite, but its smallest eigenvalue is "
            f"{smallest:.3g}; for one step on an indefinite Hessian use qpsim.LocalModel."
        )
    if smallest > limit or is_diagonal:
        return eigenvalues
    return np.where(eigenvalues <= limit, 0.0, eigenvalues)


def without_negative(
    matrix: Array, eigenvalues: Array, eigenvectors: Array, rounding: float
) -> tuple[Array, Array]:
    """A matrix, and its eigenvalues checked by :func:`semidefinite`.

    Of a matrix in single precision, negative eigenvalues are taken out of the matrix itself: they are large enough to
    show in its losses.
    """
    checked = semidefinite(eigenvalues, False, rounding)
    if float(eigenvalues.min()) < -rounding_of_eigenvalues(eigenvalues):
        product = (eigenvectors * checked) @ eigenvectors.T
        matrix = 0.5 * (product + product.T)
    return matrix, checked


def frozen(array: Array) -> Array:
    """The array, made read-only."""
    array.flags.writeable = False
    return array


def eigenbasis(eigenvalues: Any, eigenvectors: Any) -> tuple[Array, Array]:
    """Eigenvalues (d,) and orthonormal eigenvectors (d, d), as columns, checked."""
    values = real_array(eigenvalues, "The eigenvalues")
    vectors = real_array(eigenvectors, "The eigenvectors")
    if values.ndim != 1 or vectors.shape != (values.size, values.size):
        raise ProblemError(
            f"Eigenvalues of shape (d,) need eigenvectors of shape (d, d), not {values.shape} "
            f"and {vectors.shape}."
        )
    if values.size == 0 or values.min() < 0:
        raise ProblemError("The eigenvalues must all be positive, or 0.")
    check_magnitude(values)
    limit = rounding_of_eigenvalues(values)
    if bool((values[values > 0.0] < limit).any()):
        raise ProblemError(
            f"A dense Hessian in double precision does not hold eigenvalues as far apart as "
            f"{values[values > 0.0].min():.3g} and {values.max():.3g}: below {limit:.3g} they "
            "are rounding. Take a diagonal Hessian, or set what is that small to 0."
        )
    error = float(np.abs(vectors.T @ vectors - np.eye(values.size)).max())
    if error > 1e-8:
        raise ProblemError(
            f"The eigenvectors must be orthonormal, but max |V^T V - I| is {error:.2g}."
        )
    return values, vectors
