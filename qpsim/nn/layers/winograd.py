"""The use of Winograd's algorithm by a convolution: the condition for it, its memory, and its three passes."""

from typing import Any

import numpy as np

from qpsim.nn.kernels import has_lanes
from qpsim.nn.layers.base import Field
from qpsim.nn.memory import aligned_zeros

# With fewer channels or filters the transforms take longer than the products save; and the kernels
# work on sixteen at a time.
_FEWEST = 32
_MULTIPLE = 16
# Tiles at a time: so many that the transformed weights, which fill a cache, are used often enough.
_TILES = 32
_SUMMED_TILES = 64


def suits(size: int, stride: int, channels: int, filters: int, dtype: Any) -> bool:
    """Whether such a convolution can be done this way, and gains by it.

    >>> suits(3, 1, 64, 96, np.float32), suits(3, 2, 64, 96, np.float32)
    (True, False)
    """
    return (
        (size, stride) == (3, 1)
        and min(channels, filters) >= _FEWEST
        and channels % _MULTIPLE == filters % _MULTIPLE == 0
        and dtype == np.float32
        and has_lanes()
    )


class Winograd:
    """The fast algorithm for one layer: transformed weights, and the passes that use them."""

    def __init__(self, gemm: int, source: Field, target: Field, weight: np.ndarray) -> None:
        self._gemm, self._source, self._target, self._weight = gemm, source, target, weight
        _, _, channels, filters = weight.shape
        self._forward = aligned_zeros((36, channels, filters), np.float32)
        self._backward = aligned_zeros((36, filters, channels), np.float32)
        self._transposed = np.empty((3, 3, filters, channels), np.float32)
        self._nothing = np.empty(0, np.float32)
        self._tiles = _tiles(target), _tiles(source)
        self._groups = [max(_TILES // tiles, 1) for tiles in self._tiles]
        self._summed = max(_SUMMED_TILES // self._tiles[0], 1)

    def scratch(self) -> tuple[np.ndarray, np.ndarray]:
        """For transformed tiles, and for the sums that become the weights' gradient."""
        from qpsim.nn.kernels.winograd import room

        channels, filters = self._weight.shape[2:]
        numbers = [
            room(group * tiles, channels, filters)
            for group, tiles in zip(self._groups, self._tiles, strict=True)
        ] + [room(self._summed * self._tiles[0], channels, filters)]
        sums = aligned_zeros((36, channels, filters), np.float32)
        return aligned_zeros(max(numbers), np.float32), sums

    def prepare(self, backward: bool) -> None:
        """Transform the weights."""
        from qpsim.nn.kernels.winograd import transform_weight

        transform_weight(self._weight, False, self._forward)
        if backward:
            self._transposed[:] = self._weight.swapaxes(2, 3)
            transform_weight(self._transposed, True, self._backward)

    def forward(
        self, x: np.ndarray, y: np.ndarray, bias: np.ndarray, relu: bool, memory: np.ndarray
    ) -> None:
        """y = conv(x, weight) + bias, then its positive part if ``relu``."""
        from qpsim.nn.kernels.winograd import correlate

        correlate(
            self._gemm, x, (0, 0), x.shape[1:3], self._forward, bias, relu, y,
            self._target.origin, self._target.shape[:2], (0, 0), self._groups[0], memory,
        )  # fmt: skip

    def input_gradient(self, dy: np.ndarray, dx: np.ndarray, memory: np.ndarray) -> None:
        """dx from dy, to which the mask of the ReLU is applied already."""
        from qpsim.nn.kernels.winograd import correlate

        top, left = self._source.origin
        correlate(
            self._gemm, dy, self._target.origin, self._target.shape[:2], self._backward,
            self._nothing, False, dx, self._source.origin, self._source.shape[:2],
            (2 - top, 2 - left), self._groups[1], memory,
        )  # fmt: skip

    def parameter_gradient(
        self,
        x: np.ndarray,
        y: np.ndarray,
        dy: np.ndarray,
        relu: bool,
        d: list[np.ndarray],
        scratch: tuple[np.ndarray, np.ndarray],
    ) -> None:
        """Add to both gradients in d, after applying the mask of the ReLU to dy."""
        from qpsim.nn.kernels.winograd import mask, weight_gradient

        place = self._target.origin, self._target.shape[:2]
        memory, sums = scratch
        mask(dy, y, *place, relu, d[1], memory)
        weight_gradient(self._gemm, x, x.shape[1:3], dy, *place, d[0], self._summed, memory, sums)


def _tiles(field: Field) -> int:
    height, width, _ = field.shape
    return -(-height // 4) * -(-width // 4)
