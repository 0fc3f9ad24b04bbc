"""Theorem 1 and B.4: idealised variance adaptation converges at a constant step."""

from __future__ import annotations

from functools import cache

import numpy as np

import qpsim
from qpsim import theory
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.problem.random import random_problem
from qpsim.verdicts.theory import exact, setting
from qpsim.verdicts.theory.setting import Array
from qpsim.verdicts.theory.statement import Draw, Statement, columns

_TIMES = (1, 10, 100)
_POINT = np.array([1.5])
_N_STEPS, _GIVEN = 4, 7.5


@cache
def _convex() -> QuadraticProblem:
    """A well-conditioned problem, on which the bound of Theorem 1 matters within a hundred steps."""
    return random_problem([0.5, 0.8, 1.0, 1.0], basis="haar", noise_std=1.0, rng=3)


@cache
def _one() -> QuadraticProblem:
    return QuadraticProblem([2.0], optimum=[0.0], noise_std=0.7)


def _smoothness(p: QuadraticProblem) -> float:
    """L: the largest eigenvalue of Q."""
    return float(np.linalg.eigvalsh(setting.matrix(p)).max())


def _convexity(p: QuadraticProblem) -> float:
    """mu: the smallest eigenvalue of Q."""
    return float(np.linalg.eigvalsh(setting.matrix(p)).min())


# --- one step --------------------------------------------------------------------------------------


def _guaranteed(p: QuadraticProblem, theta: Array) -> float:
    """(1 / 2L) sum gamma_i grad_i^2, the decrease that Eq. 33 guarantees."""
    grad = setting.gradient(p, theta)
    gamma = theory.variance_adaptation_factor((setting.std(p) / grad) ** 2, "gradient")
    return float(gamma @ grad**2) / (2.0 * _smoothness(p))


def _guaranteed_decreases(p: QuadraticProblem, theta: Array) -> Array:
    """That decrease, and c f^2 of Eq. 36 with G^2 the second moment at theta."""
    moment = theory.conditional_second_moment(setting.gradient(p, theta), setting.std(p))
    loss = float(setting.half_square(p, theta - p.optimum))
    return np.array([_guaranteed(p, theta), theory.convergence_rate(p, moment) * loss**2])


def _svag_decreases(draw: Draw, p: QuadraticProblem, theta: Array) -> Array:
    g = setting.gradients(p, theta, draw.rng, draw.n)
    z = setting.direction("svag", p, theta, g)
    decrease = setting.decrease(p, theta, 1.0 / _smoothness(p), z)
    return columns(decrease, decrease)


def _svag_decrease_integrated() -> Array:
    """The decrease in one dimension, where every inequality of the proof is an equality."""
    p = _one()
    g, weights = exact.line(float(setting.gradient(p, _POINT)[0]), float(setting.std(p)[0]))
    z = setting.direction("svag", p, _POINT, g[:, None])
    decrease = float(weights @ setting.decrease(p, _POINT, 1.0 / _smoothness(p), z))
    return np.full(2, decrease)


# --- the constants ---------------------------------------------------------------------------------


def _steepest(p: QuadraticProblem) -> Array:
    """A point along the eigenvector of the largest eigenvalue: there ||grad||^2 = 2 L f."""
    return p.optimum + 1.3 * np.linalg.eigh(setting.matrix(p))[1][:, -1]


def _path(p: QuadraticProblem) -> Array:
    return p.optimum + np.array([[1.0, -0.5], [-1.2, 2.0], [0.3, 0.1]])


def _second_moment(p: QuadraticProblem, theta: Array) -> float:
    """E||g||^2, as an integral over the gradient's density."""
    g, weights = exact.gradients(p, theta)
    return float(weights @ np.sum(g**2, axis=1))


def _moments_claimed() -> Array:
    p = setting.pair()
    theta = setting.point(p)
    return np.array(
        [
            theory.conditional_second_moment(setting.gradient(p, theta), setting.std(p)),
            theory.largest_second_moment(p, _path(p)),
            theory.run_second_moment(p, _steepest(p)),
            theory.theorem1(p, _steepest(p), 1).second_moment,
        ]
    )


def _moments_integrated() -> Array:
    p = setting.pair()
    steepest = _second_moment(p, _steepest(p))
    path = max(_second_moment(p, theta) for theta in _path(p))
    return np.array([_second_moment(p, setting.point(p)), path, steepest, steepest])


