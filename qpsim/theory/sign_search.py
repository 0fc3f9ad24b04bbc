"""Best steps of sign descent with every step free: a continuation from large noise to the given noise.

With little noise the loss as a function of the steps has many local minima, about one for each sequence of signs that
leads to the optimum. With noise as large as the distance to the optimum they are smoothed away. So one search begins
with the noise multiplied by a large factor, which is reduced in stages; each stage starts at the previous result (a
continuation; Allgower & Georg, 1990). Other searches use the given noise from the beginning, from each start and from
perturbations of the best result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qpsim.theory.descent import descend

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qpsim.theory.sign_law import SignLaw

    Array = NDArray[np.float64]

# The first noise as a fraction of the largest distance from the optimum; each stage divides the noise by _RATIO.
_PART, _RATIO = 1 / 3, 2.5
# Iterations and memory of L-BFGS; smallest and largest step size as multiples of ``law.longest``.
_MOST, _MEMORY, _SHORTEST, _LONGEST = 300, 30, 1e-9, 10.0
# Number of random perturbations of the best schedule, the standard deviation of their log factors, and the ratio of a
# moved last step to the one before.
_CHANGES, _SPREAD, _LAST = 3, 0.3, 0.1


def free_schedules(law: SignLaw, begins: list[Array]) -> list[Array]:
    """The steps (n_steps,) at the end of each search: of the continuation from the first start, then from each start.

    Then one from the best with its smallest step moved to the end (a search in the logarithms of steps cannot exchange
    them, as a step would have to pass 0), and ``_CHANGES`` from random perturbations of the best.
    """
    found = [_continued(law, begins[0])]
    found += [_nearest(law, begin) for begin in begins]
    best = min(found, key=law.value)
    if best.size > 1:
        others = np.delete(best, np.argmin(best))
        found.append(_nearest(law, np.append(others, _LAST * others[-1])))
    rng = np.random.Generator(np.random.PCG64(0))
    for _ in range(_CHANGES):
        best = min(found, key=law.value)
        found.append(_nearest(law, best * np.exp(_SPREAD * rng.standard_normal(best.size))))
    return found


def _continued(law: SignLaw, begin: Array) -> Array:
    """The steps at the end of the continuation from ``begin``."""
    factor, steps = 1.0, begin
    while _PART * law.distance > factor:
        factor *= _RATIO
    while factor > 1.0:
        steps = _nearest(law.noisier(factor), steps)
        factor /= _RATIO
    return _nearest(law, steps)


def _nearest(law: SignLaw, begin: Array) -> Array:
    """The steps at the end of a search from ``begin``; ``begin`` itself if they are no better."""
    bounds = np.log(_SHORTEST * law.longest), np.log(_LONGEST * law.longest)
    inside = np.clip(begin, *np.exp(bounds))
    end = descend(law.value_and_gradient, inside, _MOST, bounds, _MEMORY)
    return min([end, begin], key=law.value)
