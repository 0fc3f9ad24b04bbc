"""Other problems than the paper's: least squares, a table of data, a local model, a preconditioner.

The same public formulas, held against rows of drawn data, sums over rows and integrals.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

import qpsim
from qpsim import theory
from qpsim.problem import noise
from qpsim.verdicts.theory import setting
from qpsim.verdicts.theory.noises import (
    COVARIANCE,
    DIM,
    N_STEPS,
    STEP,
    THETA,
    moment_cases,
    of_direction,
    pair,
    sign_product,
    with_quadratic,
)
from qpsim.verdicts.theory.setting import Array
from qpsim.verdicts.theory.statement import Draw, Statement, columns

_BATCH = 3


# --- least squares -------------------------------------------------------------------------------


@cache
def _least_squares() -> qpsim.LeastSquares:
    return qpsim.LeastSquares(COVARIANCE, label_noise_std=0.5)


def _least_squares_claimed() -> Array:
    return np.concatenate(
        [
            of_direction(_least_squares().at_batch(b), THETA, m)
            for b in (1, _BATCH)
            for m in ("sgd", "ssd")
        ]
    )


def _data_gradients(draw: Draw, batch: int) -> Array:
    """Mean of the batch's residuals times rows x ~ N(0, K)."""
    x = draw.rng.standard_normal((draw.n, batch, DIM)) @ np.linalg.cholesky(COVARIANCE).T
    residual = x @ THETA - 0.5 * draw.rng.standard_normal((draw.n, batch))
    return np.einsum("nbi,nb->ni", x, residual) / batch


def _least_squares_drawn(draw: Draw) -> Array:
    found = []
    for batch in (1, _BATCH):
        g = _data_gradients(draw, batch)
        found += [with_quadratic(z, COVARIANCE) for z in (g, np.sign(g))]
    return columns(*found)


def _least_squares_exact() -> Array:
    """At batch 1 by Isserlis' theorem and the arcsine law of signs of Gaussian products."""
    k, s2 = COVARIANCE, 0.25
    h = k @ THETA
    v = float(THETA @ h) + s2
    tau = np.sqrt(np.diagonal(k))
    signs = 2.0 / math.pi * np.arcsin(h / (tau * math.sqrt(v)))
    # The residual's own sign cancels in a product of two.
    products = 2.0 / math.pi * np.arcsin(k / np.outer(tau, tau) - np.eye(DIM)) + np.eye(DIM)
    # E[r^2 x x^T] = v K + 2 h h^T.
    return np.array(
        [*h, float(np.sum(k * (v * k + 2.0 * np.outer(h, h)))), *signs, float(np.sum(k * products))]
    )


def _least_squares_at_one() -> Array:
    return np.concatenate([of_direction(_least_squares(), THETA, m) for m in ("sgd", "ssd")])


def _least_squares_risk() -> Array:
    return theory.expected_excess_loss(_least_squares(), "sgd", THETA, STEP, 2)[1:]


def _least_squares_risk_exact() -> Array:
    """S <- E[(I - a x x^T) S (I - a x x^T)] + a^2 s^2 K, its fourth moment written out by index."""
    k, second, found = COVARIANCE, np.outer(THETA, THETA), []
    fourth = (
        np.einsum("ij,kl->ijkl", k, k)
        + np.einsum("ik,jl->ijkl", k, k)
        + np.einsum("il,jk->ijkl", k, k)
    )
    for _ in range(2):
        change = -STEP * (k @ second + second @ k)
        change += STEP**2 * (np.einsum("iabj,ab->ij", fourth, second) + 0.25 * k)
        second = second + change
        found.append(0.5 * float(np.sum(k * second)))
    return np.array(found)


_ALIKE, _HEIGHT = 50, 0.3


def _high_dimension_claimed() -> Array:
    problem = qpsim.LeastSquares(np.ones(_ALIKE), label_noise_std=0.5)
    start = np.full(_ALIKE, _HEIGHT)
    curves = [
        theory.high_dimensional_risk(problem, m, start, 0.01, N_STEPS) for m in ("sgd", "ssd")
    ]
    return np.concatenate([curve[1:] for curve in curves])


