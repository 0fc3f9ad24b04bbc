"""Forward and backward passes through one run, in memory that all searches for its schedule share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qpsim.kernels.step_moves import reinsert_steps
from qpsim.kernels.step_sweeps import sweep_back, sweep_forth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qpsim.theory.recursion import Recursion

    Array = NDArray[np.float64]

# Largest share of a value that may be rounding.
_MOST_ROUNDING = 1e-3
# Smallest gain of a move, as a fraction of the value.
_LEAST_GAIN = 1e-6


class Passes:
    """The moments (forward) and the adjoint (backward) of one run, which take 6 n_steps d numbers.

    Attributes
    ----------
    curvature, variance, start : ndarray, shape (d,)
    maps : ndarray, shape (n_steps, 4)
    weight : ndarray, shape (n_steps,)
        As in :class:`qpsim.theory.recursion.Recursion`; start is its ``square``.
    moments, adjoint : ndarray, shape (n_steps + 1, 3, d)
        Those of the step sizes of the last passes.
    has_state : bool
        Whether the method has a state besides the offset.
    may_move : bool
        Whether the order of the steps may be changed: the method's coefficients are the same in all of them.
    """

    def __init__(self, recursion: Recursion) -> None:
        n, d = recursion.n_steps, recursion.curvature.size
        # Copies, since numba compiles its kernels again for arrays that are read-only or not contiguous.
        self.curvature = np.array(recursion.curvature, order="C")
        self.variance = np.array(recursion.variance, order="C")
        self.maps = np.array(recursion.maps, order="C")
        self.weight = np.array(recursion.weight, order="C")
        self.start = np.array(recursion.square, order="C")
        self.has_state = bool(self.maps[0, 1:].any())
        self.may_move = bool((self.maps == self.maps[0]).all())
        self.moments = np.zeros((n + 1, 3, d))
        self.moments[0, 0] = self.start
        self.adjoint = np.zeros((n + 1, 3, d))
        self.adjoint[n, 0] = 0.5 * self.weight[-1] * self.curvature

    @property
    def price(self) -> float:
        """Coordinate updates of removing and inserting again every step once, with two passes for each."""
        n, d = self.weight.size, self.curvature.size
        return (6.0 if self.has_state else 2.0) * n * n * d

    def back(self, steps: Array, blur: float, update: bool) -> None:
        """Backward pass: write the adjoint of steps (n_steps,), which are improved in place if `update`.

        ``blur`` is the variance of the steps' relative errors.
        """
        sweep_back(*self._law, steps, self.moments, self.adjoint, update, blur)

    def forth(self, steps: Array, blur: float, update: bool) -> tuple[float, float]:
        """Forward pass: write the moments; returns the value and its rounding error, in units of the precision.

        The arguments are those of :meth:`back`.
        """
        found = sweep_forth(*self._law, steps, self.moments, self.adjoint, update, blur)
        return float(found[0]), float(found[1])

    def value(self, steps: Array, blur: float) -> float:
        """The value of steps (n_steps,), with their adjoint and moments; infinite if too much of it is rounding."""
        # The adjoint first: without an update it does not read the moments, and the rounding error depends on it.
        self.back(steps, blur, False)
        value, rounding = self.forth(steps, blur, False)
        return value if is_sound(value, rounding) else np.inf

    def moved(self, steps: Array, blur: float, order: NDArray[np.int64]) -> Array:
        """The steps after each of them, in this order, was removed and inserted at its best place."""
        found = steps.copy()
        limit = _MOST_ROUNDING / float(np.finfo(float).eps)
        curvature, variance, maps, weight = self._law
        reinsert_steps(
            curvature,
            variance,
            maps[0],
            weight,
            self.start,
            found,
            order,
            blur,
            _LEAST_GAIN,
            limit,
        )
        return found

    @property
    def _law(self) -> tuple[Array, Array, Array, Array]:
        return self.curvature, self.variance, self.maps, self.weight


def is_sound(value: float, rounding: float) -> bool:
    """Whether the rounding error, in units of the machine's precision, is a small share of the value."""
    return bool(value >= 0.0 and np.finfo(float).eps * rounding <= _MOST_ROUNDING * value)
