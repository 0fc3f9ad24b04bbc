"""The steps of :func:`qpsim.best_schedule`: together they minimise the expected loss after the last one.

They follow from the problem, the method, the number of steps and the start alone. They are found before the run and
kept with it, as if they had been given.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import StepSizeError
from qpsim.kernels import policy as codes
from qpsim.simulation.stepsize.policy import Policy, chosen

if TYPE_CHECKING:
    from qpsim.methods import Method
    from qpsim.problem.interface import Problem

NAME = "planned"


def policy(n_steps: int) -> Policy:
    """The policy for so many steps, which :func:`planned` has to fill in."""
    return chosen(NAME, codes.GIVEN, n_steps)


def planned(
    empty: Policy, problem: Problem, method: Method, theta0: np.ndarray, batch_size: int
) -> Policy:
    """The policy with its steps.

    Parameters
    ----------
    empty : Policy
        Of :func:`policy`.
    problem : Problem
    method : Method
    theta0 : ndarray, shape (d,) or (n_replicates, d)
        Of several starts the mean expected loss is minimised.
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
