"""The base class of all problems: the loss 0.5 e^T Q e, where e = theta - optimum, and its gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim import checks
from qpsim.errors import ProblemError
from qpsim.problem.frozen import Frozen

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]


class QuadraticLoss(Frozen):
    """Loss and gradient of a problem with a minimiser and a Hessian Q.

    A class of problems sets ``_optimum`` (d,) and defines :meth:`_times`.
    """

    _optimum: Array

    def _times(self, vectors: Array) -> Array:
        """Q v for vectors (..., d)."""
        raise NotImplementedError

    @property
    def dim(self) -> int:
        """Number of coordinates d."""
        return int(self._optimum.shape[0])

    @property
    def optimum(self) -> Array:
        """The minimiser, shape (d,); one of them if the Hessian is singular."""
        return self._optimum

    def gradient(self, theta: ArrayLike) -> Array:
        """Exact gradient Q (theta - optimum), shape (..., d)."""
        return self._times(self._offset(theta))

    def excess_loss(self, theta: ArrayLike) -> Any:
        """Loss above its minimum, 0.5 (theta - optimum)^T Q (theta - optimum), shape (...); a float for one theta."""
        offset = self._offset(theta)
        loss = 0.5 * np.sum(offset * self._times(offset), axis=-1)
        return float(loss) if loss.ndim == 0 else loss

    def _offset(self, theta: ArrayLike) -> Array:
        return self._points(theta, "theta") - self._optimum

    def _points(self, values: ArrayLike, what: str) -> Array:
        """Numbers of shape (..., d); ``what`` names them in the error."""
        point = checks.numbers(what, values, ProblemError)
        if point.ndim == 0 or point.shape[-1] != self.dim:
            raise ProblemError(
                f"{what} must have {self.dim} entries in its last axis, not shape {point.shape}."
            )
        return point

    # -- the interface for simulations (qpsim.problem.interface.Problem): what holds for most problems --

    def runs_by_coordinate(self, method: Any) -> bool:
        """Whether a run's coordinates are coupled only by the step size, if needed after a rotation."""
        return False

    def lanes_are_independent(self, method: Any) -> bool:
        """Whether a step has no matrix product over the replicates of a block."""
        return False

    def is_deterministic(self) -> bool:
        """Whether gradients have no noise."""
        return False

    def records_moment_error(self, method: Any) -> bool:
        """Whether the error of the exact step's denominator is recorded."""
        return False
