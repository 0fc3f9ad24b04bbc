"""Given step sizes: a number, one number for each step, or a function of t = 1, 2, ..."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qpsim import checks
from qpsim.errors import StepSizeError
from qpsim.rules import step_policies as codes
from qpsim.simulation.stepsize.policy import Policy


def policy(step_size: Any, n_steps: int) -> Policy:
    """The policy with these step sizes.

    Raises
    ------
    StepSizeError
        A step that is not a finite number >= 0; an array of another length; a function that fails.
    """
    if callable(step_size):
        given = [_evaluated(step_size, t) for t in range(1, n_steps + 1)]
        return Policy("schedule", codes.GIVEN, np.array(given))
    try:
        numbers = checks.finite_numbers("step_size", step_size, StepSizeError)
    except StepSizeError:
        numbers = np.array(-1.0)
    if numbers.ndim > 1 or not (numbers >= 0).all():
        raise StepSizeError(
            "A step size is 'optimal', 'bound', 'line-search', 'planned', a finite number >= 0, one "
            f"such number a step, or a function of the step; not {checks.shown(step_size)}."
        )
    if numbers.ndim == 1 and numbers.size != n_steps:
        raise StepSizeError(
            f"{numbers.size} step sizes were given for {n_steps} steps; give one for each."
        )
    name = "constant" if numbers.ndim == 0 else "schedule"
    return Policy(name, codes.GIVEN, np.array(np.broadcast_to(numbers, n_steps)))


def _evaluated(schedule: Callable[[int], float], t: int) -> float:
    try:
        value = schedule(t)
    except Exception as error:
        raise StepSizeError(
            f"The step-size schedule failed at t = {t} ({error}); it must give a number for every t."
        ) from error
    if not (checks.is_number(value) and value >= 0):
        raise StepSizeError(
            f"The step-size schedule gave {checks.shown(value)} at t = {t}; it must give finite "
            "numbers >= 0."
        )
    return float(value)
