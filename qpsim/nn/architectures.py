"""The paper's three networks (its Section A), and small ones of the same kinds.

What the paper does not state is taken from the later benchmark of the same group (DeepOBS:
Schneider, Balles and Hennig, 2019) and can be changed: initial weights, the padding of the CIFAR-10
convolutions, the L2 factors, All-CNN's biases of 0.1. Further ``options`` are those of
:class:`qpsim.nn.Network`.
"""

from collections.abc import Sequence
from typing import Any

from qpsim.nn.initializers import (
    Initializer,
    constant,
    glorot_normal,
    glorot_uniform,
    truncated_normal,
    zeros,
)
from qpsim.nn.layers import (
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool,
    Layer,
    MaxPool,
    ReLU,
)
from qpsim.nn.network import Network

SMALL_NORMAL = truncated_normal(0.03)
TENTHS = constant(0.1)


def mnist_mlp(
    *,
    weight: Initializer = SMALL_NORMAL,
    bias: Initializer = zeros,
    weight_decay: float = 5e-4,
    **options: Any,
) -> Network:
    """The MNIST network: 784-1000-500-100-10, ReLU. Trained with batches of 128.

    Assumed: weights from a normal of scale 0.03 truncated at 0.06, biases 0, L2 5e-4.

    Examples
    --------
    >>> mnist_mlp(rng=0).parameters.size
    1336610
    """
    return mlp(
        784, (1000, 500, 100), 10, weight=weight, bias=bias, weight_decay=weight_decay, **options
    )  # fmt: skip


def cifar10_cnn(
    *,
    padding: Sequence[str] = ("valid", "valid", "same"),
    conv_weight: Initializer = glorot_normal,
    dense_weight: Initializer = glorot_uniform,
    bias: Initializer = zeros,
    weight_decay: float = 2e-3,
    **options: Any,
) -> Network:
    """The CIFAR-10 network: three convolutions, each with ReLU and pool, and three dense layers.

    64 filters of 5 x 5, 96 and 128 of 3 x 3; 3 x 3 max-pools of stride 2; 512, 256 and 10 units.
    Trained with batches of 256.

    Assumed: the three convolutions' ``padding``, Glorot-normal convolutions, Glorot-uniform dense
    weights, biases 0, L2 2e-3.

    Examples
    --------
    >>> cifar10_cnn(rng=0).parameters.size
    895210
    """
    layers: list[Layer] = []
    for (filters, size), pad in zip(((64, 5), (96, 3), (128, 3)), padding, strict=True):
        conv = Conv2D(filters, size, padding=pad, weight=conv_weight, bias=bias)
        layers += [conv, ReLU(), MaxPool(3, stride=2, padding="same")]
    layers.append(Flatten())
    for units in (512, 256):
        layers += [Dense(units, dense_weight, bias), ReLU()]
    layers.append(Dense(10, dense_weight, bias))
    return Network(layers, (32, 32, 3), weight_decay=weight_decay, **options)


def cifar100_allcnn(
    *,
    dropout: tuple[float, float, float] = (0.2, 0.5, 0.5),
    weight: Initializer = glorot_normal,
    bias: Initializer = TENTHS,
    weight_decay: float = 5e-4,
    **options: Any,
) -> Network:
    """The CIFAR-100 network: All-CNN-C of Springenberg et al. (2014), nine convolutions, no dense.

    Three convolutions of 96 filters 3 x 3, three of 192, the last of each three with stride 2; one
    of 192 filters 3 x 3 without padding, 192 and 100 of 1 x 1; the mean over the remaining pixels.
    ReLU after every convolution; dropout before the first, fourth and seventh. Trained with batches
    of 256.

    Assumed: Glorot-normal weights, biases 0.1, L2 5e-4, and the seventh convolution unpadded.

    Examples
    --------
    >>> cifar100_allcnn(rng=0).parameters.size
    1387108
    """

    def conv(filters: int, size: int, stride: int = 1, padding: str = "same") -> list[Layer]:
        return [Conv2D(filters, size, stride, padding, weight, bias), ReLU()]

    layers = [
        Dropout(dropout[0]), *conv(96, 3), *conv(96, 3), *conv(96, 3, stride=2),
        Dropout(dropout[1]), *conv(192, 3), *conv(192, 3), *conv(192, 3, stride=2),
        Dropout(dropout[2]), *conv(192, 3, padding="valid"), *conv(192, 1), *conv(100, 1),
        GlobalAveragePool(),
    ]  # fmt: skip
    return Network(layers, (32, 32, 3), weight_decay=weight_decay, **options)


def mlp(
    inputs: int,
    hidden: Sequence[int] = (256, 128, 64),
    classes: int = 10,
    *,
    weight: Initializer = glorot_uniform,
    bias: Initializer = zeros,
    **options: Any,
) -> Network:
    """Dense layers with ReLU between; without ``hidden`` it is softmax regression.

    Examples
    --------
    >>> mlp(64, hidden=(), classes=10, rng=0).parameters.size
    650
    """
    layers: list[Layer] = []
    for units in hidden:
        layers += [Dense(units, weight, bias), ReLU()]
    layers.append(Dense(classes, weight, bias))
    return Network(layers, (inputs,), **options)


def small_cnn(
    input_shape: tuple[int, int, int],
    filters: Sequence[int] = (16, 32),
    hidden: Sequence[int] = (64,),
    classes: int = 10,
    *,
    sizes: Sequence[int] | None = None,
    conv_weight: Initializer = glorot_normal,
    dense_weight: Initializer = glorot_uniform,
    bias: Initializer = zeros,
    **options: Any,
) -> Network:
    """A small relative of the CIFAR-10 network: convolutions with pools, then dense layers.

    ``sizes`` are the kernel sizes, one for each number of filters; 3 by default.

    Examples
    --------
    >>> small_cnn((8, 8, 1), rng=0).views["dense1.weight"].shape
    (128, 64)
    """
    layers: list[Layer] = []
    for number, size in zip(filters, sizes or [3] * len(filters), strict=True):
        conv = Conv2D(number, size, weight=conv_weight, bias=bias)
        layers += [conv, ReLU(), MaxPool(3, stride=2, padding="same")]
    layers.append(Flatten())
    for units in hidden:
        layers += [Dense(units, dense_weight, bias), ReLU()]
    layers.append(Dense(classes, dense_weight, bias))
    return Network(layers, input_shape, **options)
