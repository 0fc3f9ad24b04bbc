"""The numbers of Figures 3, 6 and 7: methods tuned on networks, and their losses over steps.

Each method's step size is tuned after Section A.2 (:mod:`qpsim.tuning.networks`) and run with ten
seeds. Finished runs are stored in a cache, which the figures share, so that an interrupted figure
can continue.

Problems are tasks by name. By default they are three with scikit-learn's digits, in the places of
the paper's MNIST, CIFAR-10 and CIFAR-100; with a folder of ``data``, each of the three that it holds
takes its own place. Any others can be named, and mixed.
"""

from __future__ import annotations

import time
import warnings
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import DataError, FigureError
from qpsim.figures import choices
from qpsim.figures.data import Data
from qpsim.figures.options import BaseOptions, option
from qpsim.provenance import provenance_since

if TYPE_CHECKING:
    from qpsim.nn import Task
    from qpsim.tuning.networks import Tuned

_REAL = {"digits-mlp": "mnist", "digits-cnn": "cifar10", "digits-whitened": "cifar100"}


def task_text(task: Any) -> str:
    """The name of a task in a data file.

    >>> task_text("digits-cnn")
    'digits-cnn'
    """
    return task if isinstance(task, str) else task.name


@dataclass(frozen=True)
class Options(BaseOptions):
    """Options of figures on networks, besides tasks and methods."""

    n_replicates: int = option(10, "runs at the best step size", at_least=1)
    tuning_seeds: int = option(1, "runs at each step size that is tried", at_least=1)
    orders: int = option(
        -1, "orders of magnitude of step sizes tried below the largest stable one; -1: as needed",
        at_least=-1,
    )  # fmt: skip
    n_steps: int = option(
        0, "steps of each run, drops of the step size in proportion; 0: as the task says",
        at_least=0,
    )  # fmt: skip
    rng: int = option(0, "seed", at_least=0)
    data: str = option("", "folder of MNIST, CIFAR-10 and CIFAR-100; without it, the digits")
    cache: str = option("", "folder of finished runs; by default the user's cache folder")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without paths, on which no number depends."""
        kept = {key: value for key, value in super().to_dict().items() if key != "cache"}
        return {**kept, "data": "real" if self.data else ""}


def compute(
    figure: str,
    defaults: tuple[str, ...],
    tasks: tuple[Any, ...],
    methods: tuple[Any, ...],
    options: Options,
    workers: int | Executor | None = None,
) -> Data:
    """Tune all methods on all problems and gather the replicates.

    Parameters
    ----------
    figure : str
        Name that the data carry.
    defaults : tuple of str
        The digits tasks of the figure, which the real ones that ``options.data`` holds replace.
    tasks : tuple of str or Task
        The problems that are asked for.
    methods : tuple of str, Method or mapping

    Returns
    -------
    Data
        For the k-th problem ``steps_k`` (evaluation,); ``test_loss_k`` (method, replicate,
        evaluation); ``train_loss_k`` (method, replicate, interval): mean batch loss from one
        evaluation to the next; ``grid_k`` (method, point, [step size, score]), NaN beyond a method's
        last point. And
        ``test_accuracy`` after the last step, ``test_loss``, ``mean_loss``: training loss over the
        run, ``early_loss``: over its first quarter, each (problem, method, replicate);
        ``step_size`` (problem, method). What diverged is +inf, its accuracy NaN. Labels are the
        tasks' names ("problem"), what they were trained on ("title" and, with its fingerprint,
        "data"), and the methods.

    Raises
    ------
    FigureError
        A problem or method is given twice.
    DataError
        There is no such task, or its data are not there.
    """
    from qpsim.tuning.networks import Protocol, tune

    began = time.perf_counter()
    chosen = [_shortened(one, options.n_steps) for one in tasks_of(defaults, tasks, options.data)]
    movers = choices.methods(methods)
    protocol = Protocol(
        orders=None if options.orders < 0 else options.orders,
        tuning_seeds=options.tuning_seeds,
        n_replicates=options.n_replicates,
        seed=options.rng,
    )
    tuned = tune(
        chosen,
        list(movers.values()),
        protocol,
        directory=options.data or None,
        workers=workers,
        cache=options.cache or None,
    )
    cells = [tuned[k * len(movers) : (k + 1) * len(movers)] for k in range(len(chosen))]
    arrays: dict[str, np.ndarray] = {
        name: np.array([[pick(one) for one in row] for row in cells])
        for name, pick in (
            ("test_accuracy", lambda one: one.test_accuracy),
            ("test_loss", lambda one: one.test_loss),
            ("mean_loss", lambda one: one.mean_loss),
            ("early_loss", _early_loss),
            ("step_size", lambda one: one.best.step_size),
        )
    }
    axes = {name: ["problem", "method", "replicate"] for name in arrays}
    axes["step_size"] = ["problem", "method"]
    for k, row in enumerate(cells):
        found, names_of_axes = _curves(row)
        arrays |= {f"{name}_{k}": array for name, array in found.items()}
        axes |= {f"{name}_{k}": listed for name, listed in names_of_axes.items()}
    labels: dict[str, list[Any]] = {
        "problem": [one.name for one in chosen],
        "title": [_title(row[0]) for row in cells],
        "data": [row[0].data for row in cells],
        "method": list(movers),
        "criterion": [one.criterion for one in chosen],
        "tasks": [{"name": one.name, "notes": one.notes} for one in chosen],
    }
    return Data(
        figure,
        options,
        arrays,
        axes,
        labels,
        provenance_since(
            began,
            protocol="step sizes of all orders of magnitude, then 6, 3, 1 x 10^m around the best",
            replicate_seeds=list(protocol.replicate_seeds),
        ),
    )


def tasks_of(defaults: tuple[str, ...], tasks: tuple[Any, ...], folder: str) -> list[Task]:
    """The tasks that are asked for; of the defaults, the real ones that the folder holds."""
    from qpsim.nn import task

    names = [task_text(one) for one in tasks]
    for name in names:
        if names.count(name) > 1:
            raise FigureError(f"The task {name} is given twice; leave one out.")
    if not folder or tuple(tasks) != defaults:
        return [task(one) if isinstance(one, str) else one for one in tasks]
    real = {name: task(_REAL[name]) for name in defaults}
    present = {name: one.is_there(folder) for name, one in real.items()}
    if not any(task(name).is_there(folder) for name in _REAL.values()):
        raise DataError(f"{folder} holds none of {', '.join(_REAL.values())}; name one that does")
    for name, there in present.items():
        if not there:
            warnings.warn(
                f"{folder} does not hold {real[name].data}; {name} takes its place.", stacklevel=3
            )
    return [real[name] if there else task(name) for name, there in present.items()]


def _shortened(one: Task, n_steps: int) -> Task:
    """A task with another number of steps, its step size dropping after the same share of them."""
    if not n_steps:
        return one
    drops = tuple(max(round(drop * n_steps / one.n_steps), 1) for drop in one.drops)
    return replace(one, n_steps=n_steps, drops=drops)


def _title(one: Tuned) -> str:
    """What was trained on: read from files by what the files hold, a task of the package by name."""
    return one.data["name"] if one.task.needs_directory else one.task.name


def _early_loss(one: Tuned) -> np.ndarray:
    """Mean batch loss over the first quarter of the steps (run,); infinite if the run diverged."""
    quarter = max(one.task.n_steps // 4, 1)
    return np.array(
        [
            np.inf if history.diverged_at is not None else np.mean(history.batch_loss[:quarter])
            for history in one.histories
        ]
    )


def _curves(row: list[Tuned]) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    steps = max((history.evaluated for one in row for history in one.histories), key=len)
    test = np.full((len(row), len(row[0].histories), len(steps)), np.inf)
    train = np.full((*test.shape[:2], len(steps) - 1), np.inf)
    for n, one in enumerate(row):
        for r, history in enumerate(one.histories):
            test[n, r, : len(history.test_loss)] = history.test_loss
            train[n, r, : len(history.evaluated) - 1] = history.interval_loss()
    grid = np.full((len(row), max(len(one.grid) for one in row), 2), np.nan)
    for n, one in enumerate(row):
        grid[n, : len(one.grid)] = [[point.step_size, point.score] for point in one.grid]
    found = {"steps": np.array(steps), "test_loss": test, "train_loss": train, "grid": grid}
    names = {
        "steps": ["evaluation"],
        "test_loss": ["method", "replicate", "evaluation"],
        "train_loss": ["method", "replicate", "interval"],
        "grid": ["method", "point", "value"],
    }
    return found, names
