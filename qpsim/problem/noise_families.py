"""The classes of noise, one for each family of covariances.

They are made by the functions of :mod:`qpsim.problem.noise`, where C and U are defined. Their methods take the problem.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from qpsim.errors import ProblemError
from qpsim.problem.laws import Law

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qpsim.problem.interface import Quadratic

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False, repr=False)
class Noise:
    """Gradient noise with ``C = level^2 U``; made by the functions of this module.

    Attributes
    ----------
    level : float
        The factor of C = level^2 U; 1 for families with a given matrix.
    law : Law
        Gaussian, Student t or Laplace, and the number of draws whose mean the noise is.
    """

    level: float
    law: Law

    family: ClassVar[str] = ""
    # Whether ``level`` is the noise's standard deviation, which QuadraticProblem.noise_std returns.
    has_level: ClassVar[bool] = True

    # -- defined by each family, at level 1; q is the problem ----------------------------------------

    def unit_variances(self, q: Quadratic) -> Array:
        """Diagonal of U, shape (d,)."""
        raise self._lacks("unit_variances")

    def unit_covariance(self, q: Quadratic) -> Array:
        """U, shape (d, d); or (d,) if it is diagonal."""
        raise self._lacks("unit_covariance")

    def unit_eigen_std(self, q: Quadratic) -> Array | None:
        """Standard deviations along the Hessian's eigenvectors if U is diagonal there, shape (d,); else None."""
        raise self._lacks("unit_eigen_std")

    def unit_factor(self, q: Quadratic) -> Array:
        """A matrix F (d, k) with F F^T = U."""
        raise self._lacks("unit_factor")

    def _lacks(self, name: str) -> ProblemError:
        return ProblemError(
            f"{type(self).__name__} does not define {name}(q), which every class of noise does."
        )

    def fits(self, q: Quadratic) -> None:
        """Raise ProblemError if the problem has another dimension."""

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
        """C_ij / sqrt(C_ii C_jj), shape (d, d); 1 on the diagonal, and 0 in the rows of coordinates without noise."""
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
    """V diag(std), V the problem's eigenvectors: a factor of V diag(std^2) V^T."""
    return np.diag(std) if q.eigenvectors is None else q.eigenvectors * std


class DataNoise(Noise):
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
        # The order of the products decides the last bits, and must not change.
        factor = self.level * q.eigenvectors
        factor *= q.eigenvalues
        return factor


class HessianNoise(Noise):
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


class WhiteNoise(Noise):
    """U = I."""

    family = "white"

    def unit_variances(self, q: Quadratic) -> Array:
        return np.ones(q.dim)

    def unit_covariance(self, q: Quadratic) -> Array:
        return np.ones(q.dim)

    def unit_eigen_std(self, q: Quadratic) -> Array:
        return np.ones(q.dim)

    def unit_factor(self, q: Quadratic) -> Array:
        # V and not I, so that the draws are the same in the eigenbasis and in the given basis.
        return _along_eigenvectors(q, np.ones(q.dim))


@dataclass(frozen=True, eq=False, repr=False)
class GivenNoise(Noise):
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


class DiagonalNoise(GivenNoise):
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


class DenseNoise(GivenNoise):
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


class LowRankNoise(GivenNoise):
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


FAMILIES: dict[str, type[Noise]] = {
    family.family: family
    for family in (DataNoise, HessianNoise, WhiteNoise, DiagonalNoise, DenseNoise, LowRankNoise)
}
