"""Worker processes that end when their parent ends and leave Ctrl-C to it."""

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
from qpsim.execution.stopping import stop_with_parent

_NAME = "qpsim-worker"
_NOT_STARTED = (
    "Worker processes could not be started. Each imports the program again: what it does must stand "
    "below 'if __name__ == \"__main__\":'; or take threads."
)


@contextmanager
def processes(
    workers: int | Executor | None = None, stop_seconds: float = 0.0, *, thread_if_one: bool = False
) -> Iterator[WorkerPool]:
    """A pool of processes for the duration of the block, or one that uses the caller's executor.

    Parameters
    ----------
    workers : None, int or concurrent.futures.Executor
        Number of processes; None is one for each core.
    stop_seconds : float, default 0
        Seconds that running tasks have to stop after an interrupt
        (:func:`qpsim.execution.stopping.stop_requested`). Then their processes are ended.
    thread_if_one : bool, default False
        If there would be only one worker, run the tasks in this thread instead.

    Raises
    ------
    ExecutionError
        A number below 1, an executor that was shut down, or a program that processes cannot import.
    """
    if isinstance(workers, Executor):
        yield of_executor(workers)
        return
    count = worker_count(workers)
    if count == 1 and thread_if_one:
        yield in_this_thread()
        return
    check_program()
    pool = _ProcessPool(count, stop_seconds)
    try:
        yield pool
        pool.finish()
    finally:
        pool.end()


def check_program() -> None:
    """Raise an error if worker processes could not import the program.

    Raises
    ------
    ExecutionError
        The program was read from standard input; or this is itself a worker process that is
        importing the program, which starts workers at import (it lacks ``if __name__ ==
        "__main__"``).
    """
    current = multiprocessing.current_process()
    # True while a spawned process imports the program.
    if getattr(current, "_inheriting", False):
        if current.name.startswith(_NAME):
            # The parent process prints the error, once.
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
    """A process whose name says that it is a worker of this package."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.name = f"{_NAME}-{self.name}"


class _Context(SpawnContext):
    """Starts processes, and keeps a list of them."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[_Process] = []

    def Process(self, *arguments: Any, **named: Any) -> _Process:  # type: ignore[override]
        self.made.append(_Process(*arguments, **named))
        return self.made[-1]


class _ProcessPool(WorkerPool):
    def __init__(self, count: int, stop_seconds: float) -> None:
        # Spawned, not forked: a fork copies locks that other threads hold, and the threads of BLAS
        # and numba do not exist in the child.
        self._context = _Context()
        # Workers end when the writing end of this pipe is closed, by `end` or because this process
        # ends.
        self._receiver, self._sender = self._context.Pipe(duplex=False)
        self._stop = self._context.Event()
        super().__init__(None, count, "processes")
        self.stop_seconds = stop_seconds
        self._start()

    def _start(self) -> None:
        self._started = self._context.Event()
        self.executor = ProcessPoolExecutor(
            self._width,
            mp_context=self._context,
            initializer=_start_worker,
            initargs=(self._receiver, self._stop, self._started),
        )

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        # Submitting may start a process.
        with blocked():
            return super().submit(function, *arguments)

    def replace_workers(self, error: BrokenExecutor) -> None:
        if not self._started.is_set():
            raise ExecutionError(_NOT_STARTED) from None
        self._start()

    def cancel_waiting(self, futures: Iterable[Future[Any]]) -> None:
        self._stop.set()
        # The executor itself cancels the futures: if a worker dies at the same time, it fails on
        # futures that were cancelled by others.
        assert self.executor is not None
        self.executor.shutdown(wait=False, cancel_futures=True)

    def finish(self) -> None:
        """Wait until all workers have ended normally."""
        assert self.executor is not None
        self.executor.shutdown(wait=True)

    def end(self) -> None:
        """End all workers now."""
        assert self.executor is not None
        self.executor.shutdown(wait=False, cancel_futures=True)
        self._sender.close()
        self._receiver.close()
        # Those that are still starting do not look at the pipe yet, and would find this process gone.
        for process in self._context.made:
            if process.pid is not None:
                process.terminate()


def _start_worker(receiver: Connection, stop: Any, started: Any) -> None:
    """In a worker process, before its first task."""
    import signal

    stop_with_parent(stop.is_set)
    # Needed where signals cannot be blocked while the process starts.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    progress.silence()
    threading.Thread(target=_end_with_parent, args=(receiver,), daemon=True).start()
    started.set()


def _end_with_parent(receiver: Connection) -> None:
    try:
        receiver.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
