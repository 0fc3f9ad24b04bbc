"""Data for networks: readers of the original files, built-in data, transforms, and the order of batches.

Nothing is downloaded. ``mnist``, ``cifar``, ``digits`` and ``synthetic`` make a `Dataset` (``dataset``); ``files``
reads their files. ``batches`` has the order of the training examples, ``augment`` the transforms, ``streams`` their
random numbers. A new data set is a file with a function that returns a `Dataset`.
"""

from qpsim.nn.data.augment import CifarAugmentation, PixelNoise, Plain, Transform
from qpsim.nn.data.batches import Batches, evaluation_batches
from qpsim.nn.data.cifar import has_cifar10, has_cifar100, load_cifar10, load_cifar100
from qpsim.nn.data.dataset import Dataset, Split, to_float
from qpsim.nn.data.digits import load_digits, whitened_digits
from qpsim.nn.data.mnist import has_mnist, load_mnist
from qpsim.nn.data.streams import Seed, Stream
from qpsim.nn.data.synthetic import synthetic_images

__all__ = [
    "Batches",
    "CifarAugmentation",
    "Dataset",
    "PixelNoise",
    "Plain",
    "Seed",
    "Split",
    "Stream",
    "Transform",
    "evaluation_batches",
    "has_cifar10",
    "has_cifar100",
    "has_mnist",
    "load_cifar10",
    "load_cifar100",
    "load_digits",
    "load_mnist",
    "synthetic_images",
    "to_float",
    "whitened_digits",
]
