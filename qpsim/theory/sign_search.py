"""Free schedules of sign descent: from much noise to the noise that there is.

With little noise the loss has a local minimum for every way in which paths of signs may meet the optimum. With noise as
large as the way to the optimum these are smoothed away. So a search begins with the noise multiplied by a large number,
and goes on to smaller ones, each time from where it was (a continuation; Allgower & Georg, 1990). Others go straight
down from their starts, and from changes of the best so far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from qpsim.theory.descent import descend

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qpsim.theory.sign_law import SignLaw

    Array = NDArray[np.float64]

# The first noise is as large as this part of the longest way to the optimum, the next ones are divided by _RATIO.
_PART, _RATIO = 1 / 3, 2.5
# Steps of each search, pairs of gradients that it keeps, and shortest and longest step, in units of the way.
_MOST, _MEMORY, _SHORTEST, _LONGEST = 300, 30, 1e-9, 10.0
# Random changes of the best schedule, the spread of the factors in each, and a last step over the one before.
_CHANGES, _SPREAD, _LAST = 3, 0.3, 0.1


def free_schedules(law: SignLaw, begins: list[Array]) -> list[Array]:
    """Steps (n_steps,) in which the searches end: the continuation's from the first start, then one from each start.

    After these come one from the best with its smallest step taken out and put in at the end, where a search that never
    goes through 0 cannot bring it, and some from random changes of the best.
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
    """Where a search ends that begins with much noise."""
    factor, steps = 1.0, begin
    while _PART * law.distance > factor:
        factor *= _RATIO
    while factor > 1.0:
        steps = _nearest(law.noisier(factor), steps)
        factor /= _RATIO
    return _nearest(law, steps)


def _nearest(law: SignLaw, begin: Array) -> Array:
    """Where a search from here ends; the start itself if that is no better."""
    bounds = np.log(_SHORTEST * law.longest), np.log(_LONGEST * law.longest)
    inside = np.clip(begin, *np.exp(bounds))
    end = descend(law.value_and_gradient, inside, _MOST, bounds, _MEMORY)
    return min([end, begin], key=law.value)
