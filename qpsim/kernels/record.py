"""What a step leaves behind: losses that are finite, or +inf from the step on which a lane left."""

import numpy as np

from qpsim.kernels.jit import jit

# Well before overflow, so that products of a diverging lane's numbers do not turn into NaN first.
LARGEST_LOSS = 1e300


@jit
def record_loss(loss, dead, out):
    """Write the lanes' losses; a lane beyond LARGEST_LOSS, or NaN, stays +inf from here on."""
    for lane in range(loss.size):
        value = loss[lane]
        gone = dead[lane] != 0 or not value <= LARGEST_LOSS
        dead[lane] = 1 if gone else 0
        out[lane] = np.inf if gone else max(value, 0.0)
