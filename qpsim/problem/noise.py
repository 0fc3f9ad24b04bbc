"""The covariance of a gradient's noise: six families, each with a Gaussian, Student-t or Laplace law.

A noise belongs to no problem yet: what it is for a Hessian Q it answers when given the problem. One draw's noise has
the matrix ``C = level^2 U``, U the unit matrix of its family; a minibatch of B draws has C / B. C is the covariance of
a Gaussian or Laplace noise, and the scale matrix of Student's t, whose covariance is df / (df - 2) C.

| function | U | source |
|---|---|---|
| `data` | Q Q | data around the optimum: Balles & Hennig (2018), Section 2 |
| `hessian` | Q | the noisy quadratic model: Zhang et al. (2019) |
| `white` | I | |
| `diagonal` | diag(variance) | |
| `dense` | any covariance matrix | |
| `low_rank` | F F^T + diag(D) | |
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from qpsim import checks
from qpsim.errors import ProblemError
from qpsim.problem.laws import GAUSSIAN, Law, make_law
from qpsim.problem.matrices import LARGEST, frozen, real_array

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from qpsim.problem.interface import Quadratic

    Array = NDArray[np.float64]

__all__ = ["Noise", "data", "dense", "diagonal", "from_dict", "hessian", "low_rank", "white"]

# Rounding that a covariance computed by its user may carry, relative to its largest eigenvalue.
_ROUNDING = 1e-10


@dataclass(frozen=True, eq=False, repr=False)
class Noise:
    """Gradient noise with ``C = level^2 U``; made by the functions of this module.

    Attributes
    ----------
    level : float
        Standard deviation that multiplies the family's unit matrix; 1 where a matrix is given.
    law : Law
        Gaussian, Student-t or Laplace, and the batch size whose mean it is.
    """

    level: float
    law: Law

    family: ClassVar[str] = ""
    # Whether the family has one level that makes sense by itself, so that p.noise_std can tell it.
    has_level: ClassVar[bool] = True

    # -- what a family answers, at level 1; q is the problem --------------------------------------

    def unit_variances(self, q: Quadratic) -> Array:
        """Diagonal of U, shape (d,)."""
        raise NotImplementedError

    def unit_covariance(self, q: Quadratic) -> Array:
        """U, shape (d, d); or (d,) if it is diagonal."""
        raise NotImplementedError

    def unit_eigen_std(self, q: Quadratic) -> Array | None:
        """Standard deviations along the Hessian's eigenvectors if U is diagonal there, shape (d,); else None."""
        raise NotImplementedError

    def unit_factor(self, q: Quadratic) -> Array:
        """A matrix F (d, k) with F F^T = U."""
        raise NotImplementedError

    def fits(self, q: Quadratic) -> None:
        """Refuse a problem of another dimension."""

    def arrays(self) -> dict[str, Array]:
        """Arrays to save beside :meth:`to_dict`."""
        return {}

    # -- the same for all -------------------------------------------------------------------------

    @property
    def is_zero(self) -> bool:
        """Whether there is no noise at all."""
        return self.level == 0.0

    def at_batch(self, batch_size: int) -> Noise:
        """The noise of a minibatch mean of so many draws."""
        if batch_size == 1:
            return self
        return replace(self, level=self.level / batch_size**0.5, law=self.law.mean_of(batch_size))

    def scale(self, q: Quadratic) -> Array:
        """sqrt(C_ii), shape (d,): each coordinate's standard deviation, or the scale of its Student t."""
        return self.level * np.sqrt(self.unit_variances(q))

    def std(self, q: Quadratic) -> Array:
        """Standard deviation of each coordinate, shape (d,); infinite for Student's t with df <= 2."""
        scale = self.scale(q)
        variance = self.law.variance
        if variance == 1.0:
            return scale
        with np.errstate(invalid="ignore"):
            return np.where(scale > 0.0, scale * math.sqrt(variance), 0.0)

    def matrix(self, q: Quadratic) -> Array:
        """C of one draw, shape (d, d), or (d,) if it is diagonal."""
        return self.level**2 * self.unit_covariance(q)

    def dense_matrix(self, q: Quadratic) -> Array:
        """C of one draw, always of shape (d, d)."""
        c = self.matrix(q)
        return np.diag(c) if c.ndim == 1 else c

    def correlation(self, q: Quadratic) -> Array:
        """C_ij / sqrt(C_ii C_jj), shape (d, d); 0 beside a coordinate without noise, and 1 on the diagonal."""
        unit = self.unit_covariance(q)
        if unit.ndim == 1:
            return np.eye(unit.size)
        with np.errstate(divide="ignore"):
            inverse = 1.0 / np.sqrt(self.unit_variances(q))
        inverse[np.isinf(inverse)] = 0.0
        correlation = np.clip(unit * inverse[:, None] * inverse[None, :], -1.0, 1.0)
        np.fill_diagonal(correlation, 1.0)
        return correlation

    def eigen_std(self, q: Quadratic) -> Array | None:
        """sqrt of C's diagonal along the Hessian's eigenvectors, if C is diagonal there, shape (d,); else None."""
        unit = self.unit_eigen_std(q)
        return None if unit is None else self.level * unit

    def factor(self, q: Quadratic) -> Array:
        """A matrix (d, k) with factor factor^T = C."""
        return self.level * self.unit_factor(q)

    def trace(self, q: Quadratic) -> float:
        """tr C: sum of the coordinates' squared scales."""
        return float(self.level**2 * np.sum(self.unit_variances(q)))

    def to_dict(self) -> dict[str, Any]:
        """Family, level and law as plain JSON values; the arrays are in :meth:`arrays`."""
        return {"family": self.family, "level": self.level, **self.law.to_dict()}

    def _law_text(self) -> str:
        if self.law.name == "student":
            return f", df={self.law.df:g}"
        return "" if self.law.is_gaussian else f", law={self.law.name!r}"

    def __repr__(self) -> str:
        return f"noise.{self.family}({self.level:g}{self._law_text()})"


