"""The three products of a dense layer, divided into blocks that OpenBLAS multiplies without packing.

A BLAS first copies ("packs") large matrices, which takes a fifth of the time for a hundred rows.
OpenBLAS multiplies blocks of 64 columns and at most ``BLOCK`` multiplications without that.
"""

import numpy as np

from qpsim.kernels.jit import jit, jit_inner
from qpsim.nn.kernels.blas import address, product, product_transposed

BLOCK = 1_000_000
_COLUMNS = 64
_ROWS = 32
_DEEPEST = 512


@jit_inner
def _cut(length, longest):
    """Length of equal pieces, none longer than ``longest``."""
    pieces = (length + longest - 1) // longest
    return (length + pieces - 1) // pieces


@jit
def add_scaled(total, values, factor):
    """total += factor values."""
    for s in range(total.size):
        total[s] += factor * values[s]


@jit
def forward(gemm, x, weight, bias, y, relu):
    """y = x weight + bias, then its positive part if ``relu``."""
    examples, inputs = x.shape
    units = weight.shape[1]
    item = x.itemsize
    one, zero = weight.dtype.type(1), weight.dtype.type(0)
    rows, columns = _cut(examples, _ROWS), min(_COLUMNS, units)
    depth = _cut(inputs, max(BLOCK // (rows * columns), 1))
    for c0 in range(0, units, columns):
        n = min(columns, units - c0)
        for k0 in range(0, inputs, depth):
            k = min(depth, inputs - k0)
            w = address(weight) + (k0 * units + c0) * item
            for r0 in range(0, examples, rows):
                product(gemm, min(rows, examples - r0), n, k,
                        address(x) + (r0 * inputs + k0) * item, inputs, w, units,
                        zero if k0 == 0 else one,
                        address(y) + (r0 * units + c0) * item, units)  # fmt: skip
        part = bias[c0 : c0 + n]
        for r in range(examples):
            out = y[r, c0 : c0 + n]
            for c in range(n):
                value = out[c] + part[c]
                out[c] = zero if relu and value < zero else value


@jit
def backward_input(gemm, dy, weight, dx):
    """dx = dy weight^T, computed as (weight dy^T)^T, which is faster."""
    examples, units = dy.shape
    inputs = weight.shape[0]
    item = dy.itemsize
    one, zero = weight.dtype.type(1), weight.dtype.type(0)
    for r0 in range(0, examples, _COLUMNS):
        m = min(_COLUMNS, examples - r0)
        turned = np.empty((units, m), dy.dtype)
        for r in range(m):
            for u in range(units):
                turned[u, r] = dy[r0 + r, u]
        tile = np.empty((_COLUMNS, m), dy.dtype)
        depth = _cut(units, BLOCK // (m * _COLUMNS))
        for i0 in range(0, inputs, _COLUMNS):
            n = min(_COLUMNS, inputs - i0)
            for k0 in range(0, units, depth):
                product(gemm, n, m, min(depth, units - k0),
                        address(weight) + (i0 * units + k0) * item, units,
                        address(turned) + k0 * m * item, m, zero if k0 == 0 else one,
                        address(tile), m)  # fmt: skip
            for r in range(m):
                out = dx[r0 + r, i0 : i0 + n]
                for i in range(n):
                    out[i] = tile[i, r]


@jit
def weight_gradient(gemm, x, dy, first, last, out):
    """out (last - first, units) = those rows of x^T dy."""
    examples, inputs = x.shape
    units = dy.shape[1]
    item = x.itemsize
    one, zero = x.dtype.type(1), x.dtype.type(0)
    depth, columns = _cut(examples, _DEEPEST), min(_COLUMNS, units)
    rows = _cut(last - first, max(BLOCK // (depth * columns), 1))
    for i0 in range(first, last, rows):
        m = min(rows, last - i0)
        for c0 in range(0, units, columns):
            for k0 in range(0, examples, depth):
                product_transposed(gemm, m, min(columns, units - c0), min(depth, examples - k0),
                                   address(x) + (k0 * inputs + i0) * item, inputs,
                                   address(dy) + (k0 * units + c0) * item, units,
                                   zero if k0 == 0 else one,
                                   address(out) + ((i0 - first) * units + c0) * item,
                                   units)  # fmt: skip
