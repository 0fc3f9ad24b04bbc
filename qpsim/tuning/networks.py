"""Step sizes for networks, after the paper's protocol (Section A.2), for any task and method.

1. Step sizes of every order of magnitude are tried, from unstable runs down to runs in which nothing is learned, and
   then those of the grid 6, 3, 1 x 10^m around the best. (The paper tries two orders below the largest stable step
   size, ``Protocol(orders=2)``.) The paper does not define stable; here the run must stay finite, with a mean loss at
   most a tenth above that of the untrained network.
2. The best step size by the task's criterion is run again with ten other seeds.

The paper chooses by the highest test accuracy seen; so do tasks that say so, others by the mean training loss over the
run. All methods of one task have the same seeds, and so the same initial parameters, data order and noise. Finished
runs are stored on disk, so that an interrupted tuning can continue.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qpsim import checks
from qpsim.errors import TrainingError
from qpsim.execution import progress
from qpsim.execution.processes import processes
from qpsim.files.plain import plain
from qpsim.methods import Method, method
from qpsim.nn.cells import default_cache, score
from qpsim.nn.data import Dataset
from qpsim.nn.run import History, Run
from qpsim.nn.tasks import Task
from qpsim.tuning import grid as grids
from qpsim.tuning.grid import Found, grid_step
from qpsim.tuning.searches import Asking, Search, drive

__all__ = ["GridPoint", "Protocol", "Tuned", "tune"]

# Time for a worker to finish its step and save its run, when the tuning is interrupted.
_PATIENCE_SECONDS = 10.0
# Step sizes from 1e-12 to 1e12 are tried.
_LOWEST, _HIGHEST = -36, 36
# A run has learned something if its score differs by this fraction from the untrained network's.
_SMALLEST_CHANGE = 0.05
# Approximate number of step sizes in a search.
_EXPECTED = 16


class GridPoint(NamedTuple):
    """A step size that was tried.

    Attributes
    ----------
    step_size : float
    scores : tuple of float
        On each tuning seed, the mean training loss or 1 - the best test accuracy: smaller is better.
    diverged : int
        How many of the runs diverged.
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
    orders : int, optional
        Orders of magnitude below the largest stable step size to which the search is confined; the
        paper has 2, and 0 tries no other. By default the search ends where nothing is learned.
    tuning_seeds : int, default 1
        Runs at every step size; the paper has one.
    n_replicates : int, default 10
        Runs at the best step size, with other seeds than the search.
    seed : int, default 0
        The search has the seeds from this one on, the replicates those after it.
    first : float, default 0.1
        The step size that is tried first.

    Raises
    ------
    TrainingError
        A number that makes no sense.

    Examples
    --------
    >>> Protocol(tuning_seeds=3).replicate_seeds
    range(3, 13)
    """

    orders: int | None = None
    tuning_seeds: int = 1
    n_replicates: int = 10
    seed: int = 0
    first: float = 0.1

    def __post_init__(self) -> None:
        limits = {"orders": 0, "tuning_seeds": 1, "n_replicates": 1, "seed": 0}
        for name, low in limits.items():
            if name != "orders" or self.orders is not None:
                value = checks.count(name, getattr(self, name), TrainingError, low, high=None)
                object.__setattr__(self, name, value)
        interval = f"[{grid_step(_LOWEST):g}, {grid_step(_HIGHEST):g}]"
        first = checks.number("first", self.first, TrainingError, interval)
        object.__setattr__(self, "first", first)

    @property
    def replicate_seeds(self) -> range:
        """Seeds of the replicates."""
        begin = self.seed + self.tuning_seeds
        return range(begin, begin + self.n_replicates)


@dataclass(frozen=True, eq=False)
class Tuned:
    """The result of tuning for one task and method.

    Attributes
    ----------
    data : dict
        Name and fingerprint of the data, see `Dataset.record`.
    grid : tuple of GridPoint, by descending step size
        All step sizes tried, from the largest stable one down.
    best : GridPoint
    unstable : float or None
        The smallest step size above these that was tried and not stable.
    at_edge : None, "largest stable" or "smallest tried"
        Whether ``best`` is at an end of the search.
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
    at_edge: str | None
    histories: tuple[History, ...] = field(repr=False)

    def __repr__(self) -> str:
        return (
            f"<Tuned {self.task.name} by {self.method}: best {self.best.step_size:g} of "
            f"{len(self.grid)} step sizes, {len(self.histories)} replicates>"
        )

    @property
    def interval(self) -> tuple[float, float]:
        """Two step sizes between which the best one lies.

        They are the neighbours, among those tried, of the step sizes chosen in the central 95 % of bootstrap resamples
        of the tuning seeds. With a single tuning seed they are the neighbours of ``best``.
        """
        scores = np.array([point.scores for point in self.grid]).T
        first, last = grids.central(grids.chosen_shares(scores, np.mean))
        above = self.unstable if self.unstable is not None else self.grid[0].step_size
        ends = above, *(point.step_size for point in self.grid)
        return ends[min(last + 2, len(ends) - 1)], ends[first]

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
            "interval": list(self.interval),
            "at_edge": self.at_edge,
            "smallest_unstable": self.unstable,
            "grid": [
                {
                    "step_size": point.step_size,
                    "score": plain(point.score),
                    "scores": plain(point.scores),
                    "diverged": point.diverged,
                }
                for point in self.grid
            ],
            "replicate_seeds": list(self.protocol.replicate_seeds),
            "diverged": sum(h.diverged_at is not None for h in self.histories),
            **{
                name: {
                    "mean": plain(float(np.mean(values))),
                    "std": plain(_std(values)),
                    "values": plain(values),
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
    """Tune every method on every task, all at the same time.

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
        The workers cannot be started.

    Examples
    --------
    >>> from dataclasses import replace
    >>> import tempfile
    >>> from qpsim.nn import task
    >>> short = replace(task("digits-whitened"), n_steps=30)
    >>> few = Protocol(orders=1, n_replicates=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     (tuned,) = tune(short, "m-sgd", few, workers=1, cache=folder)
    >>> [point.step_size for point in tuned.grid], tuned.mean_loss.shape
    ([3.0, 1.0, 0.6, 0.3], (2,))
    """
    chosen = protocol or Protocol()
    listed, wanted = _several(tasks), _several(methods)
    for one in listed:
        checks.instance("task", one, Task, TrainingError, "qpsim.nn.task('digits-mlp')")
    movers = [method(one) for one in wanted]
    if not listed or not movers:
        raise TrainingError("Tuning needs at least one task and one method.")
    folder = default_cache() if cache is None else Path(cache)
    each = _EXPECTED * chosen.tuning_seeds + chosen.n_replicates
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
            # Making a run checks all settings, before any work is done.
            Run(one, mover, chosen.first, chosen.seed)
            asking = _search(one, record, mover, chosen)
            searches.append(Search(asking, dataset, key, folder, each))
    with (
        processes(workers, _PATIENCE_SECONDS, thread_if_one=True) as pool,
        progress.bar("tuning", each * len(searches)) as bar,
    ):
        return drive(searches, pool, bar)


def _several(given: Any) -> list[Any]:
    """A list from one object or a sequence of them."""
    alone = isinstance(given, str) or not isinstance(given, Iterable)
    return [given] if alone else list(given)


def _search(task: Task, data: dict[str, Any], mover: Method, protocol: Protocol) -> Asking[Tuned]:
    """The protocol, as a generator that asks for runs and is sent their histories."""
    # The search needs test accuracies only if it chooses by them.
    looks = task.evaluate_every if task.criterion == "test-accuracy" else task.n_steps
    searched = replace(task, evaluate_every=looks)
    seeds = range(protocol.seed, protocol.seed + protocol.tuning_seeds)
    points: dict[int, GridPoint] = {}

    def runs(asked: list[int]) -> list[Run]:
        return [Run(searched, mover, grid_step(k), seed) for k in asked for seed in seeds]

    def found(asked: list[int], histories: list[History]) -> list[Found]:
        results = []
        for n, k in enumerate(asked):
            own = histories[n * len(seeds) : (n + 1) * len(seeds)]
            scores = tuple(score(history, task.criterion) for history in own)
            diverged = sum(history.diverged_at is not None for history in own)
            points[k] = GridPoint(grid_step(k), scores, diverged)
            stable = all(history.stable for history in own)
            moves = any(_has_learned(history, task.criterion) for history in own)
            results.append(Found(points[k].score, stable, moves))
        return results

    first = min(
        range(_LOWEST, _HIGHEST + 1),
        key=lambda k: abs(math.log(grid_step(k) / protocol.first)),
    )

    def likely(tried: dict[int, Found]) -> list[int]:
        numbers = [k for k in sorted(tried) if tried[k].stable]
        scores = np.array([points[k].scores for k in numbers]).T
        shares = grids.chosen_shares(scores, np.mean)
        return [numbers[index] for index in grids.central(shares)]

    questions = grids.search(first, _LOWEST, _HIGHEST, protocol.orders, likely)
    tried = yield from grids.translated(questions, runs, found)
    chosen, largest = grids.best(tried), grids.largest_stable(tried)
    if chosen is None or largest is None:
        raise TrainingError(
            f"{mover.name} is stable on {task.name} at no step size from {grid_step(min(tried)):g} "
            f"to {grid_step(max(tried)):g}."
        )
    unstable = min((k for k in tried if k > largest), default=None)
    grid = tuple(points[k] for k in sorted(tried, reverse=True) if k <= largest)
    best = points[chosen]
    histories = yield [Run(task, mover, best.step_size, s) for s in protocol.replicate_seeds]
    return Tuned(
        task,
        data,
        mover,
        protocol,
        grid,
        best,
        None if unstable is None else grid_step(unstable),
        grids.edge(tried),
        tuple(histories),
    )


def _has_learned(history: History, criterion: str) -> bool:
    """Whether a run's score differs from that of the untrained network."""
    untrained = history.test_loss[0]
    if criterion == "test-accuracy":
        untrained = 1.0 - history.test_accuracy[0]
    return not abs(score(history, criterion) - untrained) <= _SMALLEST_CHANGE * abs(untrained)


def _last(history: History, values: list[float], otherwise: float) -> float:
    return otherwise if history.diverged_at is not None else values[-1]


def _std(values: np.ndarray) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
