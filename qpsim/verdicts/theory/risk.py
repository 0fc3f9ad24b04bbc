"""Exact risk curves beyond the paper, where they end, and the simulator's own exact steps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import qpsim
from qpsim import theory
from qpsim.methods import Method, State
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.verdicts.theory import exact, setting
from qpsim.verdicts.theory.setting import MU, Array
from qpsim.verdicts.theory.statement import Draw, Statement, columns

_STEP, _TIMES = 0.05, (1, 5, 20, 60)
_LONG, _LONG_STEP = 150, 0.25
_PATH_STEPS = np.array([0.3, 0.2, 0.4, 0.1, 0.25])
_SIGN_STEP, _SIGN_STEPS = 0.2, 10
_SLOW_STEP, _TARGETS = 0.002, (0.2, 0.05)
_RECORDED = ("sgd", "ssd", "svag", "va-ssd", "va-ssd-erf", "m-sgd")
_LINEAR = ("sgd", "m-sgd", "nesterov")


def _moving(name: str) -> Method:
    return qpsim.method(name) if name in ("sgd", "ssd") else qpsim.method(name, momentum=MU)


# --- risk by draws -------------------------------------------------------------------------------


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


def _simulated_risk(draw: Draw) -> Array:
    n = draw.n // 5
    return columns(
        *(
            setting.run(draw, p, name, _STEP, _TIMES[-1], n)[:, list(_TIMES)]
            for name, p in _curves()
        )
    )


def _steady_draws(draw: Draw) -> Array:
    p = setting.dense()
    runs = (
        setting.run(draw, p, _moving(name), _LONG_STEP, _LONG, draw.n // 10)
        for name in ("sgd", "m-sgd")
    )
    return columns(*(run[:, -1] for run in runs))


# --- risk without draws --------------------------------------------------------------------------


def _paths_claimed() -> Array:
    p = setting.pair()
    start = setting.point(p)
    curves = [
        theory.expected_excess_loss(p, _moving(name), start, _PATH_STEPS, _PATH_STEPS.size)
        for name in _LINEAR
    ]
    return np.concatenate(curves)


def _paths_followed() -> Array:
    """The losses of all paths of a rule, written out as its textbook has it."""
    p = setting.pair()
    found = []
    for name in _LINEAR:
        mu = 0.0 if name == "sgd" else MU
        buffer: Array | float = 0.0

        def step(t: int, theta: Array, g: Array, name: str = name, mu: float = mu) -> Array:
            nonlocal buffer
            buffer = mu * buffer + g
            z = g + mu * buffer if name == "nesterov" else buffer
            return theta - _PATH_STEPS[t - 1] * z

        found.append(exact.expected_paths(p, step, setting.point(p), _PATH_STEPS.size))
    return np.concatenate(found)


def _sign_paths_claimed() -> Array:
    p = setting.diagonal_pair()
    return theory.expected_excess_loss(p, "ssd", setting.point(p), _SIGN_STEP, _SIGN_STEPS)


def _sign_paths_followed() -> Array:
    p = setting.diagonal_pair()
    steps = np.full(_SIGN_STEPS, _SIGN_STEP)
    return exact.expected_sign_paths(p, setting.point(p), steps)


def _momentum_sign_claimed() -> Array:
    p = setting.diagonal_pair()
    method = qpsim.method("m-ssd", momentum=MU)
    return theory.expected_excess_loss(p, method, setting.point(p), _SIGN_STEP, 2)[1:]


def _momentum_sign_summed() -> Array:
    """Losses after one and two steps: a sum over the first gradient, the law of the second's sign given it."""
    from scipy.special import ndtr

    p, found = setting.diagonal_pair(), np.zeros(2)
    for q, e in zip(p.hessian, setting.point(p) - p.optimum, strict=True):
        std = p.noise_std * q
        g, weights = exact.line(q * e, std)
        at = e - _SIGN_STEP * np.sign(g)
        up = ndtr(-(MU * g + q * at) / std)
        second = (1.0 - up) * (at - _SIGN_STEP) ** 2 + up * (at + _SIGN_STEP) ** 2
        found += 0.5 * q * np.array([weights @ at**2, weights @ second])
    return found


