"""Other noises and other problems than the paper's: the same public formulas, held against definitions.

A gradient is drawn as its noise defines it: C^(1/2) times normals, divided by the root of a chi-square
(Student t) or times the root of an exponential (Laplace); as a residual times a row of Gaussian data
(least squares); or as a row of a table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

import qpsim
from qpsim import theory
from qpsim.problem import noise
from qpsim.verdicts.theory import exact, setting
from qpsim.verdicts.theory.setting import Array
from qpsim.verdicts.theory.statement import Draw, Statement, columns

_DIM, _BATCH, _STEP, _N_STEPS = 4, 3, 0.1, 4
_THETA = np.array([1.2, -0.4, 0.7, 1.5])
_METHODS = ("sgd", "ssd", "va-ssd")
_COVARIANCE = np.array(
    [[1.5, 0.4, -0.3, 0.1], [0.4, 0.9, 0.2, 0.0], [-0.3, 0.2, 1.1, 0.5], [0.1, 0.0, 0.5, 2.0]]
)
_FACTOR = np.array([[1.0, 0.2], [-0.5, 0.8], [0.3, 0.3], [0.0, 1.1]])
_EXTRA = np.array([4.0, 3.0, 5.0, 3.5])
_DF = 5.0


@cache
def _noises() -> dict[str, tuple[noise.Noise, Callable[[Array], Array], str]]:
    """Each noise, the matrix C that it stands for given the Hessian Q, and the law of its scalar."""

    def dense(q: Array) -> Array:
        return _COVARIANCE

    return {
        "hessian": (noise.hessian(0.8), lambda q: 0.64 * q, "gaussian"),
        "white": (noise.white(2.0), lambda q: 4.0 * np.eye(_DIM), "gaussian"),
        "diagonal": (noise.diagonal(_EXTRA), lambda q: np.diag(_EXTRA), "gaussian"),
        "dense": (noise.dense(_COVARIANCE), dense, "gaussian"),
        "low rank": (
            noise.low_rank(_FACTOR, _EXTRA),
            lambda q: _FACTOR @ _FACTOR.T + np.diag(_EXTRA),
            "gaussian",
        ),
        "Student t": (noise.dense(_COVARIANCE, df=_DF), dense, "student"),
        "Laplace": (noise.dense(_COVARIANCE, law="laplace"), dense, "laplace"),
    }


def _scalars(law: str, rng: np.random.Generator, shape: Any) -> Array:
    """Draws of b in gradient + b C^(1/2) normals."""
    if law == "student":
        return np.sqrt(_DF / rng.chisquare(_DF, shape))
    return np.sqrt(rng.standard_exponential(shape)) if law == "laplace" else np.ones(shape)


def _problem(name: str, hessian: Array | None = None) -> qpsim.QuadraticProblem:
    q = setting.matrix(setting.dense()) if hessian is None else hessian
    return qpsim.QuadraticProblem(q, noise=_noises()[name][0])


def _root(name: str, q: Array) -> Array:
    return np.linalg.cholesky(_noises()[name][1](q))


def _of_direction(problem: Any, theta: Array, method: str) -> list[float]:
    mean, quadratic = theory.direction_moments(problem, method, theta)
    return [*mean, quadratic]


def _in_place(gradients: Array, method: str, mean: Array, std: Array) -> Array:
    """Directions of drawn gradients, as the paper defines them."""
    if method == "sgd":
        return gradients
    factor = 1.0 / np.sqrt(1.0 + (std / mean) ** 2) if method == "va-ssd" else 1.0
    return factor * np.sign(gradients)


def _with_quadratic(z: Array, q: Array) -> Array:
    return columns(z, np.einsum("ni,ij,nj->n", z, q, z))


# --- noises of any covariance and with heavy tails ------------------------------------------------


def _noise_moments() -> Array:
    return np.concatenate(
        [_of_direction(_problem(name), _THETA, m) for name in _noises() for m in _METHODS]
    )


def _std(name: str, matrix: Array) -> Array:
    """Standard deviation of the gradient's coordinates; C is a scale matrix under heavy tails."""
    law = _noises()[name][2]
    return np.sqrt(np.diagonal(matrix) * (_DF / (_DF - 2.0) if law == "student" else 1.0))


