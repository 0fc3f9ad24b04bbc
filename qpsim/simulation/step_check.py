"""Tests with the draws of a run whether the optimal steps of a user's rule are right.

A step alpha z of the optimal length minimises E[L(theta - alpha z)]: E[z . grad L(theta - alpha z)] = 0 (Eq. 11). With
D = alpha z and a quadratic loss, alpha z . grad L(theta - D) = L(theta) - L(theta - D) - D^T Q D / 2. Its mean over
replicates and steps is 0 if the moments behind alpha are right. It is negative by many standard errors if the direction
is large somewhere between the nodes of the quadrature, which only draws can find. A positive mean proves nothing: rare
large values may be missing among the draws too.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np

from qpsim.errors import PrecisionWarning
from qpsim.simulation.plan import Plan

# All steps up to this number are tested; later ones only if their number is a power of two.
_ALL_UP_TO = 64
_STANDARD_ERRORS = 6.0


class StepTest(NamedTuple):
    """Two sums over replicates and steps: of the term whose mean should be 0, and of its square.

    The term is relative to the loss before the step.
    """

    total: float = 0.0
    squares: float = 0.0

    def with_step(self, before: np.ndarray, after: np.ndarray, of_step: np.ndarray) -> StepTest:
        """Add one step of some replicates, given the excess losses before and after it, and D^T Q D / 2.

        Examples
        --------
        >>> import numpy as np
        >>> StepTest().with_step(np.array([4.0, 0.0]), np.array([1.0, 0.0]), np.array([1.0, 0.0]))
        StepTest(total=0.5, squares=0.25)
        """
        usable = (before > 0.0) & np.isfinite(after) & np.isfinite(of_step)
        term = (before[usable] - after[usable] - of_step[usable]) / before[usable]
        return self + StepTest(float(term.sum()), float(term @ term))

    def __add__(self, other: StepTest) -> StepTest:  # type: ignore[override]
        return StepTest(self.total + other.total, self.squares + other.squares)


def is_needed(plan: Plan) -> bool:
    """Whether the test is needed: rules of the package have no peak that the quadrature could miss."""
    return plan.uses_series and not plan.method.rule.is_builtin


def next_tested_step(t: int) -> int:
    """The first t' >= t such that step t' + 1 is tested.

    Examples
    --------
    >>> [next_tested_step(t) for t in (0, 1, 63, 64, 127, 128)]
    [0, 1, 63, 127, 127, 255]
    """
    return t if t < _ALL_UP_TO else (1 << t.bit_length()) - 1


def warn_of_draws(plan: Plan, test: StepTest) -> None:
    """Warn if the draws show that the steps are too long."""
    if test.squares > 0.0 and test.total < -_STANDARD_ERRORS * test.squares**0.5:
        off = -test.total / test.squares**0.5
        warnings.warn(
            f"Optimal steps of {plan.method.name} are too long, by {off:.0f} standard errors over its draws: it is "
            "large somewhere within less than an eighth of the noise's standard deviation, which its quadrature "
            "does not see. Make it smoother there, or give step sizes.",
            PrecisionWarning,
            stacklevel=4,
        )
