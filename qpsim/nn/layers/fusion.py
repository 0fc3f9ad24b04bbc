"""Where a ReLU is done: not in a pass of its own, if a neighbour has the numbers in hand."""

import copy
from collections.abc import Sequence

from qpsim.nn.layers.base import Layer
from qpsim.nn.layers.convolution import Conv2D
from qpsim.nn.layers.dense import Dense
from qpsim.nn.layers.elementwise import ReLU
from qpsim.nn.layers.pooling import MaxPool


def fused(layers: Sequence[Layer]) -> list[Layer]:
    """Copies of the layers, each ReLU done where it costs least.

    The ReLU and the maximum over a window commute, and after the window there is less to do. The
    layer before a ReLU applies it to what it has in cache.
    """
    done: list[Layer] = []
    rest = [copy.copy(layer) for layer in layers]
    for n in range(len(rest) - 1):
        if isinstance(rest[n], ReLU) and isinstance(rest[n + 1], MaxPool):
            rest[n], rest[n + 1] = rest[n + 1], rest[n]
    for layer in rest:
        previous = done[-1] if done else None
        if isinstance(layer, ReLU) and isinstance(previous, Dense | Conv2D | MaxPool):
            previous.relu = True
        else:
            done.append(layer)
    return done
