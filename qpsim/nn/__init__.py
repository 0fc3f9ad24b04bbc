"""Neural networks in NumPy: what the paper trains, so that the same methods can train it here.

A network of one's own, from arrays to a trained network whose weights are kept::

    import numpy as np, qpsim
    from qpsim import nn

    data = nn.Dataset.from_arrays(x_train, y_train, x_test, y_test, name="mine")
    layers = [nn.Dense(64), nn.ReLU(), nn.Dense(data.n_outputs)]
    task = nn.Task("mine", layers, batch_size=32, n_steps=500, l2=1e-4, schedule=lambda t: t**-0.5)
    trained = nn.train(nn.Run(task, qpsim.method("adam"), step_size=0.01), data)
    trained.network.save("weights.npz")

:func:`qpsim.tuning.tune` finds step sizes for it. A loss of one's own is a function (see
:class:`Network`), a layer of one's own a class (see :class:`Layer`), a transform an object with two
methods (see :class:`Transform`). Names are imported when first used.
"""

from importlib import import_module as _import_module
from typing import Any as _Any

_PUBLIC = {
    # networks
    "Network": "qpsim.nn.network",
    "Fit": "qpsim.nn.network",
    "PerExampleMoments": "qpsim.nn.network",
    "build_network": "qpsim.nn.build",
    "mnist_mlp": "qpsim.nn.architectures",
    "cifar10_cnn": "qpsim.nn.architectures",
    "cifar100_allcnn": "qpsim.nn.architectures",
    "mlp": "qpsim.nn.architectures",
    "small_cnn": "qpsim.nn.architectures",
    # layers
    "Layer": "qpsim.nn.layers",
    "Parameter": "qpsim.nn.layers",
    "Context": "qpsim.nn.layers",
    "Field": "qpsim.nn.layers",
    "Dense": "qpsim.nn.layers",
    "Conv2D": "qpsim.nn.layers",
    "MaxPool": "qpsim.nn.layers",
    "GlobalAveragePool": "qpsim.nn.layers",
    "Flatten": "qpsim.nn.layers",
    "ReLU": "qpsim.nn.layers",
    "Dropout": "qpsim.nn.layers",
    # initial parameters
    "constant": "qpsim.nn.initializers",
    "zeros": "qpsim.nn.initializers",
    "truncated_normal": "qpsim.nn.initializers",
    "glorot_normal": "qpsim.nn.initializers",
    "glorot_uniform": "qpsim.nn.initializers",
    "he_normal": "qpsim.nn.initializers",
    # losses
    "softmax_cross_entropy": "qpsim.nn.losses",
    "squared_error": "qpsim.nn.losses",
    "minibatch_variance": "qpsim.nn.losses",
    # data
    "Dataset": "qpsim.nn.data",
    "Split": "qpsim.nn.data",
    "Batches": "qpsim.nn.data",
    "Transform": "qpsim.nn.data",
    "Plain": "qpsim.nn.data",
    "PixelNoise": "qpsim.nn.data",
    "CifarAugmentation": "qpsim.nn.data",
    "load_mnist": "qpsim.nn.data",
    "load_cifar10": "qpsim.nn.data",
    "load_cifar100": "qpsim.nn.data",
    "load_digits": "qpsim.nn.data",
    "whitened_digits": "qpsim.nn.data",
    "synthetic_images": "qpsim.nn.data",
    # training
    "Task": "qpsim.nn.tasks",
    "NetworkSpec": "qpsim.nn.tasks",
    "task": "qpsim.nn.catalogue",
    "task_names": "qpsim.nn.catalogue",
    "Optimizer": "qpsim.nn.optimizer",
    "Run": "qpsim.nn.run",
    "History": "qpsim.nn.run",
    "train": "qpsim.nn.training",
    "Trained": "qpsim.nn.training",
}

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> _Any:
    if name in _PUBLIC:
        value = getattr(_import_module(_PUBLIC[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'qpsim.nn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
