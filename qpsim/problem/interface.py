"""What a simulation asks of a problem. A class of problems is one file that answers it, and its kernels.

The kernels' side is :mod:`qpsim.kernels.problems`: a NamedTuple with the arrays that a step needs, and functions that
numba finds by its type.
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
    """A problem as the step loops take it, for one method, step-size policy and batch size.

    Attributes
    ----------
    arguments : NamedTuple
        A :class:`qpsim.kernels.diagonal.DiagonalProblem`, whose coordinates couple through the step size alone; or a
        tuple whose class is registered in :mod:`qpsim.kernels.problems`.
    basis : ndarray (d, d) or None
        Orthonormal columns: the loop runs on basis^T (theta - optimum). None stands for the identity.
    n_normals : int
        Rows of normals that a step of the coupled loop draws at once.
    """

    arguments: Any
    basis: Array | None = None
    n_normals: int = 0


class Quadratic(Protocol):
    """What a noise, a preconditioner and the kernels' side ask of a quadratic problem."""

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
        """Whether the method's coordinates couple through the step size alone."""


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
        """Whether the method's coordinates couple through the step size alone, after a rotation at most."""

    def lanes_are_independent(self, method: Any) -> bool:
        """Whether no matrix product couples the replicates of a block, so that blocks may have any width."""

    def is_deterministic(self) -> bool:
        """Whether gradients have no noise."""

    def records_moment_error(self, method: Any) -> bool:
        """Whether the exact step's denominator is a series or a quadrature whose error is recorded."""

    def check_simulation(self, method: Any, policy: Any, batch_size: int) -> None:
        """Refuse, in one sentence, what cannot be simulated; warn of what may surprise."""

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
    """
    return bool(getattr(problem, "has_additive_noise", False))
