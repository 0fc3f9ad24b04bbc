"""One rule over a flat vector: what a step outside a simulation needs."""

from qpsim.kernels import dispatch
from qpsim.kernels.jit import jit


@jit
def move_all(hyper, gradient, extra, states, t, direction):
    """direction[i] and the new states[:, i, 0]; arithmetic in float64 whatever the arrays hold."""
    for i in range(gradient.size):
        observed = float(extra[i if extra.size > 1 else 0])
        direction[i] = dispatch.move(hyper, float(gradient[i]), observed, states, i, 0, t)
