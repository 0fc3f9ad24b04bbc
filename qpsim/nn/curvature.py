"""Products of a network's Hessian with vectors, exact to rounding.

The gradient's derivative along a vector v is taken by differentiating the backward pass itself
("forward over reverse"; B. Pearlmutter, "Fast exact multiplication by the Hessian", 1994). Every
array a of a step gets a tangent, its derivative along v, here written ``ta``; a product like
``dx = dy W^T`` gives ``tdx = tdy W^T + dy tW^T``. At the kinks of ReLU and max-pool, where there is no
second derivative, the one of the side that the step is on is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from qpsim import checks
from qpsim.errors import NetworkError
from qpsim.execution.blas import one_blas_thread
from qpsim.execution.threads import for_each
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
from qpsim.nn.losses import squared_error
from qpsim.nn.workspace import equal_bounds

__all__ = ["hessian", "hessian_vector_product"]

_MAX_CHUNKS = 16
# Activations of the examples that a thread takes at a time, and sums that all threads hold.
_BLOCK_BYTES, _SUM_BYTES = 64e6, 256e6
_LARGEST_HESSIAN = 5000
_AT_ONCE = 16


def hessian_vector_product(
    network: Any, x: np.ndarray, targets: np.ndarray, v: Any, dropout_key: int | None
) -> np.ndarray:
    """The objective's Hessian times v, (P,) or (P, k); see `Network.hessian_vector_product`."""
    vectors = checks.array("v", v, NetworkError).astype(network.dtype, copy=False)
    size = network.parameters.size
    if vectors.shape[:1] != (size,) or vectors.ndim > 2:
        raise NetworkError(f"v must be ({size},) or ({size}, k), not {vectors.shape}")
    columns = vectors.reshape(size, -1).T
    bounds = equal_bounds(len(x), _MAX_CHUNKS)
    together = max(int(_SUM_BYTES / (len(bounds) * size * network.dtype.itemsize)), 1)
    result = np.empty((len(columns), size), network.dtype)
    for start in range(0, len(columns), together):
        some = np.ascontiguousarray(columns[start : start + together])
        result[start : start + together] = _products(network, x, targets, some, dropout_key, bounds)
    for part in network.decaying:
        result[:, part] += network.dtype.type(network.weight_decay) * columns[:, part]
    return np.ascontiguousarray(result.T).reshape(vectors.shape)


def hessian(
    network: Any, x: np.ndarray, targets: np.ndarray, dropout_key: int | None
) -> np.ndarray:
    """The objective's whole Hessian (P, P), symmetric; see `Network.hessian`."""
    size = network.parameters.size
    if size > _LARGEST_HESSIAN:
        raise NetworkError(
            f"the Hessian of {size} parameters has {size**2:.2g} entries; networks of up to "
            f"{_LARGEST_HESSIAN} parameters give theirs, others products with vectors"
        )
    unit = np.eye(size, dtype=network.dtype)
    parts = [
        hessian_vector_product(network, x, targets, unit[:, s : s + _AT_ONCE], dropout_key)
        for s in range(0, size, _AT_ONCE)
    ]
    whole = np.concatenate(parts, axis=1)
    return 0.5 * (whole + whole.T)


def _products(
    network: Any,
    x: np.ndarray,
    targets: np.ndarray,
    vectors: np.ndarray,
    key: int | None,
    bounds: list[int],
) -> np.ndarray:
    """Those of the data loss, (k, P): each chunk of examples has its sum, added in their order."""
    sums = np.zeros((len(bounds) - 1, *vectors.shape), network.dtype)
    chains = _Chain(network, key)
    per_example = 6 * sum(map(prod, chains.shapes)) * network.dtype.itemsize
    block = max(int(_BLOCK_BYTES / per_example), 1)

    def run(chunk: int) -> None:
        for start in range(bounds[chunk], bounds[chunk + 1], block):
            stop = min(start + block, bounds[chunk + 1])
            chains.add(x[start:stop], targets[start:stop], start, len(x), vectors, sums[chunk])

    with one_blas_thread(load_scipy=False), np.errstate(over="ignore", invalid="ignore"):
        for_each(run, len(sums), network.workers)
        return np.add.reduce(sums, axis=0)


