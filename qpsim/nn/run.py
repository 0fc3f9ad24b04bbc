"""``Run``: the settings of a training run. ``History``: its results."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qpsim import checks
from qpsim.errors import RenamedWarning, TrainingError
from qpsim.methods import Method, Rule
from qpsim.methods import method as find_method
from qpsim.nn.identity import source_digest
from qpsim.nn.optimizer import check_trains
from qpsim.nn.tasks import Task

__all__ = ["History", "Run"]


@dataclass(frozen=True, init=False)
class Run:
    """What is trained and how: everything that the results depend on, except the data.

    Parameters
    ----------
    task : Task
        ``dataclasses.replace(task, n_steps=..., batch_size=..., drops=...)`` makes a variant.
    method : str, Method or Rule
        A registry name, a method with its hyper-parameters, or a rule, which has its defaults.
    step_size : float
        Multiplied in each step by `Task.step_factor`.
    rng : int, default 0
        The seed of all random numbers in the run. The old name ``seed=`` is accepted, with a
        warning.
    dtype : "float32" (default) or "float64"

    Raises
    ------
    TrainingError
        A step size, rng or dtype that makes no sense, or a batch of one example for a method that
        estimates variances.
    MethodError
        The method needs what only a quadratic problem knows.

    Examples
    --------
    >>> import qpsim
    >>> from qpsim.nn import task
    >>> Run(task("digits-mlp"), qpsim.method("adam"), 0.003).record()["step_size"]
    0.003
    """

    task: Task
    method: Method
    step_size: float
    rng: int = 0
    dtype: str = "float32"

    def __init__(
        self,
        task: Task,
        method: str | Method | Rule,
        step_size: float,
        rng: int = 0,
        dtype: str = "float32",
        *,
        seed: int | None = None,
    ) -> None:
        if seed is not None:
            warnings.warn("seed is called rng now.", RenamedWarning, stacklevel=2)
            rng = seed
        checks.instance("task", task, Task, TrainingError, "qpsim.nn.task('digits-mlp')")
        method = find_method(method)
        check_trains(method)
        checks.choice("dtype", dtype, ("float32", "float64"), TrainingError)
        given = {
            "task": task,
            "method": method,
            "step_size": checks.number("step_size", step_size, TrainingError, "(0, inf)"),
            "rng": checks.count("rng", rng, TrainingError, low=0, high=None),
            "dtype": dtype,
        }
        for name, value in given.items():
            object.__setattr__(self, name, value)
        if method.observes and task.batch_size < 2:
            raise TrainingError(
                f"{method.name} estimates variances within a batch, which needs at least 2 "
                f"examples, not {task.batch_size}."
            )

    @property
    def seed(self) -> int:
        """The number ``rng``, under its name in files."""
        return self.rng

    def __repr__(self) -> str:
        return f"<Run of {self.task.name} by {self.method} at {self.step_size}, seed {self.seed}>"

    def record(self) -> dict[str, Any]:
        """Everything as plain JSON values.

        Raises
        ------
        TrainingError
            As :meth:`Task.record`.
        """
        rule = self.method.rule
        return {
            "task": self.task.record(),
            "method": {
                "name": self.method.name,
                "hyper": self.method.hyper_parameters,
                "rule": f"{rule.module}.{rule.attribute}",
                "source": source_digest(rule.function),  # type: ignore[arg-type]
            },
            "step_size": self.step_size,
            "seed": self.seed,
            "dtype": self.dtype,
        }


@dataclass(eq=False)
class History:
    """The results of a run.

    Attributes
    ----------
    batch_loss, batch_accuracy : list of float
        Of each step's batch, with noise and dropout, before the step and without L2. A diverging
        run ends with the loss that was too large, +inf if it was NaN.
    evaluated : list of int
        Steps after which the test set was evaluated, 0 and the last among them.
    test_loss, test_accuracy : list of float
        On the whole test set, without dropout and distortion. Accuracies are NaN if targets are not
        class labels.
    diverged_at : int or None
        The step (from 1) whose batch loss was too large or NaN; see `Loop`.
    """

    batch_loss: list[float] = field(default_factory=list)
    batch_accuracy: list[float] = field(default_factory=list)
    evaluated: list[int] = field(default_factory=list)
    test_loss: list[float] = field(default_factory=list)
    test_accuracy: list[float] = field(default_factory=list)
    diverged_at: int | None = None

    def __repr__(self) -> str:
        n = len(self.batch_loss)
        ending = f"last batch loss {self.batch_loss[-1]:.4g}" if n else "not begun"
        stopped = "" if self.diverged_at is None else f", diverged at {self.diverged_at}"
        return f"<History of {n} steps, {ending}{stopped}>"

    @property
    def mean_loss(self) -> float:
        """Mean batch loss over the run, +inf for one that diverged."""
        return math.inf if self.diverged_at is not None else float(np.mean(self.batch_loss))

    @property
    def stable(self) -> bool:
        """Whether the run stayed finite and did not make the loss worse.

        Its mean loss is at most a tenth above that of the untrained network on the test set.
        """
        start = self.test_loss[0]
        limit = 1.1 * start if start >= 0 else 0.9 * start
        return self.diverged_at is None and self.mean_loss <= limit

    def interval_loss(self) -> np.ndarray:
        """Mean batch loss between one evaluation and the next, (evaluations - 1,)."""
        pairs = zip(self.evaluated, self.evaluated[1:], strict=False)
        return np.array([np.mean(self.batch_loss[a:b]) for a, b in pairs])
