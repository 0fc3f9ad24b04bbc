"""How far to go along the direction: the step-size policies, checked before any work starts.

"optimal" is ``grad^T E[z] / E[z^T Q z]`` (Eq. 11), exact, from the rule's Gaussian moments given the
state before the step. "bound" replaces the denominator of a sign method by ``sum_ij |q_ij|`` (Eq.
12), which needs no noise level, and of a method without a closed form by ``sum_ij |q_ij|
sqrt(E[z_i^2] E[z_j^2])`` (Cauchy-Schwarz); for a gradient method Eq. 12's denominator is exact, so
that bound and optimal agree. "line-search" minimises along the direction drawn, knowing the exact loss. A
number, an array with one number a step, or a function of t = 1, 2, ... gives the steps themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from qpsim.errors import StepSizeError, nearest
from qpsim.kernels import policy as codes

CODES = {"optimal": codes.OPTIMAL, "bound": codes.BOUND, "line-search": codes.LINE_SEARCH}

StepSize = str | float | Sequence[float] | np.ndarray | Callable[[int], float]


@dataclass(frozen=True)
class Policy:
    """A checked policy: its name, the kernels' code, and the given steps (zeros if chosen)."""

    name: str
    code: int
    given: np.ndarray


def resolve(step_size: Any, n_steps: int) -> Policy:
    """Check a ``step_size`` argument for a number of steps.

    Raises
    ------
    StepSizeError
        Unknown policy; a step that is not a finite number >= 0; an array of another length; a
        function that fails.

    Examples
    --------
    >>> from qpsim.simulation.stepsize import resolve
    >>> resolve(lambda t: 1 / t, 3).given
    array([1.        , 0.5       , 0.33333333])
    """
    if isinstance(step_size, str):
        return _chosen(step_size, n_steps)
    if callable(step_size):
        given = [_evaluated(step_size, t) for t in range(1, n_steps + 1)]
        return Policy("schedule", codes.GIVEN, np.array(given))
    numbers = _numbers(step_size)
    if numbers is None or not (np.isfinite(numbers) & (numbers >= 0)).all():
        raise StepSizeError(
            "A step size is 'optimal', 'bound', 'line-search', a finite number >= 0, one such "
            f"number a step, or a function of the step; not {_shown(step_size)}."
        )
    if numbers.ndim == 1 and numbers.size != n_steps:
        raise StepSizeError(
            f"{numbers.size} step sizes were given for {n_steps} steps; give one for each."
        )
    name = "constant" if numbers.ndim == 0 else "schedule"
    return Policy(name, codes.GIVEN, np.array(np.broadcast_to(numbers, n_steps)))


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _numbers(step_size: Any) -> np.ndarray | None:
    if isinstance(step_size, bool):
        return None
    try:
        values = np.asarray(step_size)
        if values.dtype.kind not in "fiuO" or values.ndim > 1:
            return None
        return values.astype(float)
    except (TypeError, ValueError, OverflowError):
        return None


def _chosen(name: str, n_steps: int) -> Policy:
    if name not in CODES:
        raise StepSizeError(f"Unknown step-size policy {name!r}; {nearest(name, CODES)}")
    return Policy(name, CODES[name], np.zeros(n_steps))


def _evaluated(schedule: Callable[[int], float], t: int) -> float:
    try:
        value = float(schedule(t))
    except Exception as error:
        raise StepSizeError(
            f"The step-size schedule failed at t = {t} ({error}); it must give a number for every t."
        ) from error
    if not (math.isfinite(value) and value >= 0):
        raise StepSizeError(
            f"The step-size schedule gave {value!r} at t = {t}; it must give finite numbers >= 0."
        )
    return value
