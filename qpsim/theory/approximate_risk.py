"""Approximate risk curves of sign descent on a dense Hessian, selected by the argument ``law``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim import checks
from qpsim.errors import MethodError, ProblemError, TheoryError
from qpsim.methods import plain
from qpsim.theory import arguments as check
from qpsim.theory.sign_closure import gaussian_sign_path

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from qpsim.methods import Method

    Array = NDArray[np.float64]

# Values of ``law``; all but the first are approximations.
LAWS = ("exact", "closure", "high-dimensional")


def approximate_risk(
    problem: Any,
    method: Method,
    theta0: ArrayLike,
    step_size: Any,
    n_steps: int,
    law: str,
) -> Array:
    """Approximate E[excess loss] (n_steps + 1,); arguments as in :func:`qpsim.theory.expected_excess_loss`."""
    if law == "high-dimensional":
        from qpsim.theory.high_dimensional import high_dimensional_risk

        return high_dimensional_risk(problem, method, theta0, step_size, n_steps)
    if method.rule is not plain.ssd:
        raise MethodError(f"The Gaussian closure is that of ssd, not of {method.name}.")
    p = check.problem(problem)
    start = check.point(p, theta0)
    if start.ndim != 1:
        raise ProblemError(f"theta0 must have shape ({p.dim},), not {start.shape}.")
    n = check.count(n_steps, "n_steps")
    greedy = isinstance(step_size, str) and step_size == "optimal"
    steps = None if greedy else check.schedule(step_size, n)
    return gaussian_sign_path(p, start - p.optimum, steps, n).risk


def law_of(law: Any, return_error_bound: bool, average: Any) -> str:
    """Check ``law``, one of :data:`LAWS`, and the options that are allowed with it."""
    chosen = checks.choice("law", law, LAWS, TheoryError)
    checks.flag("return_error_bound", return_error_bound, TheoryError)
    if chosen != "exact" and (return_error_bound or average is not None):
        asked = "no error bound" if return_error_bound else "no average"
        raise TheoryError(f"There is {asked} for the {chosen} law; it is an approximation.")
    return chosen
