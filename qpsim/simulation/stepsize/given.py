"""Given step sizes: a number, one number for each step, or a function of t = 1, 2, ..."""

from __future__ import annotations

from typing import Any

import numpy as np

from qpsim import checks
from qpsim.rules import step_policies as codes
from qpsim.simulation.stepsize.policy import Policy

_WANTED = (
    "A step size is 'optimal', 'bound', 'line-search', 'planned', a finite number >= 0, one such number a step, or a "
    "function of the step"
)


def policy(step_size: Any, n_steps: int) -> Policy:
    """The policy with these step sizes; errors are those of :func:`qpsim.checks.step_sizes`."""
    given = checks.step_sizes(step_size, n_steps, _WANTED)
    constant = not callable(step_size) and np.ndim(step_size) == 0
    return Policy("constant" if constant else "schedule", codes.GIVEN, given)
