"""Sums over the coordinates of the columns of arrays (coordinate, lane)."""

from qpsim.kernels.jit import jit_inner


@jit_inner
def inner(a, b, out):
    """Inner products sum_i a_i b_i of the columns."""
    for lane in range(out.size):
        out[lane] = 0.0
    add_inner(a, b, out)


@jit_inner
def add_inner(a, b, out):
    """Add the columns' inner products."""
    for i in range(a.shape[0]):
        for lane in range(out.size):
            out[lane] += a[i, lane] * b[i, lane]
