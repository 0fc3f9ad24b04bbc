"""Section 2.1 and B.1: the model problem, the parabola of one step, what a direction is worth."""

from __future__ import annotations

from functools import cache

import numpy as np

from qpsim import theory
from qpsim.methods import Method, State
from qpsim.methods import method as find_method
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.problem.random import random_problem
from qpsim.verdicts.theory import exact, setting
from qpsim.verdicts.theory.setting import METHODS, MU, Array
from qpsim.verdicts.theory.statement import Draw, Statement, columns

_STEP, _OFF, _ENTRIES = 0.15, 0.3, ((0, 0), (0, 1), (1, 3), (3, 3))
_DIM = 20
_TABLE = ("sgd", "ssd", "svag", "va-ssd")


def _moving(name: str, p: QuadraticProblem) -> tuple[Method, State | None]:
    """A method as the theory takes it, with the state that the experiments carry."""
    if not name.startswith("m-"):
        return find_method(name), None
    moving = find_method(name, momentum=MU)
    return moving, State(1, {moving.state_names[0]: setting.buffer(p)})


def _of_all(quantity: str, p: QuadraticProblem) -> Array:
    """A quantity of the theory for every method; looked up by name when it is asked for."""
    ask = getattr(theory, quantity)
    found = []
    for name in METHODS:
        moving, state = _moving(name, p)
        found.append(ask(p, moving, setting.point(p), state))
    return np.array(found)


def _decreases(draw: Draw, steps: Array, p: QuadraticProblem) -> Array:
    """Decrease of the loss by one step of every method on the same gradients."""
    theta = setting.point(p)
    g = setting.gradients(p, theta, draw.rng, draw.n)
    return columns(
        *(
            setting.decrease(p, theta, step, setting.direction(name, p, theta, g))
            for name, step in zip(METHODS, steps, strict=True)
        )
    )


# --- the model problem ---------------------------------------------------------------------------


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


# --- one step, by draws on four coordinates ------------------------------------------------------


def _parabola() -> Array:
    p = setting.dense()
    theta = setting.point(p)
    values = []
    for name in METHODS:
        moving, state = _moving(name, p)
        mean, quadratic = theory.direction_moments(p, moving, theta, state)
        slope = setting.gradient(p, theta) @ mean
        values.append(_STEP * slope - 0.5 * _STEP**2 * quadratic)
    return np.array(values)


def _perturbed(draw: Draw) -> Array:
    """What is lost by steps 30 % longer and shorter, in units of I(z)."""
    p = setting.dense()
    best = _of_all("optimal_step_size", p)
    lost = []
    for factor in (1.0 + _OFF, 1.0 - _OFF):
        # The same seed twice: the two steps are compared on the same gradients.
        first, second = _same(draw)
        lost.append(_decreases(first, best, p) - _decreases(second, factor * best, p))
    return columns(*lost) / np.tile(_of_all("expected_improvement", p), 2)


def _same(draw: Draw) -> tuple[Draw, Draw]:
    seed = int(draw.rng.integers(2**63))
    first, second = (
        draw._replace(rng=np.random.Generator(np.random.PCG64(seed))) for _ in range(2)
    )
    return first, second


@cache
def _extremes() -> tuple[QuadraticProblem, QuadraticProblem]:
    """Noisy, ill-conditioned and axis-aligned; and nothing of that."""
    return (
        random_problem("structured", _DIM, "axis", noise_std=4.0, rng=1),
        random_problem("mild", _DIM, "haar", noise_std=0.1, rng=1),
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


# --- one step, exactly on two coordinates --------------------------------------------------------


def _at_pair(name: str) -> tuple[QuadraticProblem, Method, Array, State | None]:
    p = setting.pair()
    moving, state = _moving(name, p)
    return p, moving, setting.point(p), state


def _moments_claimed() -> Array:
    moments = [theory.direction_moments(*_at_pair(name)) for name in METHODS]
    return np.concatenate([[*mean, quadratic] for mean, quadratic in moments])


def _integrated(name: str) -> tuple[Array, Array]:
    """Directions (n, 2) of a method at the pair's point, with their weights (n,)."""
    p = setting.pair()
    theta = setting.point(p)
    g, weights = exact.gradients(p, theta, setting.carried(name, p))
    return setting.direction(name, p, theta, g), weights


def _moments_integrated() -> Array:
    p, found = setting.pair(), []
    for name in METHODS:
        z, weights = _integrated(name)
        found += [*(weights @ z), weights @ (2.0 * setting.half_square(p, z))]
    return np.array(found)


def _vertex(name: str) -> tuple[float, float]:
    """Best step and largest decrease of the expected loss, from its values at three step sizes."""
    p = setting.pair()
    z, weights = _integrated(name)
    return exact.vertex(
        lambda step: float(weights @ setting.decrease(p, setting.point(p), step, z)), _STEP
    )


def _best_claimed() -> Array:
    quantities = ("optimal_step_size", "expected_improvement")
    return np.concatenate([_of_all(quantity, setting.pair()) for quantity in quantities])


def _table_claimed() -> Array:
    p = setting.pair()
    table = theory.compare_directions(p, setting.point(p), _TABLE)
    rows = [(r.optimal_step_size, r.expected_improvement, r.ratio_to_sgd) for r in table.rows]
    return np.append(np.ravel(rows), table.excess_loss)


def _table_measured() -> Array:
    p = setting.pair()
    vertices = [_vertex(name) for name in _TABLE]
    rows = [(step, gain, gain / vertices[0][1]) for step, gain in vertices]
    return np.append(np.ravel(rows), setting.half_square(p, setting.point(p) - p.optimum))


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
        lambda draw: _decreases(draw, np.full(len(METHODS), _STEP), setting.dense()),
    ),
    Statement(
        "improvement",
        "The best step decreases it by I(z) = 0.5 (grad^T E[z])^2 / E[z^T Q z].",
        "Eq. 11, and Eq. 12 left; Eq. 20 lacks the 1/2",
        METHODS,
        lambda: _of_all("expected_improvement", setting.dense()),
        lambda draw: _decreases(
            draw, _of_all("optimal_step_size", setting.dense()), setting.dense()
        ),
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
        "moments-exact",
        "E[z] and E[z^T Q z] are integrals over the gradient's density, here on two coordinates.",
        "B.1; Eq. 10",
        tuple(f"{name}, {x}" for name in METHODS for x in ("E[z_1]", "E[z_2]", "E[z^T Q z]")),
        _moments_claimed,
        lambda draw: _moments_integrated(),
        "exact",
    ),
    Statement(
        "best-step-exact",
        "The best step and its decrease are those of the parabola through three expected losses.",
        "Eq. 10 and 11",
        tuple(f"{name}, {x}" for x in ("step", "decrease") for name in METHODS),
        _best_claimed,
        lambda draw: np.array([_vertex(name) for name in METHODS]).T.ravel(),
        "exact",
    ),
    Statement(
        "comparison-exact",
        "The table of directions holds those steps and decreases, and their ratios to SGD's.",
        "Section 2.1",
        (
            *(f"{name}, {x}" for name in _TABLE for x in ("step", "decrease", "ratio")),
            "excess loss",
        ),
        _table_claimed,
        lambda draw: _table_measured(),
        "exact",
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
