"""Neural networks in NumPy: the paper's networks and a user's own, trained by the methods of this package.

- ``layers/``: a layer is a class with a forward and a backward pass; ``kernels/`` has the compiled loops.
  ``losses`` and ``initializers`` are functions. ``network`` joins layers; ``assembly`` and ``build`` make its parts.
- ``tasks``, ``catalogue``, ``architectures``: a network with its data and schedule, and the named ones. A new named
  task is an entry in ``catalogue``. ``data/``: data sets, batches and transforms.
- ``run``, ``training``, ``loop``, ``checkpoint``: one training run; ``optimizer`` applies a method's rule to it.
- ``derivatives``, ``tangents``, ``curvature``: gradients, per-example moments and Hessian-vector products.
- ``execution``, ``workspace``, ``memory``: how a step is divided among threads, and its memory.
- ``measured``, ``race``: curvature and noise along a training; two methods from one point.
- ``cells``, ``identity``: training runs of a tuning kept on disk, and what their numbers depend on.

A network of one's own, from arrays to tuned step sizes and a trained network whose weights are kept:

>>> import tempfile, numpy as np, qpsim
>>> from qpsim import nn, tuning
>>> x = np.random.default_rng(0).standard_normal((300, 4))
>>> y = (x[:, 0] > x[:, 1]).astype(int)
>>> data = nn.Dataset.from_arrays(x[:200], y[:200], x[200:], y[200:], name="mine")
>>> layers = [nn.Dense(16), nn.ReLU(), nn.Dense(data.n_outputs)]
>>> task = nn.Task("mine", layers, batch_size=20, n_steps=60, l2=1e-4, schedule=lambda t: t**-0.25)
>>> folder = tempfile.TemporaryDirectory()
>>> (tuned,) = tuning.tune(
...     task, "adam", tuning.Protocol(n_replicates=2), data=data, workers=1, cache=folder.name)
>>> trained = nn.train(nn.Run(task, tuned.method, tuned.best.step_size), data)
>>> trained.history.test_accuracy[-1] > 0.9
True
>>> path = trained.network.save(f"{folder.name}/weights.npz")
>>> network = nn.build_network(task, data)
>>> network.load(path)
>>> folder.cleanup()

A loss of one's own is a function (see :class:`Network`), a layer of one's own a class (see
:class:`Layer`), a transform an object with two methods (see :class:`Transform`); images in MNIST's
and CIFAR's files are read by :func:`load_mnist`, :func:`load_cifar10` and :func:`load_cifar100`.
With several ``workers`` a tuning runs in other processes, to which layers, losses and schedules of
one's own travel if they are defined in a module, not at a prompt. Names are imported when first used.
"""

from typing import Any as _Any

from qpsim.lazy import public_name as _public_name

_PUBLIC = {
    # networks
    "Network": "qpsim.nn.network",
    "Fit": "qpsim.nn.examples",
    "PerExampleMoments": "qpsim.nn.derivatives",
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
    return _public_name(__name__, _PUBLIC, name)


def __dir__() -> list[str]:
    return sorted(__all__)
