"""Runs several searches at the same time on one pool of workers.

A search is a generator that yields runs and is sent their histories; it does not depend on where
they run.
"""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future
from pathlib import Path
from typing import Generic, TypeVar

from qpsim.errors import TrainingError, WorkerLost
from qpsim.execution.pool import WorkerPool
from qpsim.execution.progress import Bar
from qpsim.execution.stopping import stop_requested
from qpsim.nn.cells import Cell, run_cell
from qpsim.nn.data import Dataset
from qpsim.nn.run import History, Run

__all__ = ["Asking", "Search", "drive"]

Found = TypeVar("Found")
Asking = Generator[list[Run], list[History], Found]


class Search(Generic[Found]):
    """A search and the runs that it waits for.

    Parameters
    ----------
    asking : generator
        Yields lists of runs, is sent their histories, and returns what it has found.
    dataset, key, folder
        As of :class:`qpsim.nn.cells.Cell`.
    expected : int
        Estimated number of runs.
    """

    def __init__(
        self,
        asking: Asking[Found],
        dataset: Dataset,
        key: str,
        folder: Path | None,
        expected: int,
    ) -> None:
        self._asking = asking
        self._dataset, self._key, self._folder = dataset, key, folder
        self._expected, self._n_cells = expected, 0
        self._asked: list[Run] = []
        self._answers: dict[Run, History] = {}
        self.found: Found | None = None

    @property
    def total(self) -> int:
        """Present estimate of the number of runs."""
        return self._n_cells if self.found is not None else max(self._expected, self._n_cells)

    def go_on(self) -> list[Cell]:
        """Send the finished runs to the search. Returns the cells that it asks for next."""
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
        self._n_cells += len(cells)
        return cells

    def answer(self, cell: Cell, history: History) -> bool:
        """Store a finished cell. Returns whether it was the last one that the search waits for."""
        self._answers[cell.run] = history
        return all(run in self._answers for run in self._asked)


def drive(searches: list[Search[Found]], pool: WorkerPool, bar: Bar) -> list[Found]:
    """Run all searches to their ends. Returns their results in their order.

    After an interrupt no further cell begins.

    Raises
    ------
    TrainingError
        A worker died.
    """
    with pool.run(_work) as running:

        def go_on(search: Search[Found]) -> None:
            for cell in search.go_on():
                running.add((search, cell), cell)
            bar.total = sum(one.total for one in searches)

        for search in searches:
            go_on(search)
        for (search, cell), future in running:
            run, history = cell.run, _history(future)
            found = "diverged" if history.diverged_at else f"{history.mean_loss:.3f}"
            bar.tick(f"{run.task.name} {run.method.name} {run.step_size:g}: {found}")
            if search.answer(cell, history):
                go_on(search)
    return [search.found for search in searches if search.found is not None]


def _history(future: Future[History]) -> History:
    try:
        return future.result()
    except WorkerLost:
        raise TrainingError(
            "A worker died (out of memory?); finished runs are kept, and the same command goes on "
            "from there, with fewer workers if need be."
        ) from None


def _work(cell: Cell) -> History:
    if stop_requested():
        raise KeyboardInterrupt
    return run_cell(cell, stop_requested)
