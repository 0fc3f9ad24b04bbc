"""Makes the network of a task, from its layers, or from the name of a network with options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qpsim.errors import TrainingError, nearest
from qpsim.nn import architectures, initializers
from qpsim.nn.data import Dataset
from qpsim.nn.network import Network
from qpsim.nn.tasks import NetworkSpec, Task

__all__ = ["build_network"]

_LAWS: dict[str, initializers.Initializer] = {
    "glorot_normal": initializers.glorot_normal,
    "glorot_uniform": initializers.glorot_uniform,
    "he_normal": initializers.he_normal,
    "zeros": initializers.zeros,
}
_LAW_OPTIONS = ("weight", "conv_weight", "dense_weight", "bias")
# The paper's networks accept only one shape of examples and one number of classes.
_FIXED: dict[str, tuple[Callable[..., Network], tuple[int, ...], int]] = {
    "mnist_mlp": (architectures.mnist_mlp, (784,), 10),
    "cifar10_cnn": (architectures.cifar10_cnn, (32, 32, 3), 10),
    "cifar100_allcnn": (architectures.cifar100_allcnn, (32, 32, 3), 100),
}
_OPEN = ("mlp", "small_cnn")


def build_network(
    task: Task,
    dataset: Dataset,
    *,
    rng: Any = None,
    dtype: Any = np.float32,
    workers: int | None = None,
) -> Network:
    """The network of a task, for the shape of its examples, with the task's loss and L2 factor.

    Parameters
    ----------
    task : Task
    dataset : Dataset
        As `Task.load` returns it.
    rng : seed or Generator
        Of the initial parameters.
    dtype : numpy.float32 (default) or numpy.float64
    workers : int or None
        Threads of the network; None means one per core.

    Raises
    ------
    TrainingError
        An unknown network, option or initial law, or examples of a shape or targets of a number
        that it is not made for.
    NetworkError
        Layers that do not fit together.

    Examples
    --------
    >>> from qpsim.nn import task
    >>> digits = task("digits-cnn")
    >>> network = build_network(digits, digits.load(), rng=0)
    >>> network.views["conv1.weight"].shape
    (5, 5, 1, 16)
    """
    spec = task.network
    shape, classes = task.input_shape(dataset), dataset.n_outputs
    common: dict[str, Any] = {
        "weight_decay": task.l2,
        "loss": task.loss,
        "rng": rng,
        "dtype": dtype,
        "workers": workers,
    }
    if not isinstance(spec, NetworkSpec):
        network = Network(spec, shape, **common)
        if network.n_outputs != classes and (not network.has_own_loss or dataset.n_classes is None):
            raise TrainingError(
                f"The network of task {task.name!r} gives {network.n_outputs} outputs; "
                f"{dataset.name} has {classes} classes or targets for each example."
            )
        return network
    common |= _options(spec)
    try:
        if spec.name in _FIXED:
            make, wanted, n_classes = _FIXED[spec.name]
            if (shape, classes) != (wanted, n_classes):
                raise TrainingError(
                    f"{spec.name} reads examples of shape {wanted} in {n_classes} classes; "
                    f"{dataset.name} has {shape} in {classes}."
                )
            return make(**common)
        if spec.name == "mlp":
            if len(shape) != 1:
                raise TrainingError(f"mlp reads vectors; the examples of {task.name} are {shape}.")
            return architectures.mlp(shape[0], classes=classes, **common)
        if spec.name == "small_cnn":
            if len(shape) != 3:
                raise TrainingError(
                    f"small_cnn reads images; the examples of {task.name} are {shape}."
                )
            return architectures.small_cnn(shape, classes=classes, **common)
    except TypeError as error:
        raise TrainingError(f"The network of task {task.name!r} does not fit: {error}.") from None
    known = nearest(spec.name, [*_FIXED, *_OPEN])
    raise TrainingError(f"There is no network {spec.name!r}; {known}")


def _options(spec: NetworkSpec) -> dict[str, Any]:
    """The options, with names of initializers replaced by the functions."""
    options = dict(spec.keywords)
    for name in _LAW_OPTIONS:
        if name in options:
            if options[name] not in _LAWS:
                raise TrainingError(
                    f"There is no initial law {options[name]!r}; {nearest(options[name], _LAWS)}"
                )
            options[name] = _LAWS[options[name]]
    return options
