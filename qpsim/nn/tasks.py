"""Named tasks: a data set, a network, and how long and with what decay it is trained.

A task is a frozen value that says *what* is trained and leaves open *how*: the method, its step
size and the seed come with each run. It names its network by a `NetworkSpec`, a name and numbers,
so that a provenance record can hold all of it; `qpsim.nn` builds the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from qpsim.errors import DataError, nearest
from qpsim.nn.data import (
    Batches,
    CifarAugmentation,
    Dataset,
    PixelNoise,
    Plain,
    Seed,
    Split,
    Transform,
    evaluation_batches,
    load_cifar10,
    load_cifar100,
    load_digits,
    load_mnist,
    synthetic_images,
    whitened_digits,
)

__all__ = ["NetworkSpec", "Task", "stand_in", "task", "task_names"]

Criterion = Literal["test-accuracy", "training-loss"]


@dataclass(frozen=True)
class NetworkSpec:
    """A network by name, with the choices that its name leaves open.

    Parameters
    ----------
    name : str
        ``mnist-mlp``, ``cifar10-cnn`` and ``all-cnn-c`` are the paper's three. ``mlp`` has the
        option ``hidden`` (sizes); ``cnn`` has ``channels`` and ``kernels`` (of "same" convolutions,
        each with a ReLU and a 3 x 3 max-pool of stride 2) and ``hidden``; ``softmax`` is a
        regression, an ``mlp`` without hidden layers. Biases start at zero in these.
    options : tuple of (str, value)
        Of numbers, strings and tuples of them. ``weights`` is the initial law of all weights:
        ``he`` is normal of variance 2 / fan_in, ``glorot`` normal of 2 / (fan_in + fan_out).

    Examples
    --------
    >>> spec = NetworkSpec("mlp", (("hidden", (32, 16)), ("weights", "he")))
    >>> spec.keywords
    {'hidden': (32, 16), 'weights': 'he'}
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def keywords(self) -> dict[str, Any]:
        """The options as keyword arguments."""
        return dict(self.options)


@dataclass(frozen=True)
class Task:
    """What is trained: frozen, comparable, and built into nothing until asked.

    Parameters
    ----------
    name : str
    summary : str
        One sentence for a listing.
    data : str
        The source's name, see `load`.
    network : NetworkSpec
    batch_size, n_steps : int
    l2 : float
        Factor lambda of ``lambda / 2 * |weights|^2`` in the loss; biases are left out.
    transform : Transform
        What happens to examples on the way to the network.
    drops : tuple of int
        After each of these steps the step size is divided by `drop_divisor`.
    criterion : "test-accuracy" or "training-loss"
        What the best step size is chosen by: the highest test accuracy seen, as in the paper, or
        the lowest mean training loss over the run, where the accuracy saturates.
    evaluate_every : int
        Steps between evaluations.
    """

    name: str
    summary: str
    data: str
    network: NetworkSpec
    batch_size: int
    n_steps: int
    l2: float
    transform: Transform
    drops: tuple[int, ...] = ()
    drop_divisor: float = 10.0
    criterion: Criterion = "test-accuracy"
    evaluate_every: int = 100

    @property
    def needs_directory(self) -> bool:
        """Whether `load` reads files that the user must have."""
        return self.data in _READERS

    def load(self, directory: str | Path | None = None) -> Dataset:
        """The task's data set.

        Parameters
        ----------
        directory : path, optional
            Where the files of MNIST or CIFAR are; the embedded tasks take none.

        Raises
        ------
        DataError
            A directory is needed and not given, or given and not needed, or its files are
            missing or malformed.
        QpsimError
            The digits need scikit-learn, which is not installed.
        """
        if self.needs_directory:
            if directory is None:
                raise DataError(
                    f"task {self.name!r} reads the files of {self.data}: give their directory "
                    "(--data DIR); nothing is downloaded"
                )
            return _READERS[self.data](directory)
        if directory is not None:
            raise DataError(f"task {self.name!r} has its data built in and reads no directory")
        return _EMBEDDED[self.data]()

    def batches(self, train: Split, *, rng: Seed = None) -> Batches:
        """The endless, resumable stream of training batches."""
        return Batches(train, self.batch_size, self.transform, rng=rng)

    def evaluation_batches(self, split: Split, batch_size: int = 1000) -> Iterator[tuple]:
        """All examples of a split once, without noise or distortion."""
        return evaluation_batches(split, batch_size, self.transform)

    def step_factor(self, step: int) -> float:
        """What the step size is multiplied by at step `step`, 1 being the first.

        >>> [task("cifar100").step_factor(t) for t in (1, 40_000, 40_001, 60_000)]
        [1.0, 1.0, 0.1, 0.01]
        """
        passed = sum(step > drop for drop in self.drops)
        return float(1 / self.drop_divisor**passed)

    def record(self) -> dict[str, Any]:
        """Every field as JSON-able values, for provenance."""
        fields = asdict(self)
        fields["transform"] = {"kind": type(self.transform).__name__, **fields["transform"]}
        fields["network"] = {"name": self.network.name, **self.network.keywords}
        return fields


def task(name: str) -> Task:
    """A task by its name.

    Raises
    ------
    DataError
        There is no such task; the sentence names the nearest.

    Examples
    --------
    >>> task("digits-mlp").network.keywords["hidden"]
    (256, 128, 64)
    >>> task("minst")
    Traceback (most recent call last):
    qpsim.errors.DataError: there is no task 'minst'; did you mean 'mnist'?
    """
    if name not in _TASKS:
        raise DataError(f"there is no task {name!r}; {nearest(name, _TASKS)}")
    return _TASKS[name]


