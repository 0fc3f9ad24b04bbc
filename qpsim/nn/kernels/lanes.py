"""Computing with sixteen float32 at a time, for kernels with too many arrays for LLVM to vectorise.

LLVM vectorises a loop only if it can exclude that a store changes what is loaded next. With dozens of rows and strides
that are known only at run time, it checks this at every entry, or does not vectorise. These kernels therefore load
``LANES`` neighbouring numbers from an address as one value, compute with such values as with scalars, and store them.
LLVM cuts them to the width of the processor's vectors. Multiplication and addition may be fused. Formulas written for
lanes take plain numbers as well.
"""

import operator

from qpsim.kernels.numba_interface import extending, intrinsic, ir, templates, types

LANES = 16
_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_BYTES = ir.VectorType(ir.IntType(8), LANES)
_FLAGS = ("nsz", "contract")


class _Lanes(types.Type):
    """Numba's name for sixteen float32."""

    def __init__(self):
        super().__init__(name=f"lanes({LANES} x float32)")


_lanes = _Lanes()


@extending.register_model(_Lanes)
class _LanesModel(extending.models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _VECTOR)


def _splat(builder, number):
    first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), number, ir.IntType(32)(0))
    return builder.shuffle_vector(
        first, first, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    )


@templates.infer_global(operator.add)
@templates.infer_global(operator.sub)
class _SumOfLanes(templates.ConcreteTemplate):
    cases = [templates.signature(_lanes, _lanes, _lanes)]  # noqa: RUF012


@templates.infer_global(operator.mul)
class _MultipleOfLanes(templates.ConcreteTemplate):
    cases = [templates.signature(_lanes, types.float64, _lanes)]  # noqa: RUF012


@extending.lower_builtin(operator.add, _Lanes, _Lanes)
def _add(context, builder, signature, arguments):
    return builder.fadd(*arguments, flags=_FLAGS)


@extending.lower_builtin(operator.sub, _Lanes, _Lanes)
def _subtract(context, builder, signature, arguments):
    return builder.fsub(*arguments, flags=_FLAGS)


@extending.lower_builtin(operator.mul, types.float64, _Lanes)
def _multiply(context, builder, signature, arguments):
    factor = builder.fptrunc(arguments[0], ir.FloatType())
    return builder.fmul(_splat(builder, factor), arguments[1], flags=_FLAGS)


@intrinsic
def load(typing, address):
    """The sixteen float32 from this address on; it need not be a multiple of anything."""

    def codegen(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], _VECTOR.as_pointer())
        return builder.load(pointer, align=4)

    return _lanes(types.int64), codegen


@intrinsic
def store(typing, address, value):
    """Write sixteen float32 from this address on."""

    def codegen(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], _VECTOR.as_pointer())
        builder.store(arguments[1], pointer, align=4)
        return context.get_dummy_value()

    return types.void(types.int64, _lanes), codegen


@intrinsic
def load_bytes(typing, address):
    """Sixteen uint8 from this address on, as float32."""

    def codegen(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], _BYTES.as_pointer())
        return builder.uitofp(builder.load(pointer, align=1), _VECTOR)

    return _lanes(types.int64), codegen


@intrinsic
def store_bytes(typing, address, value):
    """Write sixteen whole numbers below 256 as uint8."""

    def codegen(context, builder, signature, arguments):
        pointer = builder.inttoptr(arguments[0], _BYTES.as_pointer())
        builder.store(builder.fptoui(arguments[1], _BYTES), pointer, align=1)
        return context.get_dummy_value()

    return types.void(types.int64, _lanes), codegen


@intrinsic
def every(typing, number):
    """The same float64, rounded, sixteen times."""

    def codegen(context, builder, signature, arguments):
        return _splat(builder, builder.fptrunc(arguments[0], ir.FloatType()))

    return _lanes(types.float64), codegen


def _choice(comparison, order):
    """An intrinsic: where ``one`` compares so to ``two`` the first value, elsewhere the second."""

    def choose(typing, one, two, first, second):
        def codegen(context, builder, signature, arguments):
            one, two, first, second = arguments
            return builder.select(getattr(builder, comparison)(order, one, two), first, second)

        return _lanes(_lanes, _lanes, _lanes, _lanes), codegen

    return intrinsic(choose)


where_at_most = _choice("fcmp_ordered", "<=")
where_greater = _choice("fcmp_ordered", ">")
where_nan = _choice("fcmp_unordered", "uno")
where_equal = _choice("fcmp_ordered", "==")
