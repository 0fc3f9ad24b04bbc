"""How kernels are compiled: all flags are here.

Where their machine code is kept is the matter of :mod:`qpsim.kernels.machine_code`, what is private
to numba that of :mod:`qpsim.kernels.numba_interface`.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba

from qpsim.kernels import machine_code
from qpsim.kernels.numba_interface import accepted, close_to_python, intrinsic, ir, types

# nogil: blocks of replicates run in threads. error_model: x/0 is inf or nan, as in NumPy, without a
# branch that would stop vectorisation. No fastmath: nan tests must work, and results must not
# depend on the vector width.
_PLAIN: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
# Functions that C cannot call, that Python cannot call, and that LLVM must inline.
_PRIVATE = accepted({"no_cfunc_wrapper": True, "no_cpython_wrapper": True, "forceinline": True})


def _private(*names: str) -> dict[str, Any]:
    return {name: _PRIVATE[name] for name in names if name in _PRIVATE}


_FLAGS: dict[str, Any] = {**_PLAIN, "boundscheck": False, **_private("no_cfunc_wrapper")}
# The same for the functions that numba.extending.overload compiles: where they are called in a kernel,
# and where they must vanish into a kernel's loops.
OVERLOAD: dict[str, Any] = {**_PLAIN, **_private("no_cfunc_wrapper")}
OVERLOAD_INLINE: dict[str, Any] = {**OVERLOAD, **_private("forceinline")}


def jit(function: Callable[..., Any]) -> Any:
    """Compile a kernel on its first call, or load its machine code from the cache.

    Parameters
    ----------
    function
        A module-level function in Numba's subset of Python. Functions of other packages, and
        functions made inside functions, are compiled just the same but never cached on disk.

    Returns
    -------
    The compiled function (a Numba dispatcher); ``.py_func`` is the original.
    """
    return _compiled(function)


def jit_inner(function: Callable[..., Any]) -> Any:
    """Like `jit`, for what only kernels call: that Python could call it would take some 50 ms more.

    Should Python call it nevertheless, that is a TypeError; tests take a kernel of their own.
    """
    return _for_kernels(function)


def jit_inline(function: Callable[..., Any]) -> Any:
    """Like `jit`, for a small function that must vanish into the loops of its callers.

    A loop is vectorised only if nothing is called in it; the flag makes LLVM inline whatever its
    cost model says. As with `jit_inner`, Python cannot call it.
    """
    return _for_kernels(function, "forceinline")


def jit_spliced(function: Callable[..., Any]) -> Any:
    """Like `jit`, for a large function that is called in one place: it becomes part of its caller.

    Every function between a kernel and what it calls is linked and optimised with all of that code
    once more, most of a second for a long one.
    """
    return _compiled(function, inline="always")


@intrinsic
def arguments_are_apart(typing_context: Any) -> Any:
    """Promise, in a kernel's first line, that no two of its array arguments overlap.

    Numba does not tell LLVM so, whose vector loops then begin with a comparison of all addresses, or
    are not made at all where these would be many.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # A promise that a future llvmlite does not take only makes the loops slower.
        with suppress(Exception):
            for argument in builder.function.args:
                if isinstance(argument.type, ir.PointerType):
                    argument.add_attribute("noalias")
        return context.get_dummy_value()

    return types.none(), generate


@intrinsic
def wide_vectors(typing_context: Any) -> Any:
    """Ask, in a kernel's first line, for vectors of 512 bits in its loops where the processor has them.

    On some processors LLVM takes 256 bits, because their clock may slow down with 512. These loops were faster with 512
    there too. Results are the same: nothing here is summed across a vector.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # llvmlite knows no attribute that has a value, and writes it as it is given.
        with suppress(Exception):
            set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), generate


@intrinsic
def is_set(typing_context: Any, flag: Any) -> Any:
    """Whether the first entry of an array (1,) of uint8, which another thread may set meanwhile, is not 0.

    An ordinary read may be moved out of a loop that does not write to the array; an atomic one is made each time.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte = builder.load_atomic(array.data, "monotonic", 1)
        return builder.icmp_unsigned("!=", byte, byte.type(0))

    return types.boolean(flag), generate


def _compiled(function: Callable[..., Any], **flags: Any) -> Any:
    dispatcher = numba.njit(**_FLAGS, **flags)(function)
    machine_code.keep(dispatcher, function)
    return dispatcher


def _for_kernels(function: Callable[..., Any], *names: str) -> Any:
    """Compiled without a wrapper for Python, where this numba can do without."""
    dispatcher = _compiled(function, **_private("no_cpython_wrapper", *names))
    return close_to_python(dispatcher) if "no_cpython_wrapper" in _PRIVATE else dispatcher
