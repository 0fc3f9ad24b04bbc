"""Layers that reduce images: max-pooling, mean over the image, and flattening."""

from math import prod
from typing import Any

import numpy as np

from qpsim.errors import NetworkError
from qpsim.nn.layers.base import Array, Context, Layer, image_shape, positive, same_padding, windows


class MaxPool(Layer):
    """The maximum over windows; "same" windows may reach over the edge and ignore what is outside.

    Parameters
    ----------
    window, stride : int
        In pixels, the same in both directions; the window at most 15.
    padding : "same" or "valid"
        ceil(size / stride) outputs, or whole windows only.

    Examples
    --------
    >>> MaxPool(3, stride=2).output_shape((28, 28, 64))
    (14, 14, 64)
    """

    reads_input = reads_output = False
    whole_fields = True

    def __init__(self, window: int = 3, stride: int = 2, padding: str = "same") -> None:
        positive("MaxPool", window=window, stride=stride)
        if window > 15:
            raise NetworkError(f"MaxPool's window must be at most 15, got {window}")
        if padding not in ("same", "valid"):
            raise NetworkError(f"MaxPool's padding must be 'same' or 'valid', got {padding!r}")
        self.window, self.stride, self.padding = int(window), int(stride), padding
        self.relu = False

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(height, width, channels) of the output."""
        height, width, channels = image_shape(self, shape)
        sizes = [windows(s, self.window, self.stride, self.padding) for s in (height, width)]
        if min(sizes) < 1:
            raise NetworkError(f"no {self.window} x {self.window} window fits images of {shape}")
        return sizes[0], sizes[1], channels

    def memory(self) -> tuple[tuple[int, ...], Any]:
        """One byte per output: which pixel of the window won."""
        return self.target.shape, np.uint8

    def forward(self, x: Array, y: Array, context: Context) -> None:
        """x and y (examples, height, width, channels)."""
        _kernels(x).forward(
            x, self.source.shape[:2], y, self.target.origin, self.target.shape[:2],
            self.window, self.stride, self._pad(), self.relu, context.memory,
        )  # fmt: skip

    def backward(self, x: Array, y: Array, dx: Array | None, dy: Array, context: Context) -> None:
        """Each output's gradient goes to the pixel that won."""
        _kernels(x).backward(
            dy, self.target.origin, self.target.shape[:2],
            self.window, self.stride, self._pad(), context.memory, dx,
        )  # fmt: skip

    def _pad(self) -> tuple[int, int]:
        if self.padding == "valid":
            return 0, 0
        height, width, _ = self.source.shape
        return (
            same_padding(height, self.window, self.stride)[0],
            same_padding(width, self.window, self.stride)[0],
        )


def _kernels(x: np.ndarray) -> Any:
    """The module whose loops serve such images."""
    from qpsim.nn.kernels import has_lanes

    if x.dtype == np.float32 and x.shape[3] % 16 == 0 and has_lanes():
        from qpsim.nn.kernels import pooling_lanes

        return pooling_lanes
    from qpsim.nn.kernels import pooling

    return pooling


class GlobalAveragePool(Layer):
    """Each channel's mean over the image.

    Examples
    --------
    >>> GlobalAveragePool().output_shape((6, 6, 100))
    (100,)
    """

    reads_input = reads_output = False
    whole_fields = True

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(channels,)."""
        return (image_shape(self, shape)[2],)

    def forward(self, x: Array, y: Array, context: Context) -> None:
        """x (examples, height, width, channels), y (examples, channels)."""
        np.mean(x, axis=(1, 2), out=y)

    def backward(self, x: Array, y: Array, dx: Array | None, dy: Array, context: Context) -> None:
        """Every pixel has the same share."""
        if dx is not None:
            height, width, _ = self.source.shape
            dx[:] = (dy * dy.dtype.type(1 / (height * width)))[:, None, None, :]


class Flatten(Layer):
    """An image as a vector: row by row, pixel by pixel, channel by channel.

    Examples
    --------
    >>> Flatten().output_shape((3, 3, 128))
    (1152,)
    """

    in_place = True
    reads_input = reads_output = False
    whole_fields = True

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(height x width x channels,)."""
        return (prod(shape),)

    def forward(self, x: Array, y: Array, context: Context) -> None:
        """Nothing to do: y is x."""

    def backward(self, x: Array, y: Array, dx: Array | None, dy: Array, context: Context) -> None:
        """Nothing to do: dx is dy."""
