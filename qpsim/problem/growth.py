"""How fast a rule's direction grows with its gradient, which decides whether E[z^2] exists under heavy tails.

Student's t with k degrees of freedom has the moments of orders below k. A direction that grows like |g|^p has a second
moment only if 2 p < k. p is 1 for directions proportional to the gradient, and 0 for signs and for gradients divided by
their own size.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

# Much larger than any state after gradients of 1, but with squares in the floating-point range.
_LARGE, _LARGER = 1e20, 1e24
_STEPS = 2
_FLAT = 0.05


def growth(method: Any) -> float:
    """The exponent p of z ~ |g|^p, the largest over a run's first steps; 0 for a bounded direction.

    Parameters
    ----------
    method : Method
        It must observe nothing besides its gradient.

    Examples
    --------
    >>> import qpsim
    >>> round(growth(qpsim.method("m-svag")), 6), round(growth(qpsim.method("adam")), 6)
    (1.0, 0.0)
    """
    state, largest = method.initial_state(1), 0.0
    with np.errstate(all="ignore"):
        for _ in range(_STEPS):
            near, far = (
                abs(float(method.update(np.array([g]), state)[0][0])) for g in (_LARGE, _LARGER)
            )
            if near > 0.0 and math.isfinite(far):
                largest = max(largest, math.log(far / near) / math.log(_LARGER / _LARGE))
            state = method.update(np.ones(1), state)[1]
    return largest


def lacks_second_moment(method: Any, law: Any) -> bool:
    """Whether E[z^2] is infinite under this law of the noise, for a rule without a closed form."""
    if law.name != "student" or method.closed_form is not None or method.observes is not None:
        return False
    power = growth(method)
    return power > _FLAT and 2.0 * power >= law.df
