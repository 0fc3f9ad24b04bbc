"""The compiled inner loops of networks: arrays in, ``out`` arrays filled, no checks.

``dense``, ``convolution``, ``winograd``, ``pooling`` and ``masks`` (dropout) belong to the layers of the same names;
``blas`` calls SciPy's BLAS from compiled code, ``lanes`` computes with sixteen float32 at a time.
"""

from functools import cache


@cache
def has_lanes() -> bool:
    """Whether kernels may compute with sixteen numbers at a time (:mod:`qpsim.nn.kernels.lanes`)."""
    from qpsim.kernels.numba_interface import works

    return works(
        "Vector instructions of networks",
        _example,
        "max-pooling takes plain loops, and a convolution its plain algorithm, which rounds otherwise",
    )


def _example() -> bool:
    import numpy as np
    from numba import njit

    from qpsim.nn.kernels.blas import address
    from qpsim.nn.kernels.lanes import every, load, load_bytes, store, store_bytes, where_greater

    @njit
    def run(x, y, marks):
        one, two = load(address(x)), load(address(y))
        higher = where_greater(one, two, one, two) + load_bytes(address(marks))
        store(address(y), higher - 0.5 * every(2.0))
        store_bytes(address(marks), every(7.0))

    x, y = np.arange(16, dtype=np.float32), np.full(16, 9.0, dtype=np.float32)
    marks = np.arange(16, dtype=np.uint8)
    wanted = np.maximum(x, y) + marks - 1.0
    run(x, y, marks)
    return bool((y == wanted).all() and (marks == 7).all())
