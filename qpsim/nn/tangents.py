"""Tangents of layers: derivatives of a layer's forward and backward pass along a direction of the parameters.

:mod:`qpsim.nn.curvature` chains these steps to products of a network's Hessian with vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

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
from qpsim.nn.layers.base import same_padding

# Up to so many channels a convolution is one product of all windows.
_FEW_CHANNELS = 4


class Step:
    """One layer on some examples: its forward and backward pass, and the tangents of both.

    The methods are called in the order ``forward``, ``backward``, then ``forward_tangent`` and ``backward_tangent``
    once for each vector v. The first two store in the object what the last two need. ``x`` is the input of the layer,
    ``dy`` the gradient of the loss by its output. ``own`` are the layer's parameters, ``along`` their tangents (the
    parts of v). ``backward_tangent`` adds the tangents of the parameters' gradients to ``sums``.
    """

    def __init__(self, layer: Any, shape: tuple[int, ...]) -> None:
        self.layer, self.shape = layer, shape

    def forward(self, x: np.ndarray, own: Sequence[np.ndarray]) -> np.ndarray:
        self.x = x
        return self.linear(x)

    def backward(self, dy: np.ndarray, own: Sequence[np.ndarray]) -> np.ndarray:
        return self.transposed(dy)

    def forward_tangent(
        self, tx: np.ndarray, own: Sequence[np.ndarray], along: Sequence[np.ndarray]
    ) -> np.ndarray:
        return self.linear(tx)

    def backward_tangent(
        self,
        tdy: np.ndarray,
        own: Sequence[np.ndarray],
        along: Sequence[np.ndarray],
        sums: Sequence[np.ndarray],
    ) -> np.ndarray:
        return self.transposed(tdy)

    # For the first layer with parameters: its input does not depend on parameters, so that the input's tangent is zero
    # and the gradient by the input is not needed.

    def lowest(self, dy: np.ndarray) -> None:
        """In place of `backward`."""
        self.dy = dy

    def lowest_forward_tangent(self, along: Sequence[np.ndarray]) -> np.ndarray:
        """In place of `forward_tangent`."""
        raise NotImplementedError

    def lowest_backward_tangent(self, tdy: np.ndarray, sums: Sequence[np.ndarray]) -> None:
        """In place of `backward_tangent`."""
        raise NotImplementedError

    # A layer without parameters defines only these two: its derivative at x, and the transpose of it.

    def linear(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def transposed(self, dy: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class Mask(Step):
    """Dropout: each number is multiplied by its entry of a fixed mask."""

    def __init__(self, layer: Any, shape: tuple[int, ...], mask: np.ndarray) -> None:
        super().__init__(layer, shape)
        self.mask = mask.reshape(len(mask), *shape)

    def linear(self, x: np.ndarray) -> np.ndarray:
        return x * self.mask

    def transposed(self, dy: np.ndarray) -> np.ndarray:
        return dy * self.mask


class _Relu(Step):
    def linear(self, x: np.ndarray) -> np.ndarray:
        return x * (self.x > 0)

    def transposed(self, dy: np.ndarray) -> np.ndarray:
        return dy * (self.x > 0)


class _Reshaped(Step):
    def linear(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1)

    def transposed(self, dy: np.ndarray) -> np.ndarray:
        return dy.reshape(len(dy), *self.shape)


class _Mean(Step):
    def linear(self, x: np.ndarray) -> np.ndarray:
        return x.mean(axis=(1, 2))

    def transposed(self, dy: np.ndarray) -> np.ndarray:
        height, width, _ = self.shape
        share = dy * dy.dtype.type(1 / (height * width))
        return np.broadcast_to(share[:, None, None, :], (len(dy), *self.shape)).copy()


class _Winner(Step):
    """Max-pool: stores which pixel of each window is the largest (the first, if several are equal)."""

    def forward(self, x: np.ndarray, own: Sequence[np.ndarray]) -> np.ndarray:
        self.x, layer = x, self.layer
        self.size = layer.output_shape(self.shape)[:2]
        top = left = bottom = right = 0
        if layer.padding == "same":
            top, bottom = same_padding(self.shape[0], layer.window, layer.stride)
            left, right = same_padding(self.shape[1], layer.window, layer.stride)
        self.pad = ((0, 0), (top, bottom), (left, right), (0, 0))
        padded = np.pad(x, self.pad, constant_values=-np.inf)
        best = padded[(slice(None), *self._window(0))].copy()
        self.winner = np.zeros(best.shape, np.uint8)
        for code in range(1, layer.window**2):
            other = padded[(slice(None), *self._window(code))]
            better = other > best
            best[better] = other[better]
            self.winner[better] = code
        return best

    def _window(self, code: int) -> tuple[slice, slice]:
        """The pixels in one place of all windows."""
        window, stride = self.layer.window, self.layer.stride
        (u, v), (height, width) = divmod(code, window), self.size
        return slice(u, u + stride * height, stride), slice(v, v + stride * width, stride)

    def linear(self, x: np.ndarray) -> np.ndarray:
        padded, out = np.pad(x, self.pad), np.zeros(self.winner.shape, x.dtype)
        for code in range(self.layer.window**2):
            out += padded[(slice(None), *self._window(code))] * (self.winner == code)
        return out

    def transposed(self, dy: np.ndarray) -> np.ndarray:
        (_, (top, bottom), (left, right), _), (height, width, channels) = self.pad, self.shape
        shape = (len(dy), height + top + bottom, width + left + right, channels)
        dx = np.zeros(shape, dy.dtype)
        for code in range(self.layer.window**2):
            dx[(slice(None), *self._window(code))] += dy * (self.winner == code)
        return dx[:, top : top + height, left : left + width]


class _Dense(Step):
    def forward(self, x: np.ndarray, own: Sequence[np.ndarray]) -> np.ndarray:
        self.x = x
        return x @ own[0] + own[1]

    def backward(self, dy: np.ndarray, own: Sequence[np.ndarray]) -> np.ndarray:
        self.dy = dy
        return dy @ own[0].T

    def forward_tangent(
        self, tx: np.ndarray, own: Sequence[np.ndarray], along: Sequence[np.ndarray]
    ) -> np.ndarray:
        self.tx = tx
        return tx @ own[0] + self.lowest_forward_tangent(along)

    def backward_tangent(
        self,
        tdy: np.ndarray,
        own: Sequence[np.ndarray],
        along: Sequence[np.ndarray],
        sums: Sequence[np.ndarray],
    ) -> np.ndarray:
        sums[0] += self.tx.T @ self.dy
        self.lowest_backward_tangent(tdy, sums)
        return tdy @ own[0].T + self.dy @ along[0].T

    def lowest_forward_tangent(self, along: Sequence[np.ndarray]) -> np.ndarray:
        return self.x @ along[0] + along[1]

    def lowest_backward_tangent(self, tdy: np.ndarray, sums: Sequence[np.ndarray]) -> None:
        sums[0] += self.x.T @ tdy
        sums[1] += tdy.sum(axis=0)


class _Convolution(Step):
    def __init__(self, layer: Any, shape: tuple[int, ...]) -> None:
        super().__init__(layer, shape)
        self.size = layer.output_shape(shape)[:2]
        self.margin = layer.margin(shape)
        # With few channels, separate products for each position of the kernel would be too small.
        self.few = shape[-1] <= _FEW_CHANNELS

    def _places(self) -> Any:
        """(p, q, the pixels that all windows have there) for each place of the kernel."""
        stride, (height, width) = self.layer.stride, self.size
        for p in range(self.layer.size):
            for q in range(self.layer.size):
                rows = slice(p, p + stride * height, stride)
                yield p, q, (slice(None), rows, slice(q, q + stride * width, stride))

    def _seen(self, x: np.ndarray) -> np.ndarray:
        """The input with its margin; with few channels, a matrix of all windows."""
        top, bottom, left, right = self.margin
        padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
        if not self.few:
            return padded
        return np.concatenate([padded[pixels] for *_, pixels in self._places()], axis=-1)

    def _correlated(self, seen: np.ndarray, weight: np.ndarray) -> np.ndarray:
        if self.few:
            return seen @ weight.reshape(-1, self.layer.filters)
        out = np.zeros((len(seen), *self.size, self.layer.filters), seen.dtype)
        for p, q, pixels in self._places():
            out += seen[pixels] @ weight[p, q]
        return out

    def _spread(self, dy: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """The transpose of `_correlated`, without the margin."""
        (top, bottom, left, right), (height, width, channels) = self.margin, self.shape
        shape = (len(dy), height + top + bottom, width + left + right, channels)
        dx = np.zeros(shape, dy.dtype)
        for p, q, pixels in self._places():
            dx[pixels] += dy @ weight[p, q].T
        return dx[:, top : top + height, left : left + width]

    def _add_products(self, seen: np.ndarray, dy: np.ndarray, total: np.ndarray) -> None:
        flat = dy.reshape(-1, self.layer.filters)
        if self.few:
            total += (seen.reshape(len(flat), -1).T @ flat).reshape(total.shape)
            return
        for p, q, pixels in self._places():
            total[p, q] += seen[pixels].reshape(len(flat), -1).T @ flat

    def forward(self, x: np.ndarray, own: Sequence[np.ndarray]) -> np.ndarray:
        self.x = x
        self.seen = self._seen(x)
        return self._correlated(self.seen, own[0]) + own[1]

    def backward(self, dy: np.ndarray, own: Sequence[np.ndarray]) -> np.ndarray:
        self.dy = dy
        return self._spread(dy, own[0])

    def forward_tangent(
        self, tx: np.ndarray, own: Sequence[np.ndarray], along: Sequence[np.ndarray]
    ) -> np.ndarray:
        self.tangent = self._seen(tx)
        return self._correlated(self.tangent, own[0]) + self.lowest_forward_tangent(along)

    def backward_tangent(
        self,
        tdy: np.ndarray,
        own: Sequence[np.ndarray],
        along: Sequence[np.ndarray],
        sums: Sequence[np.ndarray],
    ) -> np.ndarray:
        self._add_products(self.tangent, self.dy, sums[0])
        self.lowest_backward_tangent(tdy, sums)
        return self._spread(tdy, own[0]) + self._spread(self.dy, along[0])

    def lowest_forward_tangent(self, along: Sequence[np.ndarray]) -> np.ndarray:
        return self._correlated(self.seen, along[0]) + along[1]

    def lowest_backward_tangent(self, tdy: np.ndarray, sums: Sequence[np.ndarray]) -> None:
        self._add_products(self.seen, tdy, sums[0])
        sums[1] += tdy.sum(axis=(0, 1, 2))


STEPS: dict[type[Layer], Any] = {
    Dense: _Dense,
    Conv2D: _Convolution,
    MaxPool: _Winner,
    ReLU: _Relu,
    Flatten: _Reshaped,
    GlobalAveragePool: _Mean,
    Dropout: Mask,
}
