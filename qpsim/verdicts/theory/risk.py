"""Theorem 1 and B.4, exact risk curves, and the simulator's own exact steps."""

from __future__ import annotations

from functools import cache

import numpy as np

import qpsim
from qpsim import theory
from qpsim.methods import Method, State
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.problem.random import random_problem
from qpsim.verdicts.theory import setting
from qpsim.verdicts.theory.setting import MU, Array
from qpsim.verdicts.theory.statement import Draw, Statement, columns

_STEP, _TIMES = 0.05, (1, 5, 20, 60)
_LONG, _LONG_STEP = 150, 0.25
_PROMISED = (1, 10, 100)
_RECORDED = ("sgd", "ssd", "svag", "va-ssd", "va-ssd-erf", "m-sgd")


def _curves() -> tuple[tuple[str, QuadraticProblem], ...]:
    return (
        ("sgd", setting.dense()),
        ("m-sgd", setting.dense()),
        ("ssd", setting.diagonal()),
    )


def _exact_risk() -> Array:
    last = _TIMES[-1]
    return np.concatenate(
        [
            theory.expected_excess_loss(p, name, setting.point(p), _STEP, last)[list(_TIMES)]
            for name, p in _curves()
        ]
    )


def _run(
    draw: Draw, p: QuadraticProblem, method: str | Method, step: float, n_steps: int, n: int
) -> Array:
    start = setting.point(p)
    return qpsim.simulate(
        p, method, step, n_steps, n, start, rng=draw.rng, workers=draw.workers, record=()
    ).excess_loss


def _simulated_risk(draw: Draw) -> Array:
    n = draw.n // 5
    return columns(
        *(_run(draw, p, name, _STEP, _TIMES[-1], n)[:, list(_TIMES)] for name, p in _curves())
    )


def _steady() -> tuple[str | Method, ...]:
    return "sgd", qpsim.method("m-sgd", momentum=MU)


