"""Products of a network's Hessian with vectors, exact to rounding.

The gradient's derivative along a vector v is taken by differentiating the backward pass itself ("forward over reverse";
B. Pearlmutter, "Fast exact multiplication by the Hessian", 1994). Every array a of a step gets a tangent, its
derivative along v, here written ``ta``; a product like ``dx = dy W^T`` gives ``tdx = tdy W^T + dy tW^T``. At the kinks
of ReLU and max-pool, where the second derivative does not exist, the one-sided derivative of the forward pass is used.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from qpsim import checks
from qpsim.errors import NetworkError
from qpsim.execution.blas import one_blas_thread
from qpsim.execution.threads import for_each
from qpsim.nn.layers import Dropout
from qpsim.nn.losses import squared_error
from qpsim.nn.tangents import STEPS, Mask
from qpsim.nn.workspace import equal_bounds

__all__ = ["hessian", "hessian_vector_product"]

# Largest number of parts of the examples. Each part has a sum as large as the parameters; with many parameters a part
# has at least the last number of examples, so that adding the sums takes little time.
_MAX_CHUNKS, _FEW_PARAMETERS, _LEAST_EXAMPLES = 16, 20_000, 128
# Largest size in bytes of one thread's activations, and of all threads' sums.
_BLOCK_BYTES, _SUM_BYTES = 64e6, 64e6
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
    least = 1 if size <= _FEW_PARAMETERS else _LEAST_EXAMPLES
    bounds = equal_bounds(len(x), max(1, min(_MAX_CHUNKS, len(x) // least)))
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
    """Products (k, P) with the Hessian of the data loss.

    Each chunk of examples has its own sum. The sums are added in the order of the chunks, so that the result does not
    depend on the number of threads.
    """
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
    """A network's original layers, with their parameters and the shapes between them."""

    def __init__(self, network: Any, key: int | None) -> None:
        self.network, self.key = network, key
        self.shapes = [network.input_shape]
        self.counts = []
        for layer in network.layers:
            if type(layer) not in STEPS:
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
        # Below the first layer with parameters all tangents are 0, and no gradients are needed.
        lowest = next(n for n, count in enumerate(self.counts) if count)
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
        for n in range(len(steps) - 1, lowest, -1):
            gradient = steps[n].backward(gradient, values[n])
        steps[lowest].lowest(gradient)
        for vector, total in zip(vectors, sums, strict=True):
            tangents, totals = self._split(vector), self._split(total)
            tangent = steps[lowest].lowest_forward_tangent(tangents[lowest])
            for n in range(lowest + 1, len(steps)):
                tangent = steps[n].forward_tangent(tangent, values[n], tangents[n])
            if probabilities is not None:
                mean = (probabilities * tangent).sum(axis=1, keepdims=True)
                tangent = probabilities * (tangent - mean)
            tangent = tangent * scale
            for n in range(len(steps) - 1, lowest, -1):
                tangent = steps[n].backward_tangent(tangent, values[n], tangents[n], totals[n])
            steps[lowest].lowest_backward_tangent(tangent, totals[lowest])

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
                steps.append(Mask(layer, shape, mask))
            else:
                steps.append(STEPS[type(layer)](layer, shape))
        return steps
