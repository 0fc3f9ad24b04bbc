"""How one step and the steps to a loss depend on the batch size, from the definitions."""

from __future__ import annotations

import math

import numpy as np

from qpsim import theory
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.verdicts.theory import exact, setting
from qpsim.verdicts.theory.setting import Array
from qpsim.verdicts.theory.statement import Statement

_BATCHES, _METHODS = (1.0, 20.0), ("sgd", "ssd")
_TARGET, _STEPS = 0.2, (0.001, 0.002)
_CASES = (
    *(f"{what} of {m}, B = {b:g}" for what in ("gain", "step") for m in _METHODS for b in _BATCHES),
    *(f"exponent of sgd, B = {b:g}" for b in _BATCHES),
    *(f"{what} of {m}" for what in ("limit of gain", "limit of step", "half") for m in _METHODS),
    *(f"{what} noise scale" for what in ("gradient", "curvature", "sign")),
    *(f"{what} of sgd, B = {b:g}" for what in ("count", "its step") for b in _BATCHES),
)


def _claimed() -> Array:
    p = setting.pair()
    law = theory.batch_size_law(
        p, setting.point(p), _METHODS, _BATCHES, target=_TARGET, step_sizes=_STEPS
    )
    assert law.n_steps is not None and law.constant_step_size is not None
    return np.concatenate(
        [
            law.improvement.ravel(),
            law.step_size.ravel(),
            law.step_exponent[0],
            law.limit_improvement,
            law.limit_step_size,
            law.half_batch_size,
            [law.gradient_noise_scale, law.curvature_noise_scale, law.sign_noise_scale],
            law.n_steps[0],
            law.constant_step_size[0],
        ]
    )


def _at(batch_size: float) -> QuadraticProblem:
    p = setting.pair()
    return QuadraticProblem(p.hessian, p.optimum, p.noise_std / math.sqrt(batch_size))


def _best(name: str, batch_size: float) -> tuple[float, float]:
    """Gain and best step size, by sums over weighted gradients."""
    p = _at(batch_size)
    g, weights = exact.gradients(p, setting.point(p))
    z = g if name == "sgd" else np.sign(g)
    slope = float(setting.gradient(p, setting.point(p)) @ (weights @ z))
    curvature = float(weights @ np.einsum("ni,ij,nj->n", z, setting.matrix(p), z))
    return 0.5 * slope**2 / curvature, slope / curvature


def _solved() -> Array:
    from scipy.optimize import brentq

    p = setting.pair()
    q, g = setting.matrix(p), setting.gradient(p, setting.point(p))
    covariance, std = p.noise_std**2 * q @ q, setting.std(p)
    by_batch = np.array([[_best(m, b) for b in _BATCHES] for m in _METHODS])
    # Of gradient descent the step is |g|^2 / (g^T Q g + tr(Q C) / B).
    noise, certain = float(np.trace(q @ covariance)), float(g @ q @ g)
    exponents = [noise / b / (certain + noise / b) for b in _BATCHES]
    directions = (g, np.sign(g))
    limit_steps = np.array([(g @ z) / (z @ q @ z) for z in directions])
    limits = np.array([0.5 * (g @ z) ** 2 / (z @ q @ z) for z in directions])
    half = [
        brentq(lambda b, m=m, k=k: _best(m, b)[0] / limits[k] - 0.5, 0.01, 100.0, xtol=1e-13)
        for k, m in enumerate(_METHODS)
    ]
    scales = [
        np.trace(covariance) / (g @ g),
        noise / certain,
        np.sum(std) ** 2 / np.sum(np.abs(g)) ** 2,
    ]
    return np.concatenate(
        [
            by_batch[..., 0].ravel(),
            by_batch[..., 1].ravel(),
            exponents,
            limits,
            limit_steps,
            half,
            scales,
            [_counted(b) for b in _BATCHES],
            [max(_STEPS)] * len(_BATCHES),
        ]
    )


def _counted(batch_size: float) -> float:
    """Steps of the larger step size until the expected loss is at the target, one after the other."""
    p = _at(batch_size)
    q, step = setting.matrix(p), max(_STEPS)
    keep = np.eye(p.dim) - step * q
    error = setting.point(p) - p.optimum
    second, count = np.outer(error, error), 0
    while 0.5 * np.trace(q @ second) > _TARGET:
        second = keep @ second @ keep.T + step**2 * p.noise_std**2 * q @ q
        count += 1
    return float(count)


STATEMENTS = (
    Statement(
        "batch-size-exact",
        "Gain, best step and steps to a loss by the batch size, and the noise scales, of sgd and ssd.",
        "Eq. 11; McCandlish et al. (2018)",
        _CASES,
        _claimed,
        lambda draw: _solved(),
        "exact",
    ),
)
