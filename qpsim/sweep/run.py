"""The loop of a sweep: submits missing cells to workers, and writes each result as it arrives."""

from __future__ import annotations

import json
import os
import time
import warnings
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, Future
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from qpsim.errors import FileError, InfiniteVarianceWarning, SweepError
from qpsim.execution.blas import one_blas_thread
from qpsim.execution.progress import bar
from qpsim.provenance import environment
from qpsim.sweep.cell import Cell, Outcome, work
from qpsim.sweep.executors import check, worker_pool
from qpsim.sweep.grid import Sweep
from qpsim.sweep.store import RUNS, Store, Writer, opened

# Number of different errors in a report: thousands of cells usually fail for a few reasons.
_TOLD_FAILURES = 5


class Report(NamedTuple):
    """The result of running a sweep.

    Attributes
    ----------
    store : Store
    total, computed, found, failed : int
        Cells of the sweep, computed now, found finished, and failed (now or before, not retried).
    quarantined : list of str
        Files that did not belong among the cells and were moved away.
    errors : list of str
        The first few different errors of the failed cells.
    seconds : float
    """

    store: Store
    total: int
    computed: int
    found: int
    failed: int
    quarantined: list[str]
    errors: list[str]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; the store is its path."""
        return {**self._asdict(), "store": str(self.store.path)}


def run(
    sweep: Sweep,
    store: str | os.PathLike[str],
    *,
    executor: str | Executor = "threads",
    workers: int | None = None,
    retry_failed: bool = False,
    progress: bool | Callable[[int, int, int], None] = True,
) -> Report:
    """Run every cell of a sweep that is not in its store yet.

    A cell's result depends only on its parameters. If the process is killed at any moment, the same
    call continues the sweep, and the final data are the same byte for byte.

    Parameters
    ----------
    sweep : Sweep
    store : path
        Folder to create, or to continue.
    executor : {"threads", "processes", "dask"}, "dask://HOST:PORT" or Executor, default "threads"
        Where cells run; the data are the same for all. "processes" and "dask" import the main
        module again, which a script must allow by ``if __name__ == "__main__":``.
    workers : int, optional
        Threads or processes to start; one a core by default.
    retry_failed : bool, default False
        Run the cells again that failed before.
    progress : bool or callable, default True
        Whether to show progress on stderr; or a function called after each cell with the numbers of
        finished cells, failed cells, and all cells.

    Raises
    ------
    SweepError
        The store is in use, or belongs to another sweep.
    ExecutionError
        The workers cannot be started, are lost, or run another qpsim.
    FileError
        The store cannot be written. Finished cells are kept.

    Warns
    -----
    InfiniteVarianceWarning
        Once for each method that has cells in which it does not move, because the noise's variance is infinite.

    Examples
    --------
    >>> import tempfile
    >>> from qpsim.sweep import Sweep, run
    >>> sweep = Sweep({"spectrum": "mild", "dim": 4, "basis": "axis"}, {"method": ["sgd", "ssd"]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     first = run(sweep, folder, progress=False)
    ...     again = run(sweep, folder, progress=False)
    >>> (first.computed, first.failed), (again.computed, again.found)
    ((2, 0), (0, 2))

    On a SLURM cluster, with dask-jobqueue::

        from dask_jobqueue import SLURMCluster
        from qpsim.sweep import Sweep, run

        cluster = SLURMCluster(cores=8, processes=8, memory="16GB", walltime="02:00:00")
        cluster.scale(jobs=20)
        address = cluster.scheduler_address.replace("tcp", "dask")
        run(Sweep.from_toml("noise.toml"), "noise.sweep", executor=address)

    With MPI, in a script that is started by ``mpiexec -n 64 python -m mpi4py.futures sweep.py``;
    any other :class:`concurrent.futures.Executor` goes in the same way::

        from mpi4py.futures import MPIPoolExecutor
        from qpsim.sweep import Sweep, run

        if __name__ == "__main__":
            with MPIPoolExecutor() as pool:
                run(Sweep.from_toml("noise.toml"), "noise.sweep", executor=pool, workers=63)
    """
    if not isinstance(sweep, Sweep):
        raise SweepError(f"A sweep is a qpsim.sweep.Sweep, not {type(sweep).__name__}.")
    check(executor, workers)
    for text in sweep.warnings:
        warnings.warn(text, InfiniteVarianceWarning, stacklevel=2)
    began = time.monotonic()
    computed = 0
    errors: list[str] = []
    with opened(sweep, store) as (writer, quarantined):
        done = writer.finished()
        failed = set() if retry_failed else (writer.failed() & sweep.ids) - done
        todo = (cell for cell in sweep if cell.id not in done and cell.id not in failed)
        with _shown(progress, len(sweep), len(done), len(failed)) as tell:
            if len(done) + len(failed) < len(sweep):
                # Closed before the lock is released, since workers must not write without it.
                with closing(_computed(todo, writer, executor, workers)) as finished:
                    for cell, outcome in finished:
                        if outcome.content is None:
                            failed.add(cell.id)
                            _note(errors, outcome)
                        else:
                            computed += 1
                        tell(len(done) + computed, len(failed), len(sweep))
            writer.write_index()
    seconds = time.monotonic() - began
    return Report(
        Store(store), len(sweep), computed, len(done), len(failed), quarantined, errors, seconds
    )


def _computed(
    todo: Iterator[Cell], writer: Writer, executor: str | Executor, workers: int | None
) -> Generator[tuple[Cell, Outcome], None, None]:
    tasks = ((cell, (cell.parameters,)) for cell in todo)
    # One limit around all cells, so that none of them runs while BLAS has no limit.
    with (
        worker_pool(executor, workers) as pool,
        one_blas_thread(),
        _log(writer.path / RUNS, pool.name) as log,
        pool.run(work, tasks) as results,
    ):
        for cell, future in results:
            outcome = _outcome(future)
            if outcome.content is not None:
                writer.keep(cell, outcome.content)
            elif outcome.failure is not None:
                writer.mark(cell, outcome.failure)
            log(
                {
                    "id": cell.id,
                    "ok": outcome.content is not None,
                    "seconds": round(outcome.seconds, 6),
                    "worker": outcome.worker,
                }
            )
            yield cell, outcome


def _outcome(future: Future[Outcome]) -> Outcome:
    """The result of a cell; a failure if its worker died, or Dask has given it up."""
    error = future.exception()
    if error is None:
        return future.result()
    return Outcome(
        None, {"error": f"{type(error).__name__}: {error}", "traceback": ""}, 0.0, "lost"
    )


@contextmanager
def _shown(
    progress: bool | Callable[[int, int, int], None], total: int, done: int, failed: int
) -> Iterator[Callable[[int, int, int], None]]:
    """The function that is called after every cell."""
    if callable(progress):
        yield progress
    elif not progress:
        yield lambda done, failed, total: None
    else:
        with bar("sweep", total, done + failed) as opened:
            yield lambda done, failed, total: opened.tick(f"{failed} failed" if failed else "")


@contextmanager
def _log(folder: Path, hands: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """One file for each run: where and when it ran, then one line for every cell."""
    now = datetime.now(UTC)
    path = folder / f"{now:%Y%m%dT%H%M%S.%f}-{os.getpid()}.jsonl"

    def log(line: dict[str, Any]) -> None:
        try:
            stream.write(json.dumps(line) + "\n")
        except OSError as error:
            raise FileError(f"Cannot write {path}: {error.strerror or error}.") from error

    try:
        stream = path.open("x", buffering=1)
    except OSError as error:
        raise FileError(f"Cannot write {path}: {error.strerror or error}.") from error
    try:
        log({"began": now.isoformat(), "executor": hands, **environment()})
        yield log
    finally:
        # Ignore errors when closing the log; the cells are in files of their own.
        with suppress(OSError):
            stream.close()


def _note(errors: list[str], outcome: Outcome) -> None:
    text = (outcome.failure or {})["error"]
    if text not in errors and len(errors) < _TOLD_FAILURES:
        errors.append(text)
