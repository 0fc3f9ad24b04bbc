"""The interface of problems: what :func:`qpsim.simulate` needs. A class of problems has these methods, and kernels.

Its kernels are registered in :mod:`qpsim.kernels.problems`: a NamedTuple with the arrays that a step needs, and
functions that numba finds by the type of this tuple.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A problem prepared for the step loops, for one method, step-size policy and batch size.

    Attributes
    ----------
    arguments : NamedTuple
        A :class:`qpsim.kernels.diagonal.DiagonalProblem`, whose coordinates are coupled only by the step size; or a
        tuple whose class is registered in :mod:`qpsim.kernels.problems`.
    basis : ndarray (d, d) or None
        Orthonormal columns: the loop runs on basis^T (theta - optimum). None stands for the identity.
    n_normals : int
        Number of rows of standard normals that one step of the coupled loop draws.
    """

    arguments: Any
    basis: Array | None = None
    n_normals: int = 0


class Quadratic(Protocol):
    """The attributes of a quadratic problem that noise, preconditioning and the preparation for kernels use."""

    @property
    def dim(self) -> int:
        """Number of coordinates d."""

    @property
    def is_diagonal(self) -> bool:
        """Whether the Hessian is diagonal, and so held as a vector."""

    @property
    def hessian(self) -> Array:
        """Q, shape (d, d), or (d,) if it is diagonal."""

    def dense_hessian(self) -> Array:
        """Q as a matrix (d, d), also if it is diagonal."""

    @property
    def hessian_square_diagonal(self) -> Array:
        """Diagonal of Q Q, shape (d,)."""

    @property
    def eigenvalues(self) -> Array:
        """Eigenvalues of Q, shape (d,)."""

    @property
    def eigenvectors(self) -> Array | None:
        """Orthonormal eigenvectors as columns, shape (d, d); None if Q is diagonal."""

    @property
    def optimum(self) -> Array:
        """A minimiser, shape (d,)."""

    @property
    def noise(self) -> Any:
        """The gradient's noise, a :class:`qpsim.problem.noise.Noise`."""

    def runs_by_coordinate(self, method: Any) -> bool:
        """Whether the coordinates of a run are coupled only by the step size."""


class Problem(Protocol):
    """What :func:`qpsim.simulate` needs of a problem."""

    @property
    def dim(self) -> int:
        """Number of coordinates d."""

    @property
    def optimum(self) -> Array:
        """A minimiser, shape (d,)."""

    @property
    def kind(self) -> str:
        """The name under which saved files know the class."""

    def excess_loss(self, theta: Any) -> Any:
        """The loss above its minimum, shape (...) for theta (..., d)."""

    def gradient(self, theta: Any) -> Array:
        """The exact gradient, shape (..., d)."""

    def runs_by_coordinate(self, method: Any) -> bool:
        """Whether a run's coordinates are coupled only by the step size, if needed after a rotation."""

    def lanes_are_independent(self, method: Any) -> bool:
        """Whether a step has no matrix product over the replicates of a block, so that blocks may have any width."""

    def is_deterministic(self) -> bool:
        """Whether gradients have no noise."""

    def records_moment_error(self, method: Any) -> bool:
        """Whether the exact step's denominator is a series or a quadrature whose error is recorded."""

    def check_simulation(self, method: Any, policy: Any, batch_size: int) -> str | None:
        """Raise an error for what cannot be simulated. Returns the text of an InfiniteVarianceWarning, or None."""

    def prepared(self, method: Any, policy: Any, batch_size: int, tolerance: float) -> Prepared:
        """The arguments of the step loop."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values that, with :meth:`arrays`, describe the problem."""

    def arrays(self) -> dict[str, Array]:
        """The arrays that describe the problem."""


def has_additive_noise(problem: Any) -> bool:
    """Whether a stochastic gradient is the exact one plus the problem's ``noise``, whose law does not depend on theta.

    The closed forms and recursions of :mod:`qpsim.theory` need it. A class of problems says so by an attribute
    ``has_additive_noise = True``; a class without the attribute, and whatever is no problem at all, counts as False.
    For the moments of one step another class may have a method ``gradient_mixture(theta)`` instead, which gives the law
    of a gradient as a mixture of Gaussian laws (see :meth:`qpsim.LeastSquares.gradient_mixture`).
    """
    return bool(getattr(problem, "has_additive_noise", False))
