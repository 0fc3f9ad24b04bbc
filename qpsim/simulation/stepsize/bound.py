"""The step of Eq. 12, whose denominator bounds E[z^T Q z].

For a sign method it is ``sum_ij |q_ij|``, which needs no noise level; for a method without a closed form
``sum_ij |q_ij| sqrt(E[z_i^2] E[z_j^2])`` (Cauchy-Schwarz); for a gradient method Eq. 12's denominator is exact, so that
bound and optimal agree.
"""

from qpsim.rules import step_policies as codes
from qpsim.simulation.stepsize.policy import Policy, chosen

NAME = "bound"


def policy(n_steps: int) -> Policy:
    """The policy for ``n_steps`` steps."""
    return chosen(NAME, codes.BOUND, n_steps)
