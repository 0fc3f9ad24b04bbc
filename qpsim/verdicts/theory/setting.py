"""The problem that experiments run on, and draws from its definition.

Nothing here uses :mod:`qpsim.theory`: a gradient is Q (theta - x) of a drawn x, a loss is
0.5 e^T Q e, a direction is written out as the paper defines it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

import qpsim
from qpsim.methods import Method
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.problem.random import random_problem
from qpsim.verdicts.theory.statement import Draw

Array = NDArray[np.float64]

# A point near the optimum of a problem with strongly correlated coordinates, where many signs are wrong.
_OFFSET = (1.0, -0.5, 0.3, 2.0)
MU = 0.6
_BUFFER = (0.8, -1.0, 0.4, 1.5)
METHODS = ("sgd", "ssd", "svag", "va-ssd", "va-ssd-erf", "m-sgd", "m-ssd")


@cache
def dense() -> QuadraticProblem:
    """Four coordinates under a random rotation."""
    return random_problem([0.3, 1.0, 2.0, 5.0], basis="haar", noise_std=1.0, rng=4)


@cache
def diagonal() -> QuadraticProblem:
    """The same spectrum, axis-aligned."""
    return random_problem([0.3, 1.0, 2.0, 5.0], basis="axis", noise_std=1.0, rng=4)


@cache
def pair() -> QuadraticProblem:
    """Two coordinates, of correlated gradients: small enough for exact sums over the plane and over paths."""
    return QuadraticProblem([[2.0, 0.9], [0.9, 1.5]], optimum=[0.4, -0.7], noise_std=0.6)


@cache
def diagonal_pair() -> QuadraticProblem:
    """Two independent coordinates."""
    return QuadraticProblem([2.0, 0.8], optimum=[0.4, -0.7], noise_std=0.6)


def point(problem: QuadraticProblem) -> Array:
    """The point of the experiments, for a problem of up to four coordinates."""
    return problem.optimum + np.array(_OFFSET[: problem.dim])


def buffer(problem: QuadraticProblem) -> Array:
    """The momentum sum before the step in the experiments."""
    return np.array(_BUFFER[: problem.dim])


def matrix(problem: QuadraticProblem) -> Array:
    """Q as a square matrix."""
    return np.diag(problem.hessian) if problem.is_diagonal else problem.hessian


def gradient(problem: QuadraticProblem, theta: Array) -> Array:
    """Q (theta - x*), the true gradient."""
    return matrix(problem) @ (theta - problem.optimum)


def std(problem: QuadraticProblem) -> Array:
    """nu sqrt((Q Q)_ii)."""
    q = matrix(problem)
    return problem.noise_std * np.sqrt(np.diagonal(q @ q))


def data(problem: QuadraticProblem, rng: np.random.Generator, n: int) -> Array:
    """n draws x ~ N(x*, nu^2 I)."""
    return problem.optimum + problem.noise_std * rng.standard_normal((n, problem.dim))


def gradients(problem: QuadraticProblem, theta: Array, rng: np.random.Generator, n: int) -> Array:
    """n stochastic gradients Q (theta - x)."""
    return (theta - data(problem, rng, n)) @ matrix(problem)


def half_square(problem: QuadraticProblem, error: Array) -> Array:
    """0.5 e^T Q e over the last axis."""
    return 0.5 * np.einsum("...i,ij,...j->...", error, matrix(problem), error, optimize=True)


def decrease(problem: QuadraticProblem, theta: Array, step: float, direction: Array) -> Array:
    """Excess loss at theta minus that at theta - step * direction."""
    error = theta - problem.optimum
    return half_square(problem, error) - half_square(problem, error - step * direction)


def carried(name: str, problem: QuadraticProblem) -> Array:
    """What a method adds to the gradient before it takes its direction: MU * buffer, or nothing."""
    return MU * buffer(problem) if name.startswith("m-") else np.zeros(problem.dim)


def direction(name: str, problem: QuadraticProblem, theta: Array, g: Array) -> Array:
    """Directions (n, d) of a method for drawn gradients (n, d)."""
    from scipy.special import erf

    eta = std(problem) / np.abs(gradient(problem, theta))
    factor = {
        "svag": 1.0 / (1.0 + eta**2),
        "va-ssd": 1.0 / np.sqrt(1.0 + eta**2),
        "va-ssd-erf": erf(1.0 / (np.sqrt(2.0) * eta)),
    }.get(name, np.ones(problem.dim))
    moved = carried(name, problem) + g
    return factor * (np.sign(moved) if "ssd" in name else moved)


def run(
    draw: Draw, problem: QuadraticProblem, method: str | Method, step: float, n_steps: int, n: int
) -> Array:
    """Excess losses (n, n_steps + 1) of n simulated runs from the usual point."""
    start = point(problem)
    return qpsim.simulate(
        problem, method, step, n_steps, n, start, rng=draw.rng, workers=draw.workers, record=()
    ).excess_loss
