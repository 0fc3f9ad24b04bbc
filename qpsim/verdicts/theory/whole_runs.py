"""Runs with optimal steps: what of the prediction is exact, from the definitions."""

from __future__ import annotations

import math

import numpy as np

import qpsim
from qpsim import theory
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.verdicts.theory import exact, setting
from qpsim.verdicts.theory.setting import Array
from qpsim.verdicts.theory.statement import Statement

_CURVATURE, _NOISE, _OFFSET = 2.0, 0.5, (0.8, -0.6)
_CASES = (
    "sgd, loss after two steps",
    "sgd, mean second step",
    "sgd with equal eigenvalues, mean log10 loss after a step",
    "ssd, loss after a step",
    "ssd, its size",
    "ssd with a diagonal Hessian, loss after a step",
    "ssd with a diagonal Hessian, mean log10 of it",
)


def _round_problem() -> QuadraticProblem:
    return qpsim.QuadraticProblem(np.full(2, _CURVATURE), noise_std=_NOISE)


def _claimed() -> Array:
    p, axes, around = setting.pair(), setting.diagonal_pair(), _round_problem()
    gradient = theory.optimal_run(p, "sgd", 2, setting.point(p))
    level = theory.optimal_run(around, "sgd", 1, _OFFSET)
    sign = theory.optimal_run(p, "ssd", 1, setting.point(p))
    on_axes = theory.optimal_run(axes, "ssd", 1, setting.point(axes))
    return np.array(
        [
            gradient.expected_excess_loss[2],
            gradient.step_size[1],
            level.final_log10_loss,
            sign.expected_excess_loss[1],
            sign.step_size[0],
            on_axes.expected_excess_loss[1],
            on_axes.final_log10_loss,
        ]
    )


def _summed() -> Array:
    dense = _one_sign_step(setting.pair())
    diagonal = _one_sign_step(setting.diagonal_pair())
    return np.array([*_two_steps(), _log_of_a_step(), *dense[:2], diagonal[0], diagonal[2]])


def _two_steps() -> tuple[float, float]:
    """SGD's expected loss after two steps, and its mean second step: a sum over the first gradient."""
    p = setting.pair()
    q, start = setting.matrix(p), setting.point(p)
    noise = p.noise_std**2 * float(np.trace(q @ q @ q))

    def parabola(e: Array) -> tuple[Array, Array]:
        g = e @ q
        return np.sum(g * g, axis=-1), np.einsum("...i,ij,...j->...", g, q, g) + noise

    slope, curvature = parabola(start - p.optimum)
    points, weights = exact.gradients(p, start)
    error = start - p.optimum - slope / curvature * points
    slope, curvature = parabola(error)
    loss = setting.half_square(p, error) - 0.5 * slope**2 / curvature
    return float(weights @ loss), float(weights @ (slope / curvature))


def _log_of_a_step() -> float:
    """With equal eigenvalues the loss is a multiple of a noncentral chi-square of two degrees of freedom.

    E[log] of that is a mean of digamma functions over Poisson numbers.
    """
    from scipy.special import digamma
    from scipy.stats import poisson

    offset = np.array(_OFFSET)
    square, noise = float(offset @ offset), 2.0 * _NOISE**2
    step = square / (_CURVATURE * (square + noise))
    mean = (1.0 - step * _CURVATURE) ** 2 * square
    variance = (step * _CURVATURE * _NOISE) ** 2
    j = np.arange(400)
    log = float(poisson.pmf(j, 0.5 * mean / variance) @ digamma(1.0 + j)) + math.log(2.0)
    return math.log10(0.5 * _CURVATURE * variance) + log / math.log(10.0)


def _one_sign_step(p: QuadraticProblem) -> tuple[float, float, float]:
    """Loss after sign descent's best first step, the step, and the mean of log10 of the loss."""
    start = setting.point(p)
    points, weights = exact.gradients(p, start)
    signs = np.sign(points)
    slope = float(weights @ (signs @ setting.gradient(p, start)))
    step = slope / (2.0 * float(weights @ setting.half_square(p, signs)))
    losses = setting.half_square(p, start - p.optimum - step * signs)
    return float(weights @ losses), step, float(weights @ np.log10(losses))


STATEMENTS = (
    Statement(
        "optimal-run-exact",
        "The first two optimal steps of SGD and the first of sign descent: size, loss and mean logarithm of the loss.",
        "beyond the paper",
        _CASES,
        _claimed,
        lambda draw: _summed(),
        "exact",
    ),
)
