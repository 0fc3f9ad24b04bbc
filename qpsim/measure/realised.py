"""The decrease of the loss itself along some directions, with one step size for all of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qpsim import checks
from qpsim.errors import MeasureError, QpsimError, first_line
from qpsim.measure.parabolas import UNKNOWN, Directions
from qpsim.measure.record import Estimate, mean_estimate

# Number of directions, and largest number of times that a step is doubled or halved.
_N_DIRECTIONS, _MOST_DOUBLINGS = 8, 6


def check_loss(loss: Callable[[np.ndarray], float], dim: int) -> None:
    """Raise MeasureError if the loss at the point is not a number, or differs at a second call."""
    first, second = (value_of(loss, np.zeros(dim)) for _ in range(2))
    if abs(first - second) > 1e-6 * max(abs(first), abs(second)):
        raise MeasureError(
            f"The loss is not deterministic: at one point it is {first:.10g} and then {second:.10g}; use the same "
            "examples each time and switch dropout off."
        )


def value_of(loss: Callable[[np.ndarray], float], delta: np.ndarray) -> float:
    """The loss at the point plus ``delta`` (d,); at the point itself it must be finite."""
    if not callable(loss):
        raise MeasureError(f"loss must be a function of a vector (d,), not {checks.shown(loss)}.")
    try:
        value = loss(delta)
        found = float(value.detach() if hasattr(value, "detach") else value)
    except QpsimError:
        raise
    except Exception as error:
        raise MeasureError(
            f"loss must give a number for a vector of shape {delta.shape}, but fails: {first_line(error)}."
        ) from error
    if not np.isfinite(found) and not delta.any():
        raise MeasureError(f"The loss at the point is {found}; it must be finite.")
    return found


def realised(loss: Callable[[np.ndarray], float], view: Directions, step: float) -> Estimate:
    """The largest mean decrease over step sizes, along the first directions.

    From the quadratic model's step, steps are doubled or halved until the decrease becomes smaller. Then a search
    between the neighbours of the best step finds it within a fourteenth of itself.
    """
    from scipy.optimize import minimize_scalar

    if not np.isfinite(step) or step == 0.0:
        return UNKNOWN
    directions = next(view.in_chunks(_N_DIRECTIONS))
    loss_at_point = value_of(loss, np.zeros(directions.shape[1]))
    found: dict[float, np.ndarray] = {}

    def rise(power: float) -> float:
        size = step * 2.0**power
        found[power] = np.array([loss_at_point - value_of(loss, -size * z) for z in directions])
        mean = -found[power].mean()
        return float(mean) if np.isfinite(mean) else float("inf")

    rises = {power: rise(power) for power in (-1.0, 0.0, 1.0)}
    best = min(rises, key=rises.__getitem__)
    while abs(best) < _MOST_DOUBLINGS and best in (min(rises), max(rises)):
        further = best + (1.0 if best > 0.0 else -1.0)
        rises[further] = rise(further)
        best = min(rises, key=rises.__getitem__)
    minimize_scalar(rise, bounds=(best - 1.0, best + 1.0), method="bounded", options={"xatol": 0.1})
    values = max(
        found.values(), key=lambda falls: falls.mean() if np.isfinite(falls).all() else -np.inf
    )
    if not np.isfinite(values).all():
        return UNKNOWN
    return mean_estimate(values)
