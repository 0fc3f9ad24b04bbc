"""Section 2.1 and B.1: the model problem, the parabola of one step, what a direction is worth."""

from __future__ import annotations

from functools import cache

import numpy as np

from qpsim import theory
from qpsim.methods import Method, State, method
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.problem.random import random_problem
from qpsim.verdicts.theory import setting
from qpsim.verdicts.theory.setting import BUFFER, METHODS, MU, Array
from qpsim.verdicts.theory.statement import Draw, Statement, columns

_STEP, _OFF, _ENTRIES = 0.15, 0.3, ((0, 0), (0, 1), (1, 3), (3, 3))
_LARGE = 20


def _moving(name: str) -> tuple[Method, State | None]:
    """A method as the theory takes it, with the state that the experiments carry."""
    if not name.startswith("m-"):
        return method(name), None
    moving = method(name, momentum=MU)
    return moving, State(1, {moving.state_names[0]: np.array(BUFFER)})


def _of_all(quantity: str, p: QuadraticProblem | None = None) -> Array:
    """A quantity of the theory for every method; looked up by name when it is asked for."""
    problem = setting.dense() if p is None else p
    ask = getattr(theory, quantity)
    return np.array(
        [
            ask(problem, moving, setting.point(problem), state)
            for moving, state in map(_moving, METHODS)
        ]
    )


def _decreases(draw: Draw, steps: Array, p: QuadraticProblem | None = None) -> Array:
    """Decrease of the loss by one step of every method on the same gradients."""
    problem = setting.dense() if p is None else p
    theta = setting.point(problem)
    g = setting.gradients(problem, theta, draw.rng, draw.n)
    return columns(
        *(
            setting.decrease(problem, theta, step, setting.direction(name, problem, theta, g))
            for name, step in zip(METHODS, steps, strict=True)
        )
    )


def _parabola() -> Array:
    p = setting.dense()
    theta = setting.point(p)
    values = []
    for moving, state in map(_moving, METHODS):
        mean, quadratic = theory.direction_moments(p, moving, theta, state)
        slope = setting.gradient(p, theta) @ mean
        values.append(_STEP * slope - 0.5 * _STEP**2 * quadratic)
    return np.array(values)


def _perturbed(draw: Draw) -> Array:
    """What is lost by steps 30 % longer and shorter, in units of I(z)."""
    best = _of_all("optimal_step_size")
    lost = []
    for factor in (1.0 + _OFF, 1.0 - _OFF):
        # The same seed twice: the two steps are compared on the same gradients.
        first, second = _same(draw)
        lost.append(_decreases(first, best) - _decreases(second, factor * best))
    return columns(*lost) / np.tile(_of_all("expected_improvement"), 2)


def _same(draw: Draw) -> tuple[Draw, Draw]:
    seed = int(draw.rng.integers(2**63))
    first, second = (
        draw._replace(rng=np.random.Generator(np.random.PCG64(seed))) for _ in range(2)
    )
    return first, second


def _losses(draw: Draw) -> Array:
    p = setting.dense()
    return setting.half_square(p, setting.point(p) - setting.data(p, draw.rng, draw.n))[:, None]


def _gradient_law() -> Array:
    p = setting.dense()
    covariance = p.gradient_covariance()
    return np.concatenate([p.gradient(setting.point(p)), [covariance[i, j] for i, j in _ENTRIES]])


def _gradient_draws(draw: Draw) -> Array:
    p = setting.dense()
    theta = setting.point(p)
    g = setting.gradients(p, theta, draw.rng, draw.n)
    e = g - setting.gradient(p, theta)
    return columns(g, *(e[:, i] * e[:, j] for i, j in _ENTRIES))


def _quadratic_forms(draw: Draw) -> Array:
    p = setting.dense()
    theta = setting.point(p)
    g = setting.gradients(p, theta, draw.rng, draw.n)
    both = (setting.direction(name, p, theta, g) for name in ("sgd", "ssd"))
    return columns(*(2.0 * setting.half_square(p, z) for z in both))


