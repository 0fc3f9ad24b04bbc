"""RMSprop, AdaGrad, AdaDelta and Rprop, which the paper names as related to Adam.

None of them corrects the bias of its averages. All but Rprop have the epsilon of their sources.
"""

import math

from qpsim.methods.rule import rule
from qpsim.rules.scalar import sign, sqrt

# With an epsilon of 0 AdaDelta would never move.
_ABOVE_ZERO = (2.2250738585072014e-308, math.inf)


def _one_average(v, t, decay, eps):
    return 0.0


def _sum_of_squares(total, t, eps):
    return 0.0


def _two_averages(v, u, t, decay, eps):
    return 0.0


@rule(breakpoint=_one_average)
def rmsprop(gradient, v, t, decay=0.9, eps=1e-8):
    """RMSprop (Tieleman & Hinton, 2012): z = g / (sqrt(v) + eps), v a moving average of g^2."""
    v = decay * v + (1.0 - decay) * gradient * gradient
    length = sqrt(v) + eps
    return gradient / (length if length > 0.0 else 1.0), v


@rule(breakpoint=_sum_of_squares)
def adagrad(gradient, total, t, eps=1e-10):
    """AdaGrad (Duchi et al., 2011): z = g / (sqrt(sum of g^2) + eps)."""
    total = total + gradient * gradient
    length = sqrt(total) + eps
    return gradient / (length if length > 0.0 else 1.0), total


@rule(breakpoint=_two_averages, ranges={"eps": _ABOVE_ZERO})
def adadelta(gradient, v, u, t, decay=0.95, eps=1e-6):
    """AdaDelta (Zeiler, 2012): z = g sqrt(u + eps) / sqrt(v + eps), u a moving average of z^2.

    Its direction has the unit of theta, and the usual step size is 1.
    """
    v = decay * v + (1.0 - decay) * gradient * gradient
    below = v + eps
    direction = gradient * sqrt((u + eps) / (below if below > 0.0 else 1.0))
    return direction, v, decay * u + (1.0 - decay) * direction * direction


@rule(
    closed_form="two-valued",
    ranges={
        "increase": (1.0, math.inf),
        "decrease": (0.0, 1.0),
        "smallest": (0.0, math.inf),
        "largest": _ABOVE_ZERO,
    },
    ordered=(("smallest", "largest"),),
)
def rprop(gradient, size, previous, t, increase=1.2, decrease=0.5, smallest=1e-6, largest=50.0):
    """Rprop (Riedmiller & Braun, 1993), in the iRprop- form: z = size sign(g).

    Each coordinate has a size, 1 at first. It grows while the gradient keeps its sign and shrinks
    when the sign changes; the coordinate does not move in a step in which the sign changes.
    ``smallest`` and ``largest`` bound the size, also at the first step.
    """
    agreement = gradient * previous
    factor = increase if agreement > 0.0 else 1.0
    factor = decrease if agreement < 0.0 else factor
    size = 1.0 if t == 1.0 else size * factor
    size = smallest if size < smallest else size
    size = largest if size > largest else size
    kept = sign(gradient) * (0.0 if agreement < 0.0 else 1.0)
    return size * kept, size, kept
