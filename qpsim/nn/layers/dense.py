"""The fully connected layer: a small one in plain NumPy, with nothing to compile."""

from typing import Any

import numpy as np

from qpsim.errors import NetworkError
from qpsim.nn.initializers import Initializer, glorot_uniform, zeros
from qpsim.nn.layers.base import Array, Context, Field, Layer, Parameter, positive

# From this many weights on, compiled blocks of products may pay.
_LARGE = 40_000


class Dense(Layer):
    """``y = x W + b`` with W (inputs, units).

    Parameters
    ----------
    units : int
        Length of the output.
    weight, bias : callable
        Initializers; Glorot's uniform one and zeros by default.

    Notes
    -----
    Behind the last other layer with parameters, a network has the weights' gradient computed by
    `weight_gradient` for all examples of the batch at once: the product X^T D is better cut by rows
    of W than by examples.

    Examples
    --------
    >>> Dense(3).output_shape((5,))
    (3,)
    """

    whole_fields = True
    kind = "dense"

    def __init__(
        self, units: int, weight: Initializer = glorot_uniform, bias: Initializer = zeros
    ) -> None:
        positive("Dense", units=units)
        self.units, self.weight, self.bias = int(units), weight, bias
        self.relu = False

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(units,); images must be flattened first."""
        if len(shape) != 1:
            raise NetworkError(
                f"Dense needs flat inputs, got shape {shape}: put Flatten() before it"
            )
        return (self.units,)

    def parameters(self, shape: tuple[int, ...]) -> tuple[Parameter, ...]:
        """weight (inputs, units), which decays, and bias (units,), which does not."""
        return (
            Parameter("weight", (shape[0], self.units), self.weight, True),
            Parameter("bias", (self.units,), self.bias, False),
        )

    @property
    def reads_output(self) -> bool:  # type: ignore[override]
        """For the mask of a fused ReLU, if there is one."""
        return self.relu

    def connect(self, source: Field, target: Field, values: list[np.ndarray]) -> None:
        """A large layer also asks which products this processor is good at."""
        super().connect(source, target, values)
        self._kernels: Any = None
        if values[0].size >= _LARGE:
            from qpsim.nn.kernels import blas, dense

            self._gemm = blas.gemm_address(values[0].dtype)
            self._kernels = dense if blas.has_small_products() else None

    def work(self) -> int:
        """inputs x units."""
        return self.values[0].size

    def forward(self, x: Array, y: Array, context: Context) -> None:
        """x (examples, inputs), y (examples, units)."""
        weight, bias = self.values
        if self._kernels:
            self._kernels.forward(self._gemm, x, weight, bias, y, self.relu)
            return
        np.matmul(x, weight, out=y)
        y += bias
        if self.relu:
            np.maximum(y, 0, out=y)

    def backward(self, x: Array, y: Array, dx: Array | None, dy: Array, context: Context) -> None:
        """dx = dy W^T, where a fused ReLU let something through; dy loses the rest.

        Where a network asks for it (`Context.d` is not empty) the parameters' gradients are added.
        """
        if self.relu:
            dy *= y > 0
        if context.d:
            self._add_parameter_gradients(x, dy, context)
        if dx is None:
            return
        if self._kernels:
            self._kernels.backward_input(self._gemm, dy, self.values[0], dx)
        else:
            np.matmul(dy, self.values[0].T, out=dx)

    def _add_parameter_gradients(self, x: np.ndarray, dy: np.ndarray, context: Context) -> None:
        context.d[0] += x.T @ dy
        context.d[1] += dy.sum(axis=0)
        if context.q:
            # An example's gradient is an outer product, and so is its square.
            squared = np.square(dy * dy.dtype.type(context.scale))
            context.q[0] += np.square(x).T @ squared
            context.q[1] += squared.sum(axis=0)

    def weight_gradient(
        self, x: np.ndarray, dy: np.ndarray, first: int, last: int, out: np.ndarray
    ) -> None:
        """Rows first:last of X^T D, of all examples at once.

        Of squared x and squared dy it gives the same rows of sum_k g_k^2: an example's gradient g_k
        is an outer product, and so is its square.
        """
        if self._kernels:
            self._kernels.weight_gradient(self._gemm, x, dy, first, last, out)
        else:
            np.matmul(x[:, first:last].T, dy, out=out)
