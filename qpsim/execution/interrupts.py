"""Ctrl-C at a moment that leaves nothing half done.

Python raises KeyboardInterrupt wherever the main thread happens to be. Inside ``Executor.submit``
that can be while a lock of the pool is held, for which its workers then wait without end, or before
the caller has learned of the future. Within :func:`deferred` an interrupt is only noted; it is
raised right after.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def deferred(*, second_at_once: bool = False) -> Iterator[Callable[[], bool]]:
    """Hold Ctrl-C back until the end of the block; the value says whether one has come.

    Only the main thread hears Ctrl-C, and only if the process does not ignore it: elsewhere the
    block just runs.

    Parameters
    ----------
    second_at_once : bool, default False
        Raise a second Ctrl-C at once, for a block of more than a moment that looks between its
        steps whether one has come.

    Examples
    --------
    >>> import signal
    >>> from qpsim.execution.interrupts import deferred
    >>> done = []
    >>> try:
    ...     with deferred() as interrupted:
    ...         signal.raise_signal(signal.SIGINT)
    ...         done.append(interrupted())
    ... except KeyboardInterrupt:
    ...     done.append("stopped")
    >>> done
    [True, 'stopped']
    """
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        yield lambda: False
        return
    noted: list[Any] = []

    def note(number: int, frame: Any) -> None:
        noted.append(frame)
        if second_at_once:
            signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(noted)
    finally:
        signal.signal(signal.SIGINT, usual)
        if noted:
            usual(signal.SIGINT, noted[0])


@contextmanager
def blocked() -> Iterator[None]:
    """Processes that are started in the block never hear Ctrl-C: it is for their parent to hear.

    A terminal sends Ctrl-C to all processes of a command. A worker that is still importing would
    die of it with a traceback, and its pool with it. In this process an interrupt waits for the
    end of the block.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
