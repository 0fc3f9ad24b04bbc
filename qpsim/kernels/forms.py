"""Quadratic forms b^T M b of symmetric matrices without diagonal, for a block of columns b.

By symmetry the form is the sum over j < i of 2 m_ij b_i b_j: half of the products of M b, and what
M b would be is never stored. Of a full matrix a tile of a few rows i meets all columns j before them
with its sums in registers, several vectors of lanes wide. Of a matrix with gaps every row has a list
of its columns, and all lanes at once. Either is beyond a vectorising compiler, hence explicit vector
instructions; each is a fused multiply-add, so that results have the same bits for any vector width,
and a lane's do not depend on how many there are.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.core.errors import TypingError

from qpsim.kernels.elementary import intrinsic
from qpsim.kernels.jit import jit_inline, jit_inner

TILE_ROWS = 5
# Lanes are padded to whole vectors of 512 bits of single precision.
LANES = 16
_HAS_512_BITS = bool(binding.get_host_cpu_features().get("avx512f", False))
_VECTOR_BYTES = 64 if _HAS_512_BITS else 32
# A vector that is spread over two lines of the cache takes two loads.
_LINE_BYTES = 64
# Sums of a tile, and what they are made from, fit into 16 registers. Twice as many vectors would be
# 3 % faster and take half a second more to compile.
_VECTORS = 2
# Lanes that a tile of _VECTORS works on at once, and those that a list does.
_WIDE = _VECTORS * _VECTOR_BYTES // 8
_LIST_LANES = 64
# Lanes of a column that are filled at once: four chains of products, which need not wait for each other.
_COLUMN_LANES = 4 * _VECTOR_BYTES // 8
# Rows of lists whose products are summed in single precision.
_LISTS_AT_ONCE = 5
# Columns that a list may reach: with as many lanes as it takes at once they stay in the L1 cache.
_LIST_COLUMNS = 112
_SMALLEST = float(np.finfo(np.float32).tiny)
_INDEX = ir.IntType(64)
_SINGLE, _DOUBLE = ir.FloatType(), ir.DoubleType()


@jit_inline
def padded(size, multiple):
    """The least multiple that is not below a size."""
    return -(-size // multiple) * multiple


def triangle(dim: int) -> np.ndarray:
    """Where in a flat (dim, dim) matrix its packed lower triangle is found, tile by tile.

    Entries of a tile that are not below the diagonal point at entry 0, which is on it.
    """
    pieces = []
    for first in range(0, dim, TILE_ROWS):
        column = np.arange(first + TILE_ROWS)[:, None]
        row = np.arange(first, first + TILE_ROWS)[None, :]
        pieces.append(np.where((column < row) & (row < dim), row * dim + column, 0).ravel())
    return np.concatenate(pieces)


class Lists(NamedTuple):
    """Matrices (n) with gaps: entries below the diagonal that are not 0, row by row.

    Columns are cut into strips. ``ends`` (n, strips, d) is where a row's entries within a strip
    end, the next row's begin; ``columns`` and ``entries`` (size,) are j, in 16 bits, and 2 m_ij. An odd
    number of entries is made even by a 0, since they are taken by twos.
    """

    ends: np.ndarray
    columns: np.ndarray
    entries: np.ndarray


def lists(rows: np.ndarray, columns: np.ndarray, entries: Iterable[np.ndarray], dim: int) -> Lists:
    """`Lists` of matrices (dim, dim) from the entries (pairs,) of each at i and j.

    Entries of 0 are left out, and so is what single precision holds as a subnormal number: it is slow.
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
    """Where an array begins in memory."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.ptrtoint(array.data, _INDEX)

    return types.int64(array), generate


@jit_inner
def lane_array(rows, lanes):
    """An array (rows, lanes) of doubles, not set, from the beginning of a line of the cache.

    The kernels of the exact sign step make all their arrays so: each other way would be compiled apart,
    and so would be a shape that is a constant and not, say, np.int64(1).
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
            lane += _WIDE if several else _VECTOR_BYTES // 8


