"""Decorators that compile kernels, with all compiler flags.

:mod:`qpsim.kernels.machine_code` caches machine code on disk; :mod:`qpsim.kernels.numba_interface` has the private
parts of numba.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numba

from qpsim.kernels import compiler_interrupts, machine_code
from qpsim.kernels.numba_interface import accepted, forbid_python_calls, intrinsic, ir, types

compiler_interrupts.install()

# nogil: blocks of replicates run in threads. error_model: x/0 is inf or nan, as in NumPy, without a
# branch that would stop vectorisation. No fastmath: nan tests must work, and results must not
# depend on the vector width.
_PLAIN: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
# Private flags: no wrapper for C, no wrapper for Python, and inlining by LLVM.
_PRIVATE = accepted({"no_cfunc_wrapper": True, "no_cpython_wrapper": True, "forceinline": True})


def _private(*names: str) -> dict[str, Any]:
    return {name: _PRIVATE[name] for name in names if name in _PRIVATE}


_FLAGS: dict[str, Any] = {**_PLAIN, "boundscheck": False, **_private("no_cfunc_wrapper")}
# Flags of functions that numba.extending.overload compiles: those called from kernels, and those that must be inlined
# into loops.
OVERLOAD: dict[str, Any] = {**_PLAIN, **_private("no_cfunc_wrapper")}
OVERLOAD_INLINE: dict[str, Any] = {**OVERLOAD, **_private("forceinline")}


def jit(function: Callable[..., Any]) -> Any:
    """Compile a kernel on its first call, or load its machine code from the cache.

    Parameters
    ----------
    function
        A module-level function in Numba's subset of Python. Functions of other packages, and
        functions defined inside functions, are compiled too, but never cached on disk.

    Returns
    -------
    The compiled function (a Numba dispatcher); ``.py_func`` is the original.
    """
    return _compiled(function)


def jit_inner(function: Callable[..., Any]) -> Any:
    """Like `jit`, for functions that only kernels call; without a wrapper for Python, compilation is 50 ms faster.

    A call from Python raises TypeError; tests call it through a kernel of their own.
    """
    return _for_kernels(function)


def jit_inline(function: Callable[..., Any]) -> Any:
    """Like `jit`, for a small function that must be inlined into the loops of its callers.

    A loop is vectorised only without calls; the flag makes LLVM inline regardless of its cost model. As with
    `jit_inner`, Python cannot call it.
    """
    return _for_kernels(function, "forceinline")


def jit_spliced(function: Callable[..., Any]) -> Any:
    """Like `jit`, for a large function that is called in one place; it is compiled as part of its caller.

    Numba links and optimises a called function together with everything that it calls, at every level of calls; a level
    less saves up to a second.
    """
    return _compiled(function, inline="always")


@intrinsic
def arguments_are_apart(typing_context: Any) -> Any:
    """Declare, in a kernel's first line, that no two of its array arguments overlap.

    Otherwise LLVM's vector loops begin with a comparison of all addresses, and with many arrays it does not vectorise
    at all.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # If a future llvmlite does not accept the attribute, loops are only slower.
        with suppress(Exception):
            for argument in builder.function.args:
                if isinstance(argument.type, ir.PointerType):
                    argument.add_attribute("noalias")
        return context.get_dummy_value()

    return types.none(), generate


@intrinsic
def wide_vectors(typing_context: Any) -> Any:
    """Request, in a kernel's first line, vectors of 512 bits if the processor has them.

    On some processors LLVM chooses 256 bits, because 512 may lower their clock rate; these loops were faster with 512
    on them too. Results are the same, since no sum goes across the lanes of a vector.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # llvmlite has no attributes with values, but writes a name as it is given.
        with suppress(Exception):
            set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.none(), generate


@intrinsic
def is_set(typing_context: Any, flag: Any) -> Any:
    """Whether the entry of an array (1,) of uint8, which another thread may set at any time, is not 0.

    The compiler may move an ordinary read out of a loop; an atomic read is made each time.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        byte = builder.load_atomic(array.data, "monotonic", 1)
        return builder.icmp_unsigned("!=", byte, byte.type(0))

    return types.boolean(flag), generate


def _compiled(function: Callable[..., Any], **flags: Any) -> Any:
    dispatcher = numba.njit(**_FLAGS, **flags)(function)
    machine_code.cache_on_disk(dispatcher, function)
    return dispatcher


def _for_kernels(function: Callable[..., Any], *names: str) -> Any:
    """Compile without a wrapper for Python, if this numba can."""
    dispatcher = _compiled(function, **_private("no_cpython_wrapper", *names))
    return forbid_python_calls(dispatcher) if "no_cpython_wrapper" in _PRIVATE else dispatcher
