"""Inner products over the coordinates, for arrays with the axes (coordinate, lane)."""

from qpsim.kernels.jit import jit_inner


@jit_inner
def inner(a, b, out):
    """Write the inner products sum_i a_i b_i of each lane to out (lanes,)."""
    for lane in range(out.size):
        out[lane] = 0.0
    add_inner(a, b, out)


@jit_inner
def add_inner(a, b, out):
    """Add the inner products sum_i a_i b_i of each lane to out (lanes,)."""
    for i in range(a.shape[0]):
        for lane in range(out.size):
            out[lane] += a[i, lane] * b[i, lane]
