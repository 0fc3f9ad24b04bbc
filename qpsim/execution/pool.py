"""Runs independent tasks: in this thread, in threads, in processes, or on a caller's executor.

Simulations, networks and sweeps submit their tasks here. Only a few tasks are submitted at a time, which limits memory
and makes Ctrl-C take effect soon. Results are returned in the order in which they finish. If a worker process dies, the
submitted tasks run again, one at a time; a task whose worker dies again has failed.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, NamedTuple

from qpsim.errors import ExecutionError, ForeignWorker, WorkerLost
from qpsim.execution import progress, stopping
from qpsim.execution.cores import available_cores, worker_count
from qpsim.execution.interrupts import deferred
from qpsim.execution.sources import identity

# Tasks submitted ahead for each worker. More than one, since the main thread gets little time to submit more while the
# workers use all cores.
_SUBMITTED_PER_WORKER = 4
_POLL_SECONDS = 1.0


class WorkerPool:
    """Where tasks run. Made by :func:`threads`, :func:`qpsim.execution.processes.processes` and others.

    Parameters
    ----------
    executor : concurrent.futures.Executor or None
        None runs every task immediately, in the calling thread.
    width : int
        How many tasks run at a time.
    name : str, optional
        Its name in messages.

    Attributes
    ----------
    stop_seconds : float or None
        Seconds for which an interrupted run waits for its running tasks; None waits until they end.
    """

    stop_seconds: float | None = None

    def __init__(self, executor: Executor | None, width: int, name: str | None = None) -> None:
        self.executor = executor
        self._width = width
        self.name = name or ("this thread" if executor is None else type(executor).__name__)

    @property
    def width(self) -> int:
        """How many tasks run at a time."""
        return self._width

    def run(
        self,
        function: Callable[..., Any],
        tasks: Iterable[tuple[Any, tuple[Any, ...]]] = (),
    ) -> TaskRun:
        """Call a function for every task: a context manager, and an iterator over what has finished.

        If the block ends before the tasks do, waiting tasks are cancelled, and for running ones
        :func:`qpsim.execution.stopping.stop_requested` becomes True.

        Parameters
        ----------
        function : callable
            Called with a task's arguments; by processes it must be importable.
        tasks : iterable of (key, arguments)
            Read only as workers become free. More tasks may be added later.

        Examples
        --------
        >>> from qpsim.execution.pool import threads
        >>> with threads(2) as pool, pool.run(pow, [("nine", (3, 2)), ("eight", (2, 3))]) as run:
        ...     found = {key: future.result() for key, future in run}
        >>> found["nine"], found["eight"]
        (9, 8)
        """
        return TaskRun(self, function, tasks)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Submit one task."""
        if self.executor is not None:
            return self.executor.submit(function, *arguments)
        future: Future[Any] = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def replace_workers(self, error: BrokenExecutor) -> None:
        """Replace workers that have died.

        Raises
        ------
        ExecutionError
            They belong to the caller's executor, and cannot be replaced here.
        """
        raise ExecutionError(f"The executor's workers died ({error}); give a new one.") from None

    def check_alive(self) -> None:
        """Called every second while waiting for results.

        Raises
        ------
        ExecutionError
            No result can arrive any more.
        """

    def note_error(self, error: BaseException) -> None:
        """Called if a task has raised an exception, before its future is returned."""

    def cancel_waiting(self, futures: Iterable[Future[Any]]) -> None:
        """Cancel the tasks that have not begun, since the run ends early."""
        for future in futures:
            future.cancel()

    def closed_error(self, error: Exception | None = None) -> ExecutionError:
        """The error to raise when the workers accept no more tasks or return no more results."""
        reason = str(error).strip().splitlines() if error is not None else []
        return ExecutionError(
            f"{self.name} takes no more work ({reason[0] if reason else 'it was shut down'}); "
            "give an executor that is open."
        )


class _Task(NamedTuple):
    key: Any
    arguments: tuple[Any, ...]


