"""One rule over a flat vector: a step outside a simulation, given back or taken in place."""

import numpy as np

from qpsim.kernels import dispatch
from qpsim.kernels.jit import jit


@jit
def move_all(hyper, gradient, extra, states, t, direction):
    """direction[i] and the new states[:, i, 0]; arithmetic in float64 whatever the arrays hold."""
    for i in range(gradient.size):
        observed = float(extra[i if extra.size > 1 else 0])
        direction[i] = dispatch.move(hyper, float(gradient[i]), observed, states, i, 0, t)


@jit
def step_all(hyper, gradient, observed, states, t, step_size, smallest, theta, start, stop):
    """theta[i] -= step_size * direction for start <= i < stop; arithmetic in float64.

    States are (name, 1, parameter): the parameters are the lanes, so that the loop vectorises.
    ``observed`` is read only by a rule that observes something; any vector will do for others.
    """
    for n in range(stop - start):
        # An index that cannot be negative: with one that may count from the end nothing vectorises.
        i = np.uintp(start + n)
        direction = dispatch.move(hyper, float(gradient[i]), float(observed[i]), states, 0, i, t)
        theta[i] -= step_size * direction
    # An average of a gradient that has become 0 fades through the denormal numbers, with which some
    # processors are many times slower; here it ends at the smallest normal one.
    for k in range(states.shape[0]):
        for n in range(stop - start):
            i = np.uintp(start + n)
            if abs(states[k, 0, i]) < smallest:
                states[k, 0, i] = 0.0
