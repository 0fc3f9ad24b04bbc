"""Expectations over Gaussian gradients without draws: sums over weighted points, and over all paths.

They do not use :mod:`qpsim.theory`, and are exact, where random draws would hide an error of a percent.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np

from qpsim.problem.quadratic import QuadraticProblem
from qpsim.verdicts.theory import setting
from qpsim.verdicts.theory.setting import Array

# Standard deviations that the points reach, and Gauss-Legendre points on each of them.
_REACH, _ORDER = 9.0, 12


def line(mean: float, std: float) -> tuple[Array, Array]:
    """Points (n,) and weights (n,) of N(mean, std^2), for functions that are smooth but for a jump at 0."""
    points, weights = _panels(mean, std)
    return points, weights * np.exp(-0.5 * ((points - mean) / std) ** 2) / (
        std * math.sqrt(2.0 * math.pi)
    )


def plane(mean: Array, covariance: Array) -> tuple[Array, Array]:
    """Points (n, 2) and weights (n,) of N(mean, covariance), for functions that may jump where a coordinate is 0."""
    sides = [_panels(mean[k], math.sqrt(covariance[k, k])) for k in range(2)]
    points = np.stack(np.meshgrid(sides[0][0], sides[1][0], indexing="ij"), axis=-1).reshape(-1, 2)
    error = points - mean
    inverse = np.linalg.inv(covariance)
    density = np.exp(-0.5 * np.einsum("ni,ij,nj->n", error, inverse, error))
    total = 2.0 * math.pi * math.sqrt(np.linalg.det(covariance))
    return points, np.outer(sides[0][1], sides[1][1]).ravel() * density / total


def _panels(mean: float, std: float) -> tuple[Array, Array]:
    """Gauss-Legendre points and weights on pieces of one standard deviation, one edge at 0."""
    edges = mean + std * np.arange(-_REACH, _REACH + 1.0)
    if edges[0] < 0.0 < edges[-1]:
        edges = np.sort(np.append(edges, 0.0))
    nodes, weights = np.polynomial.legendre.leggauss(_ORDER)
    half = 0.5 * np.diff(edges)[:, None]
    middle = 0.5 * (edges[1:] + edges[:-1])[:, None]
    return (middle + half * nodes).ravel(), (half * weights).ravel()


def gradients(
    problem: QuadraticProblem, theta: Array, carried: Array | float = 0.0
) -> tuple[Array, Array]:
    """Weighted gradients (n, 2) of a problem of two coordinates, from their law N(Q (theta - x*), nu^2 Q Q).

    For functions that may jump where a coordinate of ``carried`` + gradient is 0.
    """
    q = setting.matrix(problem)
    mean = setting.gradient(problem, theta) + carried
    points, weights = plane(mean, problem.noise_std**2 * q @ q)
    return points - carried, weights


def expected_paths(
    problem: QuadraticProblem,
    step: Callable[[int, Array, Array], Array],
    theta0: Array,
    n_steps: int,
) -> Array:
    """E[excess loss] (n_steps + 1,) of a run that is linear in the data, over all paths.

    The loss is then quadratic in each datum, and a Gaussian's expectation of a quadratic function is
    the mean over x* + nu and x* - nu: all 2^(d n_steps) paths are followed. ``step(t, theta, g)``
    gives the parameters (n, d) after step t.
    """
    d = problem.dim
    signs = np.array(list(product((1.0, -1.0), repeat=d * n_steps))).reshape(-1, n_steps, d)
    theta = np.tile(theta0, (len(signs), 1))
    losses = [float(setting.half_square(problem, theta - problem.optimum).mean())]
    for t in range(1, n_steps + 1):
        data = problem.optimum + problem.noise_std * signs[:, t - 1]
        theta = step(t, theta, (theta - data) @ setting.matrix(problem))
        losses.append(float(setting.half_square(problem, theta - problem.optimum).mean()))
    return np.array(losses)


def expected_sign_paths(problem: QuadraticProblem, theta0: Array, steps: Array) -> Array:
    """E[excess loss] (n_steps + 1,) of sign descent on a diagonal Hessian, over all paths of each coordinate."""
    total = np.zeros(len(steps) + 1)
    for curvature, start in zip(problem.hessian, theta0 - problem.optimum, strict=True):
        error, probability = np.array([start]), np.ones(1)
        losses = [0.5 * curvature * start**2]
        for step in steps:
            ratio = error / (math.sqrt(2.0) * problem.noise_std)
            up = np.array([0.5 * math.erfc(-x) for x in ratio])
            error = np.concatenate([error - step, error + step])
            probability = np.concatenate([probability * up, probability * (1.0 - up)])
            losses.append(float(probability @ (0.5 * curvature * error**2)))
        total += losses
    return total


def vertex(values: Callable[[float], float], at: float) -> tuple[float, float]:
    """Place and height of a parabola's extremum, from its values at 0, ``at`` and twice that."""
    low, middle, high = values(0.0), values(at), values(2.0 * at)
    curvature = low - 2.0 * middle + high
    place = at * (1.5 * low - 2.0 * middle + 0.5 * high) / curvature
    slope = (-1.5 * low + 2.0 * middle - 0.5 * high) / at
    return place, low + 0.5 * slope * place
