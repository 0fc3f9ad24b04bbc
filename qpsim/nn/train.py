"""Training: one run is a function of its `Run`, bit for bit, however often it is put down.

Everything random comes from streams that are functions of the seed and a count: the initial
parameters, the data order with its augmentation, and dropout. Runs of one seed share all three, so
that methods may be compared seed by seed.
"""

from __future__ import annotations

import hashlib
import inspect
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from qpsim import progress
from qpsim.errors import TrainingError
from qpsim.methods import Method
from qpsim.nn.build import build_network
from qpsim.nn.data import Dataset, Stream
from qpsim.nn.optimizer import Optimizer, check_trains
from qpsim.nn.parallel import single_threaded_blas
from qpsim.nn.tasks import Task
from qpsim.provenance import environment

__all__ = ["LARGEST_LOSS", "History", "Loop", "Run", "Trained", "train"]

# A batch loss from which nothing comes back; guessing costs log(n_classes).
LARGEST_LOSS = 1e4
_PARAMETERS, _DATA, _DROPOUT = range(3)


@dataclass(frozen=True)
class Run:
    """What is trained and how: all that the numbers depend on, besides the data.

    Parameters
    ----------
    task : Task
        ``dataclasses.replace(task, n_steps=..., batch_size=..., drops=...)`` makes a variant.
    method : Method
    step_size : float
        Divided by ``task.drop_divisor`` after each of ``task.drops``.
    seed : int, default 0
    dtype : "float32" or "float64"

    Raises
    ------
    TrainingError
        A step size, seed, dtype, or a number of the task that makes no sense.
    MethodError
        The method needs what only a quadratic problem knows.

    Examples
    --------
    >>> import qpsim
    >>> from qpsim.nn.tasks import task
    >>> Run(task("digits-mlp"), qpsim.method("adam"), 0.003).record()["step_size"]
    0.003
    """

    task: Task
    method: Method
    step_size: float
    seed: int = 0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        check_trains(self.method)
        step_size = self.step_size
        if isinstance(step_size, bool) or not (
            isinstance(step_size, (int, float, np.number))
            and math.isfinite(step_size)
            and step_size > 0
        ):
            raise TrainingError(f"A step size is a finite positive number, not {step_size!r}.")
        object.__setattr__(self, "step_size", float(step_size))
        if self.dtype not in ("float32", "float64"):
            raise TrainingError(f"dtype is float32 or float64, not {self.dtype!r}.")
        _whole("seed", self.seed, 0)
        for name in ("n_steps", "batch_size", "evaluate_every"):
            _whole(name, getattr(self.task, name), 1)
        for drop in self.task.drops:
            _whole("a step after which the step size drops", drop, 1)
        divisor = self.task.drop_divisor
        if not (math.isfinite(divisor) and divisor > 0):
            raise TrainingError(f"drop_divisor must be finite and positive, not {divisor!r}.")
        if self.method.observes and self.task.batch_size < 2:
            raise TrainingError(
                f"{self.method.name} estimates variances within a batch, which needs at least 2 "
                f"examples, not {self.task.batch_size}."
            )

    def record(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        rule = self.method.rule
        return {
            "task": _plain(self.task.record()),
            "method": {
                "name": self.method.name,
                "hyper": self.method.hyper_parameters,
                "rule": f"{rule.module}.{rule.attribute}",
                "source": _digest_of_source(rule.function),
            },
            "step_size": self.step_size,
            "seed": self.seed,
            "dtype": self.dtype,
        }


@dataclass(eq=False)
class History:
    """What a run left behind.

    Attributes
    ----------
    batch_loss, batch_accuracy : list of float
        Of each step's batch as training sees it (noise and dropout included), before the step and
        without L2. A run that diverges ends with the loss that showed it, +inf if it was NaN.
    evaluated : list of int
        Steps after which the test set was looked at, 0 and the last among them.
    test_loss, test_accuracy : list of float
        On the whole test set, nothing dropped or distorted.
    diverged_at : int or None
        The step, 1 being the first, whose batch loss was beyond ``LARGEST_LOSS`` or no number.
    """

    batch_loss: list[float] = field(default_factory=list)
    batch_accuracy: list[float] = field(default_factory=list)
    evaluated: list[int] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)
    diverged_at: int | None = None

    @property
    def mean_loss(self) -> float:
        """Mean batch loss over the run, +inf for one that diverged."""
        return math.inf if self.diverged_at is not None else float(np.mean(self.batch_loss))

    @property
    def stable(self) -> bool:
        """Whether the run stayed finite and did no harm on the whole.

        Its mean loss is at most a tenth above that of the untrained network on the test set.
        """
        return self.diverged_at is None and self.mean_loss <= 1.1 * self.test_loss[0]

    def interval_loss(self) -> np.ndarray:
        """Mean batch loss between one evaluation and the next, (evaluations - 1,)."""
        pairs = zip(self.evaluated, self.evaluated[1:], strict=False)
        return np.array([np.mean(self.batch_loss[a:b]) for a, b in pairs])


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
        The checkpoint exists and ``resume`` is False, or numbers that make no sense.
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
    dataset = run.task.load(directory) if data is None else data
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and path.exists() and not resume:
        raise TrainingError(
            f"{path} exists already: resume it, remove it, or name another checkpoint."
        )
    if (
        isinstance(workers, bool)
        or not (workers is None or isinstance(workers, int))
        or (workers is not None and workers < 1)
    ):
        raise TrainingError(f"workers must be a whole number of at least 1, not {workers!r}.")
    loop = Loop(run, dataset, workers)
    if path is not None:
        if path.exists():
            files.load(path, loop)
        else:
            files.save(path, loop)
    saved = time.monotonic()
    title = f"{run.task.name} {run.method.name} {run.step_size:g}"
    taken = loop.batches.step
    with (
        single_threaded_blas(),
        progress.bar(title, run.task.n_steps, done=taken) as tick,
        _patient() as interrupted,
    ):
        while not loop.finished:
            loss = loop.advance()
            tick(f"loss {loss:.3f}")
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


@contextmanager
def _patient() -> Iterator[Callable[[], bool]]:
    """Hear the first Ctrl-C only when asked, between steps; the second one is immediate."""
    heard: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    ours = (
        threading.current_thread() is threading.main_thread()
        and before is signal.default_int_handler
    )

    def hear(number: int, frame: Any) -> None:
        heard.append(number)
        signal.signal(signal.SIGINT, before)

    if ours:
        signal.signal(signal.SIGINT, hear)
    try:
        yield lambda: bool(heard)
    finally:
        if ours:
            signal.signal(signal.SIGINT, before)


def _whole(name: str, value: Any, at_least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise TrainingError(f"{name} must be a whole number of at least {at_least}, not {value!r}.")


def _digest_of_source(function: Callable[..., Any]) -> str:
    """A rule is known by its text as well as its name: an edited one makes another run."""
    try:
        text = inspect.getsource(function).encode()
    except (OSError, TypeError):
        text = function.__code__.co_code + repr(function.__code__.co_consts).encode()
    return hashlib.sha256(text).hexdigest()[:16]


def _plain(value: Any) -> Any:
    """Tuples as the lists that JSON makes of them, so that records compare after a reading."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
