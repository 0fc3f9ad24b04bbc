"""Minimise a positive loss over positive parameters: L-BFGS-B on the logarithms of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

# The value given to the optimiser where the loss overflows.
_PLATEAU = 1e3


def descend(
    value_and_gradient: Callable[[Array], tuple[float, Array]],
    begin: Array,
    most: int = 500,
    bounds: tuple[float, float] = (-100.0, 100.0),
    memory: int = 10,
) -> Array:
    """The parameters (k,) at the end of a search from ``begin`` (k,).

    ``value_and_gradient`` maps parameters (k,) to the loss and its gradient (k,). ``bounds`` are those of the
    parameters' logarithms, ``most`` is the largest number of iterations, ``memory`` the number of pairs that L-BFGS
    keeps.
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
    """log of a loss and its gradient; a high constant with gradient 0 where the loss overflows."""
    if not np.isfinite(value) or not np.isfinite(gradient).all():
        return _PLATEAU, np.zeros_like(gradient)
    floor = max(value, 1e-300)
    return float(np.log(floor)), gradient / floor
