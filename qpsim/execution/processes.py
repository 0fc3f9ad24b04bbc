"""Worker processes of our own: they end when their parent does, and leave Ctrl-C to it."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from qpsim.errors import ExecutionError
from qpsim.execution import progress
from qpsim.execution.cores import worker_count
from qpsim.execution.interrupts import blocked
from qpsim.execution.pool import WorkerPool, in_this_thread, of_executor
from qpsim.execution.stopping import obey_parent

_NAME = "qpsim-worker"
_NOT_STARTED = (
    "Worker processes could not be started. Each imports the program again: what it does must stand "
    "below 'if __name__ == \"__main__\":'; or take threads."
)


@contextmanager
def processes(
    workers: int | Executor | None = None, patience: float = 0.0, *, spare_one: bool = False
) -> Iterator[WorkerPool]:
    """So many processes for as long as the block lasts, or a caller's executor.

    Parameters
    ----------
    workers : None, int or concurrent.futures.Executor
        None is a process for each core.
    patience : float, default 0
        Seconds that tasks under way have to give up when a run is interrupted, as they learn by
        :func:`qpsim.execution.stopping.stop_requested`. Then their processes are ended.
    spare_one : bool, default False
        Where there would be one worker only, run tasks in this thread instead.

    Raises
    ------
    ExecutionError
        A number below 1, an executor that was shut down, or a program that processes cannot import.
    """
    if isinstance(workers, Executor):
        yield of_executor(workers)
        return
    count = worker_count(workers)
    if count == 1 and spare_one:
        yield in_this_thread()
        return
    check_program()
    pool = _ProcessPool(count, patience)
    try:
        yield pool
        pool.finish()
    finally:
        pool.end()


def check_program() -> None:
    """Refuse to start processes where they could not import the program.

    Raises
    ------
    ExecutionError
        The program was read from standard input, or it is being imported by a worker process
        because nothing keeps it from starting workers when it is imported.
    """
    current = multiprocessing.current_process()
    # True while a process that was started afresh imports the program.
    if getattr(current, "_inheriting", False):
        if current.name.startswith(_NAME):
            # The process that started this one says what is wrong, once.
            raise SystemExit(1)
        raise ExecutionError(_NOT_STARTED)
    program = sys.modules.get("__main__")
    file = getattr(program, "__file__", None)
    if getattr(program, "__spec__", None) is None and file and not os.path.exists(file):
        raise ExecutionError(
            "Worker processes import the program again, which they cannot do if it is read from "
            "standard input; save it in a file, or take threads."
        )


class _Process(SpawnProcess):
    """A process that can tell from its name that it is one of our workers."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.name = f"{_NAME}-{self.name}"


class _Context(SpawnContext):
    Process = _Process


class _ProcessPool(WorkerPool):
    def __init__(self, count: int, patience: float) -> None:
        # Started afresh, not forked: a fork copies locks that other threads hold, and neither
        # BLAS's nor numba's threads survive it.
        self._context = _Context()
        # Workers end when the writing end is closed, by us or by the end of this process.
        self._leash, self._lead = self._context.Pipe(duplex=False)
        self._stop = self._context.Event()
        super().__init__(None, count, "processes")
        self.patience = patience
        self._start()

    def _start(self) -> None:
        self._started = self._context.Event()
        self.executor = ProcessPoolExecutor(
            self._width,
            mp_context=self._context,
            initializer=_begin,
            initargs=(self._leash, self._stop, self._started),
        )

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        # It starts a process if there is none without work.
        with blocked():
            return super().submit(function, *arguments)

    def renew(self, error: BrokenExecutor) -> None:
        if not self._started.is_set():
            raise ExecutionError(_NOT_STARTED) from None
        self._start()

    def abandon(self, futures: Iterable[Future[Any]]) -> None:
        self._stop.set()
        # Cancelled by the executor itself: if a worker dies meanwhile, it does not expect to find
        # futures that someone else has cancelled.
        assert self.executor is not None
        self.executor.shutdown(wait=False, cancel_futures=True)

    def finish(self) -> None:
        """Wait until all workers have ended in order."""
        assert self.executor is not None
        self.executor.shutdown(wait=True)

    def end(self) -> None:
        """End all workers now."""
        assert self.executor is not None
        self.executor.shutdown(wait=False, cancel_futures=True)
        self._lead.close()
        self._leash.close()


def _begin(leash: Connection, stop: Any, started: Any) -> None:
    """In a worker, before its first task."""
    import signal

    obey_parent(stop.is_set)
    # Also where a signal cannot be blocked while the process starts.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    progress.silence()
    threading.Thread(target=_end_with_parent, args=(leash,), daemon=True).start()
    started.set()


def _end_with_parent(leash: Connection) -> None:
    try:
        leash.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
