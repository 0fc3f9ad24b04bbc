"""The step that minimises the exact loss along the direction that was drawn."""

from qpsim.rules import step_policies as codes
from qpsim.simulation.stepsize.policy import Policy, chosen

NAME = "line-search"


def policy(n_steps: int) -> Policy:
    """The policy for ``n_steps`` steps."""
    return chosen(NAME, codes.LINE_SEARCH, n_steps)