def _steady_draws(draw: Draw) -> Array:
    p = setting.dense()
    return columns(
        *(_run(draw, p, method, _LONG_STEP, _LONG, draw.n // 10)[:, -1] for method in _steady())
    )


@cache
def _convex() -> QuadraticProblem:
    """Well-conditioned, so that the bound of Theorem 1 is felt within a hundred steps."""
    return random_problem([0.5, 0.8, 1.0, 1.0], basis="haar", noise_std=1.0, rng=3)


@cache
def _one() -> QuadraticProblem:
    return QuadraticProblem([2.0], optimum=[0.0], noise_std=0.7)


def _adapted(p: QuadraticProblem, theta: Array) -> Array:
    eta2 = (setting.std(p) / setting.gradient(p, theta)) ** 2
    return np.asarray(theory.variance_adaptation_factor(eta2, "gradient"))


def _guaranteed(p: QuadraticProblem, theta: Array) -> float:
    """(1 / 2L) sum gamma_i grad_i^2, the decrease that Eq. 33 promises."""
    grad = setting.gradient(p, theta)
    return float(_adapted(p, theta) @ grad**2) / (2.0 * float(p.eigenvalues.max()))


def _svag_decrease(draw: Draw, p: QuadraticProblem, theta: Array) -> Array:
    g = setting.gradients(p, theta, draw.rng, draw.n)
    z = setting.direction("svag", p, theta, g)
    return setting.decrease(p, theta, 1.0 / float(p.eigenvalues.max()), z)


_POINT = np.array([1.5])


def _promised_steps() -> Array:
    p = _convex()
    theta = setting.point(p)
    moment = theory.conditional_second_moment(setting.gradient(p, theta), setting.std(p))
    quadratic = theory.convergence_rate(p, moment) * p.excess_loss(theta) ** 2
    return np.array([_guaranteed(p, theta), quadratic])


def _promised_draws(draw: Draw) -> Array:
    p = _convex()
    decrease = _svag_decrease(draw, p, setting.point(p))
    return columns(decrease, decrease)


@cache
def _second_moment() -> float:
    """G^2 on simulated paths of idealised svag."""
    p = _convex()
    run = qpsim.simulate(
        p,
        "svag",
        1.0 / float(p.eigenvalues.max()),
        _PROMISED[-1],
        64,
        setting.point(p),
        rng=0,
        workers=1,
        record=("theta",),
    )
    assert run.theta is not None
    return theory.largest_second_moment(p, run.theta)


def _promise() -> Array:
    p = _convex()
    found = theory.theorem1(p, setting.point(p), _PROMISED[-1], _second_moment())
    return found.bound[list(_PROMISED)]


def _at_smooth_step(draw: Draw, name: str) -> Array:
    p = _convex()
    step = 1.0 / float(p.eigenvalues.max())
    return _run(draw, p, name, step, _PROMISED[-1], draw.n // 10)[:, list(_PROMISED)]


def _recorded(draw: Draw) -> Array:
    """Largest relative difference of a recorded optimal step to the theory's, along runs."""
    p = setting.dense()
    worst = []
    for name in _RECORDED:
        run = qpsim.simulate(
            p,
            name,
            "optimal",
            8,
            8,
            setting.point(p),
            rng=draw.rng,
            workers=draw.workers,
            record=("step_size", "theta"),
        )
        assert run.theta is not None
        assert run.step_size is not None
        gap = 0.0
        for t in range(run.n_steps):
            state = None
            if name == "m-sgd" and t:
                # theta_(t-1) - theta_t is the step times the momentum sum.
                moved = run.theta[:, t - 1] - run.theta[:, t]
                state = State(t, {run.method.state_names[0]: moved / run.step_size[:, t - 1, None]})
            exact = theory.optimal_step_size(p, run.method, run.theta[:, t], state)
            gap = max(gap, float(np.abs(run.step_size[:, t] / exact - 1.0).max()))
        worst.append(gap)
    return np.array(worst)


STATEMENTS = (
    Statement(
        "svag-step",
        "One step of idealised SVAG at 1/L decreases f by at least (1/2L) sum gamma grad^2, and "
        "that by at least c f^2.",
        "Eq. 33 to 36",
        ("by (1/2L) sum gamma grad^2", "by c f^2"),
        _promised_steps,
        _promised_draws,
        "at least",
    ),
    Statement(
        "svag-step-one",
        "In one dimension the first of these is an equality.",
        "Eq. 33",
        ("decrease",),
        lambda: [_guaranteed(_one(), _POINT)],
        lambda draw: _svag_decrease(draw, _one(), _POINT)[:, None],
    ),
    Statement(
        "theorem1",
        "Idealised SVAG at 1/L stays below 1 / (1/e_0 + c t), with G^2 measured on its path.",
        "Theorem 1, Eq. 17 and 38 to 40",
        tuple(f"excess loss at t = {t}" for t in _PROMISED),
        _promise,
        lambda draw: _at_smooth_step(draw, "svag"),
        "at most",
    ),
    Statement(
        "theorem1-sgd",
        "SGD at the same step does not: it stalls above that bound.",
        "Section 3.2",
        (f"excess loss at t = {_PROMISED[-1]}",),
        lambda: _promise()[-1:],
        lambda draw: _at_smooth_step(draw, "sgd")[:, -1:],
        "above",
    ),
    Statement(
        "exact-risk",
        "The expected excess loss at a constant step: sgd and m-sgd on a rotated Hessian, ssd on a "
        "diagonal one.",
        "beyond the paper",
        tuple(f"{name}, t = {t}" for name, _ in _curves() for t in _TIMES),
        _exact_risk,
        _simulated_risk,
    ),
    Statement(
        "steady-state",
        "Where sgd and m-sgd stall at a constant step.",
        "beyond the paper",
        ("sgd", f"m-sgd, mu = {MU:g}"),
        lambda: [
            theory.steady_state_excess_loss(setting.dense(), method, _LONG_STEP)
            for method in _steady()
        ],
        _steady_draws,
    ),
    Statement(
        "recorded-steps",
        "A simulation's optimal steps are the theory's, given the state before the step.",
        "Eq. 11",
        tuple(f"{name}, largest relative difference" for name in _RECORDED),
        lambda: np.zeros(len(_RECORDED)),
        _recorded,
        "identity",
    ),
)
