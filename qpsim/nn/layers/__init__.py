"""What a network is made of: plain descriptions, until a `Network` binds copies of them."""

from qpsim.nn.layers.base import Context, Field, Layer, Parameter
from qpsim.nn.layers.convolution import Conv2D
from qpsim.nn.layers.dense import Dense
from qpsim.nn.layers.elementwise import Dropout, ReLU
from qpsim.nn.layers.pooling import Flatten, GlobalAveragePool, MaxPool

__all__ = [
    "Context", "Conv2D", "Dense", "Dropout", "Field", "Flatten", "GlobalAveragePool", "Layer",
    "MaxPool", "Parameter", "ReLU",
]  # fmt: skip
