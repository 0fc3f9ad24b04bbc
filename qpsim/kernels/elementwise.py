"""A rule applied to each entry of a flat vector, for steps outside of simulations."""

import numpy as np

from qpsim.kernels import dispatch
from qpsim.kernels.jit import jit


@jit
def move_all(hyper, gradient, extra, states, t, direction):
    """Write direction[i] and the new states[:, i, 0]; arithmetic is float64 for arrays of any precision."""
    for i in range(gradient.size):
        observed = float(extra[i if extra.size > 1 else 0])
        direction[i] = dispatch.move(hyper, float(gradient[i]), observed, states, i, 0, t)


@jit
def step_all(hyper, gradient, observed, states, t, step_size, smallest, theta, start, stop):
    """One step of a method, in place: theta[i] -= step_size * direction[i] for start <= i < stop.

    Arithmetic is float64 for arrays of any precision.

    Parameters
    ----------
    hyper : NamedTuple
        The method's hyper-parameters; their type selects the rule.
    gradient, observed : (n_parameters,)
        ``observed`` is read only by a rule that observes a variance; for others it may be any vector.
    states : (n_states, 1, n_parameters)
        The parameters are the last axis, so that the loop vectorises.
    t : float
        Number of this step, the first being 1.
    smallest : float
        Smallest normal number of the arrays' dtype.
    theta : (n_parameters,)
    start, stop : int
        Range of parameters to move.
    """
    for n in range(stop - start):
        # An unsigned index: numba lets signed ones count from the end, which prevents vectorisation.
        i = np.uintp(start + n)
        direction = dispatch.move(hyper, float(gradient[i]), float(observed[i]), states, 0, i, t)
        theta[i] -= step_size * direction
    # Numbers below the smallest normal one ("subnormal") slow many processors down by a factor of ten and more. Moving
    # averages become subnormal when gradients have become 0, and so do weights that only L2 changes. Both are set to 0
    # here. For weights the limit is the square root, because the network multiplies them with each other and with small
    # gradients.
    smallest_theta = np.sqrt(smallest)
    for n in range(stop - start):
        i = np.uintp(start + n)
        if abs(theta[i]) < smallest_theta:
            theta[i] = 0.0
    for k in range(states.shape[0]):
        for n in range(stop - start):
            i = np.uintp(start + n)
            if abs(states[k, 0, i]) < smallest:
                states[k, 0, i] = 0.0
