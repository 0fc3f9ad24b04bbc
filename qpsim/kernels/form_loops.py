"""The inner loops of quadratic forms as ordinary loops for numba.

They replace :mod:`qpsim.kernels.form_vectors` if the installed numba does not support that file. They are slower and
give the same bits: every product is added in the same order, by a fused multiply-add.
"""

from typing import Any

import numpy as np

from qpsim.kernels.elementary import fma
from qpsim.kernels.form_vectors import TILE_ROWS
from qpsim.kernels.jit import jit_inner
from qpsim.kernels.numba_interface import intrinsic, types


@intrinsic
def fma_single(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c in single precision, rounded once."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), generate


def tile(n_lanes: int) -> Any:
    """A function that adds the terms of one tile of a form to ``n_lanes`` lanes.

    Rows are those from ``first`` to first + TILE_ROWS, columns j those before their end.
    """

    @jit_inner
    def add_tile(packed, begin, columns, first, lane, out):
        for k in range(lane, lane + n_lanes):
            total = 0.0
            for r in range(TILE_ROWS):
                row = 0.0
                for j in range(first + TILE_ROWS):
                    row = fma(packed[begin + j * TILE_ROWS + r], columns[j, k], row)
                total = fma(row, columns[first + r, k], total)
            out[k] += total

    return add_tile


def rows(n_lanes: int) -> Any:
    """A function that adds the terms of some rows of `Lists` to ``n_lanes`` lanes."""

    @jit_inner
    def add_rows(partners, entries, ends, begin, first, last, columns, lane, out):
        zero = np.float32(0.0)
        for k in range(lane, lane + n_lanes):
            start, total = begin, zero
            for i in range(first, last):
                even = odd = zero
                for n in range(start, ends[i], 2):
                    even = fma_single(entries[n], columns[partners[n], k], even)
                    odd = fma_single(entries[n + 1], columns[partners[n + 1], k], odd)
                start = ends[i]
                total = fma_single(even + odd, columns[i, k], total)
            out[k] += np.float64(total)

    return add_rows


def column(n_lanes: int) -> Any:
    """A function that fills ``n_lanes`` lanes of one row of ``fill_terms``."""

    @jit_inner
    def fill_column(steps, a, this, last, row, lane, terms):
        n_rows = terms.shape[0] // steps.size
        for k in range(lane, lane + n_lanes):
            now, before = this[row, k], last[row, k]
            for n in range(steps.size):
                terms[n * n_rows + row, k] = now
                now, before = fma(a[row, k], now, steps[n] * before), now
            this[row, k], last[row, k] = now, before

    return fill_column
