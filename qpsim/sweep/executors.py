"""Where the cells of a sweep run: in threads, processes, on a Dask cluster, or on a caller's executor."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from qpsim.errors import ExecutionError, nearest
from qpsim.execution.cores import worker_count
from qpsim.execution.pool import WorkerPool, threads
from qpsim.execution.processes import check_program, processes
from qpsim.sweep import cluster

NAMES = ("threads", "processes", "dask")


@contextmanager
def worker_pool(
    executor: str | Executor = "threads", workers: int | None = None
) -> Iterator[WorkerPool]:
    """Workers for a sweep for the duration of the block; a caller's executor is left open.

    Parameters
    ----------
    executor : {"threads", "processes", "dask"}, "dask://HOST:PORT" or Executor
        "dask" starts a cluster of processes on this machine; an address joins a running one.
    workers : int, optional
        Number of threads or processes; one for each core by default.

    Raises
    ------
    ExecutionError
        As :func:`check`; also an unreachable scheduler, or Dask missing.
    """
    check(executor, workers)
    if isinstance(executor, Executor):
        chosen = threads(executor)
    elif executor == "threads":
        chosen = threads(workers)
    elif executor == "processes":
        chosen = processes(workers)
    elif executor == "dask":
        chosen = cluster.local(worker_count(workers))
    else:
        chosen = cluster.joined(executor)
    with chosen as pool:
        yield pool


def check(executor: str | Executor, workers: int | None) -> None:
    """Check the executor before any work is done.

    Raises
    ------
    ExecutionError
        An unknown name or address, a number of workers below 1, or processes where they could not
        import the program.
    """
    worker_count(workers)
    if isinstance(executor, Executor):
        return
    if executor in ("processes", "dask"):
        check_program()
    elif executor != "threads":
        if not (isinstance(executor, str) and executor.startswith(cluster.SCHEME)):
            known = [*NAMES, f"{cluster.SCHEME}HOST:PORT"]
            raise ExecutionError(f"Unknown executor {executor!r}; {nearest(str(executor), known)}")
        cluster.host_and_port(executor)
