"""Steps that are given: a number, one number a step, or a function of t = 1, 2, ..."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from qpsim.errors import StepSizeError
from qpsim.kernels import policy as codes
from qpsim.simulation.stepsize.policy import Policy


def policy(step_size: Any, n_steps: int) -> Policy:
    """The policy that takes these steps.

    Raises
    ------
    StepSizeError
        A step that is not a finite number >= 0; an array of another length; a function that fails.
    """
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
