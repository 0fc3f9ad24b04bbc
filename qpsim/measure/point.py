"""One point of a model that can be measured: its gradients, its products, its loss and its blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import MeasureError

if TYPE_CHECKING:
    from qpsim.measure.gradient_noise import NoiseMeasurement
    from qpsim.measure.hessian import CurvatureMeasurement
    from qpsim.measure.improvement import DirectionsMeasurement


@dataclass(frozen=True)
class Point:
    """One point of a model. Made by :func:`qpsim.measure.from_torch` and :func:`qpsim.measure.from_jax`.

    Attributes
    ----------
    dim : int
    gradients : callable
        ``gradients()`` iterates over chunks (m, d), one row a minibatch.
    hvp : callable
        Product of the Hessian of the mean loss over all batches with a vector (d,).
    loss : callable
        ``loss(delta)``, that mean loss at the point plus ``delta`` (d,).
    blocks : mapping of str to slice
        The named parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from qpsim.measure.point import Point
    >>> g = 1.0 + np.random.default_rng(0).standard_normal((20, 2))
    >>> p = Point(2, lambda: iter([g]), lambda v: 2.0 * v, lambda delta: float(delta @ delta))
    >>> p.curvature().trace.value
    4.0
    """

    dim: int
    gradients: Callable[[], Iterator[np.ndarray]]
    hvp: Callable[[np.ndarray], np.ndarray]
    loss: Callable[[np.ndarray], float]
    blocks: Mapping[str, slice] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("gradients", "hvp", "loss"):
            if not callable(getattr(self, name)):
                kind = type(getattr(self, name)).__name__
                raise MeasureError(f"{name} of a Point must be a function, not {kind}.")

    def noise(self, **options: Any) -> NoiseMeasurement:
        """:func:`qpsim.measure.noise` of this point."""
        from qpsim.measure.gradient_noise import noise

        return noise(self.gradients(), **options)

    def curvature(self, by_block: bool = False, **options: Any) -> CurvatureMeasurement:
        """:func:`qpsim.measure.curvature` of this point, and of each block alone if asked."""
        from qpsim.measure.hessian import curvature

        return curvature(self.hvp, self.dim, blocks=self.blocks if by_block else None, **options)

    def directions(self, **options: Any) -> DirectionsMeasurement:
        """:func:`qpsim.measure.directions` of this point, with its loss."""
        from qpsim.measure.improvement import directions

        return directions(self.gradients(), self.hvp, loss=self.loss, **options)


def slices(sizes: Iterable[tuple[str, int]]) -> dict[str, slice]:
    """Slices of named parts that lie one after the other.

    >>> slices([("weight", 6), ("bias", 2)])
    {'weight': slice(0, 6, None), 'bias': slice(6, 8, None)}
    """
    found, start = {}, 0
    for name, size in sizes:
        found[name] = slice(start, start + size)
        start += size
    return found
