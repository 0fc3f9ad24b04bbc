"""Fusing ReLUs into the layers before them, which saves a pass over the activations."""

import copy
from collections.abc import Sequence

from qpsim.nn.layers.base import Layer
from qpsim.nn.layers.convolution import Conv2D
from qpsim.nn.layers.dense import Dense
from qpsim.nn.layers.elementwise import ReLU
from qpsim.nn.layers.pooling import MaxPool


def fused(layers: Sequence[Layer]) -> list[Layer]:
    """Copies of the layers, each ReLU done by the layer before it if that is one of ours.

    A ReLU before a max-pool is moved behind it: the result is the same, with fewer numbers.
    Classes derived from ours are not changed, since they may compute something else.
    """
    done: list[Layer] = []
    rest = [copy.copy(layer) for layer in layers]
    for n in range(len(rest) - 1):
        if type(rest[n]) is ReLU and type(rest[n + 1]) is MaxPool:
            rest[n], rest[n + 1] = rest[n + 1], rest[n]
    for layer in rest:
        previous = done[-1] if done else None
        if type(layer) is ReLU and type(previous) in (Dense, Conv2D, MaxPool):
            previous.relu = True  # type: ignore[union-attr]
        else:
            done.append(layer)
    return done
