"""Arrays of a problem and functions of a library, with which the peers' steps are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Constants(NamedTuple):
    """A problem's arrays in a peer's library, and the quadrature of the exact sign step."""

    hessian: Any  # (d,) or (d, d)
    noise: Any  # (d,) or (d, d): gradient noise = normals @ noise
    std: Any
    quadratic: Any  # part of the step size's denominator that does not depend on the gradient
    groups: list[tuple[Any, ...]]
    scales: list[tuple[float, float]]  # of the noise, with weights


class Library(NamedTuple):
    """What the step needs of an array library."""

    module: Any
    erf: Callable[[Any], Any]
    array: Callable[[Any], Any]
