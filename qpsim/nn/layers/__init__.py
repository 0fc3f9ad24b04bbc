"""The layers of a network. A layer object describes the layer; a ``Network`` makes a copy of it with its own memory.

``base`` has the class ``Layer``; ``dense``, ``convolution``, ``pooling`` and ``elementwise`` have the layers,
``winograd`` a faster convolution, ``fusion`` the ReLUs that run together with the layer before. A new layer is a class
derived from ``Layer``, as in ``elementwise``.
"""

from qpsim.nn.layers.base import Context, Field, Layer, Parameter
from qpsim.nn.layers.convolution import Conv2D
from qpsim.nn.layers.dense import Dense
from qpsim.nn.layers.elementwise import Dropout, ReLU
from qpsim.nn.layers.pooling import Flatten, GlobalAveragePool, MaxPool

__all__ = [
    "Context", "Conv2D", "Dense", "Dropout", "Field", "Flatten", "GlobalAveragePool", "Layer",
    "MaxPool", "Parameter", "ReLU",
]  # fmt: skip
