"""Hold BLAS to one thread while our own threads use the cores."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_lock = threading.Lock()
_blas_users = 0
_blas_threads: list[int] = []


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread while any block runs here: our own threads use the cores.

    It also keeps results independent of how many threads BLAS would have used.
    """
    global _blas_users
    libraries = _blas_libraries(os.getpid())
    with _lock:
        if _blas_users == 0:
            _blas_threads[:] = [library.num_threads for library in libraries]
            for library in libraries:
                library.set_num_threads(1)
        _blas_users += 1
    try:
        yield
    finally:
        with _lock:
            _blas_users -= 1
            if _blas_users == 0:
                for library, n_threads in zip(libraries, _blas_threads, strict=True):
                    library.set_num_threads(n_threads)


@cache
def _blas_libraries(pid: int) -> list[Any]:
    """Looked up once a process; the argument keeps a forked child from using its parent's."""
    import scipy.linalg  # noqa: F401  (loads the BLAS that the kernels call)
    from threadpoolctl import ThreadpoolController

    # Their own switches, a hundred times quicker than the controller's.
    return ThreadpoolController().select(user_api="blas").lib_controllers