class TaskRun:
    """Tasks submitted together, and their results. Made by :meth:`WorkerPool.run`.

    Iterating gives each task's key and its completed future. Leaving the block cancels the tasks that have not begun,
    and waits until the running ones have ended.
    """

    def __init__(
        self,
        pool: WorkerPool,
        function: Callable[..., Any],
        tasks: Iterable[tuple[Any, tuple[Any, ...]]],
    ) -> None:
        self._pool, self._function = pool, function
        self._runs = stopping.new_run()
        # Threads of this process run the same qpsim; other workers are checked.
        here = pool.executor is None or isinstance(pool.executor, ThreadPoolExecutor)
        self._expected = None if here else identity()
        self._source = iter(tasks)
        self._added: deque[_Task] = deque()
        # Tasks that were submitted when a worker died; they run again, one at a time, to find the one that kills it.
        self._to_repeat: deque[_Task] = deque()
        self._one_at_a_time = False
        self._submitted: dict[Future[Any], _Task] = {}
        self._finished: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()

    def add(self, key: Any, *arguments: Any) -> None:
        """One more task."""
        self._added.append(_Task(key, arguments))

    def in_order(self) -> Iterator[Any]:
        """Results in the order of the tasks, whose keys are 0, 1, 2, ...

        Raises
        ------
        Exception
            The first exception raised by a task.
        """
        early: dict[int, Any] = {}
        number = 0
        for key, future in self:
            early[key] = future.result()
            while number in early:
                yield early.pop(number)
                number += 1

    def __enter__(self) -> TaskRun:
        return self

    def __iter__(self) -> Iterator[tuple[Any, Future[Any]]]:
        return self

    def __next__(self) -> tuple[Any, Future[Any]]:
        while True:
            self._fill()
            if not self._submitted:
                raise StopIteration
            future = self._wait()
            task = self._submitted.pop(future)
            if future.cancelled():
                raise self._pool.closed_error()
            error = future.exception()
            if isinstance(error, ForeignWorker):
                raise error
            if not isinstance(error, BrokenExecutor):
                if error is not None:
                    self._pool.note_error(error)
                return task.key, future
            if self._one_at_a_time:
                lost: Future[Any] = Future()
                lost.set_exception(WorkerLost(f"The worker died of it ({error})"))
                future = lost
            else:
                self._to_repeat.extend([task, *self._submitted.values()])
            alone, self._submitted = self._one_at_a_time, {}
            # A new queue, since the broken futures still arrive in the old one.
            self._finished = queue.SimpleQueue()
            self._pool.replace_workers(error)
            if alone:
                return task.key, future

    def __exit__(self, *raised: Any) -> None:
        if not self._submitted:
            return
        stopping.stop(self._runs)
        self._pool.cancel_waiting(self._submitted)
        stop_seconds = self._pool.stop_seconds
        end = None if stop_seconds is None else time.monotonic() + stop_seconds
        while not all(future.done() for future in self._submitted):
            if end is not None and time.monotonic() > end:
                return
            with suppress(queue.Empty):
                self._finished.get(timeout=0.1)
        stopping.forget(self._runs)

    def _fill(self) -> None:
        self._one_at_a_time = bool(self._to_repeat)
        one = self._one_at_a_time or self._pool.executor is None
        room = 1 if one else _SUBMITTED_PER_WORKER * self._pool.width
        while len(self._submitted) < room and (task := self._next_task()) is not None:
            if not self._submit(task):
                return

    def _next_task(self) -> _Task | None:
        for waiting in (self._to_repeat, self._added):
            if waiting:
                return waiting.popleft()
        drawn = next(self._source, None)
        return None if drawn is None else _Task(*drawn)

    def _submit(self, task: _Task) -> bool:
        """Submit a task; False if it has to wait, because the workers have died."""
        work = stopping.call, self._runs, self._expected, self._function, *task.arguments
        # Without an executor the task runs right here, and Ctrl-C must stop it at once.
        with deferred() if self._pool.executor is not None else nullcontext():
            try:
                future = self._pool.submit(*work)
            except BrokenExecutor as error:
                self._added.appendleft(task)
                # Tasks already submitted will return as broken and are submitted again then.
                if not self._submitted:
                    self._pool.replace_workers(error)
                return not self._submitted
            except (RuntimeError, OSError) as error:
                raise self._pool.closed_error(error) from None
            self._submitted[future] = task
            future.add_done_callback(self._finished.put)
        return True

    def _wait(self) -> Future[Any]:
        while True:
            try:
                return self._finished.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                self._pool.check_alive()
                progress.refresh()


def in_this_thread() -> WorkerPool:
    """No workers: every task runs immediately, in the calling thread."""
    return WorkerPool(None, 1)


def of_executor(executor: Executor) -> WorkerPool:
    """A pool that uses the caller's executor, and leaves it open.

    Raises
    ------
    ExecutionError
        It was shut down.
    """
    pool = WorkerPool(executor, int(getattr(executor, "_max_workers", None) or available_cores()))
    if getattr(executor, "_shutdown", False) or getattr(executor, "_shutdown_thread", False):
        raise pool.closed_error()
    return pool


@contextmanager
def threads(workers: int | Executor | None = None) -> Iterator[WorkerPool]:
    """A pool of threads for the duration of the block, or one that uses the caller's executor.

    Parameters
    ----------
    workers : None, int or concurrent.futures.Executor
        Number of threads; None is one for each core.

    Raises
    ------
    ExecutionError
        A number below 1, or an executor that was shut down.
    """
    if isinstance(workers, Executor):
        yield of_executor(workers)
        return
    count = worker_count(workers)
    executor = ThreadPoolExecutor(count, thread_name_prefix="qpsim")
    try:
        yield WorkerPool(executor, count, "threads")
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
