"""Other noises than the paper's: the same public formulas, held against definitions.

A gradient is drawn as its noise defines it: C^(1/2) times normals, divided by the root of a chi-square
(Student t) or times the root of an exponential (Laplace).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np

import qpsim
from qpsim import theory
from qpsim.problem import noise
from qpsim.verdicts.theory import exact, setting
from qpsim.verdicts.theory.setting import Array
from qpsim.verdicts.theory.statement import Draw, Statement, columns

DIM, STEP, N_STEPS = 4, 0.1, 4
THETA = np.array([1.2, -0.4, 0.7, 1.5])
_METHODS = ("sgd", "ssd", "va-ssd")
COVARIANCE = np.array(
    [[1.5, 0.4, -0.3, 0.1], [0.4, 0.9, 0.2, 0.0], [-0.3, 0.2, 1.1, 0.5], [0.1, 0.0, 0.5, 2.0]]
)
_FACTOR = np.array([[1.0, 0.2], [-0.5, 0.8], [0.3, 0.3], [0.0, 1.1]])
_EXTRA = np.array([4.0, 3.0, 5.0, 3.5])
_DF = 5.0


@cache
def _noises() -> dict[str, tuple[noise.Noise, Callable[[Array], Array], str]]:
    """Each noise, the matrix C that it stands for given the Hessian Q, and the law of its scalar."""

    def dense(q: Array) -> Array:
        return COVARIANCE

    return {
        "hessian": (noise.hessian(0.8), lambda q: 0.64 * q, "gaussian"),
        "white": (noise.white(2.0), lambda q: 4.0 * np.eye(DIM), "gaussian"),
        "diagonal": (noise.diagonal(_EXTRA), lambda q: np.diag(_EXTRA), "gaussian"),
        "dense": (noise.dense(COVARIANCE), dense, "gaussian"),
        "low rank": (
            noise.low_rank(_FACTOR, _EXTRA),
            lambda q: _FACTOR @ _FACTOR.T + np.diag(_EXTRA),
            "gaussian",
        ),
        "Student t": (noise.dense(COVARIANCE, df=_DF), dense, "student"),
        "Laplace": (noise.dense(COVARIANCE, law="laplace"), dense, "laplace"),
    }


def _scalars(law: str, rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    """Draws of b in gradient + b C^(1/2) normals."""
    if law == "student":
        return np.sqrt(_DF / rng.chisquare(_DF, shape))
    if law == "laplace":
        return np.sqrt(rng.standard_exponential(shape))
    return np.ones(shape)


def _problem(name: str) -> qpsim.QuadraticProblem:
    return qpsim.QuadraticProblem(setting.matrix(setting.dense()), noise=_noises()[name][0])


def _root(name: str, q: Array) -> Array:
    return np.asarray(np.linalg.cholesky(_noises()[name][1](q)), dtype=np.float64)


def of_direction(problem: Any, theta: Array, method: str) -> list[float]:
    mean, quadratic = theory.direction_moments(problem, method, theta)
    return [*mean, quadratic]


def _in_place(gradients: Array, method: str, mean: Array, std: Array) -> Array:
    """Directions of drawn gradients, as the paper defines them."""
    if method == "sgd":
        return gradients
    factor = 1.0 / np.sqrt(1.0 + (std / mean) ** 2) if method == "va-ssd" else 1.0
    return factor * np.sign(gradients)


def with_quadratic(z: Array, q: Array) -> Array:
    return columns(z, np.einsum("ni,ij,nj->n", z, q, z))


# --- noises of any covariance and with heavy tails ------------------------------------------------


def _noise_moments() -> Array:
    return np.concatenate(
        [of_direction(_problem(name), THETA, m) for name in _noises() for m in _METHODS]
    )


def _std(name: str, matrix: Array) -> Array:
    """Standard deviation of the gradient's coordinates; C is a scale matrix under heavy tails."""
    law = _noises()[name][2]
    return np.sqrt(np.diagonal(matrix) * (_DF / (_DF - 2.0) if law == "student" else 1.0))


def _drawn_directions(draw: Draw) -> Iterator[tuple[str, str, Array]]:
    """Name of the noise, method, and drawn directions (n, d) of every pair of the two."""
    q = setting.matrix(setting.dense())
    mean = q @ THETA
    for name, (_, matrix, law) in _noises().items():
        zeta = draw.rng.standard_normal((draw.n, DIM)) @ _root(name, q).T
        g = mean + _scalars(law, draw.rng, (draw.n, 1)) * zeta
        for method in _METHODS:
            yield name, method, _in_place(g, method, mean, _std(name, matrix(q)))