def _noise_draws(draw: Draw) -> Array:
    q = setting.matrix(setting.dense())
    mean, found = q @ _THETA, []
    for name, (_, matrix, law) in _noises().items():
        zeta = draw.rng.standard_normal((draw.n, _DIM)) @ _root(name, q).T
        g = mean + _scalars(law, draw.rng, (draw.n, 1)) * zeta
        for method in _METHODS:
            z = _in_place(g, method, mean, _std(name, matrix(q)))
            found.append(_with_quadratic(z, q))
    return columns(*found)


def _noise_decrease() -> Array:
    return np.array(
        [theory.expected_improvement(_problem(n), m, _THETA) for n in _noises() for m in _METHODS]
    )


def _noise_decrease_drawn(draw: Draw) -> Array:
    """Decrease of the loss by one step of the best size."""
    q = setting.matrix(setting.dense())
    mean, found = q @ _THETA, []
    for name, (_, matrix, law) in _noises().items():
        zeta = draw.rng.standard_normal((draw.n, _DIM)) @ _root(name, q).T
        g = mean + _scalars(law, draw.rng, (draw.n, 1)) * zeta
        for method in _METHODS:
            z = _in_place(g, method, mean, _std(name, matrix(q)))
            step = theory.optimal_step_size(_problem(name), method, _THETA)
            after = _THETA - step * z
            found.append(0.5 * (_THETA @ q @ _THETA - np.einsum("ni,ij,nj->n", after, q, after)))
    return columns(*found)


def _bound() -> Array:
    return np.array([theory.improvement_bound(_pair(law)[0], _THETA[:2]) for law in _LAWS])


def _bound_integrated() -> Array:
    """0.5 (sum_i |grad_i E[s_i]|)^2 / sum_ij |q_ij|, the expected signs from their integrals."""
    signs = _pair_integrated().reshape(len(_LAWS), 2, 3)[:, 1, :2]
    q = setting.matrix(setting.pair())
    return 0.5 * (signs @ _pair("gaussian")[1]) ** 2 / np.abs(q).sum()


# Two coordinates: integrals in place of draws.


@cache
def _pair(law: str) -> tuple[qpsim.QuadraticProblem, Array, Array]:
    """A problem of two coordinates, its mean gradient and the scale matrix of its noise."""
    q = setting.matrix(setting.pair())
    matrix = np.array([[1.0, 0.45], [0.45, 0.6]])
    chosen = {
        "gaussian": noise.dense(matrix),
        "student": noise.dense(matrix, df=_DF),
        "laplace": noise.dense(matrix, law="laplace"),
    }[law]
    problem = qpsim.QuadraticProblem(q, noise=chosen)
    return problem, q @ _THETA[:2], matrix


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
        [_of_direction(_pair(law)[0], _THETA[:2], m) for law in _LAWS for m in ("sgd", "ssd")]
    )


def _pair_integrated() -> Array:
    from scipy.special import erf

    found = []
    for law in _LAWS:
        problem, mean, matrix = _pair(law)
        q, (b, w) = setting.matrix(problem), _scalar_points(law)
        second = np.outer(mean, mean) + (w @ b**2) * matrix
        found += [*mean, float(np.sum(q * second))]
        a = mean / np.sqrt(np.diagonal(matrix))
        sign = w @ erf(a / (math.sqrt(2.0) * b[:, None]))
        both = sum(wn * _sign_product(mean, bn**2 * matrix) for bn, wn in zip(b, w, strict=True))
        found += [*sign, float(np.trace(q) + 2.0 * q[0, 1] * both)]
    return np.array(found)


