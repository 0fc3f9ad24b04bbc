"""Hold BLAS to one thread while our own threads use the cores.

BLAS threads would compete with ours. They would also cut sums in other places on a machine with
another number of cores, so that the last bits of a result would depend on the machine.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

_SCIPY = "scipy.linalg.cython_blas"


@contextmanager
def one_blas_thread(*, load_scipy: bool = True) -> Iterator[None]:
    """Hold BLAS to one thread while any such block runs in this process, in whatever thread.

    The first block that begins sets the limit. The last one that ends gives every library the
    number of threads back that it had before, so that blocks may overlap in any order. A block
    inside another costs some microseconds.

    Parameters
    ----------
    load_scipy : bool, default True
        NumPy and SciPy bring a BLAS each, and compiled code calls SciPy's. True loads that one
        first, so that it is held as well. Code that only calls NumPy saves the time with False; a
        library that is loaded later is held from the next block on.

    Examples
    --------
    >>> import numpy as np
    >>> from qpsim.execution.blas import one_blas_thread
    >>> with one_blas_thread(load_scipy=False):
    ...     product = np.eye(3) @ np.eye(3)
    """
    if load_scipy and _SCIPY not in sys.modules:
        import_module(_SCIPY)
    _limit.enter()
    try:
        yield
    finally:
        _limit.leave()


class _Limit:
    """Counts the blocks that run, and knows how many threads each library had before them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._threads_before: dict[str, int] = {}
        self._libraries: list[Any] = []
        self._know_scipy = False

    def enter(self) -> None:
        with self._lock:
            scipy_loaded = _SCIPY in sys.modules
            known = bool(self._libraries) and self._know_scipy == scipy_loaded
            if not known:
                self._libraries, self._know_scipy = _blas_libraries(), scipy_loaded
            if self._blocks == 0 or not known:
                for library in self._libraries:
                    # Of a library that is held already we know the number from when it was not.
                    self._threads_before.setdefault(library.filepath, library.num_threads)
                    library.set_num_threads(1)
            self._blocks += 1

    def leave(self) -> None:
        with self._lock:
            self._blocks -= 1
            if self._blocks == 0:
                for library in self._libraries:
                    library.set_num_threads(self._threads_before[library.filepath])
                self._threads_before.clear()

    def forget_blocks(self) -> None:
        """In a forked child: no block runs here, though BLAS may be held as it was in the parent.

        The numbers from before are kept; the child's first block restores them when it ends.
        """
        self._lock = threading.Lock()
        self._blocks = 0
        self._libraries = []


def _blas_libraries() -> list[Any]:
    """A switch for each BLAS that is loaded; the search takes some milliseconds."""
    from threadpoolctl import ThreadpoolController

    # The libraries' own switches are a hundred times faster than ThreadpoolController.limit.
    return list(ThreadpoolController().select(user_api="blas").lib_controllers)


_limit = _Limit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_limit.forget_blocks)
