"""Newton's method on the logarithms of all steps of a run, and the search for the best order of steps that rests on it.

With a state, steps act together: sweeps that set one step after another creep along narrow valleys, and stop in many
places. The second derivatives by all pairs of steps are exact and cheap (:mod:`qpsim.kernels.step_curvature`); with
them the graduated search (:mod:`qpsim.theory.sweeps`) ends in a good place. More are found from random steps: the
minimum without momentum is followed while momentum grows to what it is (a homotopy). Then the steps of one place are
changed at random, or those of two are combined, and moved and led to the next minimum again (a memetic algorithm;
Moscato, 1989).

The step of Newton's method is damped (Levenberg, 1944; Marquardt, 1963): a multiple of the unit matrix is added to the
second derivatives, more where they are not positive definite or the value did not fall.
"""

from __future__ import annotations

import math
from operator import itemgetter
from typing import TYPE_CHECKING

import numpy as np

from qpsim.kernels.step_curvature import second_derivatives

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qpsim.theory.passes import Passes

    Array = NDArray[np.float64]

# Standard deviations of the steps' relative errors, one stage of the search after another.
BLURS = (1.0, 0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4)
# Iterations of a stage, and the share that two of them in a row have to gain: in the first search, and after a change.
_SLOW, _FAST = (200, 1e-5), (15, 1e-3)
# Damping at first and at least, its factors after a good and after a bad step, and most attempts.
_FIRST, _LEAST, _LESS, _MORE, _ATTEMPTS = 1e-2, 1e-6, 0.2, 4.0, 25
# The logarithm of a step changes by this at most; a step of 0 is taken as this fraction of the longest.
_FARTHEST, _SHORTEST = 3.0, 1e-10
# Rounds of moves after a change, and what a round has to gain for another one.
_ROUNDS, _ROUND_GAIN = 3, 1e-3
# How many steps a random change takes, and the range of new steps in units of 1 / the largest eigenvalue.
_CHANGED, _NEW = (2, 7), (0.01, 60.0)
# Places found with growing momentum at most, and the coordinate-updates after which no more are sought; the shares of
# momentum, the range of the steps at first, and iterations and least gain at each share.
_PLACES, _PLACES_WORK = 9, 2e9
_SHARES = (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.85, 0.9, 0.94, 0.97, 1.0)
_FIRST_STEPS, _FOLLOWED = (0.2, 30.0), (60, 1e-4)
# The share of changes that combine two places, and the relative difference of values of different places.
_COMBINED, _DIFFERENT = 0.3, 1e-4
# Coordinate-updates that a call of the kernels takes at least, about.
_CALL = 1e5


