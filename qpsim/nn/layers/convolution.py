"""The two-dimensional convolution (a cross-correlation, as everywhere in this field)."""

from math import prod
from typing import Any, NamedTuple

import numpy as np

from qpsim.errors import NetworkError
from qpsim.nn.initializers import Initializer, glorot_normal, zeros
from qpsim.nn.layers.base import (
    Array,
    Context,
    Field,
    Layer,
    Parameter,
    image_shape,
    positive,
    same_padding,
    windows,
)
from qpsim.nn.layers.winograd import Winograd, suits
from qpsim.nn.memory import aligned_zeros

# With fewer channels than this, separate products for each kernel position are too small.
_FEW_CHANNELS = 16
# Up to this many multiplications OpenBLAS multiplies without packing where it has kernels for it,
# and this many pixels are enough for a product by the weights' gradient to be efficient.
_SMALL_PRODUCT = 1e6
_ENOUGH_PIXELS = 128
# Bytes of the second-level cache for a group of images, besides the weights.
_GROUP_BYTES = 4e5
_MANY_PIXELS = 256
# Rows of at least so many pixels are multiplied separately.
_LONG_ROW = 24


class _Scratch(NamedTuple):
    """One worker's memory: gathered patches or pixels, a block of products, one image's dy."""

    cols: np.ndarray
    block: np.ndarray
    compact: np.ndarray


