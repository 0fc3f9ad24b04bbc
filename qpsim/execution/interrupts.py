"""Ctrl-C at a moment that leaves nothing half done.

Python raises KeyboardInterrupt wherever the main thread happens to be. Inside ``Executor.submit`` that can be while a
lock of the pool is held, which its workers then wait for without end, or before the caller has learned of the future.
Between :func:`deferred`'s beginning and end an interrupt is only noted; it is raised right after.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def deferred() -> Iterator[None]:
    """Hold Ctrl-C back until the end of the block, in the main thread; elsewhere nothing interrupts.

    Examples
    --------
    >>> import signal
    >>> from qpsim.execution.interrupts import deferred
    >>> done = []
    >>> try:
    ...     with deferred():
    ...         signal.raise_signal(signal.SIGINT)
    ...         done.append("all of it")
    ... except KeyboardInterrupt:
    ...     done.append("stopped")
    >>> done
    ['all of it', 'stopped']
    """
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        yield
        return
    noted: list[Any] = []
    signal.signal(signal.SIGINT, lambda number, frame: noted.append(frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
        if noted:
            usual(signal.SIGINT, noted[0])
