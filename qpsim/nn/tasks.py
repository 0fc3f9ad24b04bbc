"""``Task``: a network with its loss, batch size, number of steps and schedule, and optionally its data.

Method, step size and seed are not part of the task; each run has its own. A task is immutable, and can be written as
JSON values.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from qpsim import checks
from qpsim.errors import DataError, TrainingError, nearest
from qpsim.nn.data import (
    Batches,
    Dataset,
    Plain,
    Seed,
    Split,
    Transform,
    evaluation_batches,
    has_cifar10,
    has_cifar100,
    has_mnist,
    load_cifar10,
    load_cifar100,
    load_digits,
    load_mnist,
    synthetic_images,
    whitened_digits,
)
from qpsim.nn.identity import describe
from qpsim.nn.losses import LOSSES, Loss

__all__ = ["NetworkSpec", "Task"]

Criterion = Literal["test-accuracy", "training-loss"]
_CRITERIA = ("test-accuracy", "training-loss")
_Folder = str | os.PathLike[str]
# Data in a user's folder: functions that read them, and that check whether they exist.
_READERS: dict[str, tuple[Callable[[_Folder], Dataset], Callable[[_Folder], bool]]] = {
    "mnist": (load_mnist, has_mnist),
    "cifar10": (load_cifar10, has_cifar10),
    "cifar100": (load_cifar100, has_cifar100),
}
_SMALL = (16, 16, 3)
_EMBEDDED: dict[str, Callable[[], Dataset]] = {
    "digits": load_digits,
    "digits-whitened": whitened_digits,
    "synthetic-10": lambda: synthetic_images(10, shape=_SMALL),
    "synthetic-100": lambda: synthetic_images(100, n_train=20_000, n_test=4_000, shape=_SMALL),
}


@dataclass(frozen=True)
class NetworkSpec:
    """A network of the package by name, with options.

    Parameters
    ----------
    name : str
        ``mnist_mlp``, ``cifar10_cnn`` and ``cifar100_allcnn`` are the paper's three. ``mlp`` has
        the option ``hidden`` (units; none make it a softmax regression); ``small_cnn`` has
        ``filters`` and ``sizes`` (of "same" convolutions, each with a ReLU and a 3 x 3 max-pool of
        stride 2) and ``hidden``. Biases of these two start at zero.
    options : tuple of (str, value)
        Numbers, strings and tuples of them. ``weight``, or ``conv_weight`` and ``dense_weight``,
        name the initializer: ``he_normal`` has variance 2 / fan_in, ``glorot_normal``
        2 / (fan_in + fan_out).

    Examples
    --------
    >>> spec = NetworkSpec("mlp", (("hidden", (32, 16)), ("weight", "he_normal")))
    >>> spec.keywords
    {'hidden': (32, 16), 'weight': 'he_normal'}
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def keywords(self) -> dict[str, Any]:
        """The options as keyword arguments."""
        return dict(self.options)