def _along_eigenvectors(q: Quadratic, std: Array) -> Array:
    """V diag(std): a factor of the matrix whose square roots of eigenvalues, in q's order, are std."""
    return np.diag(std) if q.eigenvectors is None else q.eigenvectors * std


class _Data(Noise):
    """U = Q Q."""

    family = "data"

    def unit_variances(self, q: Quadratic) -> Array:
        return q.hessian_square_diagonal

    def unit_covariance(self, q: Quadratic) -> Array:
        return q.hessian**2 if q.is_diagonal else q.hessian @ q.hessian

    def unit_eigen_std(self, q: Quadratic) -> Array:
        return q.eigenvalues

    def unit_factor(self, q: Quadratic) -> Array:
        return _along_eigenvectors(q, q.eigenvalues)

    def factor(self, q: Quadratic) -> Array:
        if q.eigenvectors is None:
            return super().factor(q)
        # The order of the products is part of the numbers that a seed gives.
        factor = self.level * q.eigenvectors
        factor *= q.eigenvalues
        return factor


class _Hessian(Noise):
    """U = Q."""

    family = "hessian"

    def unit_variances(self, q: Quadratic) -> Array:
        return q.hessian if q.is_diagonal else np.diagonal(q.hessian).copy()

    def unit_covariance(self, q: Quadratic) -> Array:
        return q.hessian

    def unit_eigen_std(self, q: Quadratic) -> Array:
        return np.sqrt(np.maximum(q.eigenvalues, 0.0))

    def unit_factor(self, q: Quadratic) -> Array:
        return _along_eigenvectors(q, self.unit_eigen_std(q))


