"""The fully connected layer: a small one in plain NumPy, with nothing to compile."""

from typing import Any

import numpy as np

from qpsim.nn.initializers import Initializer, glorot_uniform, zeros
from qpsim.nn.layers.base import Context, Field, Layer, Parameter, positive

# From this many weights on, compiled blocks of products may pay.
_LARGE = 40_000


class Dense(Layer):
    """``y = x W + b`` with W (inputs, units).

    Unlike a convolution it leaves the gradient by its parameters to `weight_gradient`, which
    multiplies all examples at once: X^T D is worth cutting by rows of W, not by examples.

    Parameters
    ----------
    units
        Length of the output.
    weight, bias
        Initializers; Glorot's uniform one and zeros by default.

    >>> Dense(3).output_shape((5,))
    (3,)
    """

    reads_input = True
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
            raise ValueError(f"Dense needs flat inputs, got shape {shape}: put Flatten() before it")
        return (self.units,)

    def parameters(self, shape: tuple[int, ...]) -> tuple[Parameter, ...]:
        """weight (inputs, units), which decays, and bias (units,), which does not."""
        return (
            Parameter("weight", (shape[0], self.units), self.weight, True),
            Parameter("bias", (self.units,), self.bias, False),
        )

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

    def forward(self, x: np.ndarray, y: np.ndarray, context: Context) -> None:
        """x (examples, inputs), y (examples, units)."""
        weight, bias = self.values
        if self._kernels:
            self._kernels.forward(self._gemm, x, weight, bias, y, self.relu)
            return
        np.matmul(x, weight, out=y)
        y += bias
        if self.relu:
            np.maximum(y, 0, out=y)

    def backward(
        self,
        x: np.ndarray,
        y: np.ndarray,
        dx: np.ndarray | None,
        dy: np.ndarray,
        context: Context,
    ) -> None:
        """dy loses what the ReLU cut; dx = dy W^T."""
        if self.relu:
            dy *= y > 0
        if dx is None:
            return
        if self._kernels:
            self._kernels.backward_input(self._gemm, dy, self.values[0], dx)
        else:
            np.matmul(dy, self.values[0].T, out=dx)

    def weight_gradient(
        self, x: np.ndarray, dy: np.ndarray, first: int, last: int, out: np.ndarray
    ) -> None:
        """Rows first:last of X^T D, of all examples at once.

        Of squared x and squared dy it is the same rows of sum_k g_k^2, as g_k is an outer product.
        """
        if self._kernels:
            self._kernels.weight_gradient(self._gemm, x, dy, first, last, out)
        else:
            np.matmul(x[:, first:last].T, dy, out=out)
