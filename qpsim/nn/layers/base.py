"""The base class of layers: a forward and a backward pass on a block of examples.

Between two layers lies a `Field`: the activations of one example, (height, width, channels) or
(features,), with a margin of zeros if the next convolution needs one around its image. A
layer reads the field before it and writes the field after it; the arrays of gradients have the same
shapes. Layers that work in place have the same field on both sides.
"""

from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar

import numpy as np

from qpsim.errors import NetworkError
from qpsim.nn.initializers import Initializer

Array = np.ndarray


@dataclass(frozen=True)
class Parameter:
    """One array of a layer's parameters.

    Attributes
    ----------
    name : str
        Second half of its name in the network, as in ``dense1.weight``.
    shape : tuple of int
    initial : callable
        ``(rng, shape) -> array``: where it starts.
    decays : bool
        Whether the L2 term includes it.
    """

    name: str
    shape: tuple[int, ...]
    initial: Initializer
    decays: bool

    @property
    def size(self) -> int:
        """How many numbers of the flat vector it takes."""
        return prod(self.shape)


@dataclass(frozen=True)
class Field:
    """The memory of one example between two layers: its shape, and a margin of zeros around an image.

    ``margin`` is top, bottom, left, right.
    """

    shape: tuple[int, ...]
    margin: tuple[int, int, int, int] = (0, 0, 0, 0)

    @property
    def buffer_shape(self) -> tuple[int, ...]:
        """The shape with the margin (top, bottom, left, right)."""
        if len(self.shape) == 1:
            return self.shape
        top, bottom, left, right = self.margin
        height, width, channels = self.shape
        return height + top + bottom, width + left + right, channels

    @property
    def origin(self) -> tuple[int, int]:
        """Where in the buffer the image begins."""
        return self.margin[0], self.margin[2]

    def image(self, buffers: np.ndarray) -> np.ndarray:
        """View of (examples, *buffer_shape) without the margin."""
        if len(self.shape) == 1 or not any(self.margin):
            return buffers
        (top, left), (height, width, _) = self.origin, self.shape
        return buffers[:, top : top + height, left : left + width]


@dataclass
class Context:
    """Information for a layer about the examples of one call, which are a part of the batch.

    Attributes
    ----------
    first : int
        Number in the batch of the first of these examples.
    dropout_key : int or None
        Key of the dropout masks; None without dropout.
    scale : float
        What a gradient must be multiplied by, before it is squared, to be that of a single
        example's loss: the number of examples in the batch, over which the loss is a mean.
    memory : array (examples, ...) or None
        What `Layer.memory` asked for: filled by ``forward``, read by ``backward``.
    scratch : Any
        What `Layer.scratch` returned, one for each worker.
    d, q : list of arrays
        The parameters' gradients and squared gradients, to which ``backward`` adds; ``q`` is empty
        when the squares are not asked for.
    """

    first: int = 0
    dropout_key: int | None = None
    scale: float = 1.0
    memory: np.ndarray | None = None
    scratch: Any = None
    d: list[np.ndarray] = field(default_factory=list)
    q: list[np.ndarray] = field(default_factory=list)

    def add(self, number: int, gradients: np.ndarray) -> None:
        """Add the gradients of each example's loss by the layer's parameter of that number.

        ``gradients`` is (examples, *shape of the parameter), from the ``dy`` that ``backward`` was
        given. Their sum goes to ``d``, the sum of their squares to ``q`` if it is asked for.
        """
        self.d[number] += gradients.sum(axis=0)
        if self.q:
            self.q[number] += np.square(gradients * gradients.dtype.type(self.scale)).sum(axis=0)


