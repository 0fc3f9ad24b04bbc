"""Ctrl-C during a compilation takes effect between two passes of the compiler, and never within one.

Python may raise KeyboardInterrupt between any two lines, those of numba and llvmlite too. There it leaves objects of
LLVM that are owned twice or not at all: the process crashes later, or the kernel cannot be compiled any more. Between
two passes numba expects errors. A pass takes a few seconds at most.
"""

import threading
from contextlib import ExitStack
from typing import Any

from qpsim.execution.interrupts import Interrupts, deferred
from qpsim.execution.stopping import stop_requested
from qpsim.kernels.numba_interface import event, works


class _Lock(getattr(event, "Listener", object)):  # type: ignore[misc]
    """Delays Ctrl-C while the main thread holds numba's lock, under which machine code is made or loaded."""

    def __init__(self) -> None:
        self.interrupts = Interrupts()
        self._depth = 0
        self._delay = ExitStack()

    def on_start(self, event: Any) -> None:
        if _in_main_thread():
            if self._depth == 0:
                self.interrupts = self._delay.enter_context(deferred())
            self._depth += 1

    def on_end(self, event: Any) -> None:
        if _in_main_thread():
            self._depth -= 1
            if self._depth == 0:
                self._delay.close()


class _Passes(getattr(event, "Listener", object)):  # type: ignore[misc]
    """Ends a compilation before its next pass, if Ctrl-C was pressed or the task should stop."""

    def on_start(self, event: Any) -> None:
        if _in_main_thread():
            _lock.interrupts.raise_now()
        if stop_requested():
            raise KeyboardInterrupt

    def on_end(self, event: Any) -> None:
        """Does nothing: interrupts are raised when the next pass starts."""


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _example() -> bool:
    """Whether numba reports when it takes its lock and when a pass begins and ends."""
    import numba

    events: list[str] = []

    class Listener(event.Listener):
        def on_start(self, event: Any) -> None:
            events.append(event.kind)

        def on_end(self, event: Any) -> None:
            events.append("end of " + event.kind)

    listener = Listener()
    with (
        event.install_listener("numba:compiler_lock", listener),
        event.install_listener("numba:run_pass", listener),
    ):
        numba.njit(lambda x: x)(1.0)
    first = events.index("numba:run_pass")
    return (
        events[0] == "numba:compiler_lock"
        and events[-1] == "end of numba:compiler_lock"
        and events[first + 1] == "end of numba:run_pass"
    )


_lock = _Lock()


def install() -> None:
    """From now on delay Ctrl-C until a pass of the compiler has ended."""
    if works("Interrupts between passes of the compiler", _example, "Ctrl-C takes effect anywhere"):
        event.register("numba:compiler_lock", _lock)
        event.register("numba:run_pass", _Passes())
