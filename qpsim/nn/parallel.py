"""Threads: tasks with fixed numbers, done by however many workers there are.

What a task computes depends on its number only, and results are added in the order of the numbers,
so that the number of workers never shows in a bit. BLAS stays on one thread meanwhile: its own
threads would compete with ours, and would cut sums differently on another machine.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache
from itertools import count
from typing import Any

from threadpoolctl import ThreadpoolController

from qpsim.execution.interrupts import deferred


def available_cores() -> int:
    """Cores that this process may use.

    >>> available_cores() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def for_each(task: Callable[[int], None], n_tasks: int, workers: int) -> None:
    """Call ``task(0) ... task(n_tasks - 1)`` on up to ``workers`` threads, this one included.

    With more than one, Ctrl-C waits until all threads are done.

    >>> done = []
    >>> for_each(done.append, 3, workers=1)
    >>> done
    [0, 1, 2]
    """
    ticket = count()

    def work() -> None:
        while (number := next(ticket)) < n_tasks:
            task(number)

    if min(workers, n_tasks) < 2:
        work()
        return
    # In copies of the caller's context, which is where NumPy keeps what errstate was told.
    contexts = [copy_context() for _ in range(min(workers, n_tasks) - 1)]
    helpers: list[Future[None]] = []
    # A helper left behind would go on writing into arrays that the caller thinks are its own again.
    with deferred():
        try:
            for context in contexts:
                helpers.append(_pool().submit(context.run, work))
            work()
        finally:
            errors = [helper.exception() for helper in helpers]
    for error in errors:
        if error is not None:
            raise error


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Hold BLAS to one thread; entering again inside (or in another thread) costs next to nothing.

    A training loop that holds this for its whole run spares every step the switching.

    >>> with single_threaded_blas():
    ...     pass
    """
    _cap.enter()
    try:
        yield
    finally:
        _cap.leave()


class _Cap:
    """Counts who wants BLAS capped: the first sets the limit, the last puts back what was."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._limit: Any = None
        self._held: Any = None

    def enter(self) -> None:
        with self._lock:
            controller = _controller("scipy.linalg.cython_blas" in sys.modules)
            if self._holders and controller is not self._held:
                # SciPy's BLAS arrived while NumPy's was capped: start over with both.
                self._limit.restore_original_limits()
            if self._holders == 0 or controller is not self._held:
                self._limit = controller.limit(limits=1, user_api="blas")
                self._held = controller
            self._holders += 1

    def leave(self) -> None:
        with self._lock:
            self._holders -= 1
            if self._holders == 0:
                self._limit.restore_original_limits()


@cache
def _controller(with_scipy: bool) -> ThreadpoolController:
    """The BLAS libraries loaded so far; looked for once, and again when SciPy brings its own."""
    return ThreadpoolController()


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(available_cores(), thread_name_prefix="qpsim-nn")


def _after_fork() -> None:
    global _cap
    _pool.cache_clear()
    _cap = _Cap()


_cap = _Cap()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