def _sign_product(mean: Array, covariance: Array) -> float:
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
        problem = _pair(law)[0]
        for method in ("sgd", "ssd"):
            step = theory.optimal_step_size(problem, method, _THETA[:2])
            found += [step, theory.expected_improvement(problem, method, _THETA[:2])]
    return np.array(found)


def _pair_best_integrated() -> Array:
    found = []
    moments = _pair_integrated().reshape(len(_LAWS), 2, 3)
    for law, of_law in zip(_LAWS, moments, strict=True):
        slope = of_law[:, :2] @ _pair(law)[1]
        for linear, quadratic in zip(slope, of_law[:, 2], strict=True):
            found += [linear / quadratic, 0.5 * linear**2 / quadratic]
    return np.array(found)


# --- the exact risk ------------------------------------------------------------------------------


def _risk(law: str, method: str) -> Array:
    problem = _pair(law)[0]
    return theory.expected_excess_loss(problem, method, _THETA[:2], _STEP, _N_STEPS)


def _risk_claimed() -> Array:
    return np.concatenate([_risk(law, m)[1:] for law in _LAWS for m in ("sgd", "m-sgd")])


def _risk_followed() -> Array:
    """The loss is quadratic in every noise vector, which adds a term for each column of its covariance's root."""
    found = []
    for law in _LAWS:
        problem, _, matrix = _pair(law)
        q, (b, w) = setting.matrix(problem), _scalar_points(law)
        root = np.linalg.cholesky((w @ b**2) * matrix)
        for momentum in (0.0, 0.9):
            # The mean path, and what one noise vector of step t adds to the later ones.
            mean = _path(q, _THETA[:2], None, momentum)
            loss = 0.5 * np.einsum("ti,ij,tj->t", mean, q, mean)
            for t in range(_N_STEPS):
                for column in root.T:
                    moved = _path(q, np.zeros(2), (t, column), momentum)
                    loss += 0.5 * np.einsum("ti,ij,tj->t", moved, q, moved)
            found.append(loss[1:])
    return np.concatenate(found)


def _path(q: Array, theta: Array, kick: tuple[int, Array] | None, momentum: float) -> Array:
    path, buffer = [theta], np.zeros(2)
    for t in range(_N_STEPS):
        g = q @ theta + (kick[1] if kick is not None and kick[0] == t else 0.0)
        buffer = momentum * buffer + g
        theta = theta - _STEP * buffer
        path.append(theta)
    return np.array(path)


# --- least squares -------------------------------------------------------------------------------


@cache
def _least_squares() -> qpsim.LeastSquares:
    return qpsim.LeastSquares(_COVARIANCE, label_noise_std=0.5)


def _least_squares_claimed() -> Array:
    return np.concatenate(
        [
            _of_direction(_least_squares().at_batch(b), _THETA, m)
            for b in (1, _BATCH)
            for m in ("sgd", "ssd")
        ]
    )


def _data_gradients(draw: Draw, batch: int) -> Array:
    """Mean of the batch's residuals times rows x ~ N(0, K)."""
    x = draw.rng.standard_normal((draw.n, batch, _DIM)) @ np.linalg.cholesky(_COVARIANCE).T
    residual = x @ _THETA - 0.5 * draw.rng.standard_normal((draw.n, batch))
    return np.einsum("nbi,nb->ni", x, residual) / batch


def _least_squares_drawn(draw: Draw) -> Array:
    found = []
    for batch in (1, _BATCH):
        g = _data_gradients(draw, batch)
        found += [_with_quadratic(z, _COVARIANCE) for z in (g, np.sign(g))]
    return columns(*found)


