"""A loop whose iterations are divided among threads, for loops of less than a millisecond that run very often.

What an iteration computes depends only on its number, so that results are the same bits for any number of workers.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from itertools import count

import numpy as np

from qpsim.execution.blas import limit_blas_in_this_thread
from qpsim.execution.cores import available_cores
from qpsim.execution.interrupts import deferred


def for_each(task: Callable[[int], None], n_tasks: int, workers: int) -> None:
    """Call ``task(0) ... task(n_tasks - 1)`` on up to ``workers`` threads, this one included.

    The threads are kept between calls. With more than one, Ctrl-C takes effect when all are done.

    Examples
    --------
    >>> from qpsim.execution.threads import for_each
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
    # Each thread runs in a copy of the caller's context and with its errstate, which NumPy 1 does not keep there.
    contexts = [copy_context() for _ in range(min(workers, n_tasks) - 1)]
    settings = np.errstate(**np.geterr())
    helpers: list[Future[None]] = []
    # Wait for all threads before an interrupt: one that still ran would write into the caller's arrays.
    with deferred():
        try:
            for context in contexts:
                helpers.append(_threads().submit(context.run, settings(work)))
            work()
        finally:
            errors = [helper.exception() for helper in helpers]
    for error in errors:
        if error is not None:
            raise error


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(
        available_cores(), thread_name_prefix="qpsim", initializer=limit_blas_in_this_thread
    )


# The threads do not exist in a forked child process.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)
