"""The step sizes of :func:`qpsim.best_schedule`, which minimise the expected loss after the last step.

They depend on the problem, the method, the number of steps and the start. They are computed before the run and stored
with it, as if they had been given.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import StepSizeError
from qpsim.rules import step_policies as codes
from qpsim.simulation.stepsize.policy import Policy, chosen

if TYPE_CHECKING:
    from qpsim.methods import Method

NAME = "planned"


def policy(n_steps: int) -> Policy:
    """The policy for ``n_steps`` steps, without step sizes; :func:`planned` fills them in."""
    return chosen(NAME, codes.GIVEN, n_steps)


def planned(
    empty: Policy, problem: Any, method: Method, theta0: np.ndarray, batch_size: int
) -> Policy:
    """The policy with its step sizes.

    Parameters
    ----------
    empty : Policy
        As :func:`policy` returns it.
    problem : Problem
    method : Method
    theta0 : ndarray, shape (d,) or (n_replicates, d)
        With several starts the mean of their expected losses is minimised.
    batch_size : int

    Raises
    ------
    StepSizeError
        The expected loss is not known for this method or problem.
    ProblemError
        The noise has an infinite variance, or is too small for the law of ssd.
    """
    from qpsim.theory.schedules import PLANNED, best_schedule, is_planned

    if not is_planned(problem, method):
        raise StepSizeError(
            f"The step-size policy 'planned' takes {PLANNED} on a QuadraticProblem, not {method.name} on "
            f"a {type(problem).__name__}; take 'optimal', or given steps."
        )
    if not np.any(problem.excess_loss(theta0)):
        # No step improves a run that starts at the optimum.
        return empty
    quadratic: Any = problem
    best = best_schedule(quadratic.at_batch(batch_size), method, empty.given.size, theta0)
    return replace(empty, given=best.step_size)