def _least_squares_exact() -> Array:
    """At batch 1 by Isserlis' theorem and the arcsine law of signs of Gaussian products."""
    k, s2 = _COVARIANCE, 0.25
    h = k @ _THETA
    v = float(_THETA @ h) + s2
    tau = np.sqrt(np.diagonal(k))
    signs = 2.0 / math.pi * np.arcsin(h / (tau * math.sqrt(v)))
    # The residual's own sign cancels in a product of two.
    products = 2.0 / math.pi * np.arcsin(k / np.outer(tau, tau) - np.eye(_DIM)) + np.eye(_DIM)
    # E[r^2 x x^T] = v K + 2 h h^T.
    return np.array(
        [*h, float(np.sum(k * (v * k + 2.0 * np.outer(h, h)))), *signs, float(np.sum(k * products))]
    )


def _least_squares_at_one() -> Array:
    return np.concatenate([_of_direction(_least_squares(), _THETA, m) for m in ("sgd", "ssd")])


def _least_squares_risk() -> Array:
    return theory.expected_excess_loss(_least_squares(), "sgd", _THETA, _STEP, 2)[1:]


def _least_squares_risk_exact() -> Array:
    """S <- E[(I - a x x^T) S (I - a x x^T)] + a^2 s^2 K, its fourth moment written out by index."""
    k, second, found = _COVARIANCE, np.outer(_THETA, _THETA), []
    fourth = (
        np.einsum("ij,kl->ijkl", k, k)
        + np.einsum("ik,jl->ijkl", k, k)
        + np.einsum("il,jk->ijkl", k, k)
    )
    for _ in range(2):
        change = -_STEP * (k @ second + second @ k)
        change += _STEP**2 * (np.einsum("iabj,ab->ij", fourth, second) + 0.25 * k)
        second = second + change
        found.append(0.5 * float(np.sum(k * second)))
    return np.array(found)


# --- a table of data, a local model, a preconditioner ---------------------------------------------


@cache
def _table() -> tuple[Array, Array]:
    rng = np.random.Generator(np.random.PCG64(7))
    return rng.standard_normal((9, _DIM)), rng.standard_normal(9)


def _table_claimed() -> Array:
    problem = qpsim.DataProblem(*_table())
    return np.concatenate([_of_direction(problem, _THETA, m) for m in ("sgd", "ssd")])


def _table_summed() -> Array:
    x, y = _table()
    g = x * (x @ _THETA - y)[:, None]
    q = x.T @ x / len(x)
    return np.concatenate([_with_quadratic(z, q).mean(axis=0) for z in (g, np.sign(g))])


_SADDLE = np.array([[1.0, 0.3], [0.3, -0.6]])


def _local(curvature: float) -> qpsim.LocalModel:
    """A point of a loss with a negative direction of curvature; at -3 no step along a sign is too long."""
    hessian = _SADDLE + np.diag([0.0, 0.6 + curvature])
    return qpsim.LocalModel([0.8, -0.5], hessian, noise.dense([[1.0, 0.45], [0.45, 0.6]]))


def _local_claimed() -> Array:
    bounded, unbounded = _local(-0.6), _local(-3.0)
    mean, quadratic = theory.direction_moments(bounded, "ssd", np.zeros(2))
    step = theory.optimal_step_size(bounded, "ssd", np.zeros(2))
    endless = theory.optimal_step_size(unbounded, "ssd", np.zeros(2))
    return np.array([*mean, quadratic, step, float(math.isinf(endless))])


def _local_integrated() -> Array:
    from scipy.special import erf

    mean, matrix = np.array([0.8, -0.5]), np.array([[1.0, 0.45], [0.45, 0.6]])
    sign = erf(mean / np.sqrt(2.0 * np.diagonal(matrix)))
    quadratic = float(np.trace(_SADDLE) + 2.0 * 0.3 * _sign_product(mean, matrix))
    return np.array([*sign, quadratic, float(mean @ sign) / quadratic, 1.0])


def _preconditioned_claimed() -> Array:
    """Gradient descent in the coordinates of H^(1/2): its step is one along H^-1 g in ours."""
    problem = _pair("gaussian")[0]
    inverse = np.linalg.inv(setting.matrix(problem))
    there = problem.preconditioned(inverse)
    # theta' = P^(-1/2) theta with the symmetric root.
    values, vectors = np.linalg.eigh(inverse)
    theta = (vectors * values**-0.5) @ vectors.T @ _THETA[:2]
    moved, quadratic = theory.direction_moments(there, "sgd", theta)
    slope = float(there.gradient(theta) @ moved)
    return np.array([slope, quadratic, theory.expected_improvement(there, "sgd", theta)])