def _high_dimension_by_coordinate() -> Array:
    """On K = I all coordinates are alike: one number, E[e_i^2], follows the equation."""
    found = []
    for is_sign in (False, True):
        square = _HEIGHT**2
        for _ in range(N_STEPS):
            v = _ALIKE * square + 0.25
            if is_sign:
                square += -4.0 / math.pi * 0.01 / math.sqrt(v) * square + 0.01**2
            else:
                square = 0.99**2 * square + 0.01**2 * v
            found.append(0.5 * _ALIKE * square)
    return np.array(found)


# --- a table of data, a local model, a preconditioner ---------------------------------------------


@cache
def _table() -> tuple[Array, Array]:
    rng = np.random.Generator(np.random.PCG64(7))
    return rng.standard_normal((9, DIM)), rng.standard_normal(9)


def _table_claimed() -> Array:
    problem = qpsim.DataProblem(*_table())
    return np.concatenate([of_direction(problem, THETA, m) for m in ("sgd", "ssd")])


def _table_summed() -> Array:
    x, y = _table()
    g = x * (x @ THETA - y)[:, None]
    q = x.T @ x / len(x)
    return np.concatenate([with_quadratic(z, q).mean(axis=0) for z in (g, np.sign(g))])


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
    quadratic = float(np.trace(_SADDLE) + 2.0 * 0.3 * sign_product(mean, matrix))
    return np.array([*sign, quadratic, float(mean @ sign) / quadratic, 1.0])


def _preconditioned_claimed() -> Array:
    """Gradient descent in the coordinates of H^(1/2): its step is one along H^-1 g in ours."""
    problem = pair("gaussian")[0]
    inverse = np.linalg.inv(setting.matrix(problem))
    there = problem.preconditioned(inverse)
    # theta' = P^(-1/2) theta with the symmetric root.
    values, vectors = np.linalg.eigh(inverse)
    theta = (vectors * values**-0.5) @ vectors.T @ THETA[:2]
    moved, quadratic = theory.direction_moments(there, "sgd", theta)
    slope = float(there.gradient(theta) @ moved)
    return np.array([slope, quadratic, theory.expected_improvement(there, "sgd", theta)])


def _preconditioned_exact() -> Array:
    problem, mean, matrix = pair("gaussian")
    inverse = np.linalg.inv(setting.matrix(problem))
    # Along z = H^-1 g: grad^T E[z], and E[z^T H z] = E[g^T H^-1 g].
    slope = float(mean @ inverse @ mean)
    quadratic = slope + float(np.sum(inverse * matrix))
    return np.array([slope, quadratic, 0.5 * slope**2 / quadratic])


_BATCHES = tuple(f"batch {b}, {m}" for b in (1, _BATCH) for m in ("sgd", "ssd"))

STATEMENTS = (
    Statement(
        "least-squares-moments",
        "Moments of least squares with Gaussian data, at any batch size, are those of drawn data.",
        "a Student-t law of as many degrees of freedom as the batch has rows",
        moment_cases(_BATCHES),
        _least_squares_claimed,
        _least_squares_drawn,
    ),
    Statement(
        "least-squares-exact",
        "At batch 1 they are Isserlis' fourth moments and arcsines.",
        "Isserlis (1918); Xiao et al. (2024)",
        moment_cases(("sgd", "ssd")),
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
        "high-dimension-exact",
        "Where all coordinates are alike the high-dimensional risk is a recursion of one number.",
        "Xiao et al. (2024), Collins-Woodfin et al. (2023)",
        tuple(f"{m}, step {t + 1}" for m in ("sgd", "ssd") for t in range(N_STEPS)),
        _high_dimension_claimed,
        lambda draw: _high_dimension_by_coordinate(),
        "exact",
    ),
    Statement(
        "data-moments-exact",
        "Moments on a table of data are means over its rows.",
        "definition",
        moment_cases(("sgd", "ssd")),
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