def _noise_draws(draw: Draw) -> Array:
    q = setting.matrix(setting.dense())
    return columns(*(with_quadratic(z, q) for _, _, z in _drawn_directions(draw)))


def _noise_decrease() -> Array:
    return np.array(
        [theory.expected_improvement(_problem(n), m, THETA) for n in _noises() for m in _METHODS]
    )


def _noise_decrease_drawn(draw: Draw) -> Array:
    """Decrease of the loss by one step of the best size."""
    found = []
    for name, method, z in _drawn_directions(draw):
        p = _problem(name)
        step = theory.optimal_step_size(p, method, THETA)
        found.append(setting.decrease(p, THETA, step, z))
    return columns(*found)


def _bound() -> Array:
    return np.array([theory.improvement_bound(pair(law)[0], THETA[:2]) for law in _LAWS])


def _bound_integrated() -> Array:
    """0.5 (sum_i |grad_i E[s_i]|)^2 / sum_ij |q_ij|, the expected signs from their integrals."""
    signs = _pair_integrated().reshape(len(_LAWS), 2, 3)[:, 1, :2]
    q = setting.matrix(setting.pair())
    return 0.5 * (signs @ pair("gaussian")[1]) ** 2 / np.abs(q).sum()


# Two coordinates: integrals in place of draws.


@cache
def pair(law: str) -> tuple[qpsim.QuadraticProblem, Array, Array]:
    """A problem of two coordinates, its mean gradient and the scale matrix of its noise."""
    q = setting.matrix(setting.pair())
    matrix = np.array([[1.0, 0.45], [0.45, 0.6]])
    chosen = {
        "gaussian": noise.dense(matrix),
        "student": noise.dense(matrix, df=_DF),
        "laplace": noise.dense(matrix, law="laplace"),
    }[law]
    problem = qpsim.QuadraticProblem(q, noise=chosen)
    return problem, q @ THETA[:2], matrix


_LAWS = ("gaussian", "student", "laplace")


def _scalar_points(law: str) -> tuple[Array, Array]:
    """Values b and weights of the scalar: the trapezoidal rule in log b^2, far beyond where its density ends."""
    if law == "gaussian":
        return np.ones(1), np.ones(1)
    spacing = 0.05
    x = np.arange(-40.0, 24.0, spacing)
    weights = np.full(x.size, spacing)
    if law == "laplace":
        return np.exp(0.5 * x), weights * np.exp(x - np.exp(x))
    # u^2 = 1 / b^2 has the density of chi^2_k / k.
    half, u2 = 0.5 * _DF, np.exp(-x)
    log = half * math.log(half) - math.lgamma(half) + half * -x - half * u2
    return np.exp(0.5 * x), weights * np.exp(log)


def _pair_claimed() -> Array:
    return np.concatenate(
        [of_direction(pair(law)[0], THETA[:2], m) for law in _LAWS for m in ("sgd", "ssd")]
    )


@cache
def _pair_integrated() -> Array:
    from scipy.special import erf

    found = []
    for law in _LAWS:
        problem, mean, matrix = pair(law)
        q, (b, w) = setting.matrix(problem), _scalar_points(law)
        second = np.outer(mean, mean) + (w @ b**2) * matrix
        found += [*mean, float(np.sum(q * second))]
        a = mean / np.sqrt(np.diagonal(matrix))
        sign = w @ erf(a / (math.sqrt(2.0) * b[:, None]))
        both = sum(wn * sign_product(mean, bn**2 * matrix) for bn, wn in zip(b, w, strict=True))
        found += [*sign, float(np.trace(q) + 2.0 * q[0, 1] * both)]
    return np.array(found)


def sign_product(mean: Array, covariance: Array) -> float:
    """E[sign(x) sign(y)] of two Gaussians, over x of density and sign, and y given x."""
    from scipy.special import erf

    std = math.sqrt(covariance[0, 0])
    x, w = exact.line(mean[0], std)
    slope = covariance[0, 1] / covariance[0, 0]
    rest = math.sqrt(covariance[1, 1] - slope * covariance[0, 1])
    given = mean[1] + slope * (x - mean[0])
    return float(w @ (np.sign(x) * erf(given / (math.sqrt(2.0) * rest))))


def _pair_best() -> Array:
    found = []
    for law in _LAWS:
        problem = pair(law)[0]
        for method in ("sgd", "ssd"):
            step = theory.optimal_step_size(problem, method, THETA[:2])
            found += [step, theory.expected_improvement(problem, method, THETA[:2])]
    return np.array(found)


