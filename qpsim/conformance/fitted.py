"""Hyper-parameters that are none of the usual values: finds those with which the rule fits best."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize

from qpsim.conformance.expectation import Candidate, misfit
from qpsim.conformance.play import Played

# Decays b of averages are sought as log10(1 - b), and epsilons as their logarithm, on the stream where they matter.
_RATES = ("b1", "b2", "momentum", "decay")
_RATE_STARTS = (-0.3, -1.0, -2.0, -3.0)
_EPS_STARTS = (-9.0, -7.0, -5.0)
_DIGITS = 4


def fitted(base: Candidate, played: Sequence[Played]) -> Iterator[Candidate]:
    """The rule with one hyper-parameter, or both decays, fitted to the optimizer's moves, to four digits."""
    streams = {one.stream.name: one for one in played}
    rates = [name for name in base.hyper if name in _RATES]
    for names in [[name] for name in rates] + ([rates] if len(rates) == 2 else []):
        yield _best(base, names, streams["normal"], _RATE_STARTS)
    if "eps" in base.hyper and "small" in streams:
        yield _best(base, ["eps"], streams["small"], _EPS_STARTS)


def _best(base: Candidate, names: list[str], one: Played, starts: Sequence[float]) -> Candidate:
    def values(powers: np.ndarray, digits: int = 17) -> dict[str, float]:
        numbers = [float(f"{10.0 ** min(power, 0.0):.{digits}g}") for power in powers]
        shown = numbers if names == ["eps"] else [round(1.0 - number, 16) for number in numbers]
        return dict(zip(names, shown, strict=True))

    def off(powers: np.ndarray) -> float:
        candidate = replace(base, hyper={**base.hyper, **values(powers)})
        return misfit(candidate, one.stream, one.theta) / scale

    moved = np.diff(one.theta, axis=0)
    scale = float(np.mean(moved[np.isfinite(moved)] ** 2)) or 1.0
    grid = np.stack(np.meshgrid(*[starts] * len(names)), axis=-1).reshape(-1, len(names))
    start = min(grid, key=off)
    options = {"xatol": 1e-9, "fatol": 1e-22, "maxfev": 400}
    found = minimize(off, start, method="Nelder-Mead", options=options)
    best = values(found.x, _DIGITS)
    new = " and ".join(f"{name} {value:g}" for name, value in best.items())
    old = " and ".join(f"{base.hyper[name]:g}" for name in names)
    return replace(base, text=f"{base.text} with {new}, not {old}", hyper={**base.hyper, **best})
