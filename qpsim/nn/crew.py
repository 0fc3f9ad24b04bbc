"""Searches beside each other: cells run where there is room, answers go back to who asked.

A search is a generator that asks for runs and is sent their histories; it neither knows nor cares
where they run.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Generic, TypeVar

from qpsim.errors import TrainingError
from qpsim.execution import progress
from qpsim.execution.interrupts import deferred
from qpsim.nn.cells import Cell, run_cell
from qpsim.nn.data import Dataset
from qpsim.nn.parallel import available_cores
from qpsim.nn.run import History, Run

__all__ = ["Asking", "Search", "drive", "hired"]

Found = TypeVar("Found")
Asking = Generator[list[Run], list[History], Found]


class Search(Generic[Found]):
    """A search with what it waits for."""

    def __init__(
        self, asking: Asking[Found], dataset: Dataset, key: str, folder: Path | None
    ) -> None:
        self._asking = asking
        self._dataset, self._key, self._folder = dataset, key, folder
        self._asked: list[Run] = []
        self._answers: dict[Run, History] = {}
        self.found: Found | None = None

    def go_on(self) -> list[Cell]:
        """Hand over what was asked for; the cells that are wanted next."""
        cells: list[Cell] = []
        while not cells and self.found is None:
            try:
                if self._asked:
                    self._asked = self._asking.send([self._answers[run] for run in self._asked])
                else:
                    self._asked = next(self._asking)
            except StopIteration as stop:
                self.found = stop.value
                return []
            missing = [run for run in self._asked if run not in self._answers]
            cells = [Cell(run, self._dataset, self._key, self._folder) for run in missing]
        return cells

    def answer(self, cell: Cell, history: History) -> bool:
        """Take in a cell; whether it was the last that was waited for."""
        self._answers[cell.run] = history
        return all(run in self._answers for run in self._asked)


def drive(searches: list[Search[Found]], crew: Crew, tick: Any) -> list[Found]:
    """Run all searches to their ends; what they found, in their order.

    If it is interrupted, cells that have not begun will not.
    """
    flying: dict[Future[History], tuple[Search[Found], Cell]] = {}

    def launch(search: Search[Found]) -> None:
        for cell in search.go_on():
            with crew.handing_out():
                flying[crew.submit(cell)] = (search, cell)

    try:
        for search in searches:
            launch(search)
        while flying:
            done, _ = wait(flying, return_when=FIRST_COMPLETED)
            for future in done:
                search, cell = flying.pop(future)
                run, history = cell.run, future.result()
                found = "diverged" if history.diverged_at else f"{history.mean_loss:.3f}"
                tick(f"{run.task.name} {run.method.name} {run.step_size:g}: {found}")
                if search.answer(cell, history):
                    launch(search)
    except BrokenProcessPool:
        raise TrainingError(
            "A worker died (out of memory?); finished runs are kept, and the same command goes on "
            "from there, with fewer workers if need be."
        ) from None
    finally:
        for future in flying:
            future.cancel()
    return [search.found for search in searches if search.found is not None]


class Crew:
    """Where cells run: in this process, or wherever an executor puts them."""

    def __init__(self, executor: Executor | None) -> None:
        self._executor = executor

    def handing_out(self) -> AbstractContextManager[None]:
        """Holds Ctrl-C back while a cell is handed out, but not while one runs in this process."""
        return nullcontext() if self._executor is None else deferred()

    def submit(self, cell: Cell) -> Future[History]:
        if self._executor is not None:
            return self._executor.submit(_work, cell)
        future: Future[History] = Future()
        future.set_result(run_cell(cell))
        return future


@contextmanager
def hired(workers: int | Executor | None) -> Iterator[Crew]:
    """So many processes, for as long as the block lasts; 1 stays in this one."""
    if isinstance(workers, Executor):
        yield Crew(workers)
        return
    count = available_cores() if workers is None else workers
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise TrainingError(f"workers must be a whole number of at least 1, not {workers!r}.")
    if count == 1:
        yield Crew(None)
        return
    import multiprocessing

    # Threads of numba and BLAS do not survive a fork.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_enlist, initargs=(stop,))
    try:
        yield Crew(pool)
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


_stopped: Any = None


def _enlist(stop: Any) -> None:
    """In a worker: Ctrl-C is for the parent to hear; it tells the workers by an event."""
    import signal

    global _stopped
    _stopped = stop
    progress.silence()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _work(cell: Cell) -> History:
    if _stopped is not None and _stopped.is_set():
        raise KeyboardInterrupt
    return run_cell(cell, None if _stopped is None else _stopped.is_set)
