"""Step sizes by the paper's protocol (Section A.2), for any task and method.

1. The largest stable step size is found by trial, one run at a time, along 6, 3, 1 x 10^m. The
   paper does not say what stable is; here, that the run stays finite and its mean loss at most a
   tenth above that of the untrained network.
2. From there the grid goes down two orders of magnitude, and beyond the paper's protocol for as
   long as its smallest value is the best.
3. The best value by the task's criterion is run again with ten other seeds.

The paper chooses by the highest test accuracy seen; so do tasks that say so, others by the mean
training loss over the run. All methods of one task share the seeds, and with them initial
parameters, data order and noise. Each run is a cell that is kept on disk, so that a tuning which
was stopped goes on where it was.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qpsim.errors import TrainingError
from qpsim.execution import progress
from qpsim.execution.processes import processes
from qpsim.methods import Method, method
from qpsim.nn.cells import default_cache, score
from qpsim.nn.data import Dataset
from qpsim.nn.run import History, Run
from qpsim.nn.tasks import Task
from qpsim.tuning.grid import downwards, grid_step, largest_stable, translated
from qpsim.tuning.searches import Asking, Search, drive

__all__ = ["GridPoint", "Protocol", "Tuned", "tune"]

# What a worker has to end its step and keep where its run stands, when the tuning is interrupted.
_PATIENCE_SECONDS = 10.0
_LOWEST, _HIGHEST = -24, 15  # 1e-8 and 1e5: beyond them something else is wrong


class GridPoint(NamedTuple):
    """A step size, its score on each tuning seed, and how many of the runs diverged.

    A score is the mean training loss or 1 - the best test accuracy: smaller is better.
    """

    step_size: float
    scores: tuple[float, ...]
    diverged: int

    @property
    def score(self) -> float:
        """Mean over the tuning seeds, +inf if a run diverged."""
        return float(np.mean(self.scores))


@dataclass(frozen=True)
class Protocol:
    """How step sizes are searched.

    Parameters
    ----------
    orders : int, default 2
        Orders of magnitude of the grid, from the largest stable step size down; 0 tries no other.
    tuning_seeds : int, default 1
        Runs at every grid point; the paper has one.
    replicates : int, default 10
        Runs at the best step size, with seeds that the search has not seen.
    seed : int, default 0
        The search has the seeds from this one on, the replicates those after it.
    first : float, default 0.1
        Where trials for the largest stable step size begin.

    Raises
    ------
    TrainingError
        A number that makes no sense.
    """

    orders: int = 2
    tuning_seeds: int = 1
    replicates: int = 10
    seed: int = 0
    first: float = 0.1

    def __post_init__(self) -> None:
        limits = {"orders": 0, "tuning_seeds": 1, "replicates": 1, "seed": 0}
        for name, at_least in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
                raise TrainingError(
                    f"{name} must be a whole number of at least {at_least}, not {value!r}."
                )
        if not (math.isfinite(self.first) and 1e-8 <= self.first <= 1e5):
            raise TrainingError(f"first must lie between 1e-8 and 1e5, not {self.first!r}.")

    @property
    def replicate_seeds(self) -> range:
        """Seeds of the replicates."""
        begin = self.seed + self.tuning_seeds
        return range(begin, begin + self.replicates)


@dataclass(frozen=True, eq=False)
class Tuned:
    """What tuning found for one task and method.

    Attributes
    ----------
    data : dict
        Name and fingerprint of the data, see `Dataset.record`.
    grid : tuple of GridPoint
        From the largest stable step size down.
    best : GridPoint
    unstable : float or None
        The smallest step size that was tried and not stable.
    histories : tuple of History
        The replicates at the best step size, in the order of their seeds.
    """

    task: Task
    data: dict[str, Any]
    method: Method
    protocol: Protocol
    grid: tuple[GridPoint, ...]
    best: GridPoint
    unstable: float | None
    histories: tuple[History, ...] = field(repr=False)

    @property
    def mean_loss(self) -> np.ndarray:
        """Mean training loss over the run of each replicate, (replicates,)."""
        return np.array([history.mean_loss for history in self.histories])

    @property
    def test_loss(self) -> np.ndarray:
        """Test loss of each replicate after its last step, +inf if it diverged."""
        return np.array([_last(history, history.test_loss, math.inf) for history in self.histories])

    @property
    def test_accuracy(self) -> np.ndarray:
        """Test accuracy of each replicate after its last step, NaN if it diverged."""
        return np.array(
            [_last(history, history.test_accuracy, math.nan) for history in self.histories]
        )

    def summary(self) -> dict[str, Any]:
        """Plain JSON values."""
        measures = {
            "mean_training_loss": self.mean_loss,
            "test_loss": self.test_loss,
            "test_accuracy": self.test_accuracy,
        }
        return {
            "task": self.task.name,
            "data": self.data,
            "method": repr(self.method),
            "criterion": self.task.criterion,
            "step_size": self.best.step_size,
            "smallest_unstable": self.unstable,
            "grid": [
                {
                    "step_size": point.step_size,
                    "score": _finite(point.score),
                    "scores": [_finite(value) for value in point.scores],
                    "diverged": point.diverged,
                }
                for point in self.grid
            ],
            "replicate_seeds": list(self.protocol.replicate_seeds),
            "diverged": sum(h.diverged_at is not None for h in self.histories),
            **{
                name: {
                    "mean": _finite(float(np.mean(values))),
                    "std": _finite(_std(values)),
                    "values": [_finite(value) for value in values],
                }
                for name, values in measures.items()
            },
        }


def tune(
    tasks: Task | Sequence[Task],
    methods: str | Method | Sequence[str | Method],
    protocol: Protocol | None = None,
    *,
    data: Dataset | dict[str, Dataset] | None = None,
    directory: str | Path | None = None,
    workers: int | Executor | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> list[Tuned]:
    """Tune every method on every task, all of them beside each other.

    Parameters
    ----------
    tasks : Task or sequence of Task
    methods : name, Method, or a sequence of them
    protocol : Protocol, optional
    data : Dataset, or dict of task name to Dataset, optional
        Data to train on, one set for all tasks or one for each that is named; by default what the
        tasks load (from ``directory``, if they read files).
    workers : None, int or concurrent.futures.Executor
        Processes, one per core by default; 1 stays in this process. The numbers do not depend
        on it.
    cache : path, optional
        Folder of finished cells; by default one in the user's cache folder.

    Returns
    -------
    list of Tuned
        The methods of the first task, then those of the second, and so on.

    Raises
    ------
    TrainingError
        No step size is stable, a worker died, or a setting that makes no sense.
    ExecutionError
        The workers cannot be had.

    Examples
    --------
    >>> from dataclasses import replace
    >>> import tempfile
    >>> from qpsim.nn import task
    >>> short = replace(task("digits-whitened"), n_steps=30)
    >>> few = Protocol(orders=1, replicates=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (tuned,) = tune(short, "m-sgd", few, workers=1, cache=folder)
    >>> [point.step_size for point in tuned.grid], tuned.mean_loss.shape
    ([3.0, 1.0, 0.6, 0.3], (2,))
    """
    chosen = protocol or Protocol()
    listed = [tasks] if isinstance(tasks, Task) else list(tasks)
    wanted = [methods] if isinstance(methods, (str, Method)) else list(methods)
    movers = [method(one) for one in wanted]
    if not listed or not movers:
        raise TrainingError("Tuning needs at least one task and one method.")
    folder = default_cache() if cache is None else Path(cache)
    each = (1 + 3 * chosen.orders) * chosen.tuning_seeds + chosen.replicates
    searches = []
    for one in listed:
        given = data if isinstance(data, Dataset) else (data or {}).get(one.name)
        if given is None:
            given = one.load(directory if one.needs_directory else None)
        dataset = one.prepared(given)
        record = dataset.record()
        key = f"{record['fingerprint']} {record['shape']}"
        if one.criterion == "test-accuracy" and dataset.n_classes is None:
            raise TrainingError(
                f"task {one.name!r} chooses by the test accuracy, which a regression does not have; "
                "set its criterion to 'training-loss'."
            )
        for mover in movers:
            # A run that makes no sense is refused before any work is done.
            Run(one, mover, chosen.first, chosen.seed)
            asking = _search(one, record, mover, chosen)
            searches.append(Search(asking, dataset, key, folder, each))
    with (
        processes(workers, _PATIENCE_SECONDS, spare_one=True) as pool,
        progress.bar("tuning", each * len(searches)) as bar,
    ):
        return drive(searches, pool, bar)


def _search(task: Task, data: dict[str, Any], mover: Method, protocol: Protocol) -> Asking[Tuned]:
    """The protocol of Section A.2."""
    # The search needs test accuracies only if it chooses by them.
    looks = task.evaluate_every if task.criterion == "test-accuracy" else task.n_steps
    searched = replace(task, evaluate_every=looks)
    seeds = range(protocol.seed, protocol.seed + protocol.tuning_seeds)

    grid: list[GridPoint] = []

    def trial(k: int) -> list[Run]:
        return [Run(searched, mover, grid_step(k), seeds[0])]

    def runs(asked: list[int]) -> list[Run]:
        return [Run(searched, mover, grid_step(k), seed) for k in asked for seed in seeds]

    def scores(asked: list[int], found: list[History]) -> list[float]:
        for n, k in enumerate(asked):
            own = found[n * len(seeds) : (n + 1) * len(seeds)]
            single = tuple(score(history, task.criterion) for history in own)
            diverged = sum(history.diverged_at is not None for history in own)
            grid.append(GridPoint(grid_step(k), single, diverged))
        return [point.score for point in grid[-len(asked) :]]

    first = min(
        range(_LOWEST, _HIGHEST + 1),
        key=lambda k: abs(math.log(grid_step(k) / protocol.first)),
    )
    walk = largest_stable(first, _LOWEST, _HIGHEST)
    largest = yield from translated(walk, trial, lambda _, found: found[0].stable)
    if largest is None:
        raise TrainingError(
            f"No step size from {grid_step(_LOWEST):g} on is stable for {mover.name} on {task.name}."
        )
    unstable = grid_step(largest + 1) if largest < _HIGHEST else None
    yield from translated(downwards(largest, protocol.orders, _LOWEST), runs, scores)
    best = min(grid, key=lambda point: point.score)
    histories = yield [Run(task, mover, best.step_size, s) for s in protocol.replicate_seeds]
    return Tuned(task, data, mover, protocol, tuple(grid), best, unstable, tuple(histories))


def _last(history: History, values: list[float], otherwise: float) -> float:
    return otherwise if history.diverged_at is not None else values[-1]


def _std(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
