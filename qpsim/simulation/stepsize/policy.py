"""The class ``Policy``: a checked step-size policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from qpsim.rules import step_policies as codes

StepSize = str | float | Sequence[float] | np.ndarray | Callable[[int], float]


@dataclass(frozen=True, eq=False)
class Policy:
    """A checked policy.

    Attributes
    ----------
    name : str
        "optimal", "bound", "line-search", "planned", "constant" or "schedule".
    code : int
        A code of :mod:`qpsim.rules.step_policies`, by which the step loops choose the step.
    given : ndarray (n_steps,)
        The step sizes, if they are given or planned; else zeros.
    """

    name: str
    code: int
    given: np.ndarray

    @property
    def is_exact(self) -> bool:
        """Whether steps come from the direction's exact moments."""
        return self.code == codes.OPTIMAL

    @property
    def is_bound(self) -> bool:
        """Whether steps come from a bound of E[z^T Q z]."""
        return self.code == codes.BOUND

    @property
    def is_given(self) -> bool:
        """Whether the step sizes are known before the run."""
        return self.code == codes.GIVEN


def chosen(name: str, code: int, n_steps: int) -> Policy:
    """A policy that chooses its steps during the run."""
    return Policy(name, code, np.zeros(n_steps))