class _White(Noise):
    """U = I."""

    family = "white"

    def unit_variances(self, q: Quadratic) -> Array:
        return np.ones(q.dim)

    def unit_covariance(self, q: Quadratic) -> Array:
        return np.ones(q.dim)

    def unit_eigen_std(self, q: Quadratic) -> Array:
        return np.ones(q.dim)

    def unit_factor(self, q: Quadratic) -> Array:
        # Along the eigenvectors, so that one method sees the same noise in either basis.
        return _along_eigenvectors(q, np.ones(q.dim))


@dataclass(frozen=True, eq=False, repr=False)
class _Given(Noise):
    """A matrix that the user gives; its dimension must be the problem's."""

    values: tuple[Array, ...]

    has_level = False
    names: ClassVar[tuple[str, ...]] = ()

    def fits(self, q: Quadratic) -> None:
        d = self.values[0].shape[0]
        if d != q.dim:
            raise ProblemError(
                f"The noise is that of {d} coordinates, but the problem has {q.dim}; both must agree."
            )

    def arrays(self) -> dict[str, Array]:
        return dict(zip(self.names, self.values, strict=True))

    @property
    def is_zero(self) -> bool:
        return self.level == 0.0 or not any(np.any(array) for array in self.values)

    def __repr__(self) -> str:
        level = f", level={self.level:g}" if self.level != 1.0 else ""
        return f"<noise.{self.family} of {self.values[0].shape[0]} coordinates{level}{self._law_text()}>"


class _Diagonal(_Given):
    """U = diag(variance)."""

    family = "diagonal"
    names = ("variance",)

    def unit_variances(self, q: Quadratic) -> Array:
        return self.values[0]

    def unit_covariance(self, q: Quadratic) -> Array:
        return self.values[0]

    def unit_eigen_std(self, q: Quadratic) -> Array | None:
        return np.sqrt(self.values[0]) if q.is_diagonal else None

    def unit_factor(self, q: Quadratic) -> Array:
        return np.diag(np.sqrt(self.values[0]))


class _Dense(_Given):
    """U is the given matrix."""

    family = "dense"
    names = ("covariance",)

    def unit_variances(self, q: Quadratic) -> Array:
        return np.diagonal(self.values[0]).copy()

    def unit_covariance(self, q: Quadratic) -> Array:
        return self.values[0]

    def unit_eigen_std(self, q: Quadratic) -> None:
        return None

    def unit_factor(self, q: Quadratic) -> Array:
        values, vectors = np.linalg.eigh(self.values[0])
        return vectors * np.sqrt(np.maximum(values, 0.0))


class _LowRank(_Given):
    """U = F F^T + diag(D)."""

    family = "low_rank"
    names = ("factor", "diagonal")

    def unit_variances(self, q: Quadratic) -> Array:
        factor, own = self.values
        return np.einsum("ik,ik->i", factor, factor) + own

    def unit_covariance(self, q: Quadratic) -> Array:
        factor, own = self.values
        unit = factor @ factor.T
        unit[np.diag_indices(own.size)] += own
        return unit

    def unit_eigen_std(self, q: Quadratic) -> None:
        return None

    def unit_factor(self, q: Quadratic) -> Array:
        factor, own = self.values
        return np.concatenate([factor, np.diag(np.sqrt(own))], axis=1)

    def parts(self) -> tuple[Array, Array]:
        """F (d, k) and the standard deviations (d,) of the coordinates' own noise, at this level."""
        factor, own = self.values
        return self.level * factor, self.level * np.sqrt(own)