class Newton:
    """A search for a free schedule from one start, which can go on."""

    def __init__(self, passes: Passes, seed: int) -> None:
        n, d = passes.weight.size, passes.curvature.size
        self._passes = passes
        self._covectors, self._matrix = np.empty((n, 3, d)), np.empty((n, n))
        self._gradient = np.empty(n)
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._price = 1.5 * n * n * d + _CALL
        self.work = 0.0
        self.steps, self.value = np.empty(0), math.inf
        self._places: list[tuple[Array, float]] = []

    def begin(self, steps: Array) -> None:
        """The graduated search from steps (n_steps,), and places found with growing momentum."""
        for blur in BLURS:
            steps, _ = self.descend(steps, blur, *_SLOW)
        self._places = [self._settled(steps)]
        end = self.work + _PLACES_WORK
        while len(self._places) <= _PLACES and self.work < end:
            self._places.append(self._settled(self._with_growing_momentum()))
        self.steps, self.value = min(self._places, key=itemgetter(1))

    def go_on(self, work: float, most: int) -> None:
        """Random changes until so many more coordinate-updates are done, at most so many."""
        end = self.work + work
        for _ in range(most):
            if self.work > end:
                break
            # The better of two at random.
            pair = self._rng.integers(len(self._places), size=2).tolist()
            parent = min(pair, key=lambda k: self._places[k][1])
            begin = self._places[parent][0]
            if min(begin.size, len(self._places)) > 1 and self._rng.random() < _COMBINED:
                other = (parent + int(self._rng.integers(1, len(self._places)))) % len(self._places)
                begin = self._combined(begin, self._places[other][0])
                parent = max(parent, other, key=lambda k: self._places[k][1])
            else:
                begin = self._changed(begin)
            steps, value = self._settled(begin)
            # Equal places would leave nothing to combine.
            is_new = all(abs(value - known) > _DIFFERENT * value for _, known in self._places)
            if is_new and value < self._places[parent][1]:
                self._places[parent] = steps, value
            if value < self.value:
                self.steps, self.value = steps, value

    def _with_growing_momentum(self) -> Array:
        """Random steps that are led to a minimum without momentum, and then at more and more of it."""
        maps = self._passes.maps
        whole, (low, high) = maps.copy(), np.log(_FIRST_STEPS)
        steps = np.exp(self._rng.uniform(low, high, maps.shape[0])) / self._passes.curvature.max()
        try:
            for share in _SHARES:
                # The coefficients of the state, in the direction and in the next state.
                maps[:, 1], maps[:, 3] = share * whole[:, 1], share * whole[:, 3]
                for blur in BLURS if share == 0.0 else BLURS[-1:]:
                    steps, _ = self.descend(steps, blur, *_FOLLOWED)
        finally:
            maps[:] = whole
        return steps

    def _combined(self, one: Array, other: Array) -> Array:
        """Steps of two places: the first of one and the last of the other, any of both, or their geometric means."""
        n, rng = one.size, self._rng
        kind = rng.integers(3)
        if kind == 0:
            return np.where(np.arange(n) < rng.integers(1, n), one, other)
        if kind == 1:
            return np.where(rng.random(n) < 0.5, one, other)
        return np.sqrt(
            np.maximum(one, _SHORTEST * one.max()) * np.maximum(other, _SHORTEST * other.max())
        )

    def _settled(self, steps: Array) -> tuple[Array, float]:
        """The next minimum from where moves and Newton's method no longer gain."""
        blur = BLURS[-1]
        best, lowest = self.descend(steps, blur, *_FAST)
        for _ in range(_ROUNDS if self._passes.may_move and steps.size > 1 else 0):
            order = self._rng.permutation(steps.size)
            self.work += self._passes.price
            moved, value = self.descend(self._passes.moved(best, blur * blur, order), blur, *_FAST)
            before = lowest
            if value < lowest:
                best, lowest = moved, value
            if not value < before * (1.0 - _ROUND_GAIN):
                break
        return best, lowest

    def descend(self, steps: Array, blur: float, most: int, least: float) -> tuple[Array, float]:
        """Steps of lower value at this blur, and their value, after so many iterations or two that gain too little."""
        from scipy.linalg.lapack import dpotrf, dpotrs

        passes, square = self._passes, blur * blur
        steps = np.maximum(steps, _SHORTEST * steps.max())
        value, damping, small = passes.value(steps, square), _FIRST, 0
        diagonal = np.diag_indices(steps.size)
        for _ in range(most if math.isfinite(value) else 0):
            slope, matrix = self._derivatives(steps, value, square)
            own = matrix[diagonal]
            found, change = math.inf, slope
            for _ in range(_ATTEMPTS):
                matrix[diagonal] = own + damping
                factor, failed = dpotrf(matrix, lower=1)
                if not failed:
                    change, _info = dpotrs(factor, slope, lower=1)
                    tried = steps * np.exp(-np.clip(change, -_FARTHEST, _FARTHEST))
                    found = passes.value(tried, square)
                    if found < value:
                        break
                damping = max(_MORE * damping, _LEAST)
            if not found < value:
                break
            matrix[diagonal] = own
            expected = float(slope @ change - 0.5 * change @ matrix @ change)
            gain = 1.0 - found / value
            # What was gained of what the parabola promised.
            if gain > 0.5 * expected:
                damping *= _LESS
            elif gain < 0.1 * expected:
                damping *= 2.0
            steps, value = tried, found
            small = small + 1 if gain < least else 0
            if small == 2:
                break
        return steps, value

    def _derivatives(self, steps: Array, value: float, blur: float) -> tuple[Array, Array]:
        """The value's derivatives by the logarithms of the steps, as shares of it."""
        passes = self._passes
        self.work += self._price
        second_derivatives(
            passes.curvature,
            passes.variance,
            passes.maps,
            steps,
            passes.moments,
            passes.adjoint,
            blur,
            self._covectors,
            self._gradient,
            self._matrix,
        )
        slope = steps * self._gradient / value
        matrix = self._matrix * np.outer(steps, steps / value)
        matrix[np.diag_indices(steps.size)] += slope
        return slope, matrix

    def _changed(self, begin: Array) -> Array:
        """Steps after a random change of a few of them, or of all a little."""
        rng, steps, n = self._rng, begin.copy(), begin.size
        some = min(n, int(rng.integers(*_CHANGED)))
        chosen = rng.choice(n, some, replace=False)
        kind = rng.integers(6)
        if kind == 0:
            steps[chosen] = 0.0
        elif kind == 1:
            steps[chosen] *= np.exp(rng.standard_normal(some))
        elif kind == 2:
            steps[chosen] = steps[rng.permutation(chosen)]
        elif kind == 3:
            low, high = np.log(_NEW)
            steps[chosen] = np.exp(rng.uniform(low, high, some)) / self._passes.curvature.max()
        elif kind == 4:
            first, last = np.sort(rng.choice(n + 1, 2, replace=False))
            steps[first:last] = steps[first:last][::-1]
        else:
            steps *= np.exp(0.3 * rng.standard_normal(n))
        return steps if steps.any() else begin