def _one_step(p: QuadraticProblem, name: str, step: float) -> tuple[Array, Array]:
    """(offset, momentum sum) after a step as a matrix on what it was before, and on the data's draw."""
    q, one = setting.matrix(p), np.eye(p.dim)
    mu = 0.0 if name == "sgd" else MU
    kept = np.block([[one, 0.0 * one], [q, mu * one]])
    moved = np.block([[one, -step * one], [0.0 * one, one]])
    noise = np.vstack([0.0 * one, -p.noise_std * q])
    return moved @ kept, moved @ noise


def _steady_solved() -> Array:
    """0.5 tr(Q S) of the covariance S that a step leaves as it is."""
    from scipy.linalg import solve_discrete_lyapunov

    p = setting.pair()
    found = []
    for name in ("sgd", "m-sgd"):
        matrix, noise = _one_step(p, name, _LONG_STEP)
        covariance = solve_discrete_lyapunov(matrix, noise @ noise.T)
        found.append(0.5 * np.trace(setting.matrix(p) @ covariance[: p.dim, : p.dim]))
    return np.array(found)


def _stable_searched() -> Array:
    """The step size at which the spectral radius of a step becomes 1, by bisection."""
    from scipy.optimize import brentq

    p = setting.pair()

    def excess(step: float, name: str) -> float:
        return float(np.abs(np.linalg.eigvals(_one_step(p, name, step)[0])).max()) - 1.0

    return np.array(
        [brentq(excess, 0.3, 3.0, args=(name,), xtol=1e-14) for name in ("sgd", "m-sgd")]
    )


def _frozen_searched() -> Array:
    """The curvature at which a step's matrix has the spectral radius 1: of nesterov, and of adam with fixed lengths."""
    from scipy.optimize import brentq

    def nesterov(h: float) -> Array:
        # b <- mu b + h e, e <- e - step (h e + mu b).
        b = np.array([h, MU])
        return np.array([np.array([1.0, 0.0]) - _STEP * (np.array([h, 0.0]) + MU * b), b])

    def adam(h: float) -> Array:
        # m <- mu m + (1 - mu) h e, e <- e - step m.
        m = np.array([(1.0 - MU) * h, MU])
        return np.array([np.array([1.0, 0.0]) - _STEP * m, m])

    def excess(h: float, matrix: Callable[[float], Array]) -> float:
        return float(np.abs(np.linalg.eigvals(matrix(h))).max()) - 1.0

    return np.array(
        [
            brentq(excess, 1.0 / _STEP, 20.0 / _STEP, args=(matrix,), xtol=1e-13)
            for matrix in (nesterov, adam)
        ]
    )


def _until_counted() -> Array:
    """Steps until the expected loss is below a target, one after the other."""
    p = setting.pair()
    found = []
    for name in ("sgd", "m-sgd"):
        matrix, noise = _one_step(p, name, _SLOW_STEP)
        for target in _TARGETS:
            mean = np.concatenate([setting.point(p) - p.optimum, np.zeros(p.dim)])
            second, count = np.outer(mean, mean), 0
            while 0.5 * np.trace(setting.matrix(p) @ second[: p.dim, : p.dim]) > target:
                second = matrix @ second @ matrix.T + noise @ noise.T
                count += 1
            found.append(float(count))
    return np.array(found)


def _until_claimed() -> Array:
    p = setting.pair()
    return np.array(
        [
            theory.steps_until(p, _moving(name), target, _SLOW_STEP, setting.point(p))
            for name in ("sgd", "m-sgd")
            for target in _TARGETS
        ]
    )


# --- the simulator's steps -----------------------------------------------------------------------


