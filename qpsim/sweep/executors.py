"""Where cells run: threads, processes, any ``concurrent.futures.Executor``, or a Dask cluster.

Whatever it is, few cells are in flight and results stream back as they finish. A worker that dies
costs a repetition: its cells run again, and a cell that kills its worker when it is alone has
failed.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import queue
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from qpsim.errors import SweepError, nearest
from qpsim.execution.interrupts import deferred
from qpsim.simulation.run import default_workers
from qpsim.sweep.cell import Cell, Outcome, stop_running, work

T = TypeVar("T")

NAMES = ("threads", "processes", "dask")
_SCHEME = "dask://"
_CONNECT_SECONDS = 8.0
_LOOK_SECONDS = 1.0


class Crew:
    """Where cells run.

    Attributes
    ----------
    name : str
    executor : concurrent.futures.Executor
    """

    def __init__(
        self,
        name: str,
        executor: Executor,
        width: Callable[[], int],
        renew: Callable[[], Executor] | None = None,
        alive: Callable[[], bool] = lambda: True,
    ) -> None:
        self.name = name
        self.executor = executor
        self._width = width
        self._renew = renew
        self._alive = alive
        self._group = uuid.uuid4().hex

    def stop(self) -> None:
        """Make the cells give up that run in this process."""
        stop_running(self._group)

    def completed(self, cells: Iterable[Cell]) -> Generator[tuple[Cell, Outcome], None, None]:
        """Run the cells; each with its outcome, in the order they finish.

        Raises
        ------
        SweepError
            The workers are gone for good.
        """
        waiting = iter(cells)
        finished: queue.SimpleQueue[Future[Outcome]] = queue.SimpleQueue()
        flying: dict[Future[Outcome], Cell] = {}
        # Cells that were in flight when a worker died: each runs alone, to find the one that kills.
        suspects: deque[Cell] = deque()
        try:
            while True:
                alone = bool(suspects)
                width = 1 if alone else self._asked(self._width)
                while len(flying) < width:
                    cell = suspects.popleft() if suspects else next(waiting, None)
                    if cell is None:
                        break
                    with deferred():
                        flying[self._asked(self._submitted, cell, finished)] = cell
                if not flying:
                    return
                future = self._next(finished)
                cell, was_alone = flying.pop(future), len(flying) == 0
                try:
                    yield cell, future.result()
                except BrokenExecutor as error:
                    if was_alone and alone:
                        yield cell, _lost(f"the worker died of it ({error})")
                    else:
                        suspects.extend([cell, *flying.values()])
                    flying.clear()
                    finished = queue.SimpleQueue()
                    self._replace(error)
                except CancelledError:
                    raise self._gone() from None
                except Exception as error:
                    # What Dask raises for a task that outlived several workers' deaths.
                    yield cell, _lost(f"{type(error).__name__}: {error}")
        finally:
            for future in flying:
                future.cancel()

    def _asked(self, question: Callable[..., T], *arguments: Any) -> T:
        """An executor's answer; one that was shut down or lost its cluster gives none."""
        try:
            return question(*arguments)
        except (OSError, RuntimeError):
            raise self._gone() from None

    def _submitted(
        self, cell: Cell, finished: queue.SimpleQueue[Future[Outcome]]
    ) -> Future[Outcome]:
        try:
            future = self.executor.submit(work, cell.parameters, self._group)
        except BrokenExecutor as error:
            # A worker that died while idle: nothing was lost with it.
            self._replace(error)
            future = self.executor.submit(work, cell.parameters, self._group)
        future.add_done_callback(finished.put)
        return future

    def _next(self, finished: queue.SimpleQueue[Future[Outcome]]) -> Future[Outcome]:
        while True:
            try:
                return finished.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                if not self._alive():
                    raise self._gone() from None

    def _replace(self, error: BrokenExecutor) -> None:
        if self._renew is None:
            raise SweepError(f"The executor's workers died ({error}); give a new one.") from None
        self.executor = self._renew()

    def _gone(self) -> SweepError:
        return SweepError(
            f"The connection to {self.name} was lost; finished cells are stored, and the same "
            "command goes on from there."
        )


