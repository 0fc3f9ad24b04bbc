"""The exact optimal step ``grad^T E[z] / E[z^T Q z]`` (Eq. 11), from the direction's moments given the state.

It minimises the expected loss after this one step (it is greedy): a schedule may do better over many steps.
"""

from qpsim.rules import step_policies as codes
from qpsim.simulation.stepsize.policy import Policy, chosen

NAME = "optimal"


def policy(n_steps: int) -> Policy:
    """The policy for ``n_steps`` steps."""
    return chosen(NAME, codes.OPTIMAL, n_steps)
