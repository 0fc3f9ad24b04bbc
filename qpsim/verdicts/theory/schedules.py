"""Schedules of one coordinate, where the best steps are known: 1 / E[e^2] grows by h^2 / c with every best step.

Those of sign descent are held against the sum over all paths of signs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

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


# Enough noise for signs, that two steps do not end at the optimum.
_SIGN_STEPS, _SIGN_NOISE = (1.1, 0.53, 0.271), 3.0
_SIGN_CASES = (
    *(f"final loss of two {kind} sign steps" for kind in _KINDS),
    *(f"{kind} over planned" for kind in _KINDS),
    *(f"loss after sign step {t}" for t in range(4)),
    *(f"sign steps to the target, {kind}" for kind in _KINDS[:2]),
)


def _claimed_of_signs() -> np.ndarray:
    p = qpsim.QuadraticProblem([_CURVATURE], noise=qpsim.noise.white(_SIGN_NOISE))
    table = theory.compare_schedules(p, "ssd", 2, [_START], target=1.0)
    rows = [next(row for row in table.rows if row.name == kind) for kind in _KINDS]
    risk = theory.expected_excess_loss(p, "ssd", [_START], _SIGN_STEPS, 3)
    losses, ratios = ([getattr(row, of) for row in rows] for of in ("final_loss", "over_planned"))
    return np.array([*losses, *ratios, *risk, *(row.steps_to_target for row in rows[:2])])


def _all_paths(steps: Sequence[float]) -> float:
    """Expected loss after these sign steps: every path of signs with its probability."""
    from scipy.special import ndtr

    total = 0.0
    for signs in itertools.product((-1.0, 1.0), repeat=len(steps)):
        e, chance = _START, 1.0
        for sign, step in zip(signs, steps, strict=True):
            chance *= float(ndtr(sign * _CURVATURE * e / _SIGN_NOISE))
            e -= step * sign
        total += 0.5 * _CURVATURE * chance * e**2
    return total


def _solved_of_signs() -> np.ndarray:
    from scipy.optimize import minimize, minimize_scalar

    exact = {"xatol": 1e-9, "fatol": 1e-15}
    within = [(0.0, 10.0)] * 2
    begins = [(1.0, 1.0), (2.0, 1.0), (3.0, 0.1), (1.5, 1.5)]
    free = [
        minimize(_all_paths, x, method="Nelder-Mead", bounds=within, options=exact).fun
        for x in begins
    ]

    def best(loss: Callable[[float], float]) -> Any:
        return minimize_scalar(loss, bounds=(0.0, 6.0), method="bounded", options={"xatol": 1e-10})

    first = best(lambda a: _all_paths([a])).x
    then, same = best(lambda a: _all_paths([first, a])), best(lambda a: _all_paths([a, a]))
    last = [min(free), float(then.fun), float(same.fun)]
    risk = [_all_paths(_SIGN_STEPS[:t]) for t in range(4)]
    # One step does not get there.
    counts = [1.0 if one <= 1.0 else 2.0 for one in (_all_paths([first]),) * 2]
    return np.array([*last, *(loss / last[0] for loss in last), *risk, *counts])


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
    Statement(
        "sign-schedules-exact",
        "Final losses of planned, greedy and constant sign steps, and the risk of steps without a lattice.",
        "beyond the paper",
        _SIGN_CASES,
        _claimed_of_signs,
        lambda draw: _solved_of_signs(),
        "exact",
    ),
)
