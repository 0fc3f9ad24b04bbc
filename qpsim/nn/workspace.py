"""Memory of a training step: ``Request``, the arrays of one call, and ``Workspace``, the memory of one worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qpsim.nn.assembly import Stage
from qpsim.nn.layers import Field
from qpsim.nn.memory import aligned_zeros

__all__ = ["Request", "Workspace", "equal_bounds", "zeros_for"]


@dataclass
class Request:
    """Inputs and outputs of one call of a network's forward or backward pass.

    Attributes
    ----------
    x : array (examples, ...)
    targets : array (examples, ...) or None
        Labels, or what else the loss compares outputs with.
    dropout_key : int or None
    weight_decay : float
    gradient, squares : array (P,) or None
        Receive the gradient and the sum of squares of the per-example gradients.
    penalties : dict of int to float
        Sums of squares of decaying parameters, by the number of the first parameter in each.
    """

    x: np.ndarray
    targets: np.ndarray | None
    dropout_key: int | None
    weight_decay: float = 0.0
    gradient: np.ndarray | None = None
    squares: np.ndarray | None = None
    penalties: dict[int, float] = field(default_factory=dict)


class Workspace:
    """One worker's memory for the trunk: activations and gradients of a block, and scratch.

    Parameters
    ----------
    trunk : sequence of Stage
    fields : sequence of Field
        Those of the trunk.
    dtype
    block : int
        Examples at a time.
    kept : collection of int
        Fields that are kept for the whole batch elsewhere, and need no memory here.
    remembered : collection of int
        Stages whose `Layer.memory` is kept for the whole batch elsewhere.
    training : bool
        Whether there are gradients.
    """

    def __init__(
        self,
        trunk: Sequence[Stage],
        fields: Sequence[Field],
        dtype: Any,
        block: int,
        kept: Any,
        remembered: Any,
        training: bool,
    ) -> None:
        self._trunk = trunk
        self.activations = {
            n: zeros_for(field, block, dtype) for n, field in enumerate(fields) if n not in kept
        }
        self.gradients = [zeros_for(field, block, dtype) for field in fields if training]
        self.scratches = [stage.layer.scratch() for stage in trunk]
        self.memories = [
            np.empty((block, *memory[0]), memory[1])
            if (memory := stage.layer.memory()) and n not in remembered
            else None
            for n, stage in enumerate(trunk)
        ]
        self.d: list[list[np.ndarray]] = [[] for _ in trunk]
        self.q: list[list[np.ndarray]] = [[] for _ in trunk]

    def collect_into(self, sums: np.ndarray | None, squares: np.ndarray | None) -> None:
        """Use these flat vectors, which are set to 0, for the sums of gradients and of squares."""
        for held, vector in ((self.d, sums), (self.q, squares)):
            if vector is not None:
                vector[:] = 0
            for n, stage in enumerate(self._trunk):
                parts = zip(stage.slices, stage.shapes, strict=True)
                held[n] = (
                    [] if vector is None else [vector[part].reshape(shape) for part, shape in parts]
                )


def zeros_for(field: Field, examples: int, dtype: Any) -> np.ndarray:
    """Memory of a field for ``examples`` examples; its margin stays zero."""
    return aligned_zeros((examples, *field.buffer_shape), dtype)


def equal_bounds(total: int, pieces: int) -> list[int]:
    """The bounds that divide ``total`` items into at most ``pieces`` nearly equal parts.

    >>> equal_bounds(10, 3), equal_bounds(2, 5)
    ([0, 3, 6, 10], [0, 1, 2])
    """
    pieces = max(min(pieces, total), 1)
    return [total * piece // pieces for piece in range(pieces + 1)]
