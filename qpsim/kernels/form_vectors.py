"""The inner loops of quadratic forms, written directly in vector instructions.

:mod:`qpsim.kernels.form_loops` has ordinary loops with the same results.
"""

from typing import Any

from qpsim.kernels.numba_interface import TypingError, cgutils, has_512_bits, intrinsic, ir, types

TILE_ROWS = 5
# Lanes are padded to whole vectors of 512 bits in single precision.
LANES = 16
VECTOR_BYTES = 64 if has_512_bits() else 32
_INDEX = ir.IntType(64)
_SINGLE, _DOUBLE = ir.FloatType(), ir.DoubleType()


class _Lanes:
    """Code that works on vectors of lanes."""

    def __init__(self, context: Any, builder: Any, kind: Any, vectors: int) -> None:
        self.context, self.builder, self.vectors = context, builder, vectors
        self.width = VECTOR_BYTES // (4 if kind == _SINGLE else 8)
        self.vector = ir.VectorType(kind, self.width)
        self.zero = ir.Constant(self.vector, [0.0] * self.width)

    def array(self, kind: Any, value: Any) -> Any:
        """An argument's array."""
        return self.context.make_array(kind)(self.context, self.builder, value)

    def at(self, array: Any, row: Any, lane: Any) -> Any:
        """The address of a lane of a row in an array whose last axis is the lanes."""
        stride = cgutils.unpack_tuple(self.builder, array.shape)[-1]
        return self.builder.gep(array.data, [self.builder.add(self.builder.mul(row, stride), lane)])

    def pointers(self, start: Any, vector: Any) -> list[Any]:
        """The addresses of the vectors that hold the lanes from ``start`` on."""
        places = [self.builder.gep(start, [_INDEX(k * self.width)]) for k in range(self.vectors)]
        return [self.builder.bitcast(place, vector.as_pointer()) for place in places]

    def load(self, start: Any) -> list[Any]:
        """Load the lanes from ``start`` on."""
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
        """Variables that hold vectors of lanes, 0 at first; LLVM keeps them in registers."""
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
        """The present values of the variables."""
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
        """Add vectors of lanes to an array in double precision."""
        double = ir.VectorType(_DOUBLE, self.width)
        for place, total in zip(self.pointers(out, double), totals, strict=True):
            value = total if self.vector == double else self.builder.fpext(total, double)
            self.builder.store(
                self.builder.fadd(self.builder.load(place, align=8), value), place, align=8
            )


def _contiguous(*arrays: Any) -> None:
    if any(array.layout != "C" for array in arrays):
        raise TypingError("The arrays of a quadratic form must be contiguous.")


def tile(n_lanes: int) -> Any:
    """An intrinsic that adds the terms of one tile of a form to ``n_lanes`` lanes.

    Rows are those from ``first`` to first + TILE_ROWS, columns j those before their end.
    """

    @intrinsic
    def add_tile(
        typing_context: Any, packed: Any, begin: Any, columns: Any, first: Any, lane: Any, out: Any
    ) -> Any:
        _contiguous(packed, columns, out)
        signature = types.void(packed, types.int64, columns, types.int64, types.int64, out)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            vectors = 8 * n_lanes // VECTOR_BYTES
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


def rows(n_lanes: int) -> Any:
    """An intrinsic that adds the terms of some rows of `Lists` to ``n_lanes`` lanes."""

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
            lanes = _Lanes(context, builder, _SINGLE, 4 * n_lanes // VECTOR_BYTES)
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
                # Two separate sums, since each addition to one sum would have to wait for the one
                # before.
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


def column(n_lanes: int) -> Any:
    """An intrinsic that fills ``n_lanes`` lanes of one row of `fill_terms`."""

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
            lanes = _Lanes(context, builder, _DOUBLE, 8 * n_lanes // VECTOR_BYTES)
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