def data(std: float = 0.1, *, df: float | None = None, law: str | None = None) -> Noise:
    """Noise of data around the optimum: C = std^2 Q Q (Balles & Hennig, 2018, Section 2). The default of a problem.

    Parameters
    ----------
    std : float, default 0.1
        Standard deviation of the data, in units of theta.
    df : float, optional
        Student t with so many degrees of freedom; C is then its scale matrix, and df / (df - 2) C its covariance.
    law : {"gaussian", "laplace"}, optional

    Raises
    ------
    ProblemError
        A level that is not a finite number >= 0; df not above 0; an unknown law, or law and df together.

    Examples
    --------
    >>> import qpsim
    >>> from qpsim import noise
    >>> p = qpsim.QuadraticProblem([1.0, 3.0], noise=noise.data(0.5, df=3))
    >>> p.noise, p.gradient_std().round(4)
    (noise.data(0.5, df=3), array([0.866 , 2.5981]))
    """
    return _Data(_level(std), make_law(df, law))


def hessian(std: float = 0.1, *, df: float | None = None, law: str | None = None) -> Noise:
    """Noise with C = std^2 Q, as in the noisy quadratic model (Zhang et al., 2019). Arguments and errors as `data`.

    Examples
    --------
    >>> import qpsim
    >>> from qpsim import noise
    >>> qpsim.QuadraticProblem([1.0, 4.0], noise=noise.hessian(1.0)).gradient_std()
    array([1., 2.])
    """
    return _Hessian(_level(std), make_law(df, law))


def white(std: float = 0.1, *, df: float | None = None, law: str | None = None) -> Noise:
    """Noise with C = std^2 I, the same in all directions. Arguments and errors as `data`.

    Examples
    --------
    >>> import qpsim
    >>> from qpsim import noise
    >>> qpsim.QuadraticProblem([1.0, 4.0], noise=noise.white(0.5)).gradient_std()
    array([0.5, 0.5])
    """
    return _White(_level(std), make_law(df, law))


def diagonal(variance: ArrayLike, *, df: float | None = None, law: str | None = None) -> Noise:
    """Noise whose coordinates have these variances and no correlation: C = diag(variance), variance of shape (d,).

    Raises
    ------
    ProblemError
        A variance that is negative or not finite; df and law as in `data`.

    Examples
    --------
    >>> import qpsim
    >>> from qpsim import noise
    >>> qpsim.QuadraticProblem([1.0, 4.0], noise=noise.diagonal([4.0, 0.0])).gradient_std()
    array([2., 0.])
    """
    values = real_array(variance, "The variance")
    if values.ndim != 1 or values.size == 0:
        raise ProblemError(f"The variance must be a vector (d,), not of shape {values.shape}.")
    if values.min() < 0.0:
        raise ProblemError(
            f"A variance must be at least 0, but the smallest is {values.min():.3g}."
        )
    return _Diagonal(1.0, make_law(df, law), (frozen(values),))


def dense(covariance: ArrayLike, *, df: float | None = None, law: str | None = None) -> Noise:
    """Noise with any covariance (d, d), symmetric and positive semi-definite.

    Parameters
    ----------
    covariance : array_like, shape (d, d)
        C. With ``df`` it is the scale matrix of Student's t: the covariance is df / (df - 2) C.

    Raises
    ------
    ProblemError
        Not square, not finite, not symmetric, or with a negative eigenvalue, which is named; df and law as in `data`.

    Examples
    --------
    >>> import qpsim
    >>> from qpsim import noise
    >>> p = qpsim.QuadraticProblem([1.0, 4.0], noise=noise.dense([[1.0, 0.5], [0.5, 1.0]]))
    >>> p.gradient_correlation()
    array([[1. , 0.5],
           [0.5, 1. ]])
    """
    matrix = real_array(covariance, "The covariance")
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.size == 0:
        raise ProblemError(
            f"The covariance must be a square matrix (d, d), not of shape {matrix.shape}."
        )
    size = float(np.abs(matrix).max())
    asymmetry = float(np.abs(matrix - matrix.T).max())
    if asymmetry > _ROUNDING * size:
        raise ProblemError(
            f"The covariance must be symmetric, but entries differ from their mirror images by up to {asymmetry:.3g}."
        )
    matrix = 0.5 * (matrix + matrix.T)
    smallest = float(np.linalg.eigvalsh(matrix).min())
    if smallest < -_ROUNDING * size:
        raise ProblemError(
            f"The covariance must be positive semi-definite, but its smallest eigenvalue is {smallest:.3g}."
        )
    if np.count_nonzero(matrix) == np.count_nonzero(np.diagonal(matrix)):
        return diagonal(np.maximum(np.diagonal(matrix), 0.0), df=df, law=law)
    return _Dense(1.0, make_law(df, law), (frozen(matrix),))