def _theorem_claimed() -> Array:
    p = setting.pair()
    theorem = theory.theorem1(p, setting.point(p), _N_STEPS, _GIVEN)
    loss = float(setting.half_square(p, setting.point(p) - p.optimum))
    rate = 2.0 * _convexity(p) ** 2 / (_smoothness(p) * _GIVEN)
    alone = [
        theory.convergence_rate(p, _GIVEN),
        *theory.convergence_bound(loss, rate, _N_STEPS),
    ]
    return np.array([*theorem[:-1], *theorem.bound, *alone])


def _theorem_iterated() -> Array:
    """The constants by their definitions, and the bound by Eq. 39: each step adds c to 1 / e."""
    p = setting.pair()
    low, high = _convexity(p), _smoothness(p)
    rate = 2.0 * low**2 / (high * _GIVEN)
    bound = [float(setting.half_square(p, setting.point(p) - p.optimum))]
    for _ in range(_N_STEPS):
        bound.append(1.0 / (1.0 / bound[-1] + rate))
    return np.array([low, high, 1.0 / high, _GIVEN, rate, *bound, rate, *bound])


# --- the run ---------------------------------------------------------------------------------------


@cache
def _largest_on_paths() -> float:
    """G^2 on simulated paths of idealised svag."""
    p = _convex()
    run = qpsim.simulate(
        p,
        "svag",
        1.0 / _smoothness(p),
        _TIMES[-1],
        64,
        setting.point(p),
        rng=0,
        workers=1,
        record=("theta",),
    )
    assert run.theta is not None
    return theory.largest_second_moment(p, run.theta)


def _guarantee() -> Array:
    p = _convex()
    return theory.theorem1(p, setting.point(p), _TIMES[-1], _largest_on_paths()).bound[list(_TIMES)]


def _at_smooth_step(draw: Draw, name: str) -> Array:
    p = _convex()
    step, n = 1.0 / _smoothness(p), draw.n // 10
    return setting.run(draw, p, name, step, _TIMES[-1], n)[:, list(_TIMES)]


_BOUNDS = tuple(f"bound at t = {t}" for t in range(_N_STEPS + 1))

STATEMENTS = (
    Statement(
        "svag-step",
        "One step of idealised SVAG at 1/L decreases f by at least (1/2L) sum gamma grad^2, and "
        "that by at least c f^2.",
        "Eq. 33 to 36",
        ("by (1/2L) sum gamma grad^2", "by c f^2"),
        lambda: _guaranteed_decreases(_convex(), setting.point(_convex())),
        lambda draw: _svag_decreases(draw, _convex(), setting.point(_convex())),
        "at least",
    ),
    Statement(
        "svag-step-exact",
        "In one dimension both are equalities.",
        "Eq. 33 to 36",
        ("(1/2L) sum gamma grad^2", "c f^2"),
        lambda: _guaranteed_decreases(_one(), _POINT),
        lambda draw: _svag_decrease_integrated(),
        "exact",
    ),
    Statement(
        "second-moments-exact",
        "E_t||g_t||^2 = ||grad||^2 + sum sigma^2, its largest value on a path, and 2 L e_0 + sum "
        "sigma^2, which it is along the steepest eigenvector.",
        "Eq. 34",
        ("at a point", "on a path", "steepest start", "in Theorem 1"),
        _moments_claimed,
        lambda draw: _moments_integrated(),
        "exact",
    ),
    Statement(
        "theorem1-exact",
        "mu and L are the extreme eigenvalues, c = 2 mu^2 / (L G^2), and every step adds c to the "
        "reciprocal of the bound.",
        "Theorem 1, Eq. 38 to 40",
        ("mu", "L", "step", "G^2", "c", *_BOUNDS, "c alone", *(f"{x} alone" for x in _BOUNDS)),
        _theorem_claimed,
        lambda draw: _theorem_iterated(),
        "exact",
    ),
    Statement(
        "theorem1",
        "Idealised SVAG at 1/L stays below 1 / (1/e_0 + c t), with G^2 measured on its path.",
        "Theorem 1, Eq. 17 and 38 to 40",
        tuple(f"excess loss at t = {t}" for t in _TIMES),
        _guarantee,
        lambda draw: _at_smooth_step(draw, "svag"),
        "at most",
    ),
    Statement(
        "theorem1-sgd",
        "SGD at the same step does not: it stalls above that bound.",
        "Section 3.2",
        (f"excess loss at t = {_TIMES[-1]}",),
        lambda: _guarantee()[-1:],
        lambda draw: _at_smooth_step(draw, "sgd")[:, -1:],
        "above",
    ),
)