def _preconditioned_exact() -> Array:
    problem, mean, matrix = _pair("gaussian")
    inverse = np.linalg.inv(setting.matrix(problem))
    # Along z = H^-1 g: grad^T E[z], and E[z^T H z] = E[g^T H^-1 g].
    slope = float(mean @ inverse @ mean)
    quadratic = slope + float(np.sum(inverse * matrix))
    return np.array([slope, quadratic, 0.5 * slope**2 / quadratic])


def _moment_cases(groups: tuple[str, ...], dim: int = _DIM) -> tuple[str, ...]:
    of_group = [*(f"E[z_{i + 1}]" for i in range(dim)), "E[z^T Q z]"]
    return tuple(f"{group}, {case}" for group in groups for case in of_group)


_FAMILIES = ("hessian", "white", "diagonal", "dense", "low rank", "Student t", "Laplace")
_WITH_METHODS = tuple(f"{name}, {m}" for name in _FAMILIES for m in _METHODS)
_PAIRED = tuple(f"{law}, {m}" for law in _LAWS for m in ("sgd", "ssd"))
_BATCHES = tuple(f"batch {b}, {m}" for b in (1, _BATCH) for m in ("sgd", "ssd"))

STATEMENTS = (
    Statement(
        "noise-moments",
        "E[z] and E[z^T Q z] hold under noise of any covariance, and under Student t and Laplace noise.",
        "Gaussian given one random scalar",
        _moment_cases(_WITH_METHODS),
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
        _moment_cases(_PAIRED, 2),
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
            for t in range(_N_STEPS)
        ),
        _risk_claimed,
        lambda draw: _risk_followed(),
        "exact",
    ),
    Statement(
        "least-squares-moments",
        "Moments of least squares with Gaussian data, at any batch size, are those of drawn data.",
        "a Student-t law of as many degrees of freedom as the batch has rows",
        _moment_cases(_BATCHES),
        _least_squares_claimed,
        _least_squares_drawn,
    ),
    Statement(
        "least-squares-exact",
        "At batch 1 they are Isserlis' fourth moments and arcsines.",
        "Isserlis (1918); Xiao et al. (2024)",
        _moment_cases(("sgd", "ssd")),
        _least_squares_at_one,
        lambda draw: _least_squares_exact(),
        "exact",
    ),
    Statement(
        "least-squares-risk-exact",
        "E[excess loss] of SGD on least squares, its fourth moment written out.",
        "S <- (I - aK) S (I - aK) + a^2 (K S K + tr(KS) K + s^2 K)",
        ("step 1", "step 2"),
        _least_squares_risk,
        lambda draw: _least_squares_risk_exact(),
        "exact",
    ),
    Statement(
        "data-moments-exact",
        "Moments on a table of data are means over its rows.",
        "definition",
        _moment_cases(("sgd", "ssd")),
        _table_claimed,
        lambda draw: _table_summed(),
        "exact",
    ),
    Statement(
        "local-model-exact",
        "One step at a saddle: moments, the best step, and none where E[z^T H z] is negative.",
        "Eq. 10",
        ("E[s_1]", "E[s_2]", "E[s^T H s]", "best step", "unbounded"),
        _local_claimed,
        lambda draw: _local_integrated(),
        "exact",
    ),
    Statement(
        "preconditioned-exact",
        "The problem preconditioned by P is gradient descent along P g.",
        "theta' = P^(-1/2) theta",
        ("grad^T E[z]", "E[z^T H z]", "I(z)"),
        _preconditioned_claimed,
        lambda draw: _preconditioned_exact(),
        "exact",
    ),
)
