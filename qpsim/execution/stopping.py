"""Telling tasks under way that nobody waits for their results any more.

A task that takes more than a moment asks :func:`stop_requested` now and then, in whatever thread or
worker process it runs. Machine code, which cannot ask, looks at the :func:`stop_flag` that it is given.
A compilation, which does neither, runs within :func:`interruptible`.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from itertools import count
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from qpsim.errors import ForeignWorker
from qpsim.execution.sources import identity

# The run that a task belongs to and, if that was itself started by a task, the runs around it.
Runs = tuple[str, ...]
_runs: ContextVar[Runs] = ContextVar("runs", default=())
_stopped: set[str] = set()
_numbers = count()
_told_by_parent: Callable[[], bool] = bool
# One for all tasks of a run, for as long as one of them holds it.
_flags: WeakValueDictionary[Runs, np.ndarray] = WeakValueDictionary()
# Threads within a block of `interruptible`, and the runs that they work for.
_interruptible: dict[int, Runs] = {}
_lock = threading.Lock()


def stop_requested() -> bool:
    """Whether the task that asks may give up.

    Examples
    --------
    >>> from qpsim.execution.stopping import stop_requested
    >>> stop_requested()
    False
    """
    return not _stopped.isdisjoint(_runs.get()) or _told_by_parent()


def stop_flag() -> np.ndarray:
    """Array (1,) of uint8 that becomes 1 when the task that asks is to give up.

    It is for code that keeps Python from running in its thread. Only threads of the process that stops the run see it
    change: a worker process is ended by its parent.

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


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt within the block, wherever it is, when the task that runs it is to give up.

    It is for long work of Python code that does not ask, such as numba's compilation. Python raises it between two of
    its own instructions, as it does Ctrl-C in the main thread, whose own Ctrl-C needs no help.

    Examples
    --------
    >>> from qpsim.execution import stopping
    >>> with stopping.interruptible():
    ...     total = sum(range(10))
    """
    thread = threading.get_ident()
    if threading.current_thread() is threading.main_thread() or thread in _interruptible:
        yield
        return
    with _lock:
        _interruptible[thread] = _runs.get()
    try:
        if stop_requested():
            raise KeyboardInterrupt
        yield
    finally:
        # An exception that comes just here has nothing left to end.
        while thread in _interruptible:
            with suppress(KeyboardInterrupt), _lock:
                _interruptible.pop(thread, None)


def new_run() -> Runs:
    """A name for a run, behind those of the runs around it."""
    return (*_runs.get(), f"{os.getpid()}-{next(_numbers)}")


def call(runs: Runs, expected: str | None, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function as a task of the last of these runs.

    Raises
    ------
    ForeignWorker
        This process does not run the qpsim that is expected.
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
    """Make the tasks of a run in this process give up, with those that they have started.

    It may be said again: Python drops what is raised while it disposes of an object.
    """
    _stopped.add(runs[-1])
    with _lock:
        for others, flag in _flags.items():
            if runs[-1] in others:
                flag[0] = 1
        for thread, others in _interruptible.items():
            if runs[-1] in others:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(
                    ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt)
                )


def forget(runs: Runs) -> None:
    """Nothing of a run is under way any more."""
    _stopped.discard(runs[-1])


def obey_parent(told: Callable[[], bool]) -> None:
    """In a worker process: how its parent says that all of its tasks may give up."""
    global _told_by_parent
    _told_by_parent = told
