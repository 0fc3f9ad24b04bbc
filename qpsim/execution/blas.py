"""Limit BLAS to one thread while the package's own threads use the cores.

BLAS threads would compete with ours for the cores. They also split sums according to the number of
cores, so that the last bits of a result would depend on the machine.
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
    """Limit BLAS to one thread while any such block runs in any thread of this process.

    The first block that begins sets the limit. The last one that ends restores each library's
    former number of threads, so that blocks may overlap in any order. A nested block costs some
    microseconds.

    Parameters
    ----------
    load_scipy : bool, default True
        NumPy and SciPy have a BLAS each, and compiled code calls SciPy's. True loads SciPy's before
        the limit is set, so that it is limited too. False saves the time of loading, for code that
        calls NumPy only; a library that is loaded later is limited from the next block on.

    Examples
    --------
    >>> import numpy as np
    >>> from qpsim.execution.blas import one_blas_thread
    >>> with one_blas_thread(load_scipy=False):
    ...     product = np.eye(3) @ np.eye(3)
    """
    if load_scipy and _SCIPY not in sys.modules:
        import_module(_SCIPY)
    own_before = _limit.enter()
    try:
        yield
    finally:
        _limit.leave(own_before)


def limit_blas_in_this_thread() -> None:
    """Limit BLAS in this thread until it ends, for worker threads: with OpenMP each thread has a limit of its own."""
    _limit.enter()
    _limit.leave([])


class _Limit:
    """Counts the running blocks, and stores how many threads each library had before.

    Most libraries have one limit for the whole process. Those built on OpenMP have one for each thread, so that every
    block sets and restores the limit of its own thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._threads_before: dict[str, int] = {}
        self._shared: list[Any] = []
        self._by_thread: list[Any] = []
        # Whether SciPy's BLAS was loaded when the libraries were last searched; None if they never were.
        self._searched_with_scipy: bool | None = None

    def enter(self) -> list[int]:
        """Begin a block. Returns the former limits, in this thread, of the libraries with one limit per thread."""
        with self._lock:
            loaded = _SCIPY in sys.modules
            if loaded != self._searched_with_scipy or self._blocks == 0:
                if loaded != self._searched_with_scipy:
                    self._find_libraries()
                    self._searched_with_scipy = loaded
                for library in self._shared:
                    # For a library that is limited already, keep the number stored before the limit was set.
                    self._threads_before.setdefault(library.filepath, library.num_threads)
                    _set_threads(library, 1)
            self._blocks += 1
        own_before = [library.num_threads for library in self._by_thread]
        for library in self._by_thread:
            library.set_num_threads(1)
        return own_before

    def leave(self, own_before: list[int]) -> None:
        """End a block."""
        # A library that was loaded meanwhile is not in the list, and its limit was not changed.
        for library, n_threads in zip(self._by_thread, own_before, strict=False):
            library.set_num_threads(n_threads)
        with self._lock:
            self._blocks -= 1
            if self._blocks == 0:
                for library in self._shared:
                    _set_threads(library, self._threads_before[library.filepath])
                self._threads_before.clear()

    def forget_blocks(self) -> None:
        """In a forked child process: no block runs here, though BLAS may still be limited as in the parent.

        The former numbers are kept, and the child's first block restores them when it ends.
        """
        self._lock = threading.Lock()
        self._blocks = 0
        self._searched_with_scipy = None

    def _find_libraries(self) -> None:
        """Find the loaded libraries; this takes some milliseconds."""
        from threadpoolctl import ThreadpoolController

        # Each library's own function is a hundred times faster than ThreadpoolController.limit.
        found = ThreadpoolController().select(user_api="blas").lib_controllers
        self._by_thread = [one for one in found if getattr(one, "threading_layer", "") == "openmp"]
        self._shared = [one for one in found if one not in self._by_thread]


def _set_threads(library: Any, n_threads: int) -> None:
    # threadpoolctl lets only one thread change OpenBLAS's limit and silently ignores the others. Here one thread may
    # set a limit and another one remove it, so that the owner is cleared.
    clear = getattr(library, "clear_controlling_thread", None)
    if clear is not None:
        clear(force=True)
    library.set_num_threads(n_threads)
    if clear is not None:
        clear(force=True)


_limit = _Limit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_limit.forget_blocks)
