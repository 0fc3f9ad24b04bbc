"""Data for networks: readers of files as distributed, data that come along, the order of batches.

Nothing is ever downloaded. A reader gives a `Dataset`; `Batches` turns its training split into a
stream that resumes bit for bit; a transform says what a stored example becomes on its way.
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
