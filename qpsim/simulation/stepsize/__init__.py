"""Step-size policies, one a file: how the step size is chosen.

`resolve` turns the argument ``step_size`` into a :class:`~qpsim.simulation.stepsize.policy.Policy`. A new named policy
is one more file with a ``NAME`` and a function ``policy(n_steps)``, and its line in ``POLICIES``.
"""

from __future__ import annotations

from typing import Any

from qpsim.errors import StepSizeError, nearest
from qpsim.simulation.stepsize import bound, given, line_search, optimal, planned
from qpsim.simulation.stepsize.policy import Policy, StepSize

__all__ = ["POLICIES", "Policy", "StepSize", "resolve"]

POLICIES = {module.NAME: module.policy for module in (optimal, bound, line_search, planned)}


def resolve(step_size: Any, n_steps: int) -> Policy:
    """The policy for a ``step_size`` argument and a number of steps.

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
    >>> resolve("optimal", 3).is_exact
    True
    """
    if not isinstance(step_size, str):
        return given.policy(step_size, n_steps)
    if step_size not in POLICIES:
        raise StepSizeError(
            f"Unknown step-size policy {step_size!r}; {nearest(step_size, POLICIES)}"
        )
    return POLICIES[step_size](n_steps)