def _recorded(draw: Draw) -> Array:
    """Largest difference of a recorded optimal step to the theory's along runs, in units of such a step."""
    p = setting.dense()
    worst = []
    for name in _RECORDED:
        # A momentum sum is known from the step that it made. After the first step, which is never
        # small, it is known exactly; a later step may be as good as 0 and tell nothing of it.
        n_steps, n = (2, 32) if name == "m-sgd" else (8, 8)
        run = qpsim.simulate(
            p,
            name,
            "optimal",
            n_steps,
            n,
            setting.point(p),
            rng=draw.rng,
            workers=draw.workers,
            record=("step_size", "theta"),
        )
        assert run.theta is not None
        assert run.step_size is not None
        gap = 0.0
        for t in range(n_steps):
            theta, state = run.theta[:, t], None
            if name == "m-sgd" and t == 1:
                moved = run.theta[:, 0] - run.theta[:, 1]
                state = State(1, {run.method.state_names[0]: moved / run.step_size[:, :1]})
            step = theory.optimal_step_size(p, run.method, theta, state)
            mean, quadratic = theory.direction_moments(p, run.method, theta, state)
            gradient = p.gradient(theta)
            # The largest step that directions of this length can have: where momentum and gradient
            # point apart the best step is small by cancellation, which rounding does not know.
            scale = np.linalg.norm(gradient, axis=1) * np.linalg.norm(mean, axis=1) / quadratic
            gap = max(gap, float(np.abs((run.step_size[:, t] - step) / scale).max()))
        worst.append(gap)
    return np.array(worst)


STATEMENTS = (
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
        "risk-exact",
        "The same with a schedule, and for nesterov, as means over all paths of few steps.",
        "beyond the paper",
        tuple(f"{name}, t = {t}" for name in _LINEAR for t in range(_PATH_STEPS.size + 1)),
        _paths_claimed,
        lambda draw: _paths_followed(),
        "exact",
    ),
    Statement(
        "sign-risk-exact",
        "The same for ssd on a diagonal Hessian.",
        "beyond the paper",
        tuple(f"ssd, t = {t}" for t in range(_SIGN_STEPS + 1)),
        _sign_paths_claimed,
        lambda draw: _sign_paths_followed(),
        "exact",
    ),
    Statement(
        "momentum-sign-risk-exact",
        "The same for m-ssd on a diagonal Hessian, after one and two steps.",
        "beyond the paper",
        ("m-ssd, t = 1", "m-ssd, t = 2"),
        _momentum_sign_claimed,
        lambda draw: _momentum_sign_summed(),
        "exact",
    ),
    Statement(
        "steady-state",
        "Where sgd and m-sgd stall at a constant step.",
        "beyond the paper",
        ("sgd", f"m-sgd, mu = {MU:g}"),
        lambda: [
            theory.steady_state_excess_loss(setting.dense(), _moving(name), _LONG_STEP)
            for name in ("sgd", "m-sgd")
        ],
        _steady_draws,
    ),
    Statement(
        "steady-state-exact",
        "The same from the covariance that a step leaves as it is.",
        "beyond the paper",
        ("sgd", f"m-sgd, mu = {MU:g}"),
        lambda: [
            theory.steady_state_excess_loss(setting.pair(), _moving(name), _LONG_STEP)
            for name in ("sgd", "m-sgd")
        ],
        lambda draw: _steady_solved(),
        "exact",
    ),
    Statement(
        "stability-exact",
        "The largest stable step is the one at which a step's matrix has the spectral radius 1.",
        "beyond the paper",
        ("sgd", f"m-sgd, mu = {MU:g}"),
        lambda: [
            theory.largest_stable_step_size(setting.pair(), _moving(name))
            for name in ("sgd", "m-sgd")
        ],
        lambda draw: _stable_searched(),
        "exact",
    ),
    Statement(
        "stability-frozen-exact",
        "The largest stable curvature is the one at which a step's matrix has the spectral radius 1.",
        "Cohen et al. (2022)",
        (f"nesterov, mu = {MU:g}", f"adam with fixed lengths, b1 = {MU:g}"),
        lambda: [
            theory.largest_stable_curvature(moving, _STEP)
            for moving in (qpsim.method("nesterov", momentum=MU), qpsim.method("adam", b1=MU))
        ],
        lambda draw: _frozen_searched(),
        "exact",
    ),
    Statement(
        "steps-until-exact",
        "The number of steps after which the expected loss is below a target.",
        "beyond the paper",
        tuple(f"{name}, to {target:g}" for name in ("sgd", "m-sgd") for target in _TARGETS),
        _until_claimed,
        lambda draw: _until_counted(),
        "exact",
    ),
    Statement(
        "recorded-steps",
        "A simulation's optimal steps are the theory's, given the state before the step.",
        "Eq. 11",
        tuple(f"{name}, largest difference in units of a step" for name in _RECORDED),
        lambda: np.zeros(len(_RECORDED)),
        _recorded,
        "exact",
    ),
)
