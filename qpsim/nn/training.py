"""``train``: the results depend only on the `Run` and the data, bit for bit, also after interruptions."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from qpsim import checks
from qpsim.errors import TrainingError
from qpsim.execution import progress
from qpsim.execution.blas import one_blas_thread
from qpsim.execution.cores import worker_count
from qpsim.execution.interrupts import deferred
from qpsim.files.plain import plain
from qpsim.nn import checkpoint as files
from qpsim.nn.data import Dataset
from qpsim.nn.loop import Loop
from qpsim.nn.network import Network
from qpsim.nn.run import History, Run
from qpsim.provenance import provenance_since

__all__ = ["Trained", "train"]


@dataclass(frozen=True, eq=False)
class Trained:
    """A finished run.

    Attributes
    ----------
    run : Run
    history : History
    network : Network
        The network after the last step; ``network.save(path)`` saves its parameters.
    provenance : dict
        Versions, machine, the data's name and fingerprint, wall time.
    """

    run: Run
    history: History
    network: Network
    provenance: dict[str, Any]

    def __repr__(self) -> str:
        return f"<Trained {self.run.task.name} by {self.run.method}: {self.history}>"

    @property
    def parameters(self) -> np.ndarray:
        """The network's parameters, (P,)."""
        return self.network.parameters

    def summary(self) -> dict[str, Any]:
        """Plain JSON values; a number that is not finite is None."""
        history = self.history
        return {
            **self.run.record(),
            "status": "finished" if history.diverged_at is None else "diverged",
            "diverged_at": history.diverged_at,
            "steps": len(history.batch_loss),
            "parameters": int(self.parameters.size),
            "mean_training_loss": plain(history.mean_loss),
            "evaluations": {
                "step": history.evaluated,
                "training_loss": [None, *plain(history.interval_loss())],
                "training_accuracy": [
                    None,
                    *(
                        plain(float(np.mean(history.batch_accuracy[a:b])))
                        for a, b in zip(history.evaluated, history.evaluated[1:], strict=False)
                    ),
                ],
                "test_loss": plain(history.test_loss),
                "test_accuracy": plain(history.test_accuracy),
            },
            "provenance": self.provenance,
        }


def train(
    run: Run,
    data: Dataset | None = None,
    *,
    directory: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: float = 60.0,
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
        File in which the state of the run is saved. If it exists, the run continues from it, with the same bits as an
        uninterrupted run; only ``n_steps`` may differ, to continue for longer. It is written also when the run is
        interrupted, and is kept when the run is done. Each write is atomic.
    checkpoint_every : float, default 60
        Seconds between two writes of the checkpoint.
    stop : callable, optional
        Called between steps; if it returns True the run is interrupted.

    Returns
    -------
    Trained

    Raises
    ------
    TrainingError
        Numbers that make no sense, or a network that does not fit the data.
    FileError
        The checkpoint cannot be written, is damaged, or belongs to another run or other data.
    DataError
        The data are missing or malformed.
    KeyboardInterrupt
        Ctrl-C, raised after the current step is done and the checkpoint is written; a second Ctrl-C is raised at once.

    Examples
    --------
    >>> from dataclasses import replace
    >>> import qpsim
    >>> from qpsim.nn import task
    >>> short = replace(task("digits-whitened"), n_steps=20, evaluate_every=10)
    >>> trained = train(Run(short, qpsim.method("m-sgd"), 0.3), workers=1)
    >>> trained.history.evaluated, trained.history.batch_loss[-1] < trained.history.batch_loss[0]
    ([0, 10, 20], True)
    """
    checks.instance("run", run, Run, TrainingError, "qpsim.nn.Run(task, method, step_size)")
    began = time.perf_counter()
    n_workers = worker_count(workers)
    every = checks.number("checkpoint_every", checkpoint_every, TrainingError, "[0, inf)")
    path = None if checkpoint is None else checks.path("checkpoint", checkpoint, TrainingError)
    loop = Loop(run, run.task.load(directory) if data is None else data, n_workers)
    record = loop.dataset.record()
    if path is not None:
        if path.exists():
            files.load(path, loop, record)
        else:
            files.save(path, loop, record)
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
                    files.save(path, loop, record)
                raise KeyboardInterrupt
            if path is not None and time.monotonic() - saved >= every:
                files.save(path, loop, record)
                saved = time.monotonic()
        if path is not None:
            files.save(path, loop, record)
    provenance = provenance_since(
        began, data=record, workers=loop.network.workers, resumed_at=taken or None
    )
    return Trained(run, loop.history, loop.network, provenance)
