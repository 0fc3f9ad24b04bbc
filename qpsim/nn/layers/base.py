"""What a layer is: two maps, forward and backward, on any block of examples.

Between two layers lies a `Field`: the activations of one example, (height, width, channels) or
(features,), perhaps with a margin of zeros that the next convolution wants around its image. A
layer reads the field before it and writes the field after it; the gradient's arrays have the very
same shapes. Layers that work in place have the same field on both sides.
"""

from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar

import numpy as np

from qpsim.nn.initializers import Initializer


@dataclass(frozen=True)
class Parameter:
    """One array of a layer's parameters: its name, shape, start, and whether L2 pulls at it."""

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
    """The memory of one example between two layers: its shape, and zeros around an image."""

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


@dataclass
class Context:
    """What a layer is told about the block of examples that it works on.

    ``first`` is the block's first example's number in the batch, ``dropout_key`` None when nothing
    is dropped. ``d`` and ``q`` are the arrays to which a convolution adds its gradient and its
    squared gradients (``q`` empty if nobody asks); ``scale`` is what a gradient must be multiplied
    by, before it is squared, to be that of a single loss. ``memory`` is the layer's own for these
    examples, ``scratch`` the worker's.
    """

    first: int = 0
    dropout_key: int | None = None
    scale: float = 1.0
    memory: np.ndarray | None = None
    scratch: Any = None
    d: list[np.ndarray] = field(default_factory=list)
    q: list[np.ndarray] = field(default_factory=list)


class Layer:
    """Base of all layers: the identity, without parameters.

    Attributes
    ----------
    in_place
        The output takes the place of the input.
    reads_input, reads_output
        The backward pass needs the values that went in, or came out.
    kind
        The first half of its parameters' names.
    """

    in_place: ClassVar[bool] = False
    reads_input: ClassVar[bool] = False
    reads_output: bool = False
    kind: ClassVar[str] = ""

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one example's output; a ValueError if such an input does not fit."""
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

    def forward(self, x: np.ndarray, y: np.ndarray, context: Context) -> None:
        """Fill y from x."""

    def backward(
        self,
        x: np.ndarray,
        y: np.ndarray,
        dx: np.ndarray | None,
        dy: np.ndarray,
        context: Context,
    ) -> None:
        """Fill dx (if not None) from dy, adding the parameters' gradients on the way."""


def image_shape(layer: Layer, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """The shape as (height, width, channels), or a clear refusal."""
    if len(shape) != 3:
        raise ValueError(
            f"{type(layer).__name__} needs images (height, width, channels), got shape {shape}"
        )
    return shape[0], shape[1], shape[2]


def positive(layer: str, **sizes: int) -> None:
    """Refuse sizes that are not integers of at least 1."""
    for name, size in sizes.items():
        if not isinstance(size, int | np.integer) or isinstance(size, bool) or size < 1:
            raise ValueError(f"{layer}'s {name} must be an integer of at least 1, got {size!r}")


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
