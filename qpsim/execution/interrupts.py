"""Delay Ctrl-C while something must not be left half done.

Python raises KeyboardInterrupt at any point of the main thread. Inside ``Executor.submit`` this may
be while the pool's lock is held, so that its workers wait for ever, or before the future is
returned. Within :func:`deferred` an interrupt is only recorded, and raised at the end of the block.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Interrupts:
    """Whether Ctrl-C was pressed within a block of :func:`deferred`. The object is called for the answer."""

    def __init__(self) -> None:
        self._noted: list[tuple[Callable[..., Any], Any]] = []

    def __call__(self) -> bool:
        return bool(self._noted)

    def note(self, usual: Callable[..., Any], frame: Any) -> None:
        """Record one interrupt, and the handler that it is for."""
        self._noted.append((usual, frame))

    def raise_now(self) -> None:
        """Do now what the program does on Ctrl-C, if it was pressed: as a rule, raise KeyboardInterrupt."""
        if self._noted:
            usual, frame = self._noted[0]
            self._noted.clear()
            usual(signal.SIGINT, frame)


@contextmanager
def deferred(*, second_at_once: bool = False) -> Iterator[Interrupts]:
    """Delay Ctrl-C until the end of the block, or until :meth:`Interrupts.raise_now` is called in it.

    Only the main thread receives Ctrl-C. In other threads, or if the process ignores Ctrl-C,
    nothing is changed.

    Parameters
    ----------
    second_at_once : bool, default False
        Raise a second Ctrl-C at once. For long blocks that check between their steps whether one
        was pressed.

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
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread() or not callable(usual):
        yield interrupts
        return

    def note(number: int, frame: Any) -> None:
        interrupts.note(usual, frame)
        if second_at_once:
            signal.signal(signal.SIGINT, usual)

    signal.signal(signal.SIGINT, note)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, usual)
        interrupts.raise_now()


@contextmanager
def blocked() -> Iterator[None]:
    """Processes that are started in the block do not receive Ctrl-C; their parent handles it.

    A terminal sends Ctrl-C to all processes of a command. A worker that is still importing would
    end with a traceback, and its pool would break. In this process an interrupt is delayed to the
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
