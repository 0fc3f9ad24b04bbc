"""Families of schedules with a few positive parameters, such as linear or cosine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

NAMES = ("constant", "piecewise", "linear", "cosine", "inverse-time", "warm-up-stable-decay")
# Relative distance of the two points of a difference; the functions are smooth.
_DIFFERENCE = 1e-6


@dataclass(frozen=True)
class Shape:
    """A family for runs of one length.

    Attributes
    ----------
    steps : callable
        Parameters (k,) to step sizes (n_steps,).
    start : callable
        A constant step size to the parameters (k,) where a search may begin.
    """

    steps: Callable[[Array], Array]
    start: Callable[[float], Array]

    def jacobian(self, parameters: Array) -> Array:
        """Derivatives (n_steps, k) of the step sizes by the parameters, by central differences."""
        columns = []
        for k, value in enumerate(parameters):
            h = _DIFFERENCE * value
            up, down = parameters.copy(), parameters.copy()
            up[k], down[k] = value + h, value - h
            columns.append((self.steps(up) - self.steps(down)) / (2.0 * h))
        return np.column_stack(columns)


def shape(name: str, n_steps: int, n_pieces: int) -> Shape:
    """One of :data:`NAMES` for a run of n_steps.

    >>> shape("linear", 5, 1).steps(np.array([1.0, 0.2]))
    array([1. , 0.8, 0.6, 0.4, 0.2])
    >>> shape("piecewise", 5, 2).steps(np.array([1.0, 0.2]))
    array([1. , 1. , 1. , 0.2, 0.2])
    """
    t = np.arange(n_steps)
    share = t / max(1, n_steps - 1)

    def two_ends(weight: Array) -> Shape:
        return Shape(
            lambda x: weight * x[0] + (1.0 - weight) * x[1], lambda a: np.array([a, 0.1 * a])
        )

    if name == "constant":
        return Shape(lambda x: np.full(n_steps, x[0]), lambda a: np.array([a]))
    if name == "piecewise":
        piece = t * n_pieces // n_steps
        return Shape(lambda x: x[piece], lambda a: np.full(n_pieces, a))
    if name == "linear":
        return two_ends(1.0 - share)
    if name == "cosine":
        return two_ends(0.5 + 0.5 * np.cos(np.pi * share))
    if name == "inverse-time":
        return Shape(lambda x: x[0] / (1.0 + t / x[1]), lambda a: np.array([a, float(n_steps)]))

    def rise_and_fall(x: Array) -> Array:
        # Up over x[1] steps, down over the last x[2]; a smooth minimum has a derivative everywhere.
        rise, fall = (t + 1.0) / x[1], (n_steps - t) / x[2]
        return x[0] * (1.0 + rise**-8.0 + fall**-8.0) ** -0.125

    return Shape(rise_and_fall, lambda a: np.array([a, 0.1 * n_steps + 1.0, 0.3 * n_steps + 1.0]))
