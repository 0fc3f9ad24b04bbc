"""The search for free schedules: coordinate descent over the steps, under decreasing random errors of the steps.

The value is a parabola in each step, the others given (:mod:`qpsim.kernels.step_sweeps`), so that no line search is
needed. It has many local minima that are narrow, with steps that would have to be exact to many digits. A search
therefore begins with the value that is expected if every step is off by a random share of itself, an independent
normal number of standard deviation `blur`, and goes on to smaller shares (graduated optimisation; Blake & Zisserman,
1987). The last share is 1e-4: what is found keeps its loss if its steps are rounded to five digits.

Sweeps leave the order of the steps as it is. Where the run is not too long they are followed by moves, in which each
step is taken out and put in again where it serves best (:mod:`qpsim.kernels.step_moves`), and by sweeps again, until
neither gains. From there some steps are changed at random and the search begins again, if its end is lower (iterated
local search; Lourenco, Martin & Stuetzle, 2003).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qpsim.kernels.step_moves import put_in_again
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
# Coordinate-updates of all moves from one start, how many rounds of moves and sweeps follow each other at most, what a
# round has to gain.
_MOVED, _ROUNDS, _ROUND_GAIN = 5e7, 30, 1e-4
# How many random changes are tried, without a state and with one: then the order of steps matters even without noise.
_CHANGES, _CHANGES_OF_STATE = 12, 400
# Which share of the steps a random change takes, and the blur from which sweeps follow it.
_CHANGED, _AFTER_CHANGE = 0.1, (1e-2, 1e-3, 1e-4)


class Sweeps:
    """Searches for free schedules of one recursion, which share their memory of 6 n_steps d numbers."""

    def __init__(self, recursion: Recursion) -> None:
        n, d = recursion.n_steps, recursion.curvature.size
        # Copies, since numba compiles its kernels again for arrays that are read-only or not contiguous.
        self._arguments = (
            np.array(recursion.curvature, order="C"),
            np.array(recursion.variance, order="C"),
            np.array(recursion.maps, order="C"),
            np.array(recursion.weight, order="C"),
        )
        self._start = np.array(recursion.square, order="C")
        # Steps may change places where all do alike.
        self._alike = bool((recursion.maps == recursion.maps[0]).all())
        # A move is two passes through the run, of one moment without a state and of three with one.
        has_state = bool(recursion.maps[0, 1:].any())
        self._price = (6.0 if has_state else 2.0) * n * n * d
        self._changes = _CHANGES_OF_STATE if has_state else _CHANGES
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

    def search_orders(
        self, begin: Array, most: int, seed: int, blurs: tuple[float, ...] = BLURS
    ) -> Array:
        """The steps (n_steps,) in which sweeps, moves and random changes end."""
        best = self.search(begin, most, blurs)
        work, price = _MOVED, self._price
        if not self._alike or begin.size < 2 or price > work:
            return best
        rng = np.random.Generator(np.random.PCG64(seed))
        best, lowest, work = self._settled(best, most, work, rng)
        for _ in range(self._changes):
            if work < price:
                break
            changed = self.search(_changed(best, rng), most, _AFTER_CHANGE)
            found, value, work = self._settled(changed, most, work, rng)
            if value < lowest:
                best, lowest = found, value
        return best

    def _settled(
        self, steps: Array, most: int, work: float, rng: np.random.Generator
    ) -> tuple[Array, float, float]:
        """Steps after moves and sweeps that no longer gain, their value, and the work that is left."""
        curvature, variance, maps, weight = self._arguments
        blur = BLURS[-1]
        lowest = self._value(steps)
        limit = _MOST_ROUNDING / np.finfo(float).eps
        for _ in range(_ROUNDS):
            moved = steps.copy()
            order = rng.permutation(steps.size)
            work -= self._price
            put_in_again(
                curvature,
                variance,
                maps[0],
                weight,
                self._start,
                moved,
                order,
                blur**2,
                1e-6,
                limit,
            )
            moved = self._stage(moved, blur**2, most)
            value = self._value(moved)
            before = lowest
            if value < lowest:
                steps, lowest = moved, value
            if value > before * (1.0 - _ROUND_GAIN) or work <= 0.0:
                break
        return steps, lowest, work

    def _value(self, steps: Array) -> float:
        """The value at the smallest blur; infinite if too much of it is rounding."""
        blur = BLURS[-1] ** 2
        steps = steps.copy()
        self._back(steps, blur, False)
        value, rounding = self._forth(steps, blur, False)
        return value if self._is_sound(value, rounding) else np.inf

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


def _changed(steps: Array, rng: np.random.Generator) -> Array:
    """Steps of which some are left out, or multiplied by random factors, or in another order."""
    found = steps.copy()
    some = max(2, round(_CHANGED * steps.size))
    chosen = rng.choice(steps.size, some, replace=False)
    kind = rng.integers(3)
    if kind == 0:
        found[chosen] = 0.0
    elif kind == 1:
        found[chosen] *= np.exp(rng.standard_normal(some))
    else:
        found[chosen] = found[rng.permutation(chosen)]
    return found
