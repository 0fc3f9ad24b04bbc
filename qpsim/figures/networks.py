"""What the figures on networks share: tuned runs as arrays, losses over steps, the table below.

A figure says which problems and methods it compares. Each method's step size is tuned by the
protocol of Section A.2 (:mod:`qpsim.tuning.networks`), then run ten times; the runs are kept in a cache, so
that the figures share what they have in common and an interrupted one goes on where it was.
"""

from __future__ import annotations

import time
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.figures.data import Data
from qpsim.figures.options import BaseOptions, option
from qpsim.provenance import environment

if TYPE_CHECKING:
    from qpsim.tuning.networks import Tuned

_REAL = {"digits-mlp": "mnist", "digits-cnn": "cifar10", "digits-whitened": "cifar100"}


@dataclass(frozen=True)
class Options(BaseOptions):
    """What a figure on networks may be asked for."""

    n_replicates: int = option(10, "runs at the best step size", at_least=1)
    tuning_seeds: int = option(1, "runs at each step size that is tried", at_least=1)
    n_steps: int = option(0, "steps of each run; 0: as the problem says", at_least=0)
    rng: int = option(0, "seed of everything random", at_least=0)
    data: str = option("", "folder of MNIST, CIFAR-10 and CIFAR-100; without it, the digits")
    cache: str = option("", "folder of finished runs; by default the user's cache folder")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, without the places on this machine, which decide no number."""
        kept = {key: value for key, value in super().to_dict().items() if key != "cache"}
        return {**kept, "data": "real" if self.data else ""}


def compute(
    figure: str,
    problems: tuple[str, ...],
    methods: tuple[str, ...],
    options: Options,
    workers: int | Executor | None = None,
) -> Data:
    """Tune all methods on all problems and gather the replicates.

    Parameters
    ----------
    figure : str
        Name that the data carry.
    problems : tuple of str
        Names of digits tasks; with ``options.data`` their real counterparts take their place.
    methods : tuple of str

    Returns
    -------
    Data
        For the k-th problem ``steps_k`` (evaluation,); ``test_loss_k`` (method, replicate,
        evaluation); ``train_loss_k`` (method, replicate, interval): mean batch loss from one
        evaluation to the next; ``grid_k`` (method, point, [step size, score]), NaN beyond a method's
        last point. And
        ``test_accuracy`` after the last step, ``test_loss``, ``mean_loss``: training loss over the
        run, ``early_loss``: over its first quarter, each (problem, method, replicate);
        ``step_size`` (problem, method). What diverged is +inf, its accuracy NaN.
    """
    from qpsim.nn import task
    from qpsim.tuning.networks import Protocol, tune

    began = time.perf_counter()
    names = [_REAL[name] for name in problems] if options.data else list(problems)
    tasks = [task(name) for name in names]
    if options.n_steps:
        tasks = [replace(one, n_steps=options.n_steps) for one in tasks]
    protocol = Protocol(
        tuning_seeds=options.tuning_seeds, n_replicates=options.n_replicates, seed=options.rng
    )
    tuned = tune(
        tasks,
        methods,
        protocol,
        directory=options.data or None,
        workers=workers,
        cache=options.cache or None,
    )
    cells = [tuned[k * len(methods) : (k + 1) * len(methods)] for k in range(len(tasks))]
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
        "problem": names,
        "method": list(methods),
        "criterion": [one.criterion for one in tasks],
        "tasks": [{"name": one.name, "notes": one.notes} for one in tasks],
    }
    provenance = {
        **environment(),
        "protocol": "step sizes of all orders of magnitude, then 6, 3, 1 x 10^m around the best",
        "replicate_seeds": list(protocol.replicate_seeds),
        "wall_seconds": round(time.perf_counter() - began, 3),
    }
    return Data(figure, options, arrays, axes, labels, provenance)


def _early_loss(one: Tuned) -> np.ndarray:
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