def low_rank(
    factor: ArrayLike,
    diagonal: ArrayLike | None = None,
    *,
    df: float | None = None,
    law: str | None = None,
) -> Noise:
    """Noise with C = F F^T + diag(D), which on a diagonal Hessian never becomes a (d, d) matrix.

    Parameters
    ----------
    factor : array_like, shape (d, k)
        F.
    diagonal : array_like, shape (d,), optional
        D >= 0, variances of the coordinates' own noise; zeros by default.

    Raises
    ------
    ProblemError
        Wrong shapes, numbers that are not finite, a negative D; df and law as in `data`.

    Examples
    --------
    >>> import qpsim
    >>> from qpsim import noise
    >>> p = qpsim.QuadraticProblem([1.0, 4.0], noise=noise.low_rank([[3.0], [4.0]], [0.0, 9.0]))
    >>> p.gradient_std()
    array([3., 5.])
    """
    matrix = real_array(factor, "The factor")
    if matrix.ndim != 2 or matrix.size == 0:
        raise ProblemError(f"The factor must be a matrix (d, k), not of shape {matrix.shape}.")
    own = np.zeros(matrix.shape[0]) if diagonal is None else real_array(diagonal, "The diagonal")
    if own.shape != (matrix.shape[0],):
        raise ProblemError(
            f"The diagonal must have shape ({matrix.shape[0]},) like the factor's rows, not {own.shape}."
        )
    if own.min() < 0.0:
        raise ProblemError(
            f"The diagonal must be at least 0, but its smallest entry is {own.min():.3g}."
        )
    return _LowRank(1.0, make_law(df, law), (frozen(np.ascontiguousarray(matrix)), frozen(own)))


_FAMILIES: dict[str, type[Noise]] = {
    family.family: family for family in (_Data, _Hessian, _White, _Diagonal, _Dense, _LowRank)
}


def from_dict(description: dict[str, Any], arrays: dict[str, Array] | None = None) -> Noise:
    """The noise that :meth:`Noise.to_dict` and :meth:`Noise.arrays` describe.

    Raises
    ------
    ProblemError
        The description is not that of a noise.
    """
    arrays = arrays or {}
    try:
        family = _FAMILIES[description["family"]]
        law = description.get("law", "gaussian")
        df = description.get("df")
        keywords = {"df": df} if law == "student" else {"law": law}
        if issubclass(family, _Given):
            given = [arrays[name] for name in family.names]
            made: Noise = {"diagonal": diagonal, "dense": dense, "low_rank": low_rank}[
                family.family
            ](*given, **keywords)
        else:
            made = family(0.0, make_law(**keywords))
        # A heavy-tailed noise of a minibatch has another law than that of one draw.
        batch = checks.count("batch_size", description.get("batch_size", 1), ProblemError)
        return replace(made, level=_level(description["level"]), law=made.law.mean_of(batch))
    except (KeyError, TypeError) as error:
        raise ProblemError(f"This is no description of a noise ({error}).") from None


def default(noise_std: float) -> Noise:
    """The noise of ``QuadraticProblem(hessian, noise_std=...)``: Gaussian, C = noise_std^2 Q Q."""
    return _Data(_level(noise_std), GAUSSIAN)


def _level(std: Any) -> float:
    return checks.number("The noise level", std, ProblemError, f"[0, {LARGEST:g}]")
