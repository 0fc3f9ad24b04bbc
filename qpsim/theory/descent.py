"""Parameters above 0 that make a positive loss least: L-BFGS-B on the logarithms of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# What a search sees where a loss is far outside of the floating-point range.
_PLATEAU = 1e3


def descend(
    value_and_gradient: Callable[[Array], tuple[float, Array]],
    begin: Array,
    most: int = 500,
    bounds: tuple[float, float] = (-100.0, 100.0),
    memory: int = 10,
) -> Array:
    """Parameters (k,) where a search from `begin` ends, of a loss and its gradient by them.

    ``bounds`` are of the parameters' logarithms, ``most`` is the number of steps, ``memory`` that of the pairs of
    L-BFGS.
    """
    from scipy.optimize import minimize

    def target(x: Array) -> tuple[float, Array]:
        parameters = np.exp(x)
        value, gradient = value_and_gradient(parameters)
        return _logarithm(value, gradient * parameters)

    found = minimize(
        target,
        np.log(begin),
        jac=True,
        method="L-BFGS-B",
        bounds=[bounds] * begin.size,
        options={"ftol": 1e-13, "gtol": 1e-9, "maxiter": most, "maxcor": memory},
    )
    return np.asarray(np.exp(found.x))


def _logarithm(value: float, gradient: Array) -> tuple[float, Array]:
    """log of a loss and its gradient; far outside of the floating-point range a high plateau."""
    if not np.isfinite(value) or not np.isfinite(gradient).all():
        return _PLATEAU, np.zeros_like(gradient)
    floor = max(value, 1e-300)
    return float(np.log(floor)), gradient / floor
