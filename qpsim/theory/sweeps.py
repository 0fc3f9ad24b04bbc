"""Free schedules by sweeps: each step in turn at its exact best, from blurred steps to sharp ones.

The value is a parabola in each step, the others given (:mod:`qpsim.kernels.step_sweeps`), so that no line search is
needed. It has many local minima that are narrow, with steps that would have to be exact to many digits. A search
therefore begins with the value that is expected if every step is off by a random share of itself, an independent
normal number of standard deviation `blur`, and goes on to smaller shares (graduated optimisation; Blake & Zisserman,
1987). The last share is 1e-4: what is found keeps its loss if its steps are rounded to five digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qpsim.kernels.step_sweeps import sweep_back, sweep_forth

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qpsim.theory.recursion import Recursion

    Array = NDArray[np.float64]

BLURS = (1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4)
# A stage ends where a sweep there and back gains less than this share.
_SMALLEST_GAIN = 1e-5
# Largest share of a value that may be rounding.
_MOST_ROUNDING = 1e-3


class Sweeps:
    """Searches for free schedules of one recursion, which share their memory of 6 n_steps d numbers."""

    def __init__(self, recursion: Recursion) -> None:
        n, d = recursion.n_steps, recursion.curvature.size
        self._arguments = (
            recursion.curvature,
            recursion.variance,
            recursion.maps,
            recursion.weight,
        )
        self._moments = np.zeros((n + 1, 3, d))
        self._moments[0, 0] = recursion.square
        self._adjoint = np.zeros((n + 1, 3, d))
        self._adjoint[n, 0] = 0.5 * recursion.weight[-1] * recursion.curvature

    def search(self, begin: Array, most: int, blurs: tuple[float, ...] = BLURS) -> Array:
        """The steps (n_steps,) in which the search from `begin` ends, after at most so many sweeps a stage."""
        steps = begin
        for blur in blurs:
            steps = self._stage(steps, blur * blur, most)
        return steps

    def _stage(self, begin: Array, blur: float, most: int) -> Array:
        """The best steps of sweeps to and fro at one blur, given as its square."""
        steps = begin.copy()
        # The adjoint first, which takes nothing of the moments unless steps change: what rounding does needs it.
        self._back(steps, blur, False)
        lowest, rounding = self._forth(steps, blur, False)
        if not self._is_sound(lowest, rounding):
            lowest = np.inf
        best = begin
        for _ in range(most):
            self._back(steps, blur, True)
            value, rounding = self._forth(steps, blur, True)
            if not self._is_sound(value, rounding):
                break
            before = lowest
            if value < lowest:
                best, lowest = steps.copy(), value
            if before - value < _SMALLEST_GAIN * abs(before):
                break
        return best

    def _back(self, steps: Array, blur: float, update: bool) -> None:
        sweep_back(*self._arguments, steps, self._moments, self._adjoint, update, blur)

    def _forth(self, steps: Array, blur: float, update: bool) -> tuple[float, float]:
        return sweep_forth(*self._arguments, steps, self._moments, self._adjoint, update, blur)

    @staticmethod
    def _is_sound(value: float, rounding: float) -> bool:
        return bool(value >= 0.0 and np.finfo(float).eps * rounding <= _MOST_ROUNDING * value)