def _pair_best_integrated() -> Array:
    found = []
    moments = _pair_integrated().reshape(len(_LAWS), 2, 3)
    for law, of_law in zip(_LAWS, moments, strict=True):
        slope = of_law[:, :2] @ pair(law)[1]
        for linear, quadratic in zip(slope, of_law[:, 2], strict=True):
            found += [linear / quadratic, 0.5 * linear**2 / quadratic]
    return np.array(found)


# --- the exact risk ------------------------------------------------------------------------------


def _risk(law: str, method: str) -> Array:
    problem = pair(law)[0]
    return theory.expected_excess_loss(problem, method, THETA[:2], STEP, N_STEPS)


def _risk_claimed() -> Array:
    return np.concatenate([_risk(law, m)[1:] for law in _LAWS for m in ("sgd", "m-sgd")])


def _risk_followed() -> Array:
    """The loss is quadratic in every noise vector, which adds a term for each column of its covariance's root."""
    found = []
    for law in _LAWS:
        problem, _, matrix = pair(law)
        q, (b, w) = setting.matrix(problem), _scalar_points(law)
        root = np.linalg.cholesky((w @ b**2) * matrix)
        for momentum in (0.0, 0.9):
            # The mean path, and what one noise vector of step t adds to the later ones.
            mean = _path(q, THETA[:2], None, momentum)
            loss = 0.5 * np.einsum("ti,ij,tj->t", mean, q, mean)
            for t in range(N_STEPS):
                for column in root.T:
                    moved = _path(q, np.zeros(2), (t, column), momentum)
                    loss += 0.5 * np.einsum("ti,ij,tj->t", moved, q, moved)
            found.append(loss[1:])
    return np.concatenate(found)


def _path(q: Array, theta: Array, kick: tuple[int, Array] | None, momentum: float) -> Array:
    path, buffer = [theta], np.zeros(2)
    for t in range(N_STEPS):
        g = q @ theta + (kick[1] if kick is not None and kick[0] == t else 0.0)
        buffer = momentum * buffer + g
        theta = theta - STEP * buffer
        path.append(theta)
    return np.array(path)


def moment_cases(groups: tuple[str, ...], dim: int = DIM) -> tuple[str, ...]:
    of_group = [*(f"E[z_{i + 1}]" for i in range(dim)), "E[z^T Q z]"]
    return tuple(f"{group}, {case}" for group in groups for case in of_group)


_FAMILIES = ("hessian", "white", "diagonal", "dense", "low rank", "Student t", "Laplace")
_WITH_METHODS = tuple(f"{name}, {m}" for name in _FAMILIES for m in _METHODS)
_PAIRED = tuple(f"{law}, {m}" for law in _LAWS for m in ("sgd", "ssd"))

STATEMENTS = (
    Statement(
        "noise-moments",
        "E[z] and E[z^T Q z] hold under noise of any covariance, and under Student t and Laplace noise.",
        "Gaussian given one random scalar",
        moment_cases(_WITH_METHODS),
        _noise_moments,
        _noise_draws,
    ),
    Statement(
        "noise-improvement",
        "The best step decreases the loss by I(z) under any of these noises.",
        "Eq. 11",
        _WITH_METHODS,
        _noise_decrease,
        _noise_decrease_drawn,
    ),
    Statement(
        "noise-bound-exact",
        "Eq. 12's bound with the success probabilities of the noise at hand.",
        "Eq. 12",
        _LAWS,
        _bound,
        lambda draw: _bound_integrated(),
        "exact",
    ),
    Statement(
        "noise-moments-exact",
        "The same moments on two coordinates, as integrals over the gradient and its scalar.",
        "Gaussian given one random scalar",
        moment_cases(_PAIRED, 2),
        _pair_claimed,
        lambda draw: _pair_integrated(),
        "exact",
    ),
    Statement(
        "noise-step-exact",
        "Best step and improvement under these noises, from those integrals.",
        "Eq. 10 and 11",
        tuple(f"{case}, {q}" for case in _PAIRED for q in ("step", "I(z)")),
        _pair_best,
        lambda draw: _pair_best_integrated(),
        "exact",
    ),
    Statement(
        "noise-risk-exact",
        "E[excess loss] of SGD and heavy ball under any covariance, also with heavy tails.",
        "second moments of a linear recursion",
        tuple(
            f"{law}, {m}, step {t + 1}"
            for law in _LAWS
            for m in ("sgd", "m-sgd")
            for t in range(N_STEPS)
        ),
        _risk_claimed,
        lambda draw: _risk_followed(),
        "exact",
    ),
)