def task_names() -> tuple[str, ...]:
    """All names, the paper's three problems first."""
    return tuple(_TASKS)


def stand_in(name: str, *, n_train: int = 10_000, n_test: int = 2_000, rng: Seed = 0) -> Dataset:
    """Synthetic images of the shape and number of classes that a task's network expects.

    For speed and correctness of the paper's networks at full size where the real files are not
    at hand; the loss on it says nothing about the real data.

    >>> stand_in("cifar100", n_train=8, n_test=8).example_shape
    (32, 32, 3)
    """
    shapes: dict[str, tuple[tuple[int, int, int], int]] = {
        "mnist": ((28, 28, 1), 10),
        "cifar10": ((32, 32, 3), 10),
        "cifar100": ((32, 32, 3), 100),
    }
    if name not in shapes:
        raise DataError(
            f"there is no stand-in for {name!r}, only for {', '.join(shapes)}; "
            "the other tasks have their data built in"
        )
    shape, n_classes = shapes[name]
    return synthetic_images(n_classes, shape=shape, n_train=n_train, n_test=n_test, rng=rng)


_READERS: dict[str, Callable[[str | Path], Dataset]] = {
    "mnist": load_mnist,
    "cifar10": load_cifar10,
    "cifar100": load_cifar100,
}

_SMALL = (16, 16, 3)

_EMBEDDED: dict[str, Callable[[], Dataset]] = {
    "digits": load_digits,
    "digits-whitened": whitened_digits,
    "synthetic-10": lambda: synthetic_images(10, shape=_SMALL),
    "synthetic-100": lambda: synthetic_images(100, n_train=20_000, n_test=4_000, shape=_SMALL),
}

_STANDARDISED = CifarAugmentation(
    padding=0, brightness=0.0, contrast=(1.0, 1.0), saturation=(1.0, 1.0), mirror=False
)

_PAPER = (
    Task(
        name="mnist",
        summary="MNIST, dense 784-1000-500-100-10",
        data="mnist",
        network=NetworkSpec("mnist-mlp"),
        batch_size=128,
        n_steps=10_000,
        l2=5e-4,
        transform=Plain(),
    ),
    Task(
        name="cifar10",
        summary="CIFAR-10, three convolutions with pooling and three dense layers, augmented",
        data="cifar10",
        network=NetworkSpec("cifar10-cnn"),
        batch_size=256,
        n_steps=20_000,
        l2=2e-3,
        transform=CifarAugmentation(),
    ),
    Task(
        name="cifar100",
        summary="CIFAR-100, All-CNN-C, augmented, step size / 10 after 40k and 50k of 60k steps",
        data="cifar100",
        network=NetworkSpec("all-cnn-c"),
        batch_size=256,
        n_steps=60_000,
        l2=5e-4,
        transform=CifarAugmentation(),
        drops=(40_000, 50_000),
    ),
)

_DIGITS = (
    Task(
        name="digits-mlp",
        summary="noisy digits, dense 256-128-64: signs help",
        data="digits",
        network=NetworkSpec("mlp", (("hidden", (256, 128, 64)), ("weights", "he"))),
        batch_size=32,
        n_steps=400,
        l2=5e-4,
        transform=PixelNoise(0.5),
        criterion="training-loss",
        evaluate_every=10,
    ),
    Task(
        name="digits-cnn",
        summary="noisy digits, two convolutions: signs help, variance adaptation little",
        data="digits",
        network=NetworkSpec(
            "cnn",
            (("channels", (16, 32)), ("kernels", (5, 3)), ("hidden", ()), ("weights", "glorot")),
        ),
        batch_size=32,
        n_steps=300,
        l2=5e-4,
        transform=PixelNoise(0.5),
        criterion="training-loss",
        evaluate_every=10,
    ),
    Task(
        name="digits-whitened",
        summary="regression on whitened, rotated digits: signs hurt, variance adaptation helps",
        data="digits-whitened",
        network=NetworkSpec("softmax", (("weights", "glorot"),)),
        batch_size=32,
        n_steps=300,
        l2=0.0,
        transform=Plain(),
        criterion="training-loss",
        evaluate_every=10,
    ),
)

_SYNTHETIC = (
    Task(
        name="synthetic-10",
        summary="synthetic 16 x 16 colour images of 10 classes, two convolutions with pooling",
        data="synthetic-10",
        network=NetworkSpec(
            "cnn",
            (("channels", (16, 32)), ("kernels", (5, 3)), ("hidden", (64,)), ("weights", "glorot")),
        ),
        batch_size=64,
        n_steps=600,
        l2=5e-4,
        transform=_STANDARDISED,
        evaluate_every=20,
    ),
    Task(
        name="synthetic-100",
        summary="synthetic 16 x 16 colour images of 100 classes, three convolutions with pooling",
        data="synthetic-100",
        network=NetworkSpec(
            "cnn",
            (
                ("channels", (32, 64, 64)),
                ("kernels", (3, 3, 3)),
                ("hidden", ()),
                ("weights", "glorot"),
            ),
        ),
        batch_size=64,
        n_steps=1200,
        l2=5e-4,
        transform=_STANDARDISED,
        drops=(800, 1000),
        evaluate_every=40,
    ),
)

_TASKS = {entry.name: entry for entry in (*_PAPER, *_DIGITS, *_SYNTHETIC)}
