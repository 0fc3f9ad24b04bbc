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

from qpsim.theory.passes import is_sound

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qpsim.theory.passes import Passes

    Array = NDArray[np.float64]

BLURS = (1.0, 0.3, 0.1, 0.03, 0.01, 3e-3, 1e-3, 3e-4, 1e-4)
# A stage ends where a sweep there and back gains less than this share.
_SMALLEST_GAIN = 1e-5
# Coordinate-updates of all moves from one start, how many rounds of moves and sweeps follow each other at most, what a
# round has to gain, and how many random changes are tried.
_MOVED, _ROUNDS, _ROUND_GAIN, _CHANGES = 5e7, 30, 1e-4, 12
# Which share of the steps a random change takes, and the blur from which sweeps follow it.
_CHANGED, _AFTER_CHANGE = 0.1, (1e-2, 1e-3, 1e-4)


class Sweeps:
    """Searches for free schedules of one recursion, which share their memory."""

    def __init__(self, passes: Passes) -> None:
        self.passes = passes

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
        work, price = _MOVED, self.passes.price
        if not self.passes.may_move or begin.size < 2 or price > work:
            return best
        rng = np.random.Generator(np.random.PCG64(seed))
        best, lowest, work = self._settled(best, most, work, rng)
        for _ in range(_CHANGES):
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
        blur = BLURS[-1] ** 2
        lowest = self.passes.value(steps, blur)
        for _ in range(_ROUNDS):
            work -= self.passes.price
            moved = self.passes.moved(steps, blur, rng.permutation(steps.size))
            moved = self._stage(moved, blur, most)
            value = self.passes.value(moved, blur)
            before = lowest
            if value < lowest:
                steps, lowest = moved, value
            if value > before * (1.0 - _ROUND_GAIN) or work <= 0.0:
                break
        return steps, lowest, work

    def _stage(self, begin: Array, blur: float, most: int) -> Array:
        """The best steps of sweeps to and fro at one blur, given as its square."""
        steps = begin.copy()
        lowest = self.passes.value(steps, blur)
        best = begin
        for _ in range(most):
            self.passes.back(steps, blur, True)
            value, rounding = self.passes.forth(steps, blur, True)
            if not is_sound(value, rounding):
                break
            before = lowest
            if value < lowest:
                best, lowest = steps.copy(), value
            if before - value < _SMALLEST_GAIN * abs(before):
                break
        return best


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
