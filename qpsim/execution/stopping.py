"""How running tasks learn that their results are no longer needed.

A long task calls :func:`stop_requested` from time to time, in a thread or a worker process. Compiled code cannot call
it, and reads the :func:`stop_flag` that is passed to it. During a compilation :mod:`qpsim.kernels.compiler_interrupts`
calls it.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextvars import ContextVar
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from qpsim.errors import ForeignWorker
from qpsim.execution.sources import identity

# The run that a task belongs to, after the runs whose tasks have started it.
Runs = tuple[str, ...]
_runs: ContextVar[Runs] = ContextVar("runs", default=())
_stopped: set[str] = set()
_numbers = count()
# In a worker process: whether the parent has asked all tasks to stop.
_parent_stopped: Callable[[], bool] = bool
# One flag for all tasks of a run; it exists as long as a task refers to it.
_flags: WeakValueDictionary[Runs, np.ndarray] = WeakValueDictionary()
_lock = threading.Lock()


def stop_requested() -> bool:
    """Whether the calling task should stop.

    Examples
    --------
    >>> from qpsim.execution.stopping import stop_requested
    >>> stop_requested()
    False
    """
    return not _stopped.isdisjoint(_runs.get()) or _parent_stopped()


def stop_flag() -> np.ndarray:
    """Array (1,) of uint8 that becomes 1 when the calling task should stop.

    For compiled code. Only threads of the process that stops the run see the change; a worker process is ended by its
    parent.

    Examples
    --------
    >>> from qpsim.execution import stopping
    >>> runs = stopping.new_run()
    >>> flag = stopping.call(runs, None, stopping.stop_flag)
    >>> before = flag.tolist()
    >>> stopping.stop(runs)
    >>> before, flag.tolist()
    ([0], [1])
    >>> stopping.forget(runs)
    """
    runs = _runs.get()
    with _lock:
        flag = _flags.get(runs)
        if flag is None:
            flag = _flags[runs] = np.zeros(1, np.uint8)
    if stop_requested():
        flag[0] = 1
    return flag


def new_run() -> Runs:
    """A new name for a run, appended to the names of the runs around it."""
    return (*_runs.get(), f"{os.getpid()}-{next(_numbers)}")


def call(runs: Runs, expected: str | None, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function as a task of the last of these runs.

    Raises
    ------
    ForeignWorker
        This process runs another qpsim than expected.
    """
    if expected is not None and identity() != expected:
        raise ForeignWorker(
            f"A worker on {socket.gethostname()} runs another qpsim, {identity()}, whose numbers may "
            f"differ from those of ours, {expected}; install the same on both."
        )
    before = _runs.set(runs)
    try:
        return function(*arguments)
    finally:
        _runs.reset(before)


def stop(runs: Runs) -> None:
    """Make the tasks of a run in this process stop, and the tasks that they have started."""
    _stopped.add(runs[-1])
    with _lock:
        for others, flag in _flags.items():
            if runs[-1] in others:
                flag[0] = 1


def forget(runs: Runs) -> None:
    """Forget a run: none of its tasks is running any more."""
    _stopped.discard(runs[-1])


def stop_with_parent(parent_stopped: Callable[[], bool]) -> None:
    """In a worker process: set the function that answers whether the parent wants all tasks to stop."""
    global _parent_stopped
    _parent_stopped = parent_stopped
