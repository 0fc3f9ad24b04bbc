"""Schedules of one coordinate, where the best steps are known: 1 / E[e^2] grows by h^2 / c with every best step."""

from __future__ import annotations

import numpy as np

import qpsim
from qpsim import theory
from qpsim.verdicts.theory.statement import Statement

_CURVATURE, _NOISE, _START, _STEPS = 2.0, 0.7, 3.0, 12
_TARGET = 0.06
_KINDS = ("planned", "greedy", "constant")
_CASES = (
    *(f"final loss of {kind} steps" for kind in _KINDS),
    *(f"{kind} over planned" for kind in _KINDS),
    *(f"steps to the target, {kind}" for kind in _KINDS),
)


def _claimed() -> np.ndarray:
    p = qpsim.QuadraticProblem([_CURVATURE], noise=qpsim.noise.white(_NOISE))
    table = theory.compare_schedules(p, "sgd", _STEPS, [_START], target=_TARGET)
    rows = [next(row for row in table.rows if row.name == kind) for kind in _KINDS]
    losses = [row.final_loss for row in rows]
    ratios = [row.over_planned for row in rows]
    return np.array([*losses, *ratios, *(row.steps_to_target for row in rows)], dtype=float)


def _solved() -> np.ndarray:
    """The same from E[e^2] alone.

    A step a takes it from m to (1 - a h)^2 m + a^2 c, which is least at a = h m / (h^2 m + c); there
    1 / m grows by h^2 / c. So greedy steps are the best for the whole run too.
    """
    free = [_best_loss(n) for n in range(1, _STEPS + 1)]
    constant = [_best_constant_loss(n) for n in range(1, _STEPS + 1)]
    last = [free[-1], free[-1], constant[-1]]
    counts = [1 + int(np.argmax(np.array(losses) <= _TARGET)) for losses in (free, free, constant)]
    return np.array([*last, *(loss / free[-1] for loss in last), *counts])


def _best_loss(n_steps: int) -> float:
    return 0.5 * _CURVATURE / (1.0 / _START**2 + n_steps * _CURVATURE**2 / _NOISE**2)


def _best_constant_loss(n_steps: int) -> float:
    from scipy.optimize import minimize_scalar

    def loss(step: float) -> float:
        keep = (1.0 - step * _CURVATURE) ** 2
        # The sum of the geometric series of what is left of each step's noise.
        noise = step**2 * _NOISE**2 * np.sum(keep ** np.arange(n_steps))
        return float(0.5 * _CURVATURE * (keep**n_steps * _START**2 + noise))

    found = minimize_scalar(
        loss, bounds=(0.0, 1.0 / _CURVATURE), method="bounded", options={"xatol": 1e-12}
    )
    return float(found.fun)


STATEMENTS = (
    Statement(
        "schedules-exact",
        "Final losses of planned, greedy and constant steps, and the steps each takes to a target.",
        "beyond the paper",
        _CASES,
        _claimed,
        lambda draw: _solved(),
        "exact",
    ),
)
