"""Quadratic forms b^T M b of symmetric matrices without diagonal, for a block of columns b.

By symmetry the form is the sum over j < i of 2 m_ij b_i b_j: half of the products of M b, and what
M b would be is never stored. A tile of a few rows i meets all columns j before them with its sums in
registers, several vectors of lanes wide. That is beyond a vectorising compiler, hence explicit
vector instructions; each is a fused multiply-add, so that results have the same bits for any vector
width, and a lane's do not depend on how many there are.
"""

from typing import Any

import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, types
from numba.core.errors import TypingError

from qpsim.kernels.elementary import intrinsic
from qpsim.kernels.jit import jit, jit_inline

TILE_ROWS = 5
# Lanes are padded to whole vectors of 512 bits of single precision.
LANES = 16
_HAS_512_BITS = bool(binding.get_host_cpu_features().get("avx512f", False))
_VECTOR_BYTES = 64 if _HAS_512_BITS else 32
# Sums of a tile, and what they are made from, fit into 16 registers. Twice as many vectors would be
# 3 % faster and take half a second more to compile.
_VECTORS = 2
# Single-precision lanes that a tile of _VECTORS works on at once, and double-precision ones.
_WIDE = _VECTORS * _VECTOR_BYTES
_INDEX = ir.IntType(64)


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


@jit
def add_forms(packed, columns, out):
    """out[lane] += sum over n of the form of the n-th matrix and the n-th columns.

    ``packed`` (n, size) holds 2 m_ij in the order of `triangle`, ``columns`` (n, d, lanes), of the
    same precision, d and lanes padded with zeros to multiples of TILE_ROWS and LANES; ``out``
    (lanes,) is double.
    """
    rows, lanes = columns.shape[1], columns.shape[2]
    wide = _WIDE // packed.itemsize
    narrow = _VECTOR_BYTES // packed.itemsize
    for n in range(packed.shape[0]):
        lane = 0
        while lane < lanes:
            several = lane + wide <= lanes
            begin = 0
            for first in range(0, rows, TILE_ROWS):
                if several:
                    add_wide_tile(packed[n], begin, columns[n], first, lane, out)
                else:
                    add_narrow_tile(packed[n], begin, columns[n], first, lane, out)
                begin += TILE_ROWS * (first + TILE_ROWS)
            lane += wide if several else narrow


def _tile(vectors: int) -> Any:
    """An intrinsic that adds one tile's share of a form to so many vectors of lanes."""

    @intrinsic
    def add_tile(
        typing_context: Any, packed: Any, begin: Any, columns: Any, first: Any, lane: Any, out: Any
    ) -> Any:
        if any(array.layout != "C" for array in (packed, columns, out)):
            raise TypingError("The arrays of a quadratic form must be contiguous.")
        signature = types.void(packed, types.int64, columns, types.int64, types.int64, out)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            tile = _Tile(context, builder, signature, arguments, vectors)
            tile.add_to(tile.products())
            return context.get_dummy_value()

        return signature, generate

    return add_tile


class _Tile:
    """The code of one tile: rows ``first`` to first + TILE_ROWS, the columns j before their end."""

    def __init__(
        self, context: Any, builder: Any, signature: Any, arguments: Any, vectors: int
    ) -> None:
        self.builder, self.vectors = builder, vectors
        entries, begin, columns, first, lane, out = arguments
        arrays = [
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(
                (signature.args[0], signature.args[2], signature.args[5]),
                (entries, columns, out),
                strict=True,
            )
        ]
        kind = context.get_value_type(signature.args[0].dtype)
        self.width = _VECTOR_BYTES // (signature.args[0].dtype.bitwidth // 8)
        self.vector = ir.VectorType(kind, self.width)
        self.entries = builder.gep(arrays[0].data, [begin])
        self.columns = builder.gep(arrays[1].data, [lane])
        self.stride = cgutils.unpack_tuple(builder, arrays[1].shape)[1]
        self.first = first
        self.out = builder.gep(arrays[2].data, [lane])

    def products(self) -> list[list[Any]]:
        """sum_j 2 m_ij b_j of every row i, as vectors of lanes."""
        builder = self.builder
        zero = ir.Constant(self.vector, [0.0] * self.width)
        before = builder.block
        loop, after = builder.append_basic_block("columns"), builder.append_basic_block("rows")
        end = builder.add(self.first, _INDEX(TILE_ROWS))
        builder.branch(loop)
        builder.position_at_end(loop)
        j = builder.phi(_INDEX)
        j.add_incoming(_INDEX(0), before)
        sums = [[builder.phi(self.vector) for _ in range(self.vectors)] for _ in range(TILE_ROWS)]
        column = self.load(self.columns, j)
        results = []
        for r, row in enumerate(sums):
            where = builder.add(builder.mul(j, _INDEX(TILE_ROWS)), _INDEX(r))
            entry = self.broadcast(builder.load(builder.gep(self.entries, [where])))
            results.append([self.fma(entry, b, s) for b, s in zip(column, row, strict=True)])
        following = builder.add(j, _INDEX(1))
        j.add_incoming(following, loop)
        for row, result in zip(sums, results, strict=True):
            for phi, value in zip(row, result, strict=True):
                phi.add_incoming(zero, before)
                phi.add_incoming(value, loop)
        builder.cbranch(builder.icmp_signed("<", following, end), loop, after)
        builder.position_at_end(after)
        return results

    def add_to(self, products: list[list[Any]]) -> None:
        """Add sum_i b_i times the products to ``out``, in double precision."""
        builder = self.builder
        totals = [ir.Constant(self.vector, [0.0] * self.width)] * self.vectors
        for r, row in enumerate(products):
            column = self.load(self.columns, builder.add(self.first, _INDEX(r)))
            totals = [self.fma(p, b, t) for p, b, t in zip(row, column, totals, strict=True)]
        double = ir.VectorType(ir.DoubleType(), self.width)
        for k, total in enumerate(totals):
            value = total if self.vector == double else builder.fpext(total, double)
            place = builder.gep(self.out, [_INDEX(k * self.width)])
            place = builder.bitcast(place, double.as_pointer())
            builder.store(builder.fadd(builder.load(place, align=8), value), place, align=8)

    def load(self, base: Any, row: Any) -> list[Any]:
        """A row's lanes."""
        builder = self.builder
        start = builder.gep(base, [builder.mul(row, self.stride)])
        places = [builder.gep(start, [_INDEX(k * self.width)]) for k in range(self.vectors)]
        pointers = [builder.bitcast(place, self.vector.as_pointer()) for place in places]
        return [builder.load(pointer, align=4) for pointer in pointers]

    def broadcast(self, number: Any) -> Any:
        """One number in every lane of a vector."""
        builder = self.builder
        undefined = ir.Constant(self.vector, ir.Undefined)
        one = builder.insert_element(undefined, number, ir.IntType(32)(0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.width), [0] * self.width)
        return builder.shuffle_vector(one, undefined, mask)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a * b + c, rounded once."""
        kind = "f32" if self.vector.element == ir.FloatType() else "f64"
        function = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(self.vector, [self.vector] * 3),
            f"llvm.fma.v{self.width}{kind}",
        )
        return self.builder.call(function, [a, b, c])


add_wide_tile = _tile(_VECTORS)
add_narrow_tile = _tile(1)
