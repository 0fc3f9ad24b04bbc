"""One run of training: all that its numbers depend on, and what it leaves behind."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qpsim.errors import TrainingError
from qpsim.methods import Method
from qpsim.nn.optimizer import check_trains
from qpsim.nn.tasks import Task

__all__ = ["History", "Run"]


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