@contextmanager
def crew(executor: str | Executor = "threads", workers: int | None = None) -> Iterator[Crew]:
    """Workers for a sweep, gone when the context ends, unless they were the caller's.

    Parameters
    ----------
    executor : {"threads", "processes", "dask"}, "dask://HOST:PORT" or Executor
        "dask" starts a cluster of processes on this machine; an address joins a running one.
    workers : int, optional
        Threads or processes to start; one a core by default.

    Raises
    ------
    SweepError
        An unknown name, a number of workers below 1, an unreachable scheduler, or Dask missing.
    """
    check(executor, workers)
    count = workers or default_workers()
    if isinstance(executor, Executor):
        own = int(getattr(executor, "_max_workers", None) or default_workers())
        width = 2 * (workers or own)
        yield Crew(type(executor).__name__, executor, lambda: width)
    elif executor == "threads":
        with _threads(count) as made:
            yield made
    elif executor == "processes":
        with _processes(count) as made:
            yield made
    else:
        with _dask(executor, count) as made:
            yield made


def check(executor: str | Executor, workers: int | None) -> None:
    """Refuse what is no executor before any work is done.

    Raises
    ------
    SweepError
        As :func:`crew`, but for a scheduler that does not answer.
    """
    if workers is not None and (
        isinstance(workers, bool) or not isinstance(workers, int) or workers < 1
    ):
        raise SweepError(f"workers must be a whole number of at least 1, not {workers!r}.")
    if isinstance(executor, Executor) or executor in NAMES:
        return
    if not (isinstance(executor, str) and executor.startswith(_SCHEME)):
        raise SweepError(
            f"Unknown executor {executor!r}; {nearest(str(executor), [*NAMES, 'dask://HOST:PORT'])}"
        )
    host, _, port = executor.removeprefix(_SCHEME).rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 65536:
        raise SweepError(f"A scheduler's address is dask://HOST:PORT, not {executor!r}.")


@contextmanager
def _threads(count: int) -> Iterator[Crew]:
    pool = ThreadPoolExecutor(count, thread_name_prefix="qpsim-sweep")
    hands = Crew("threads", pool, lambda: 2 * count)
    try:
        yield hands
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        hands.stop()
        raise
    finally:
        pool.shutdown(wait=True)


@contextmanager
def _processes(count: int) -> Iterator[Crew]:
    # Spawned, not forked: a fork would copy locks that other threads hold, and the store's own.
    context = multiprocessing.get_context("spawn")
    leash, lead = context.Pipe(duplex=False)
    pools: list[ProcessPoolExecutor] = []

    def start() -> Executor:
        pools.append(
            ProcessPoolExecutor(count, mp_context=context, initializer=_follow, initargs=(leash,))
        )
        return pools[-1]

    try:
        yield Crew("processes", start(), lambda: 2 * count, start)
        pools[-1].shutdown(wait=True)
    finally:
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        lead.close()
        leash.close()


def _follow(leash: Connection) -> None:
    """Make a worker end with its sweep, even one that was killed, and leave Ctrl-C to it."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def wait() -> None:
        try:
            leash.recv_bytes()
        except (EOFError, OSError):
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@contextmanager
def _dask(address: str, count: int) -> Iterator[Crew]:
    try:
        import distributed
    except ImportError:
        raise SweepError(
            'Sweeps on Dask need distributed; install it with: pip install "qpsim[dask]"'
        ) from None
    if address == "dask":
        with (
            distributed.LocalCluster(
                n_workers=count,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address=None,
                worker_dashboard_address=None,
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield _dask_crew(client, "the local Dask cluster")
        return
    with _connected(address) as client:
        yield _dask_crew(client, f"the Dask scheduler at {address}")


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    import distributed

    host, _, port = address.removeprefix(_SCHEME).rpartition(":")
    log = logging.getLogger("distributed")
    level = log.level
    began = time.monotonic()
    log.setLevel(logging.CRITICAL)
    try:
        # A closed port answers at once; Dask would go on trying, and tell of every attempt.
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
        client = distributed.Client(f"tcp://{host}:{port}", timeout=_CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise SweepError(
            f"No Dask scheduler answers at {address} ({reason}, after "
            f"{time.monotonic() - began:.0f} s); is it running, and is the port right?"
        ) from None
    finally:
        log.setLevel(level)
    with client:
        yield client


def _dask_crew(client: Any, name: str) -> Crew:
    seen = [0.0, 2.0]

    def width() -> int:
        # Workers come and go; asking the scheduler before every cell would cost more than a cell.
        if client.status != "running":
            raise OSError("the client has lost its scheduler")
        if time.monotonic() > seen[0]:
            seen[:] = (
                time.monotonic() + _LOOK_SECONDS,
                2.0 * max(1, sum(client.nthreads().values())),
            )
        return int(seen[1])

    executor = client.get_executor(pure=False)
    return Crew(name, executor, width, alive=lambda: client.status == "running")


def _lost(reason: str) -> Outcome:
    return Outcome(None, {"error": f"WorkerLost: {reason}", "traceback": ""}, 0.0, "lost")