class _Chain:
    """A network's layers as they were given, with their parameters and the shapes between them."""

    def __init__(self, network: Any, key: int | None) -> None:
        self.network, self.key = network, key
        self.shapes = [network.input_shape]
        self.counts = []
        for layer in network.layers:
            if type(layer) not in _STEPS:
                raise NetworkError(
                    f"Hessian-vector products are known for the package's own layers, not for "
                    f"{type(layer).__name__}"
                )
            self.counts.append(len(layer.parameters(self.shapes[-1])))
            self.shapes.append(layer.output_shape(self.shapes[-1]))
        if network.has_own_loss and network.loss not in ("squared-error", squared_error):
            raise NetworkError(
                "Hessian-vector products are known for the cross-entropy and the squared error, "
                "not for a loss of one's own"
            )

    def add(
        self,
        x: np.ndarray,
        targets: np.ndarray,
        first: int,
        examples: int,
        vectors: np.ndarray,
        sums: np.ndarray,
    ) -> None:
        """Add the products of some examples, the first one's number given, to sums (k, P)."""
        network = self.network
        steps = self._steps(first, len(x))
        values = self._split(network.parameters)
        value = x.astype(network.dtype, copy=False)
        for step, own in zip(steps, values, strict=True):
            value = step.forward(value, own)
        outputs, scale = value, network.dtype.type(1 / examples)
        if network.has_own_loss:
            probabilities, gradient = None, (outputs - targets) * scale
        else:
            probabilities = np.exp(outputs - outputs.max(axis=1, keepdims=True))
            probabilities /= probabilities.sum(axis=1, keepdims=True)
            gradient = probabilities * scale
            gradient[np.arange(len(x)), targets] -= scale
        for step, own in zip(reversed(steps), reversed(values), strict=True):
            gradient = step.backward(gradient, own)
        for vector, total in zip(vectors, sums, strict=True):
            tangents, totals = self._split(vector), self._split(total)
            tangent = np.zeros_like(steps[0].x)
            for step, own, along in zip(steps, values, tangents, strict=True):
                tangent = step.forward_tangent(tangent, own, along)
            if probabilities is not None:
                mean = (probabilities * tangent).sum(axis=1, keepdims=True)
                tangent = probabilities * (tangent - mean)
            tangent = tangent * scale
            for n in range(len(steps) - 1, -1, -1):
                tangent = steps[n].backward_tangent(tangent, values[n], tangents[n], totals[n])

    def _split(self, vector: np.ndarray) -> list[list[np.ndarray]]:
        """Views of a vector (P,): for each layer the arrays of its parameters."""
        arrays = iter(self.network.named(vector).values())
        return [[next(arrays) for _ in range(count)] for count in self.counts]

    def _steps(self, first: int, examples: int) -> list[Any]:
        drops = iter(self.network.dropouts)
        steps = []
        for layer, shape in zip(self.network.layers, self.shapes, strict=False):
            if isinstance(layer, Dropout):
                bound, field = next(drops)
                mask = bound.mask(examples, field, self.key, first, self.network.dtype)
                steps.append(_Mask(layer, shape, mask))
            else:
                steps.append(_STEPS[type(layer)](layer, shape))
        return steps