class Layer:
    """Base of all layers, also of a user's own. It is itself the identity, without parameters.

    A subclass defines ``forward`` and ``backward``, and whatever else differs from the identity. Both are called for a
    part of the batch, by several threads at the same time: a layer must treat each example independently, and store
    nothing in ``self`` between calls. ``backward`` gets the inputs and outputs again; anything else must be stored in
    ``context.memory``.

    Attributes
    ----------
    in_place : bool
        The output takes the place of the input; then both have one shape.
    reads_input, reads_output : bool
        Whether ``backward`` needs the inputs, or the outputs. What it does not need is not stored.
    whole_fields : bool
        Whether the arrays are the memory between two layers with its margin, as `Field` describes,
        instead of the image alone.
    kind : str
        First half of its parameters' names; by default the class's name in small letters.
    source, target : Field
        The fields before and after it, once a network has bound it.
    values : list of arrays
        Its parameters, in the order of `parameters`, once a network has bound it.

    Examples
    --------
    A layer that scales each feature by a factor of its own, which starts at 1:

    >>> import numpy as np
    >>> from qpsim import nn
    >>> class Scale(nn.Layer):
    ...     def parameters(self, shape):
    ...         return (nn.Parameter("factor", shape, nn.constant(1.0), decays=False),)
    ...     def forward(self, x, y, context):
    ...         np.multiply(x, self.values[0], out=y)
    ...     def backward(self, x, y, dx, dy, context):
    ...         context.add(0, x * dy)
    ...         if dx is not None:
    ...             np.multiply(dy, self.values[0], out=dx)
    >>> network = nn.Network([Scale(), nn.Dense(3)], (4,), rng=0)
    >>> list(network.views)
    ['scale1.factor', 'dense1.weight', 'dense1.bias']
    """

    in_place: ClassVar[bool] = False
    reads_input: bool = True
    reads_output: bool = True
    whole_fields: ClassVar[bool] = False
    kind: ClassVar[str] = ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not vars(cls).get("kind"):
            cls.kind = cls.__name__.lower()

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one example's output; a NetworkError if such an input does not fit."""
        return shape

    def margin(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        """Zeros wanted around an input image: top, bottom, left, right."""
        return (0, 0, 0, 0)

    def parameters(self, shape: tuple[int, ...]) -> tuple[Parameter, ...]:
        """The parameters for inputs of this shape."""
        return ()

    def connect(self, source: Field, target: Field, values: list[np.ndarray]) -> None:
        """Bind to the fields before and after, and to the views that hold the parameters."""
        self.source, self.target, self.values = source, target, values

    def work(self) -> int:
        """Multiplications per example of the forward pass, to cut the work into equal parts."""
        return prod(self.source.shape)

    def memory(self) -> tuple[tuple[int, ...], Any] | None:
        """Shape and dtype of what one example must remember until the backward pass."""
        return None

    def scratch(self) -> Any:
        """Working memory for one worker."""
        return None

    def prepare(self, backward: bool) -> None:
        """Called before a forward (and backward) pass: the parameters may have changed."""

    def forward(self, x: Array, y: Array, context: Context) -> None:
        """Fill y from x."""
        y[:] = x

    def backward(self, x: Array, y: Array, dx: Array | None, dy: Array, context: Context) -> None:
        """Fill dx (if not None) from dy, and add the parameters' gradients to the context's."""
        if dx is not None:
            dx[:] = dy


def image_shape(layer: Layer, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The shape as (height, width, channels), or a clear refusal."""
    if len(shape) != 3:
        raise NetworkError(
            f"{type(layer).__name__} needs images (height, width, channels), got shape {shape}"
        )
    return shape[0], shape[1], shape[2]


def positive(layer: str, **sizes: int) -> None:
    """Raise NetworkError for sizes that are not integers of at least 1."""
    for name, size in sizes.items():
        if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 1:
            raise NetworkError(f"{layer}'s {name} must be an integer of at least 1, got {size!r}")


def same_padding(size: int, window: int, stride: int) -> tuple[int, int]:
    """Zeros before and after, so that ceil(size / stride) windows fit; an odd one goes after.

    >>> same_padding(32, 3, 1), same_padding(32, 3, 2)
    ((1, 1), (0, 1))
    """
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def windows(size: int, window: int, stride: int, padding: str) -> int:
    """How many windows fit along an axis.

    >>> windows(32, 3, 2, "same"), windows(32, 3, 2, "valid")
    (16, 15)
    """
    return -(-size // stride) if padding == "same" else (size - window) // stride + 1