def _printed_sgd() -> Array:
    """Eq. 12 left, written out: the formula of Eq. 20 with its 1/2."""
    p = setting.dense()
    return np.atleast_1d(theory.expected_improvement(p, "sgd", setting.point(p)))


def _bounds() -> Array:
    return np.array(
        [
            theory.improvement_bound(p, setting.point(p))
            for p in (setting.dense(), setting.diagonal())
        ]
    )


def _sign_decreases(draw: Draw) -> Array:
    k = METHODS.index("ssd")
    return columns(
        *(
            _decreases(draw, _of_all("optimal_step_size", p), p)[:, k]
            for p in (setting.dense(), setting.diagonal())
        )
    )


def _eq13(draw: Draw) -> Array:
    p = setting.dense()
    q = np.abs(setting.matrix(p))
    return np.array(
        [theory.improvement_bound(p, setting.point(p), "entries"), np.trace(q) / q.sum()]
    )


def _largest_form(draw: Draw) -> Array:
    """The largest violation of 0 <= s^T Q s <= sum |q_ij| over all sign vectors and problems."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    signs: Array = 1.0 - 2.0 * bits.astype(np.float64)
    worst = 0.0
    for k in range(_LARGE):
        p = random_problem("mild", 8, "haar", rng=k)
        forms = 2.0 * setting.half_square(p, signs)
        limit = theory.mass_inequality(p).entries
        worst = max(worst, float(forms.max() - limit), -float(forms.min()))
    return np.array([worst])


def _chain() -> Array:
    chain = theory.mass_inequality(setting.dense())
    return np.array([chain.trace, chain.entries, chain.eigenvectors])


def _chain_draws(draw: Draw) -> Array:
    """Each sum as the expectation of one of its terms, drawn at random."""
    q = setting.matrix(setting.dense())
    d = len(q)
    values, vectors = np.linalg.eigh(q)
    i, j, k = draw.rng.integers(d, size=(3, draw.n))
    weights = values * np.abs(vectors).sum(axis=0) ** 2
    return columns(d * values[k], d * d * np.abs(q[i, j]), d * weights[k])


def _chain_steps(draw: Draw) -> Array:
    """By how much the chain is violated at worst, over random problems."""
    worst = np.zeros(3)
    for k in range(_LARGE):
        chain = np.array(theory.mass_inequality(random_problem("structured", 10, 0.5, rng=k)))
        worst = np.maximum(worst, chain[:-1] - chain[1:])
    return worst


@cache
def _extremes() -> tuple[QuadraticProblem, QuadraticProblem]:
    """Noisy, ill-conditioned and axis-aligned; and nothing of that."""
    return (
        random_problem("structured", _LARGE, "axis", noise_std=4.0, rng=1),
        random_problem("mild", _LARGE, "haar", noise_std=0.1, rng=1),
    )


def _advantage(draw: Draw) -> Array:
    """Sign's decrease minus the gradient's where sign should win, and the reverse."""
    won = []
    for p, sense in zip(_extremes(), (1.0, -1.0), strict=True):
        theta = np.zeros(p.dim)
        g = setting.gradients(p, theta, draw.rng, draw.n)
        sign, plain = (
            setting.decrease(
                p,
                theta,
                theory.optimal_step_size(p, name, theta),
                setting.direction(name, p, theta, g),
            )
            for name in ("ssd", "sgd")
        )
        won.append(sense * (sign - plain))
    return columns(*won)


STATEMENTS = (
    Statement(
        "expected-loss",
        "The expected loss is 0.5 e^T Q e + 0.5 nu^2 tr Q.",
        "Eq. 9",
        ("loss",),
        lambda: [
            setting.dense().excess_loss(setting.point(setting.dense()))
            + setting.dense().noise_floor
        ],
        _losses,
    ),
    Statement(
        "gradient-law",
        "Stochastic gradients have mean Q (theta - x*) and covariance nu^2 Q Q.",
        "text after Eq. 9, corrected; B.1",
        (
            *(f"mean {i + 1}" for i in range(4)),
            *(f"covariance {i + 1},{j + 1}" for i, j in _ENTRIES),
        ),
        _gradient_law,
        _gradient_draws,
    ),
    Statement(
        "parabola",
        "A step alpha along z decreases the expected loss by alpha grad^T E[z] - 0.5 alpha^2 "
        "E[z^T Q z].",
        "Eq. 10",
        METHODS,
        _parabola,
        lambda draw: _decreases(draw, np.full(len(METHODS), _STEP)),
    ),
    Statement(
        "improvement",
        "The best step decreases it by I(z) = 0.5 (grad^T E[z])^2 / E[z^T Q z].",
        "Eq. 11",
        METHODS,
        lambda: _of_all("expected_improvement"),
        lambda draw: _decreases(draw, _of_all("optimal_step_size")),
    ),
    Statement(
        "optimal-step",
        "That step is the best: one that is off by a share delta loses delta^2 I(z).",
        "text before Eq. 11",
        (
            *(f"{name}, 30 % longer" for name in METHODS),
            *(f"{name}, 30 % shorter" for name in METHODS),
        ),
        lambda: np.full(2 * len(METHODS), _OFF**2),
        _perturbed,
    ),
    Statement(
        "improvement-sgd",
        "I(g) = 0.5 ||grad||^4 / (grad^T Q grad + nu^2 sum lambda^3).",
        "Eq. 12 left; Eq. 20 lacks the 1/2",
        ("sgd",),
        _printed_sgd,
        lambda draw: _decreases(draw, _of_all("optimal_step_size"))[:, :1],
    ),
    Statement(
        "quadratic-forms",
        "E[g^T Q g] = grad^T Q grad + nu^2 sum lambda^3, and E[s^T Q s] = sum q_ij E[s_i s_j].",
        "B.1",
        ("sgd", "ssd"),
        lambda: [
            theory.direction_moments(setting.dense(), name, setting.point(setting.dense()))[1]
            for name in ("sgd", "ssd")
        ],
        _quadratic_forms,
    ),
    Statement(
        "improvement-ssd",
        "I(s) is at least 0.5 (sum (2 rho - 1) |grad|)^2 / sum |q_ij|.",
        "Eq. 12 right; Eq. 22 lacks the 1/2",
        ("rotated", "diagonal"),
        _bounds,
        _sign_decreases,
        "at least",
    ),
    Statement(
        "improvement-ssd-diagonal",
        "For a diagonal Q this bound is I(s) itself.",
        "Eq. 12 right",
        ("diagonal",),
        lambda: _bounds()[1:],
        lambda draw: _sign_decreases(draw)[:, 1:],
    ),
    Statement(
        "sign-form",
        "0 <= s^T Q s <= sum |q_ij| for every sign vector.",
        "Eq. 21",
        ("largest violation, d = 8",),
        lambda: np.zeros(1),
        _largest_form,
        "identity",
    ),
    Statement(
        "diagonal-mass",
        "With a share c of the Hessian's mass on its diagonal, the bound's denominator is tr(Q) / c.",
        "Eq. 13",
        ("bound, by Eq. 12's entries", "c"),
        lambda: [
            theory.improvement_bound(setting.dense(), setting.point(setting.dense()), "trace"),
            theory.diagonal_mass(setting.dense()),
        ],
        _eq13,
        "identity",
    ),
    Statement(
        "mass-sums",
        "tr Q, sum |q_ij| and sum lambda_i ||v_i||_1^2.",
        "Section 2.1",
        ("trace", "entries", "eigenvectors"),
        _chain,
        _chain_draws,
    ),
    Statement(
        "mass-chain",
        "tr Q <= sum |q_ij| <= sum lambda_i ||v_i||_1^2 <= d tr Q.",
        "Section 2.1",
        ("largest violation, first", "second", "third"),
        lambda: np.zeros(3),
        _chain_steps,
        "identity",
    ),
    Statement(
        "beneficial",
        "The sign is worth more on a noisy, ill-conditioned, axis-aligned problem; the gradient on "
        "a well-conditioned, rotated one with little noise.",
        "end of Section 2.1",
        ("sign ahead by", "gradient ahead by"),
        lambda: np.zeros(2),
        _advantage,
        "above",
    ),
)
