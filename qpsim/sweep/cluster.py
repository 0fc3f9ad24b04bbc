"""Cells on a Dask cluster, whose workers may join and leave, and must run the same qpsim."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from qpsim.errors import ExecutionError, ForeignWorker
from qpsim.execution import progress
from qpsim.execution.pool import WorkerPool
from qpsim.execution.sources import identity

SCHEME = "dask://"
_CONNECT_SECONDS = 8.0
_POLL_SECONDS = 1.0


@contextmanager
def local(count: int) -> Iterator[WorkerPool]:
    """A cluster of ``count`` processes on this machine, for the duration of the block.

    Raises
    ------
    ExecutionError
        Dask is not installed.
    """
    distributed = _distributed()
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
        yield _DaskPool(client, "the local Dask cluster")


@contextmanager
def joined(address: str) -> Iterator[WorkerPool]:
    """The workers of a running scheduler; they are kept when the block ends.

    Raises
    ------
    ExecutionError
        No scheduler answers, one of its workers runs another qpsim, or Dask is not installed.
    """
    distributed = _distributed()
    host, port = host_and_port(address)
    log = logging.getLogger("distributed")
    level = log.level
    began = time.monotonic()
    log.setLevel(logging.CRITICAL)
    try:
        # A closed port is found at once this way; Dask would try again and again and print every attempt.
        socket.create_connection((host.strip("[]"), port), timeout=_CONNECT_SECONDS).close()
        client = distributed.Client(f"tcp://{host}:{port}", timeout=_CONNECT_SECONDS)
    except (OSError, TimeoutError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ExecutionError(
            f"No Dask scheduler answers at {address} ({reason}, after "
            f"{time.monotonic() - began:.0f} s); is it running, and is the port right?"
        ) from None
    finally:
        log.setLevel(level)
    with client:
        yield _DaskPool(client, f"the Dask scheduler at {address}")


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of a scheduler's address.

    Raises
    ------
    ExecutionError
        It is not of the form dask://HOST:PORT.

    Examples
    --------
    >>> from qpsim.sweep.cluster import host_and_port
    >>> host_and_port("dask://127.0.0.1:8786")
    ('127.0.0.1', 8786)
    """
    host, _, port = address.removeprefix(SCHEME).rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 65536:
        raise ExecutionError(f"A scheduler's address is {SCHEME}HOST:PORT, not {address!r}.")
    return host, int(port)


class _DaskPool(WorkerPool):
    def __init__(self, client: Any, name: str) -> None:
        super().__init__(client.get_executor(pure=False), 1, name)
        self._client = client
        self._trusted: set[str] = set()
        self._looked = 0.0
        self._waits = False
        self._look_at_workers()

    @property
    def width(self) -> int:
        """Number of threads of all present workers."""
        # Not before every cell: asking the scheduler may take longer than a cell.
        if time.monotonic() > self._looked + _POLL_SECONDS:
            self._look_at_workers()
        return self._width

    def check_alive(self) -> None:
        """Print a message while waiting for a worker.

        Raises
        ------
        ExecutionError
            The connection is lost, or a worker runs another qpsim.
        """
        self._look_at_workers()
        waiting = f"waiting for a worker to join {self.name}"
        if not self._trusted:
            if not self._waits:
                progress.say(waiting)
            progress.refresh(waiting)
        self._waits = not self._trusted

    def note_error(self, error: BaseException) -> None:
        """Check the workers, since one that has just joined may be the cause of the failure.

        Raises
        ------
        ExecutionError
            The connection is lost, or a worker runs another qpsim.
        """
        self._look_at_workers()

    def closed_error(self, error: Exception | None = None) -> ExecutionError:
        """The error for a scheduler that no longer answers."""
        return ExecutionError(
            f"The connection to {self.name} was lost; finished cells are stored, and the same "
            "command goes on from there."
        )

    def _look_at_workers(self) -> None:
        if self._client.status != "running":
            raise self.closed_error()
        try:
            threads = self._client.nthreads()
            self._ask_who_they_are([worker for worker in threads if worker not in self._trusted])
        except (OSError, RuntimeError) as error:
            raise self.closed_error(error) from None
        self._trusted &= set(threads)
        self._width = max(1, sum(threads.values()))
        self._looked = time.monotonic()

    def _ask_who_they_are(self, workers: list[str]) -> None:
        if not workers:
            return
        ours = identity()
        answers = self._client.run(identity, workers=workers, on_error="return")
        for worker, answer in answers.items():
            if answer == ours:
                self._trusted.add(worker)
            elif isinstance(answer, ImportError | AttributeError):
                raise ForeignWorker(
                    f"The Dask worker {worker} has no qpsim like ours, {ours} ({answer}); install it "
                    "there."
                )
            elif isinstance(answer, str):
                raise ForeignWorker(
                    f"The Dask worker {worker} runs another qpsim, {answer}, whose numbers may "
                    f"differ from those of ours, {ours}; install the same on both."
                )


def _distributed() -> ModuleType:
    try:
        import distributed
    except ImportError:
        raise ExecutionError(
            'Sweeps on Dask need distributed; install it with: pip install "qpsim[dask]"'
        ) from None
    return distributed
