"""``LocalModel``: a quadratic model of any loss around one point, for the theory of one step.

``L(theta + delta) = L(theta) + gradient^T delta + 0.5 delta^T hessian delta`` with a noisy gradient. Its Hessian may be
indefinite, as that of a real network is. The model then has no optimum and cannot be simulated. Functions of
:mod:`qpsim.theory` on one step accept it, with ``delta`` in the place of theta.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import ProblemError
from qpsim.execution.blas import one_blas_thread
from qpsim.problem.matrices import frozen, real_array, square_or_diagonal
from qpsim.problem.noise import Noise
from qpsim.problem.quadratic import QuadraticProblem

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]


class LocalModel(QuadraticProblem):
    """Gradient, Hessian and gradient noise at one point of any loss; for one step's theory only.

    Parameters
    ----------
    gradient : array_like, shape (d,)
        Exact gradient at the point.
    hessian : array_like, shape (d, d) or (d,)
        Symmetric Hessian there, with eigenvalues of either sign; a vector gives a diagonal one.
    noise : Noise
        From :mod:`qpsim.noise`: the noise of one stochastic gradient.

    Raises
    ------
    ProblemError
        Shapes that do not fit, a Hessian that is not symmetric, numbers that are not finite, or a noise that needs a
        positive semi-definite Hessian (:func:`qpsim.noise.hessian`) on one that is not.

    Examples
    --------
    >>> import qpsim
    >>> from qpsim import theory
    >>> m = qpsim.LocalModel([1.0, 2.0], [2.0, -1.0], qpsim.noise.white(0.1))
    >>> theory.optimal_step_size(m, "sgd", [0.0, 0.0])
    inf
    >>> round(theory.optimal_step_size(m, "ssd", [0.0, 0.0]), 6)
    3.0
    """

    kind = "local"

    @one_blas_thread(load_scipy=False)
    def __init__(self, gradient: ArrayLike, hessian: ArrayLike, noise: Noise) -> None:
        matrix = square_or_diagonal(hessian)
        slope = real_array(gradient, "The gradient")
        if slope.shape != (matrix.shape[0],):
            raise ProblemError(
                f"The gradient must have shape ({matrix.shape[0]},) like the Hessian, not {slope.shape}."
            )
        if not isinstance(noise, Noise):
            raise ProblemError(
                f"noise must be one of qpsim.noise, such as qpsim.noise.white(0.1), not {type(noise).__name__}."
            )
        decomposition = None if matrix.ndim == 1 else tuple(np.linalg.eigh(matrix))
        self._set(matrix, decomposition, None, noise)  # type: ignore[arg-type]
        self._slope = frozen(slope)
        if noise.family == "hessian" and not self.eigenvalues.min() >= 0.0:
            raise ProblemError(
                "A noise whose covariance is a multiple of the Hessian needs a positive semi-definite one, but the "
                f"smallest eigenvalue is {self.eigenvalues.min():.3g}."
            )

    @property
    def optimum(self) -> Array:
        """Raises ProblemError: an indefinite Hessian has no minimiser."""
        raise ProblemError(
            "A LocalModel has no optimum; it describes the loss around one point only."
        )

    @property
    def diagonal_mass(self) -> float:
        """c of Eq. 13: sum_i |q_ii| / sum_ij |q_ij|."""
        if self.is_diagonal:
            return 1.0
        return float(np.abs(np.diagonal(self.hessian)).sum() / np.abs(self.hessian).sum())

    def gradient(self, theta: ArrayLike) -> Array:
        """Exact gradient at the point plus ``theta``, shape (..., d)."""
        return self._slope + self.matvec(self._points(theta, "theta"))

    def excess_loss(self, theta: ArrayLike) -> Any:
        """Change of the loss from the point to the point plus ``theta``, shape (...)."""
        delta = self._points(theta, "theta")
        change = delta @ self._slope + 0.5 * np.sum(delta * self.matvec(delta), axis=-1)
        return float(change) if change.ndim == 0 else change

    def check_simulation(self, method: Any, policy: Any, batch_size: int) -> None:
        """Raises ProblemError: a local model cannot be simulated."""
        raise ProblemError(
            "A LocalModel describes one step only and cannot be simulated; give its Hessian to a "
            "QuadraticProblem if it is positive semi-definite."
        )

    def with_optimum(self, optimum: ArrayLike) -> LocalModel:
        """Raises ProblemError: there is no optimum."""
        raise ProblemError(
            "A LocalModel has no optimum; it describes the loss around one point only."
        )

    def preconditioned(self, preconditioner: Any) -> LocalModel:
        """As :meth:`qpsim.QuadraticProblem.preconditioned`; powers of the Hessian need a positive definite one."""
        from qpsim.problem.preconditioning import preconditioned

        parts = preconditioned(self, preconditioner)
        return LocalModel(parts.gradient(self._slope), parts.hessian, parts.noise)

    def _replaced(self, optimum: Any, noise: Noise) -> LocalModel:
        return LocalModel(self._slope, self.hessian, noise)

    def __repr__(self) -> str:
        low, high = self.eigenvalues.min(), self.eigenvalues.max()
        return (
            f"<LocalModel dim={self.dim}, eigenvalues in [{low:.3g}, {high:.3g}], {self.noise!r}>"
        )
