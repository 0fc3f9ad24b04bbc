"""Undeclared weight decay: tries the usual values, and the value that fits best."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize_scalar

from qpsim.conformance.expectation import COUPLED, DECOUPLED, Candidate, misfit
from qpsim.conformance.play import Played

_USUAL = (0.1, 0.05, 0.01, 1e-3, 5e-4, 1e-4, 1e-5)
_DIGITS = 4


def decayed(base: Candidate, normal: Played) -> Iterator[Candidate]:
    """The rule with a decay in the other form, without one, with usual values, and with the best value of each form."""
    if base.weight_decay:
        other = COUPLED if base.decay == DECOUPLED else DECOUPLED
        yield replace(base, text=f"{base.text}, but {other}", decay=other)
        yield replace(base, text=f"{base.text}, but without the decay", weight_decay=0.0)
    plain = base.text.removesuffix(f" with {base.decay} weight decay {base.weight_decay:g}")
    for decay in (DECOUPLED, COUPLED):
        for value in (*_USUAL, _best(replace(base, decay=decay), normal)):
            if value != base.weight_decay or decay != base.decay:
                instead = f", not {base.decay} {base.weight_decay:g}" if base.weight_decay else ""
                text = f"{plain} with {decay} weight decay {value:g}{instead}"
                yield replace(base, text=text, weight_decay=value, decay=decay)


def _best(base: Candidate, normal: Played) -> float:
    """The decay with which the rule fits the optimizer's moves best, to four digits."""

    def off(power: float) -> float:
        candidate = replace(base, weight_decay=10.0**power)
        return misfit(candidate, normal.stream, normal.theta)

    # The misfit has one minimum, but is flat far from it; so the search begins at the best of a few values.
    powers = np.linspace(-6.0, 0.0, 13)
    best = float(powers[int(np.argmin([off(power) for power in powers]))])
    found = minimize_scalar(
        off, bounds=(best - 0.5, best + 0.5), method="bounded", options={"xatol": 1e-9}
    )
    return float(f"{10.0 ** float(found.x):.{_DIGITS}g}")
