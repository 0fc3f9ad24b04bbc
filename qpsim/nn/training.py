"""Training: one run is a function of its `Run`, bit for bit, however often it is put down.

Everything random comes from streams that are functions of the seed and a count: the initial
parameters, the data order with its augmentation, and dropout. Runs of one seed share all three, so
that methods may be compared seed by seed.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qpsim.errors import TrainingError
from qpsim.execution import progress
from qpsim.execution.blas import one_blas_thread
from qpsim.execution.cores import worker_count
from qpsim.execution.interrupts import deferred
from qpsim.nn.build import build_network
from qpsim.nn.data import Dataset, Stream
from qpsim.nn.optimizer import Optimizer
from qpsim.nn.run import History, Run
from qpsim.provenance import environment

__all__ = ["LARGEST_LOSS", "Loop", "Trained", "train"]

# A batch loss from which nothing comes back; guessing costs log(n_classes).
LARGEST_LOSS = 1e4
_PARAMETERS, _DATA, _DROPOUT = range(3)


@dataclass(frozen=True, eq=False)
class Trained:
    """A run that came to its end: its history, the network's parameters, where it was made."""

    run: Run
    history: History
    parameters: np.ndarray
    provenance: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """Plain JSON values; a loss that is not finite is None."""
        history = self.history
        return {
            **self.run.record(),
            "status": "finished" if history.diverged_at is None else "diverged",
            "diverged_at": history.diverged_at,
            "steps": len(history.batch_loss),
            "parameters": int(self.parameters.size),
            "mean_training_loss": _finite(history.mean_loss),
            "evaluations": {
                "step": history.evaluated,
                "training_loss": [None, *map(_finite, history.interval_loss())],
                "training_accuracy": [
                    None,
                    *(
                        float(np.mean(history.batch_accuracy[a:b]))
                        for a, b in zip(history.evaluated, history.evaluated[1:], strict=False)
                    ),
                ],
                "test_loss": [_finite(loss) for loss in history.test_loss],
                "test_accuracy": history.test_accuracy,
            },
            "provenance": self.provenance,
        }


class Loop:
    """A run under way: everything that changes from step to step, and nothing else."""

    def __init__(self, run: Run, dataset: Dataset, workers: int | None = None) -> None:
        self.run = run
        self.dataset = dataset
        stream = Stream(run.seed)
        self.network = build_network(
            run.task,
            dataset,
            rng=stream.child(_PARAMETERS).at(0),
            dtype=np.dtype(run.dtype),
            workers=workers,
        )
        self.optimizer = Optimizer(self.network, run.method)
        self.batches = run.task.batches(dataset.train, rng=stream.child(_DATA))
        self.dropout = stream.child(_DROPOUT)
        self.history = History()

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        diverged = self.history.diverged_at is not None
        return diverged or self.batches.step >= self.run.task.n_steps

    def advance(self) -> float:
        """One step; its batch loss."""
        history, task = self.history, self.run.task
        if not history.evaluated:
            self._evaluate()
        step = self.batches.step + 1
        step_size = self.run.step_size * task.step_factor(step)
        x, y = next(self.batches)
        fit = self.optimizer.step(x, y, step_size, self.dropout.at(step))
        history.batch_loss.append(fit.loss if not math.isnan(fit.loss) else math.inf)
        history.batch_accuracy.append(fit.accuracy)
        if not fit.loss <= LARGEST_LOSS:
            history.diverged_at = step
        elif step % task.evaluate_every == 0 or step == task.n_steps:
            self._evaluate()
        return fit.loss

    def _evaluate(self) -> None:
        n, loss, hits = len(self.dataset.test), 0.0, 0.0
        for x, y in self.run.task.evaluation_batches(self.dataset.test):
            mean_loss, accuracy = self.network.evaluate(x, y)
            loss += mean_loss * len(y)
            hits += accuracy * len(y)
        self.history.evaluated.append(self.batches.step)
        self.history.test_loss.append(loss / n if math.isfinite(loss) else math.inf)
        self.history.test_accuracy.append(hits / n)


def train(
    run: Run,
    data: Dataset | None = None,
    *,
    directory: str | Path | None = None,
    workers: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    checkpoint_seconds: float = 30.0,
    stop: Callable[[], bool] | None = None,
) -> Trained:
    """Train to the end, with a progress bar that shows the loss.

    Parameters
    ----------
    run : Run
    data : Dataset, optional
        What to train on; by default what the task loads, from ``directory`` if it reads files.
    workers : int or None
        Threads of the network; the numbers do not depend on it. None means one per core.
    checkpoint : path, optional
        A file that holds the run as it is: written at most every ``checkpoint_seconds``, at the
        end, and when the run is interrupted. Each write replaces the file as a whole.
    resume : bool, default False
        Go on from the checkpoint if the file is there. The numbers are, bit for bit, those of a
        run that was never interrupted; only ``n_steps`` may differ, to go on for longer.
    stop : callable, optional
        Asked between steps; when it says True the run is interrupted.

    Returns
    -------
    Trained

    Raises
    ------
    TrainingError
        The checkpoint exists and ``resume`` is False.
    ExecutionError
        ``workers`` is below 1 or no whole number.
    FileError
        The checkpoint cannot be written, is damaged or belongs to another run.
    DataError
        The data are missing or malformed.
    KeyboardInterrupt
        Ctrl-C, after the current step is done and the checkpoint is written; a second Ctrl-C does
        not wait.

    Examples
    --------
    >>> from dataclasses import replace
    >>> import qpsim
    >>> from qpsim.nn.tasks import task
    >>> short = replace(task("digits-whitened"), n_steps=20, evaluate_every=10)
    >>> trained = train(Run(short, qpsim.method("m-sgd"), 0.3), workers=1)
    >>> trained.history.evaluated, trained.history.batch_loss[-1] < trained.history.batch_loss[0]
    ([0, 10, 20], True)
    """
    from qpsim.nn import checkpoint as files

    began = time.perf_counter()
    n_workers = worker_count(workers)
    dataset = run.task.load(directory) if data is None else data
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and path.exists() and not resume:
        raise TrainingError(
            f"{path} exists already: resume it, remove it, or name another checkpoint."
        )
    loop = Loop(run, dataset, n_workers)
    if path is not None:
        if path.exists():
            files.load(path, loop)
        else:
            files.save(path, loop)
    saved = time.monotonic()
    title = f"{run.task.name} {run.method.name} {run.step_size:g}"
    taken = loop.batches.step
    with (
        one_blas_thread(load_scipy=False),
        progress.bar(title, run.task.n_steps, done=taken) as bar,
        deferred(second_at_once=True) as interrupted,
    ):
        while not loop.finished:
            loss = loop.advance()
            bar.tick(f"loss {loss:.3f}")
            if interrupted() or (stop is not None and stop()):
                if path is not None:
                    files.save(path, loop)
                raise KeyboardInterrupt
            if path is not None and time.monotonic() - saved > checkpoint_seconds:
                files.save(path, loop)
                saved = time.monotonic()
        if path is not None:
            files.save(path, loop)
    provenance = {
        **environment(),
        "data": dataset.name,
        "workers": loop.network.workers,
        "resumed_at": taken or None,
        "wall_seconds": round(time.perf_counter() - began, 3),
    }
    return Trained(run, loop.history, loop.network.parameters.copy(), provenance)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