@dataclass(frozen=True)
class Task:
    """What is trained.

    Parameters
    ----------
    name : str
    network : sequence of layers, or NetworkSpec
        Layers from input to outputs, such as ``[nn.Dense(32), nn.ReLU(), nn.Dense(10)]``; or one
        of the package's networks by name.
    batch_size, n_steps : int
    l2 : float, default 0
        Factor lambda of ``lambda / 2 * |weights|^2`` in the objective; biases are left out.
    loss : "cross-entropy", "squared-error" or callable, default "cross-entropy"
        As for :class:`qpsim.nn.Network`.
    transform : Transform, default Plain()
        What happens to examples on the way to the network.
    drops : tuple of int, default ()
        After each of these steps the step size is divided by `drop_divisor`.
    drop_divisor : float, default 10
    schedule : callable, optional
        ``step -> factor`` by which the step size is multiplied at a step, 1 being the first; in
        place of `drops`.
    criterion : "training-loss" or "test-accuracy", default "training-loss"
        The criterion for the best step size: the lowest mean training loss over the run (of the batches, without L2),
        or, as in the paper, the highest test accuracy.
    evaluate_every : int, default 100
        Steps between evaluations.
    data : str, optional
        The source that `load` reads; needed only if data are not given to the run.
    vectors : bool, default False
        Whether the network reads images as vectors (features,).
    summary, notes : str, default ""
        One line for a listing; and what was assumed.

    Raises
    ------
    TrainingError
        A number, loss or criterion that makes no sense.

    Examples
    --------
    >>> from qpsim import nn
    >>> layers = [nn.Dense(32), nn.ReLU(), nn.Dense(10)]
    >>> Task("mine", layers, batch_size=16, n_steps=100, schedule=lambda t: 1 / t).step_factor(4)
    0.25
    """

    name: str
    network: Any
    batch_size: int
    n_steps: int
    l2: float = 0.0
    loss: str | Loss = "cross-entropy"
    transform: Transform = Plain()  # noqa: RUF009 - a frozen value
    drops: tuple[int, ...] = ()
    drop_divisor: float = 10.0
    schedule: Callable[[int], float] | None = None
    criterion: Criterion = "training-loss"
    evaluate_every: int = 100
    data: str | None = None
    vectors: bool = False
    summary: str = ""
    notes: str = ""

    def __repr__(self) -> str:
        return f"<Task {self.name}: {self.n_steps} steps of batches of {self.batch_size}>"

    def __post_init__(self) -> None:
        def put(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        if not isinstance(self.name, str) or not self.name:
            raise TrainingError(f"a task's name is a text, not {checks.shown(self.name)}")
        for name in ("batch_size", "n_steps", "evaluate_every"):
            put(name, checks.count(name, getattr(self, name), TrainingError))
        put("l2", checks.number("l2", self.l2, TrainingError, "[0, inf)"))
        divisor = checks.number("drop_divisor", self.drop_divisor, TrainingError, "(0, inf)")
        put("drop_divisor", divisor)
        drop = "a step after which the step size drops"
        if isinstance(self.drops, str) or not isinstance(self.drops, Iterable):
            raise TrainingError(
                f"drops are numbers of steps, such as (100, 200), not {self.drops!r}"
            )
        put("drops", tuple(checks.count(drop, step, TrainingError) for step in self.drops))
        if self.schedule is not None and (self.drops or not callable(self.schedule)):
            raise TrainingError("schedule is a function of the step, and there are no drops then.")
        if not (callable(self.loss) or self.loss in LOSSES):
            raise TrainingError(
                f"There is no loss {self.loss!r}; {nearest(str(self.loss), LOSSES)}"
            )
        checks.choice("criterion", self.criterion, _CRITERIA, TrainingError)
        for name in ("training", "evaluation"):
            if not callable(getattr(self.transform, name, None)):
                raise TrainingError(
                    f"a transform has the methods training and evaluation; {self.transform!r} has "
                    f"no {name}"
                )
        if not isinstance(self.network, NetworkSpec):
            if isinstance(self.network, str) or not isinstance(self.network, Sequence):
                raise TrainingError(
                    "a task's network is a list of layers, or a NetworkSpec with the name of one "
                    f"of the package's, not {self.network!r}"
                )
            put("network", tuple(self.network))

    def __hash__(self) -> int:
        # Not of all fields, since a user's transform, layer or loss may not be hashable.
        return hash((self.name, self.batch_size, self.n_steps, self.evaluate_every))

    @property
    def needs_directory(self) -> bool:
        """Whether `load` reads files that the user must have."""
        return self.data in _READERS

    def load(self, directory: str | os.PathLike[str] | None = None) -> Dataset:
        """The task's data set, of examples as its network reads them.

        Parameters
        ----------
        directory : path, optional
            Where the files of MNIST or CIFAR are; the embedded tasks take none.

        Raises
        ------
        DataError
            The task names no data; a directory is needed and not given, or given and not needed;
            or its files are missing or malformed.
        QpsimError
            The digits need scikit-learn, which is not installed.

        Examples
        --------
        >>> from qpsim.nn import task
        >>> task("digits-mlp").load().example_shape
        (64,)
        """
        if self.data is None:
            raise DataError(f"task {self.name!r} names no data; give a Dataset with the run")
        if self.needs_directory:
            if directory is None:
                raise DataError(
                    f"task {self.name!r} reads the files of {self.data}: give their directory "
                    "(--data DIR); nothing is downloaded"
                )
            return self.prepared(_READERS[self.data][0](directory))
        if directory is not None:
            raise DataError(f"task {self.name!r} has its data built in and reads no directory")
        if self.data not in _EMBEDDED:
            known = nearest(self.data, [*_READERS, *_EMBEDDED])
            raise DataError(f"task {self.name!r}: there are no data {self.data!r}; {known}")
        return self.prepared(_EMBEDDED[self.data]())

    def is_there(self, directory: str | os.PathLike[str]) -> bool:
        """Whether a directory has the data that `load` reads, or the task needs none.

        Raises
        ------
        DataError
            There is no such directory.
        """
        return self.data not in _READERS or _READERS[self.data][1](directory)

    def prepared(self, dataset: Dataset) -> Dataset:
        """The data set with examples in the shape that the network needs.

        Raises
        ------
        DataError
            It is no Dataset.
        """
        checks.instance("data", dataset, Dataset, DataError, "qpsim.nn.Dataset.from_arrays(...)")
        return dataset.as_vectors() if self.vectors else dataset

    def input_shape(self, dataset: Dataset) -> tuple[int, ...]:
        """Shape of one example after the transform."""
        example = self.transform.evaluation(dataset.test.images[:1])
        return tuple(np.shape(example)[1:])

    def batches(self, train: Split, *, rng: Seed = None) -> Batches:
        """The endless, resumable stream of training batches."""
        return Batches(train, self.batch_size, self.transform, rng=rng)

    def evaluation_batches(self, split: Split, batch_size: int = 1000) -> Iterator[tuple]:
        """All examples of a split once, without noise or distortion."""
        return evaluation_batches(split, batch_size, self.transform)

    def step_factor(self, step: int) -> float:
        """The factor of the step size at step ``step`` (from 1).

        Raises
        ------
        TrainingError
            The schedule gives something else than a finite number of at least 0.

        Examples
        --------
        >>> from qpsim.nn import task
        >>> [task("cifar100").step_factor(t) for t in (1, 40_000, 40_001, 60_000)]
        [1.0, 1.0, 0.1, 0.01]
        """
        if self.schedule is not None:
            factor = self.schedule(step)
            return checks.number(f"the schedule at step {step}", factor, TrainingError, "[0, inf)")
        passed = sum(step > drop for drop in self.drops)
        return float(1 / self.drop_divisor**passed)

    def record(self) -> dict[str, Any]:
        """Every field as plain JSON values; a user's code is described by :mod:`qpsim.nn.identity`.

        Raises
        ------
        TrainingError
            A transform, layer, loss or schedule that holds something which cannot be recorded.

        Examples
        --------
        >>> from qpsim.nn import task
        >>> task("digits-mlp").record()["transform"]
        {'kind': 'PixelNoise', 'std': 0.5}
        """
        found = {item.name: describe(getattr(self, item.name)) for item in fields(self)}
        if isinstance(self.network, NetworkSpec):
            found["network"] = {"name": self.network.name, **describe(self.network.keywords)}
        return found