class _Step:
    """A layer on some examples. Both passes keep what the passes of the tangents read.

    ``x`` is the input, ``dy`` the gradient by the output. ``own`` are the layer's parameters,
    ``along`` their tangents, and to ``sums`` the tangents of their gradients are added.
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

    # Of a layer without parameters: its linear part where it is, and that part's transpose.

    def linear(self, x: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def transposed(self, dy: np.ndarray) -> np.ndarray:
        raise NotImplementedError


class _Mask(_Step):
    """Each number times one of its own: dropout."""

    def __init__(self, layer: Any, shape: tuple[int, ...], mask: np.ndarray) -> None:
        super().__init__(layer, shape)
        self.mask = mask.reshape(len(mask), *shape)

    def linear(self, x: np.ndarray) -> np.ndarray:
        return x * self.mask

    def transposed(self, dy: np.ndarray) -> np.ndarray:
        return dy * self.mask


class _Relu(_Step):
    def linear(self, x: np.ndarray) -> np.ndarray:
        return x * (self.x > 0)

    def transposed(self, dy: np.ndarray) -> np.ndarray:
        return dy * (self.x > 0)


class _Reshaped(_Step):
    def linear(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(len(x), -1)

    def transposed(self, dy: np.ndarray) -> np.ndarray:
        return dy.reshape(len(dy), *self.shape)


class _Mean(_Step):
    def linear(self, x: np.ndarray) -> np.ndarray:
        return x.mean(axis=(1, 2))

    def transposed(self, dy: np.ndarray) -> np.ndarray:
        height, width, _ = self.shape
        share = dy * dy.dtype.type(1 / (height * width))
        return np.broadcast_to(share[:, None, None, :], (len(dy), *self.shape)).copy()


class _Winner(_Step):
    """Max-pool: the pixel that won (the first of equals), and where its gradient goes."""

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


class _Dense(_Step):
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
        return tx @ own[0] + self.x @ along[0] + along[1]

    def backward_tangent(
        self,
        tdy: np.ndarray,
        own: Sequence[np.ndarray],
        along: Sequence[np.ndarray],
        sums: Sequence[np.ndarray],
    ) -> np.ndarray:
        sums[0] += self.tx.T @ self.dy + self.x.T @ tdy
        sums[1] += tdy.sum(axis=0)
        return tdy @ own[0].T + self.dy @ along[0].T


class _Convolution(_Step):
    def __init__(self, layer: Any, shape: tuple[int, ...]) -> None:
        super().__init__(layer, shape)
        self.size = layer.output_shape(shape)[:2]
        self.margin = layer.margin(shape)

    def _places(self) -> Any:
        """(p, q, the pixels that all windows have there) for each place of the kernel."""
        stride, (height, width) = self.layer.stride, self.size
        for p in range(self.layer.size):
            for q in range(self.layer.size):
                rows = slice(p, p + stride * height, stride)
                yield p, q, (slice(None), rows, slice(q, q + stride * width, stride))

    def _padded(self, x: np.ndarray) -> np.ndarray:
        top, bottom, left, right = self.margin
        return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))

    def _correlated(self, padded: np.ndarray, weight: np.ndarray) -> np.ndarray:
        out = np.zeros((len(padded), *self.size, self.layer.filters), padded.dtype)
        for p, q, pixels in self._places():
            out += padded[pixels] @ weight[p, q]
        return out

    def _spread(self, dy: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """The transpose of `_correlated`, without the margin."""
        (top, bottom, left, right), (height, width, channels) = self.margin, self.shape
        shape = (len(dy), height + top + bottom, width + left + right, channels)
        dx = np.zeros(shape, dy.dtype)
        for p, q, pixels in self._places():
            dx[pixels] += dy @ weight[p, q].T
        return dx[:, top : top + height, left : left + width]

    def _add_products(self, padded: np.ndarray, dy: np.ndarray, total: np.ndarray) -> None:
        flat = dy.reshape(-1, self.layer.filters)
        for p, q, pixels in self._places():
            total[p, q] += padded[pixels].reshape(len(flat), -1).T @ flat

    def forward(self, x: np.ndarray, own: Sequence[np.ndarray]) -> np.ndarray:
        self.x = x
        self.padded = self._padded(x)
        return self._correlated(self.padded, own[0]) + own[1]

    def backward(self, dy: np.ndarray, own: Sequence[np.ndarray]) -> np.ndarray:
        self.dy = dy
        return self._spread(dy, own[0])

    def forward_tangent(
        self, tx: np.ndarray, own: Sequence[np.ndarray], along: Sequence[np.ndarray]
    ) -> np.ndarray:
        self.tangent = self._padded(tx)
        moved = self._correlated(self.tangent, own[0])
        return moved + self._correlated(self.padded, along[0]) + along[1]

    def backward_tangent(
        self,
        tdy: np.ndarray,
        own: Sequence[np.ndarray],
        along: Sequence[np.ndarray],
        sums: Sequence[np.ndarray],
    ) -> np.ndarray:
        self._add_products(self.tangent, self.dy, sums[0])
        self._add_products(self.padded, tdy, sums[0])
        sums[1] += tdy.sum(axis=(0, 1, 2))
        return self._spread(tdy, own[0]) + self._spread(self.dy, along[0])


_STEPS: dict[type[Layer], Any] = {
    Dense: _Dense,
    Conv2D: _Convolution,
    MaxPool: _Winner,
    ReLU: _Relu,
    Flatten: _Reshaped,
    GlobalAveragePool: _Mean,
    Dropout: _Mask,
}
