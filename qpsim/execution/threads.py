"""A loop over numbers, shared by threads: for work of less than a millisecond, many times a second.

What a task computes depends on its number only, so that the number of workers never shows in a bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import cache
from itertools import count

from qpsim.execution.blas import hold_blas_in_this_thread
from qpsim.execution.cores import available_cores
from qpsim.execution.interrupts import deferred


def for_each(task: Callable[[int], None], n_tasks: int, workers: int) -> None:
    """Call ``task(0) ... task(n_tasks - 1)`` on up to ``workers`` threads, this one included.

    The threads are kept between calls. With more than one, Ctrl-C waits until all are done.

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
    # In copies of the caller's context, which is where NumPy keeps what errstate was told.
    contexts = [copy_context() for _ in range(min(workers, n_tasks) - 1)]
    helpers: list[Future[None]] = []
    # A helper left behind would go on writing into arrays that the caller thinks are its own again.
    with deferred():
        try:
            for context in contexts:
                helpers.append(_threads().submit(context.run, work))
            work()
        finally:
            errors = [helper.exception() for helper in helpers]
    for error in errors:
        if error is not None:
            raise error


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(
        available_cores(), thread_name_prefix="qpsim", initializer=hold_blas_in_this_thread
    )


# A forked child has none of its parent's threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_threads.cache_clear)
