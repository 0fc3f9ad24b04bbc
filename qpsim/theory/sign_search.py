"""Best steps of sign descent with every step free: a continuation from large noise to the given noise.

With little noise the loss as a function of the steps has many local minima, about one for each sequence of signs that
leads to the optimum. With noise as large as the distance to the optimum they are smoothed away. So a search begins with
the noise multiplied by a large factor, which is reduced in stages; each stage starts at the previous result (a
continuation; Allgower & Georg, 1990), changed at random. Searches differ in their starts, stages and random changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qpsim.theory.descent import descend

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qpsim.theory.sign_law import SignLaw

    Array = NDArray[np.float64]

# The first noise as a fraction of the largest distance from the optimum; each stage divides it by the search's ratio.
_PART, _RATIOS = 1 / 3, (2.5, 1.7, 4.0)
# Iterations and memory of L-BFGS; smallest and largest step size as multiples of ``law.longest``.
_MOST, _MEMORY, _SHORTEST, _LONGEST = 300, 30, 1e-9, 10.0
# Number of random changes after the last stage, the standard deviation of the logarithms of the factors that change
# steps, and the ratio of a moved last step to the one before.
_CHANGES, _SPREAD, _LAST = 2, 0.1, 0.1


def free_schedules(law: SignLaw, begins: list[Array]) -> list[Array]:
    """The steps (n_steps,) at the end of a search from each start, independent of each other."""
    return [
        _search(law, begin, ratio, np.random.Generator(np.random.PCG64(seed)))
        for seed, (begin, ratio) in enumerate(zip(begins, _RATIOS, strict=True))
    ]


def _search(law: SignLaw, begin: Array, ratio: float, rng: np.random.Generator) -> Array:
    """The steps at the end of the continuation, of a move of the smallest step to the end, and of random changes."""

    def changed(steps: Array) -> Array:
        return steps * np.exp(_SPREAD * rng.standard_normal(steps.size))

    factor, best = 1.0, begin
    while _PART * law.distance > factor:
        factor *= ratio
    while factor > 1.0:
        best = changed(_nearest(law.noisier(factor), best))
        factor = max(factor / ratio, 1.0)
    best = _nearest(law, best)
    if best.size > 1:
        # A search in the logarithms of steps cannot exchange them, as a step would have to pass 0.
        others = np.delete(best, np.argmin(best))
        best = min([best, _nearest(law, np.append(others, _LAST * others[-1]))], key=law.value)
    for _ in range(_CHANGES):
        best = min([best, _nearest(law, changed(best))], key=law.value)
    return best


def _nearest(law: SignLaw, begin: Array) -> Array:
    """The steps at the end of a search from ``begin``; ``begin`` itself if they are no better."""
    bounds = np.log(_SHORTEST * law.longest), np.log(_LONGEST * law.longest)
    inside = np.clip(begin, *np.exp(bounds))
    end = descend(law.value_and_gradient, inside, _MOST, bounds, _MEMORY)
    return min([end, begin], key=law.value)
