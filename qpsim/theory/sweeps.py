"""The search for free schedules: coordinate descent over the steps, under decreasing random errors of the steps.

The value is a parabola in each step, the others given (:mod:`qpsim.kernels.step_sweeps`), so that no line search is
needed. It has many local minima that are narrow, with steps that would have to be exact to many digits. A search
therefore begins with the value that is expected if every step is off by a random share of itself, an independent
normal number of standard deviation `blur`, and goes on to smaller shares (graduated optimisation; Blake & Zisserman,
1987). The last share is 1e-4: what is found keeps its loss if its steps are rounded to five digits.

Sweeps leave the order of the steps as it is. Where the run is not too long they are followed by moves, in which each
step is taken out and put in again where it serves best (:mod:`qpsim.kernels.step_moves`), and by sweeps again, until
neither gains. From there some steps are changed at random and moves begin again, if their end is lower (iterated local
search; Lourenco, Martin & Stuetzle, 2003). The steps of a run of half the length are another start.
"""

from __future__ import annotations

import math
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
# What a round of moves and sweeps has to gain for another one, in the first search and after a change; the most rounds.
_SLOW, _FAST, _ROUNDS = 1e-4, 1e-3, 30
# Shorter steps than this, in units of 1 / the largest eigenvalue, are halved where a run becomes twice as long.
_SHORT = 0.5
# Which share of the steps a random change takes at most, and what share of the longest it may choose from.
_CHANGED, _LONGEST = 0.2, 0.25


class Sweeps:
    """A search for a free schedule from one start, which can go on.

    Parameters
    ----------
    passes : Passes
    seed : int
        Of the random changes.
    most : int
        Sweeps of a stage at most.
    moved : float
        Steps are moved where a round of moves takes at most so many coordinate-updates.

    Attributes
    ----------
    steps : ndarray, shape (n_steps,)
        The best so far.
    value : float
        Their value with the last blur.
    work : float
        Coordinate-updates of all moves so far.
    """

    def __init__(self, passes: Passes, seed: int, most: int, moved: float) -> None:
        self.passes, self._most = passes, most
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self.may_move = passes.may_move and passes.weight.size > 1 and passes.price <= moved
        self.work = 0.0
        self.steps, self.value = np.empty(0), math.inf

    def begin(self, steps: Array) -> None:
        """The graduated search from steps (n_steps,), and moves."""
        self.steps, self.value = self._settled(self.graduated(steps), _SLOW)

    def go_on(self, work: float, most: int) -> None:
        """Random changes until so many more coordinate-updates are done, at most so many."""
        end = self.work + work
        for _ in range(most if self.may_move else 0):
            if self.work > end:
                break
            changed = self._stage(_changed(self.steps, self._rng), BLURS[-1] ** 2)
            self.offer(self._settled(changed, _FAST)[0])

    def lengthen(self, steps: Array) -> None:
        """Sweeps from steps (k,) of a run of half the length, 2 k = n_steps or n_steps + 1, without a state.

        A short step becomes two of half its size, which do nearly the same and less noise; a long one is followed by a
        step of 0.
        """
        short = steps * self.passes.curvature.max() < _SHORT
        longer = np.column_stack([np.where(short, 0.5 * steps, steps), 0.5 * steps * short]).ravel()
        if longer.size > self.passes.weight.size:
            longer = np.append(longer[:-2], longer[-2:].sum())
        self.steps = self._stage(longer, BLURS[-1] ** 2)
        self.value = self.passes.value(self.steps, BLURS[-1] ** 2)

    def offer(self, steps: Array) -> None:
        """Take steps (n_steps,) if their value is lower."""
        value = self.passes.value(steps, BLURS[-1] ** 2)
        if value < self.value:
            self.steps, self.value = steps, value

    def graduated(self, steps: Array) -> Array:
        """The steps (n_steps,) where sweeps end, one blur after another."""
        for blur in BLURS:
            steps = self._stage(steps, blur * blur)
        return steps

    def _settled(self, steps: Array, least: float) -> tuple[Array, float]:
        """Steps after moves and sweeps of which a round gains less than this share, and their value."""
        blur = BLURS[-1] ** 2
        lowest = self.passes.value(steps, blur)
        for _ in range(_ROUNDS if self.may_move else 0):
            self.work += self.passes.price
            order = self._rng.permutation(steps.size)
            moved = self._stage(self.passes.moved(steps, blur, order), blur)
            value = self.passes.value(moved, blur)
            before = lowest
            if value < lowest:
                steps, lowest = moved, value
            if not value < before * (1.0 - least):
                break
        return steps, lowest

    def _stage(self, begin: Array, blur: float) -> Array:
        """The best steps of sweeps to and fro at one blur, given as its square."""
        steps = begin.copy()
        lowest = self.passes.value(steps, blur)
        best = begin
        for _ in range(self._most):
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
    """Steps (n_steps,), at least two, after a random change of some of them, or of the place or order of a block."""
    found, n = steps.copy(), steps.size
    kind = rng.integers(5)
    if kind < 3:
        # Of all steps, or of the longest, which are few and whose order counts most.
        among = (
            np.arange(n) if rng.integers(2) else np.argsort(steps)[-max(2, round(_LONGEST * n)) :]
        )
        some = int(rng.integers(2, max(2, min(among.size, round(_CHANGED * n))) + 1))
        chosen = rng.choice(among, some, replace=False)
        if kind == 0:
            found[chosen] = 0.0
        elif kind == 1:
            found[chosen] *= np.exp(rng.standard_normal(some))
        else:
            found[chosen] = found[rng.permutation(chosen)]
        return found
    first, last = np.sort(rng.choice(n + 1, 2, replace=False))
    block = found[first:last]
    if kind == 3:
        found[first:last] = block[::-1].copy()
        return found
    others = np.delete(found, np.s_[first:last])
    return np.insert(others, rng.integers(others.size + 1), block)
