"""Matrix products in compiled code, by the BLAS of SciPy.

Inside a kernel ``numpy.dot`` accepts only contiguous arrays, so a convolution would have to copy every patch of the
image first. ``gemm`` of BLAS has leading dimensions, with which it can read the image without a copy. Its address is
passed to the kernels as an integer: a kernel with the address as a constant could not be cached on disk.
"""

from functools import cache

import numpy as np
from numba.extending import get_cython_function_address
from threadpoolctl import threadpool_info

from qpsim.kernels.jit import jit, jit_inner
from qpsim.kernels.numba_interface import cgutils, intrinsic, ir, types

_SMALL_CORES = ("SkylakeX", "Cooperlake", "SapphireRapids")


def gemm_address(dtype) -> int:
    """Address of ``sgemm`` or ``dgemm``, the first argument of every kernel that multiplies.

    >>> gemm_address("float32") != gemm_address("float64")
    True
    """
    # Loads the library; the name itself is not used.
    import scipy.linalg.cython_blas  # noqa: F401

    name = {"float32": "sgemm", "float64": "dgemm"}[np.dtype(dtype).name]
    return get_cython_function_address("scipy.linalg.cython_blas", name)


@cache
def has_small_products() -> bool:
    """Whether this BLAS multiplies small matrices without packing: OpenBLAS with AVX-512 kernels.

    >>> isinstance(has_small_products(), bool)
    True
    """
    import scipy.linalg.cython_blas  # noqa: F401

    return any(
        library["internal_api"] == "openblas" and library.get("architecture") in _SMALL_CORES
        for library in threadpool_info()
    )


@intrinsic
def _fortran_gemm(typing, gemm, trans_a, trans_b, m, n, k, a, lda, b, ldb, beta, c, ldc):
    """Column-major ``C = op(A) op(B) + beta C``; arrays given as addresses, sizes as integers.

    ``beta``'s type says which routine ``gemm`` is: float32 for sgemm, float64 for dgemm.
    """
    signature = types.void(gemm, trans_a, trans_b, m, n, k, a, lda, b, ldb, beta, c, ldc)

    def codegen(context, builder, signature, arguments):
        gemm, trans_a, trans_b, m, n, k, a, lda, b, ldb, beta, c, ldc = arguments
        pointer = ir.IntType(8).as_pointer()

        def by_reference(value):
            slot = cgutils.alloca_once(builder, value.type)
            builder.store(value, slot)
            return builder.bitcast(slot, pointer)

        def char(value):
            return by_reference(builder.trunc(value, ir.IntType(8)))

        def integer(value):
            return by_reference(builder.trunc(value, ir.IntType(32)))

        def array(address):
            return builder.inttoptr(address, pointer)

        function_type = ir.FunctionType(ir.VoidType(), [pointer] * 13)
        function = builder.inttoptr(gemm, function_type.as_pointer())
        one = by_reference(ir.Constant(beta.type, 1.0))
        builder.call(
            function,
            [
                char(trans_a), char(trans_b), integer(m), integer(n), integer(k),
                one, array(a), integer(lda), array(b), integer(ldb),
                by_reference(beta), array(c), integer(ldc),
            ],
        )  # fmt: skip
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _memcpy(typing, target, source, size):
    signature = types.void(types.int64, types.int64, types.int64)

    def codegen(context, builder, signature, arguments):
        pointer = ir.IntType(8).as_pointer()
        target, source, size = arguments
        cgutils.raw_memcpy(
            builder, builder.inttoptr(target, pointer), builder.inttoptr(source, pointer), size, 1
        )
        return context.get_dummy_value()

    return signature, codegen


_N, _T = ord("N"), ord("T")


@jit_inner
def copy(target, source, size):
    """Copy ``size`` bytes between two addresses; faster than a loop where there are few numbers."""
    _memcpy(target, source, size)


@jit
def address(array):
    """Address of an array's first number, as a signed integer.

    (In numba the sum of an unsigned and a signed integer is a float.)
    """
    return np.int64(array.ctypes.data)


# Our arrays are row-major and gemm's column-major, which means transposed: as C^T = B^T A^T, the
# factors are passed in the other order.


@jit_inner
def product(gemm, m, n, k, a, lda, b, ldb, beta, c, ldc):
    """``C (m, n) = A (m, k) B (k, n) + beta C``, row-major, addresses and leading dimensions."""
    _fortran_gemm(gemm, _N, _N, n, m, k, b, ldb, a, lda, beta, c, ldc)


@jit_inner
def product_transposed(gemm, m, n, k, a, lda, b, ldb, beta, c, ldc):
    """``C (m, n) = A^T B + beta C`` for A stored (k, m), B (k, n)."""
    _fortran_gemm(gemm, _N, _T, n, m, k, b, ldb, a, lda, beta, c, ldc)
