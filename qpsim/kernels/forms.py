"""Quadratic forms b^T M b of symmetric matrices without diagonal, for a block of columns b.

By symmetry the form is the sum over j < i of 2 m_ij b_i b_j. This needs half the products of M b, and M b is not
stored. A full matrix is processed in tiles of a few rows i and all columns j before them, with the sums in registers,
for several vectors of lanes. A sparse matrix has a list of columns for each row and is processed for all lanes at once.
Compilers do not vectorise such loops well, so that they are written in vector instructions
(:mod:`qpsim.kernels.form_vectors`). Each is a fused multiply-add: results have the same bits for any vector width, and
do not depend on the number of lanes. If numba does not support them, ordinary loops with the same results are used
(:mod:`qpsim.kernels.form_loops`).
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from qpsim.kernels import form_loops, form_vectors
from qpsim.kernels.form_vectors import LANES, TILE_ROWS, VECTOR_BYTES
from qpsim.kernels.jit import jit_inline, jit_inner
from qpsim.kernels.numba_interface import intrinsic, ir, types, works

# Arrays begin at a cache line: a vector across two lines takes two loads.
_LINE_BYTES = 64
# Lanes of one vector of doubles, and lanes that a tile processes at once: the sums of two vectors and their operands
# fit into 16 registers. Twice as many would be 3 % faster and take half a second more to compile.
_NARROW = VECTOR_BYTES // 8
_WIDE = 2 * _NARROW
# Lanes that a list processes at once.
_LIST_LANES = 64
# Lanes of a column that are filled at once: four independent chains of products.
_COLUMN_LANES = 4 * _NARROW
# Number of rows whose products are summed in single precision before they are added to a double.
_LISTS_AT_ONCE = 5
# Columns of one strip: with the lanes processed at once they stay in the L1 cache.
_LIST_COLUMNS = 112
_SMALLEST = float(np.finfo(np.float32).tiny)


@jit_inline
def padded(size, multiple):
    """The smallest multiple that is at least ``size``."""
    return -(-size // multiple) * multiple


def triangle(dim: int) -> np.ndarray:
    """Indices into a flat (dim, dim) matrix of the entries of its packed lower triangle, tile by tile.

    Entries of a tile on or above the diagonal have the index 0, an entry on the diagonal.
    """
    pieces = []
    for first in range(0, dim, TILE_ROWS):
        column = np.arange(first + TILE_ROWS)[:, None]
        row = np.arange(first, first + TILE_ROWS)[None, :]
        pieces.append(np.where((column < row) & (row < dim), row * dim + column, 0).ravel())
    return np.concatenate(pieces)


class Lists(NamedTuple):
    """n sparse matrices: entries below the diagonal that are not 0, row by row.

    Columns are divided into strips. ``ends`` (n, strips, d) are the positions at which the entries of a row in a strip
    end and those of the next row begin; ``columns`` and ``entries`` (size,) are j, in 16 bits, and 2 m_ij. If a row has
    an odd number of entries a 0 is added, since two are processed at once.
    """

    ends: np.ndarray
    columns: np.ndarray
    entries: np.ndarray


def lists(rows: np.ndarray, columns: np.ndarray, entries: Iterable[np.ndarray], dim: int) -> Lists:
    """`Lists` of matrices (dim, dim) from the entries (pairs,) of each at i and j.

    Entries that are 0, or subnormal in single precision and so slow, are left out.
    """
    n_strips = -(-dim // _LIST_COLUMNS)
    where = columns // -(-dim // n_strips) * dim + rows
    order = np.argsort(where, kind="stable")
    where, short = where[order], columns[order].astype(np.uint16)
    counts = [np.empty(0, dtype=np.intp)]
    found, values = [np.empty(0, np.uint16)], [np.empty(0, np.float32)]
    for one in entries:
        entry = one[order].astype(np.float32)
        kept = np.flatnonzero(np.abs(entry) > _SMALLEST)
        count = np.bincount(where[kept], minlength=n_strips * dim)
        odd = np.cumsum(count)[count % 2 == 1]
        counts.append(count + count % 2)
        found.append(np.insert(short[kept], odd, short[kept][odd - 1]))
        values.append(np.insert(entry[kept], odd, 0.0))
    ends = np.cumsum(np.concatenate(counts)).reshape(-1, n_strips, dim)
    return Lists(ends, np.concatenate(found), np.concatenate(values))


@intrinsic
def address(typing_context: Any, array: Any) -> Any:
    """The address of an array in memory."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.ptrtoint(array.data, ir.IntType(64))

    return types.int64(array), generate


