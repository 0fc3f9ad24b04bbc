"""Layers that act on each number by itself, in place."""

import numpy as np

from qpsim.errors import NetworkError
from qpsim.nn.layers.base import Array, Context, Field, Layer


class ReLU(Layer):
    """``max(x, 0)``, with derivative 0 at 0.

    Behind a `Dense`, `Conv2D` or `MaxPool` a network lets that layer apply it to its output.

    Examples
    --------
    >>> ReLU().output_shape((4, 4, 2))
    (4, 4, 2)
    """

    in_place = True
    reads_input = False
    whole_fields = True

    def forward(self, x: Array, y: Array, context: Context) -> None:
        """y is x."""
        np.maximum(y, 0, out=y)

    def backward(self, x: Array, y: Array, dx: Array | None, dy: Array, context: Context) -> None:
        """The gradient is 0 where the output is.

        A dropout that followed in place may have zeroed y; there dy is 0 already.
        """
        dy *= y > 0


class Dropout(Layer):
    """Each number is zeroed with probability ``rate``, else divided by ``1 - rate``.

    Only in training; `Network.predict` leaves everything in. What is dropped depends on a key that
    the step draws from its ``rng``, on the example's number in the batch and on the position, and
    on nothing else, such as the number of threads.

    Parameters
    ----------
    rate : float
        In [0, 1).

    Examples
    --------
    >>> Dropout(0.5).rate
    0.5
    """

    in_place = True
    reads_input = reads_output = False
    whole_fields = True

    def __init__(self, rate: float) -> None:
        if not 0 <= rate < 1:
            raise NetworkError(f"Dropout's rate must be in [0, 1), got {rate!r}")
        self.rate = float(rate)
        self.position = 0

    def forward(self, x: Array, y: Array, context: Context) -> None:
        """y is x."""
        self._drop(y, context)

    def backward(self, x: Array, y: Array, dx: Array | None, dy: Array, context: Context) -> None:
        """The same mask again."""
        self._drop(dy, context)

    def mask(
        self, examples: int, field: Field, key: int | None, first: int, dtype: np.dtype
    ) -> np.ndarray:
        """What a field's numbers are multiplied by, (examples, *shape); ``first`` as in a context."""
        mask = np.ones((examples, *field.buffer_shape), dtype)
        self._drop(mask, Context(first, key))
        return field.image(mask)

    def _drop(self, values: np.ndarray, context: Context) -> None:
        if context.dropout_key is None or self.rate == 0:
            return
        from qpsim.nn.kernels.masks import dropout

        # Two dropout layers of one network must not share their masks.
        key = np.uint64((context.dropout_key + (self.position << 40)) % 2**64)
        dropout(
            values.reshape(len(values), -1),
            key,
            context.first,
            np.uint64(round(self.rate * 2**32)),
            values.dtype.type(1 / (1 - self.rate)),
        )