@jit_inner
def add_list_forms(matrices, first_term, columns, out):
    """`add_forms` of some `Lists`, with ``columns`` (n * d, lanes) and products in single precision.

    Sums of products of a few rows are widened: ``out`` (lanes,) is double.
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

    ``steps`` (n,), ``a`` (d, lanes), where rows may be more than d; ``this`` and ``last`` (d, lanes),
    in double precision, are the next c_n and the one before, and left so. Lanes are whole multiples of
    LANES.
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


class _Lanes:
    """Code that works on vectors of lanes."""

    def __init__(self, context: Any, builder: Any, kind: Any, vectors: int) -> None:
        self.context, self.builder, self.vectors = context, builder, vectors
        self.width = _VECTOR_BYTES // (4 if kind == _SINGLE else 8)
        self.vector = ir.VectorType(kind, self.width)
        self.zero = ir.Constant(self.vector, [0.0] * self.width)

    def array(self, kind: Any, value: Any) -> Any:
        """An argument's array."""
        return self.context.make_array(kind)(self.context, self.builder, value)

    def at(self, array: Any, row: Any, lane: Any) -> Any:
        """Where a lane of a row begins in an array whose last axis is the lanes."""
        stride = cgutils.unpack_tuple(self.builder, array.shape)[-1]
        return self.builder.gep(array.data, [self.builder.add(self.builder.mul(row, stride), lane)])

    def pointers(self, start: Any, vector: Any) -> list[Any]:
        """Where so many lanes from a start on are found, cut into vectors."""
        places = [self.builder.gep(start, [_INDEX(k * self.width)]) for k in range(self.vectors)]
        return [self.builder.bitcast(place, vector.as_pointer()) for place in places]

    def load(self, start: Any) -> list[Any]:
        """Lanes from a start on."""
        return [self.builder.load(p, align=4) for p in self.pointers(start, self.vector)]

    def number(self, array: Any, where: Any) -> Any:
        """One number of an array."""
        return self.builder.load(self.builder.gep(array.data, [where]))

    def broadcast(self, number: Any) -> Any:
        """One number in every lane of a vector."""
        builder = self.builder
        undefined = ir.Constant(self.vector, ir.Undefined)
        one = builder.insert_element(undefined, number, ir.IntType(32)(0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.width), [0] * self.width)
        return builder.shuffle_vector(one, undefined, mask)

    def variables(self) -> list[Any]:
        """Vectors of lanes that change; they become registers. At first they are 0."""
        found = [
            cgutils.alloca_once(self.builder, self.vector, name="lanes")
            for _ in range(self.vectors)
        ]
        self.store(self.vectors * [self.zero], found)
        return found

    def store(self, values: list[Any], where: list[Any]) -> None:
        """Set vectors of lanes."""
        for value, place in zip(values, where, strict=True):
            self.builder.store(value, place, align=4)

    def values(self, variables: list[Any]) -> list[Any]:
        """What vectors of lanes are now."""
        return [self.builder.load(variable, align=4) for variable in variables]

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a * b + c, rounded once."""
        kind = "f32" if self.vector.element == _SINGLE else "f64"
        function = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(self.vector, [self.vector] * 3),
            f"llvm.fma.v{self.width}{kind}",
        )
        return self.builder.call(function, [a, b, c])

    def add_to(self, out: Any, totals: list[Any]) -> None:
        """Add vectors of lanes to what is stored in double precision."""
        double = ir.VectorType(_DOUBLE, self.width)
        for place, total in zip(self.pointers(out, double), totals, strict=True):
            value = total if self.vector == double else self.builder.fpext(total, double)
            self.builder.store(
                self.builder.fadd(self.builder.load(place, align=8), value), place, align=8
            )


def _contiguous(*arrays: Any) -> None:
    if any(array.layout != "C" for array in arrays):
        raise TypingError("The arrays of a quadratic form must be contiguous.")


def _tile(vectors: int) -> Any:
    """An intrinsic that adds one tile's share of a form to so many vectors of lanes.

    Rows are those from ``first`` to first + TILE_ROWS, columns j those before their end.
    """

    @intrinsic
    def add_tile(
        typing_context: Any, packed: Any, begin: Any, columns: Any, first: Any, lane: Any, out: Any
    ) -> Any:
        _contiguous(packed, columns, out)
        signature = types.void(packed, types.int64, columns, types.int64, types.int64, out)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            lanes = _Lanes(context, builder, _DOUBLE, vectors)
            kinds = signature.args
            entries, begin, columns, first, lane, out = arguments
            entries, columns = lanes.array(kinds[0], entries), lanes.array(kinds[2], columns)
            sums = [lanes.variables() for _ in range(TILE_ROWS)]
            with cgutils.for_range(builder, builder.add(first, _INDEX(TILE_ROWS))) as loop:
                column = lanes.load(lanes.at(columns, loop.index, lane))
                start = builder.add(begin, builder.mul(loop.index, _INDEX(TILE_ROWS)))
                for r, row in enumerate(sums):
                    entry = lanes.broadcast(lanes.number(entries, builder.add(start, _INDEX(r))))
                    pairs = zip(column, lanes.values(row), strict=True)
                    lanes.store([lanes.fma(entry, b, s) for b, s in pairs], row)
            totals = vectors * [lanes.zero]
            for r, row in enumerate(sums):
                column = lanes.load(lanes.at(columns, builder.add(first, _INDEX(r)), lane))
                triples = zip(lanes.values(row), column, totals, strict=True)
                totals = [lanes.fma(p, b, t) for p, b, t in triples]
            lanes.add_to(builder.gep(lanes.array(kinds[5], out).data, [lane]), totals)
            return context.get_dummy_value()

        return signature, generate

    return add_tile


def _rows(n_lanes: int) -> Any:
    """An intrinsic that adds the share of some rows' lists to so many lanes."""

    @intrinsic
    def add_rows(
        typing_context: Any,
        partners: Any,
        entries: Any,
        ends: Any,
        begin: Any,
        first: Any,
        last: Any,
        columns: Any,
        lane: Any,
        out: Any,
    ) -> Any:
        _contiguous(partners, entries, ends, columns, out)
        index = types.int64
        signature = types.void(partners, entries, ends, index, index, index, columns, index, out)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            lanes = _Lanes(context, builder, _SINGLE, 4 * n_lanes // _VECTOR_BYTES)
            kinds = signature.args
            partners, entries, ends, columns, out = (
                lanes.array(kinds[k], arguments[k]) for k in (0, 1, 2, 6, 8)
            )
            begin, first, last, lane = (arguments[k] for k in (3, 4, 5, 7))
            one = _INDEX(1)
            start = cgutils.alloca_once_value(builder, builder.lshr(begin, one))
            totals = lanes.variables()
            with cgutils.for_range(builder, last, start=first) as rows:
                end = builder.lshr(lanes.number(ends, rows.index), one)
                # Two entries have sums of their own: one chain of products would be waited for.
                both = [lanes.variables(), lanes.variables()]
                with cgutils.for_range(builder, end, start=builder.load(start)) as loop:
                    for k, sums in enumerate(both):
                        where = builder.add(builder.shl(loop.index, one), _INDEX(k))
                        j = builder.zext(lanes.number(partners, where), _INDEX)
                        entry = lanes.broadcast(lanes.number(entries, where))
                        column = lanes.load(lanes.at(columns, j, lane))
                        pairs = zip(column, lanes.values(sums), strict=True)
                        lanes.store([lanes.fma(entry, b, s) for b, s in pairs], sums)
                builder.store(end, start)
                column = lanes.load(lanes.at(columns, rows.index, lane))
                pairs = zip(*(lanes.values(sums) for sums in both), strict=True)
                row = [builder.fadd(s, t) for s, t in pairs]
                triples = zip(row, column, lanes.values(totals), strict=True)
                lanes.store([lanes.fma(p, b, t) for p, b, t in triples], totals)
            lanes.add_to(builder.gep(out.data, [lane]), lanes.values(totals))
            return context.get_dummy_value()

        return signature, generate

    return add_rows


def _column(n_lanes: int) -> Any:
    """An intrinsic that fills so many lanes of one row of `fill_terms`."""

    @intrinsic
    def fill_column(
        typing_context: Any,
        steps: Any,
        a: Any,
        this: Any,
        last: Any,
        row: Any,
        lane: Any,
        terms: Any,
    ) -> Any:
        _contiguous(steps, a, this, last, terms)
        signature = types.void(steps, a, this, last, types.int64, types.int64, terms)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            lanes = _Lanes(context, builder, _DOUBLE, 8 * n_lanes // _VECTOR_BYTES)
            steps, a, this, last, terms = (
                lanes.array(signature.args[k], arguments[k]) for k in (0, 1, 2, 3, 6)
            )
            row, lane = arguments[4:6]
            kind = context.get_value_type(signature.args[6].dtype)
            (n_terms,) = cgutils.unpack_tuple(builder, steps.shape)
            n_rows = builder.sdiv(cgutils.unpack_tuple(builder, terms.shape)[0], n_terms)
            x = lanes.load(lanes.at(a, row, lane))
            now, before = lanes.variables(), lanes.variables()
            for array, registers in ((this, now), (last, before)):
                lanes.store(lanes.load(lanes.at(array, row, lane)), registers)
            with cgutils.for_range(builder, n_terms) as loop:
                values = lanes.values(now)
                where = lanes.at(terms, builder.add(builder.mul(loop.index, n_rows), row), lane)
                vector = ir.VectorType(kind, lanes.width)
                rounded = [v if kind == _DOUBLE else builder.fptrunc(v, vector) for v in values]
                lanes.store(rounded, lanes.pointers(where, vector))
                step = lanes.broadcast(lanes.number(steps, loop.index))
                products = [builder.fmul(step, v) for v in lanes.values(before)]
                lanes.store(values, before)
                triples = zip(x, values, products, strict=True)
                lanes.store([lanes.fma(*triple) for triple in triples], now)
            for array, registers in ((this, now), (last, before)):
                start = lanes.at(array, row, lane)
                lanes.store(lanes.values(registers), lanes.pointers(start, lanes.vector))
            return context.get_dummy_value()

        return signature, generate

    return fill_column


add_wide_tile = _tile(_VECTORS)
add_narrow_tile = _tile(1)
add_wide_rows = _rows(_LIST_LANES)
add_narrow_rows = _rows(LANES)
fill_wide_column = _column(_COLUMN_LANES)
fill_column = _column(LANES)