@jit_inner
def lane_array(rows, lanes):
    """An array (rows, lanes) of doubles, not initialised, that begins at a cache line.

    The kernels of the exact sign step make all their arrays with this function, so that all have the same type. Shapes
    must not be literals (write np.int64(1)): a literal has another type, and the kernel would be compiled again.
    """
    room = np.empty(rows * lanes + _LINE_BYTES // 8)
    begin = (-address(room) % _LINE_BYTES) // 8
    return room[begin : begin + rows * lanes].reshape((rows, lanes))


@jit_inner
def add_forms(packed, columns, out):
    """out[lane] += sum over n of the form of the n-th matrix and the n-th columns.

    ``packed`` (n, size) holds 2 m_ij in the order of `triangle`, ``columns`` (n * d, lanes), d and
    lanes padded with zeros to multiples of TILE_ROWS and LANES; ``out`` is (lanes,).
    """
    n_forms, lanes = packed.shape[0], columns.shape[1]
    rows = columns.shape[0] // n_forms if n_forms > 0 else 0
    for n in range(n_forms):
        some = columns[n * rows : (n + 1) * rows]
        lane = 0
        while lane < lanes:
            several = lane + _WIDE <= lanes
            begin = 0
            for first in range(0, rows, TILE_ROWS):
                if several:
                    add_wide_tile(packed[n], begin, some, first, lane, out)
                else:
                    add_narrow_tile(packed[n], begin, some, first, lane, out)
                begin += TILE_ROWS * (first + TILE_ROWS)
            lane += _WIDE if several else _NARROW


@jit_inner
def add_list_forms(matrices, first_term, columns, out):
    """`add_forms` of some `Lists`, with ``columns`` (n * d, lanes) and products in single precision.

    Sums of a few rows are converted to double precision and added to ``out`` (lanes,).
    """
    j, m = matrices.columns, matrices.entries
    strips, d, lanes = matrices.ends.shape[1], matrices.ends.shape[2], columns.shape[1]
    begin = matrices.ends[first_term - 1, strips - 1, d - 1] if first_term > 0 else 0
    for n in range(columns.shape[0] // d):
        some = columns[n * d : (n + 1) * d]
        for strip in range(strips):
            ends = matrices.ends[first_term + n, strip]
            for first in range(0, d, _LISTS_AT_ONCE):
                last = min(first + _LISTS_AT_ONCE, d)
                lane = 0
                while lane < lanes:
                    several = lane + _LIST_LANES <= lanes
                    if several:
                        add_wide_rows(j, m, ends, begin, first, last, some, lane, out)
                    else:
                        add_narrow_rows(j, m, ends, begin, first, last, some, lane, out)
                    lane += _LIST_LANES if several else LANES
                begin = ends[last - 1]


@jit_inner
def fill_terms(steps, a, this, last, terms):
    """Fill the columns c_n of some terms (n * rows, lanes) by c_{n+1} = a c_n + step_n c_{n-1}.

    ``steps`` (n,), ``a`` (d, lanes), where rows may be more than d; ``this`` and ``last`` (d, lanes), in double
    precision, are the next c_n and the one before, and are updated. Lanes are a multiple of LANES.
    """
    if steps.size == 0:
        return
    for i in range(a.shape[0]):
        lane = 0
        while lane < a.shape[1]:
            if lane + _COLUMN_LANES <= a.shape[1]:
                fill_wide_column(steps, a, this, last, i, lane, terms)
                lane += _COLUMN_LANES
            else:
                fill_column(steps, a, this, last, i, lane, terms)
                lane += LANES


def _made_of(vectors: bool) -> tuple[Any, ...]:
    make = form_vectors if vectors else form_loops
    tiles = make.tile(_WIDE), make.tile(_NARROW)
    return (
        *tiles,
        make.rows(_LIST_LANES),
        make.rows(LANES),
        make.column(_COLUMN_LANES),
        make.column(LANES),
    )


def _example() -> bool:
    """Whether vector instructions and loops give the same result."""
    numbers = np.random.Generator(np.random.PCG64(0)).standard_normal((2 * TILE_ROWS, 64))
    results = []
    for vectors in (True, False):
        tile, _, rows, _, column, _ = _made_of(vectors)

        @njit
        def run(numbers, short, ends, partners, out):
            tile(numbers[0], 0, numbers, TILE_ROWS, 0, out[0])  # noqa: B023 used before they change
            rows(partners, short[1], ends, 0, 0, 2, short, 0, out[1])  # noqa: B023
            column(numbers[0, :3], numbers, out[2:4], out[4:6], 0, 0, out[6:12])  # noqa: B023

        out = np.ones((12, 64))
        partners = np.array([0, 1, 2, 3], dtype=np.uint16)
        run(numbers, numbers.astype(np.float32), np.array([2, 4]), partners, out)
        results.append(out)
    return bool(np.array_equal(results[0], results[1]))


HAS_VECTORS = works("Vector instructions", _example, "sums of the exact sign step take plain loops")
add_wide_tile, add_narrow_tile, add_wide_rows, add_narrow_rows, fill_wide_column, fill_column = (
    _made_of(HAS_VECTORS)
)
