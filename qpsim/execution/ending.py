"""How a program of ours ends on Ctrl-C, and likewise on SIGTERM (batch systems) and SIGHUP (a closed terminal).

For the command line, which owns its process. While it imports modules and reads its arguments it exits at once, since
an exception would be shown by whatever is imported. While a command runs, KeyboardInterrupt is raised once, so that the
command stops in order; what takes too long is ended. Afterwards signals are ignored: they would change the exit code.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

# Longest time of an orderly stop; then the process exits. Files are complete at any moment.
_PATIENCE_SECONDS = 15.0
_OTHERS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
# Number of the first signal; whether KeyboardInterrupt was raised for it; whether the command has ended; whether the
# process has begun to exit.
_first = 0
_raised = False
_ended = False
_exiting = False


def exit_code() -> int:
    """Exit code of a program that was stopped: 130 after Ctrl-C, 128 + its number after another signal."""
    return 128 + (_first or signal.SIGINT)


def exit_at_once_on_signals() -> None:
    """From now on exit at once. Signals that the process ignores or handles otherwise stay so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit_now)
        for number in _OTHERS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _exit_now)


@contextmanager
def orderly() -> Iterator[None]:
    """Raise KeyboardInterrupt in the block, once, and ignore signals after it.

    Nothing is changed unless :func:`exit_at_once_on_signals` was called.
    """
    global _ended
    if signal.getsignal(signal.SIGINT) is not _exit_now:
        yield
        return
    ours = [number for number in _OTHERS if signal.getsignal(number) is _exit_now]
    sys.unraisablehook = _raise_dropped_interrupt
    try:
        signal.signal(signal.SIGINT, _interrupt)
        for number in ours:
            signal.signal(number, _terminate)
        yield
    finally:
        _ended = True
        for number in (signal.SIGINT, *ours):
            signal.signal(number, signal.SIG_IGN)
        # A KeyboardInterrupt that came out of an exec, even if it was caught, makes Python kill itself with SIGINT at
        # its end, unless another exec follows. Numba and dataclasses call exec.
        exec("")


def _exit_now(number: int, frame: Any) -> None:
    global _exiting
    if _exiting:  # a second signal before the first has ended the process
        return
    _exiting = True
    with suppress(OSError):
        os.write(2, b"qpsim: stopped.\n")
    os._exit(128 + number)


def _interrupt(number: int, frame: Any) -> None:
    global _first, _raised
    if _raised or _ended:
        return
    _raised = True
    if not _first:
        _first = number
    # A bare thread: it takes no lock that the interrupted code may hold.
    _thread.start_new_thread(_exit_later, ())
    raise KeyboardInterrupt


def _terminate(number: int, frame: Any) -> None:
    """As Ctrl-C, which :func:`qpsim.execution.interrupts.deferred` may delay."""
    global _first
    if not _first:
        _first = number
    signal.raise_signal(signal.SIGINT)


def _exit_later() -> None:
    time.sleep(_PATIENCE_SECONDS)
    if _ended:
        os._exit(exit_code())
    _exit_now(_first, None)


def _raise_dropped_interrupt(unraisable: Any) -> None:
    """Raise a KeyboardInterrupt again that Python dropped, as it does in destructors and callbacks of C code."""
    if unraisable.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(unraisable)
    elif threading.current_thread() is threading.main_thread() and not _ended:
        _thread.start_new_thread(_interrupt_again, ())


def _interrupt_again() -> None:
    global _raised
    # By then the callback has returned.
    time.sleep(0.05)
    _raised = False
    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