class Conv2D(Layer):
    """``filters`` maps, each the sum over a ``size`` x ``size`` window of all channels, and a bias.

    Parameters
    ----------
    filters : int
        Channels of the output.
    size, stride : int
        In pixels, the same in both directions.
    padding : "same" or "valid"
        "same": zeros around the image, so that ceil(size / stride) outputs come out, the odd zero
        below and to the right; "valid": windows inside the image only.
    weight, bias : callable
        Initializers for (size, size, channels, filters) and (filters,); Glorot's normal and zeros
        by default.

    Examples
    --------
    >>> Conv2D(64, 5, padding="valid").output_shape((32, 32, 3))
    (28, 28, 64)
    """

    whole_fields = True
    kind = "conv"

    def __init__(
        self,
        filters: int,
        size: int,
        stride: int = 1,
        padding: str = "same",
        weight: Initializer = glorot_normal,
        bias: Initializer = zeros,
    ) -> None:
        positive("Conv2D", filters=filters, size=size, stride=stride)
        if padding not in ("same", "valid"):
            raise NetworkError(f"Conv2D's padding must be 'same' or 'valid', got {padding!r}")
        self.filters, self.size, self.stride = int(filters), int(size), int(stride)
        self.padding, self.weight, self.bias = padding, weight, bias
        self.relu = False
        self.fast = False

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(height, width, filters) of the output."""
        height, width, _ = image_shape(self, shape)
        sizes = [windows(s, self.size, self.stride, self.padding) for s in (height, width)]
        if min(sizes) < 1:
            raise NetworkError(f"no {self.size} x {self.size} kernel fits images of {shape}")
        return sizes[0], sizes[1], self.filters

    def margin(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        """The zeros of "same"."""
        if self.padding == "valid":
            return (0, 0, 0, 0)
        top, bottom = same_padding(shape[0], self.size, self.stride)
        left, right = same_padding(shape[1], self.size, self.stride)
        return top, bottom, left, right

    def parameters(self, shape: tuple[int, ...]) -> tuple[Parameter, ...]:
        """weight (size, size, channels, filters), which decays, and bias, which does not."""
        kernel = (self.size, self.size, shape[2], self.filters)
        return (
            Parameter("weight", kernel, self.weight, True),
            Parameter("bias", (self.filters,), self.bias, False),
        )

    @property
    def reads_output(self) -> bool:  # type: ignore[override]
        """For the mask of a fused ReLU, if there is one."""
        return self.relu

    def connect(self, source: Field, target: Field, values: list[np.ndarray]) -> None:
        """Also finds the matrix product, and makes room for the turned weights."""
        from qpsim.nn.kernels.blas import gemm_address, has_small_products

        super().connect(source, target, values)
        size, _, channels, filters = values[0].shape
        self._gemm = gemm_address(values[0].dtype)
        self._transposed = np.empty((size, size, filters, channels), values[0].dtype)
        self._large = not has_small_products()
        self._patches = self._large or channels < _FEW_CHANNELS
        self._depth = channels * size * size + 1 if self._patches else channels
        self._stacked = np.empty((self._depth * self._patches, filters), values[0].dtype)
        height, width, _ = target.shape
        fitting = min(int(_SMALL_PRODUCT / (self._depth * filters)), _ENOUGH_PIXELS) // width
        if not self._patches and width >= _LONG_ROW:
            fitting = 1
        if self._large:
            fitting = _MANY_PIXELS // width
        pieces = -(-height // max(fitting, 1))
        self._rows = -(-height // pieces)
        images = (prod(source.buffer_shape) + 2 * prod(target.buffer_shape)) * values[0].itemsize
        self._group = max(int(_GROUP_BYTES / images), 1)
        self._winograd: Winograd | None = None
        if self.fast and suits(size, self.stride, channels, filters, values[0].dtype):
            self._winograd = Winograd(self._gemm, source, target, values[0])
        self._no_dx = np.empty((0, 0, 0, 0), values[0].dtype)
        self._no_squares = [np.empty((0, 0, 0, 0), values[0].dtype), np.empty(0, values[0].dtype)]

    def work(self) -> int:
        """Kernel area x channels x filters x output pixels."""
        height, width, _ = self.target.shape
        return self.values[0].size * height * width

    def scratch(self) -> Any:
        """Room for what is gathered, a block of products with a bias' below, and one image."""
        dtype = self.values[0].dtype
        plain = _Scratch(
            aligned_zeros(self._rows * self.target.shape[1] * self._depth, dtype),
            aligned_zeros((self._depth + (not self._patches)) * self.filters, dtype),
            aligned_zeros((self._group, prod(self.target.shape)), dtype),
        )
        return plain, self._winograd and self._winograd.scratch()

    def prepare(self, backward: bool) -> None:
        """Turn the weights, for the fast algorithm and for the backward pass."""
        if self._patches:
            self._stacked[:-1] = self.values[0].reshape(-1, self.filters)
            self._stacked[-1] = self.values[1]
        if self._winograd:
            self._winograd.prepare(backward)
        elif backward:
            self._transposed[:] = self.values[0].swapaxes(2, 3)

    def forward(self, x: Array, y: Array, context: Context) -> None:
        """x and y (examples, height, width, channels), each with its margin."""
        from qpsim.nn.kernels import convolution

        scratch, fast_scratch = context.scratch
        if self._winograd:
            self._winograd.forward(x, y, self.values[1], self.relu, fast_scratch[0])
            return
        convolution.forward(
            self._gemm, x, *self.values, self._stacked, y, self.target.origin, self.target.shape[:2],
            self.stride, self.relu, self._patches, self._rows, self._group, scratch.cols,
        )  # fmt: skip

    def backward(self, x: Array, y: Array, dx: Array | None, dy: Array, context: Context) -> None:
        """Adds to context.d (and context.q) and fills dx."""
        from qpsim.nn.kernels import convolution

        scratch, fast_scratch = context.scratch
        if self._winograd and not context.q:
            self._winograd.parameter_gradient(x, y, dy, self.relu, context.d, fast_scratch)
        else:
            fast = self._winograd is not None and dx is not None
            convolution.backward(
                self._gemm, x, y, dy, self.target.origin, self._transposed, *context.d,
                *(context.q or self._no_squares), dy.dtype.type(context.scale),
                self._no_dx if dx is None or fast else dx, self.target.shape[:2], self.stride,
                self.relu, fast and self.relu, self._patches, self._large, self._rows,
                self._group, *scratch,
            )  # fmt: skip
        if self._winograd and dx is not None:
            self._winograd.input_gradient(dy, dx, fast_scratch[0])
