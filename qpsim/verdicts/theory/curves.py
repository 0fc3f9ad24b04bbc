"""Risk curves that rest on a closure, a limit of many coordinates, or a grid."""

from __future__ import annotations

import math

import numpy as np

import qpsim
from qpsim import theory
from qpsim.verdicts.theory import exact, setting
from qpsim.verdicts.theory.setting import Array
from qpsim.verdicts.theory.statement import Draw, Statement, columns

_STEP = 0.3
# Coordinates that are alike: curvature, deviation of the gradient, offset; and how many.
_CURVATURE, _STD, _HEIGHT, _ALIKE, _N_STEPS = 0.7, 0.5, 0.4, 6, 4
_GRID_STEP, _GRID_TIMES = 0.1, {"rmsprop": (1, 5, 25), "adam": (1, 4, 10)}


# --- the Gaussian closure ------------------------------------------------------------------------


def _closure_claimed() -> Array:
    p = setting.pair()
    return theory.expected_excess_loss(p, "ssd", setting.point(p), _STEP, 2, law="closure")[1:]


def _closure_integrated() -> Array:
    """The first step from a point, the second from the Gaussian of the same mean and covariance, over the plane."""
    p = setting.pair()
    q = setting.matrix(p)
    g, weights = exact.gradients(p, setting.point(p))
    after = setting.point(p) - p.optimum - _STEP * np.sign(g)
    first = float(weights @ setting.half_square(p, after))
    mean = weights @ after
    spread = np.einsum("n,ni,nj->ij", weights, after - mean, after - mean)
    covariance = q @ spread @ q + p.noise_std**2 * q @ q
    g, weights = exact.plane(q @ mean, covariance)
    # Given the gradient, the offset's mean.
    given = mean + (g - q @ mean) @ np.linalg.solve(covariance, q @ spread)
    signs = np.sign(g)
    before = setting.half_square(p, mean) + 0.5 * np.trace(q @ spread)
    gain = weights @ np.einsum("ni,ij,nj->n", given, q, signs)
    second = before - _STEP * gain + _STEP**2 * float(weights @ setting.half_square(p, signs))
    return np.array([first, second])


# --- many coordinates ----------------------------------------------------------------------------


def _alike_claimed() -> Array:
    p = qpsim.QuadraticProblem(
        np.full(_ALIKE, _CURVATURE), noise=qpsim.noise.white(_STD), optimum=np.zeros(_ALIKE)
    )
    start = np.full(_ALIKE, _HEIGHT)
    return theory.high_dimensional_risk(p, "ssd", start, _STEP, _N_STEPS)[1:]


def _alike_followed() -> Array:
    """Of coordinates that are alike each is one of an offset N(0, square): E[offset sign] from the gradient's law."""
    square, found = _HEIGHT**2, []
    for _ in range(_N_STEPS):
        variance = _CURVATURE**2 * square + _STD**2
        g, weights = exact.line(0.0, math.sqrt(variance))
        with_sign = float(weights @ (_CURVATURE * square / variance * g * np.sign(g)))
        square += -2.0 * _STEP * with_sign + _STEP**2
        found.append(0.5 * _ALIKE * _CURVATURE * square)
    return np.array(found)


# --- the grid ------------------------------------------------------------------------------------


def _grid_claimed() -> Array:
    p = setting.diagonal_pair()
    return np.concatenate(
        [
            theory.expected_excess_loss(p, name, setting.point(p), _GRID_STEP, times[-1])[
                list(times)
            ]
            for name, times in _GRID_TIMES.items()
        ]
    )


def _grid_simulated(draw: Draw) -> Array:
    p = setting.diagonal_pair()
    return columns(
        *(
            setting.run(draw, p, name, _GRID_STEP, times[-1], draw.n // 10)[:, list(times)]
            for name, times in _GRID_TIMES.items()
        )
    )


def _first_step_claimed() -> Array:
    p = setting.diagonal_pair()
    return np.array(
        [
            theory.expected_excess_loss(
                p, qpsim.method(name, eps=0.0), setting.point(p), _GRID_STEP, 1
            )[1]
            for name in _GRID_TIMES
        ]
    )


def _first_step_summed() -> Array:
    """Both move by the gradient over its size, rmsprop over the root of the new square's weight too; eps is 0."""
    p, found = setting.diagonal_pair(), np.zeros(2)
    for q, e in zip(p.hessian, setting.point(p) - p.optimum, strict=True):
        g, weights = exact.line(q * e, p.noise_std * q)
        for k, share in enumerate((0.1, 1.0)):
            moved = e - _GRID_STEP * np.sign(g) / math.sqrt(share)
            found[k] += 0.5 * q * float(weights @ moved**2)
    return found


STATEMENTS = (
    Statement(
        "sign-closure-exact",
        "The Gaussian closure of ssd on a dense Hessian: from a point, and from a Gaussian law, a step is exact.",
        "beyond the paper",
        ("ssd, t = 1", "ssd, t = 2 of the closure"),
        _closure_claimed,
        lambda draw: _closure_integrated(),
        "exact",
    ),
    Statement(
        "high-dimension-quadratic-exact",
        "The high-dimensional risk of ssd on a quadratic problem whose coordinates are all alike.",
        "after Xiao et al. (2024)",
        tuple(f"ssd, t = {t + 1}" for t in range(_N_STEPS)),
        _alike_claimed,
        lambda draw: _alike_followed(),
        "exact",
    ),
    Statement(
        "grid-risk",
        "The expected excess loss of rmsprop and adam on a diagonal Hessian, from the law of offset and state.",
        "beyond the paper",
        tuple(f"{name}, t = {t}" for name, times in _GRID_TIMES.items() for t in times),
        _grid_claimed,
        _grid_simulated,
    ),
    Statement(
        "grid-risk-exact",
        "The same after one step.",
        "beyond the paper",
        tuple(f"{name}, t = 1" for name in _GRID_TIMES),
        _first_step_claimed,
        lambda draw: _first_step_summed(),
        "exact",
    ),
)
