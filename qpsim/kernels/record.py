"""Recording of losses: +inf from the step at which a lane has diverged."""

import numpy as np

from qpsim.kernels.jit import jit

LARGEST_LOSS = float(np.finfo(np.float64).max)


@jit
def record_loss(loss, diverged, out):
    """Write the losses (lanes,); a lane whose loss is infinite or NaN stays +inf from here on."""
    for lane in range(loss.size):
        value = loss[lane]
        has_diverged = diverged[lane] != 0 or not value <= LARGEST_LOSS
        diverged[lane] = 1 if has_diverged else 0
        out[lane] = np.inf if has_diverged else max(value, 0.0)
