"""Neural networks in NumPy: what the paper trains, so that the same methods can train it here.

``Network(layers, input_shape)`` holds one flat parameter vector and gives the loss, its gradient
and the per-example moments of the gradient. Names are imported when first used.
"""

from importlib import import_module as _import_module
from typing import Any as _Any

_PUBLIC = {
    "Network": "qpsim.nn.network",
    "PerExampleMoments": "qpsim.nn.network",
    "minibatch_variance": "qpsim.nn.losses",
    "softmax_cross_entropy": "qpsim.nn.losses",
    "Dense": "qpsim.nn.layers",
    "Conv2D": "qpsim.nn.layers",
    "MaxPool": "qpsim.nn.layers",
    "GlobalAveragePool": "qpsim.nn.layers",
    "Flatten": "qpsim.nn.layers",
    "ReLU": "qpsim.nn.layers",
    "Dropout": "qpsim.nn.layers",
    "mnist_mlp": "qpsim.nn.architectures",
    "cifar10_cnn": "qpsim.nn.architectures",
    "cifar100_allcnn": "qpsim.nn.architectures",
    "mlp": "qpsim.nn.architectures",
    "small_cnn": "qpsim.nn.architectures",
    "build_network": "qpsim.nn.build",
    "task": "qpsim.nn.tasks",
    "Task": "qpsim.nn.tasks",
    "Optimizer": "qpsim.nn.optimizer",
    "Run": "qpsim.nn.run",
    "train": "qpsim.nn.training",
    "tune": "qpsim.tuning.networks",
    "Protocol": "qpsim.tuning.networks",
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
