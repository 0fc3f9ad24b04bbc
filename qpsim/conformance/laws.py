"""Compares the mean loss after many steps on small stochastic quadratics, which may show what fixed streams do not.

An optimizer runs on many replicates of a noisy quadratic at once, in one tensor. Its mean excess loss is compared with
that of the rule: exact if the theory has a closed form (linear rules, sign descent), otherwise the mean of 20000 other
replicates. These take single jitted steps: the kernels of :func:`qpsim.simulate` give the same law, but compile for a
minute for some methods. The law of Adam's state on a grid would be exact too, but takes half a minute, and the standard
error of 20000 replicates is a seventh of the optimizer's. The law holds if the difference is within ``STANDARD_ERRORS``
standard errors. Three Hessians are diagonal. For rules whose loss depends on the basis there is also a dense one, where
the noise is correlated between coordinates.
"""

from __future__ import annotations

import math
import warnings

import numpy as np

from qpsim.conformance.adapters.subject import Subject
from qpsim.conformance.report import LawOutcome
from qpsim.errors import QpsimError
from qpsim.methods import Method
from qpsim.problem.quadratic import QuadraticProblem

STANDARD_ERRORS = 4.5
_N_STEPS, _N_REPLICATES, _N_EXPECTED = 50, 400, 20_000


def problems() -> dict[str, tuple[QuadraticProblem, float]]:
    """The quadratics by name, each with the distance of its starting point.

    >>> list(problems())
    ['noise 1', 'noise 0.1', 'condition 100', 'rotated']
    """
    basis = np.linalg.qr(np.random.Generator(np.random.PCG64(8)).standard_normal((3, 3)))[0]
    rotated = basis @ np.diag([0.3, 1.0, 3.0]) @ basis.T
    return {
        "noise 1": (QuadraticProblem(np.array([0.3, 1.0, 3.0]), noise_std=1.0), 1.0),
        "noise 0.1": (QuadraticProblem(np.array([0.3, 1.0, 3.0]), noise_std=0.1), 5.0),
        "condition 100": (QuadraticProblem(np.array([0.05, 0.5, 5.0]), noise_std=0.5), 3.0),
        "rotated": (QuadraticProblem(0.5 * (rotated + rotated.T), noise_std=0.5), 2.0),
    }


def hold(subject: Subject, method: Method, step_size: np.ndarray | float) -> list[LawOutcome]:
    """Every law, for an optimizer whose step size is known.

    Parameters
    ----------
    step_size : float, or ndarray of at least 50 values
        Negative for an optimizer that ascends: it is given the gradients of the negative loss.
    """
    steps = (
        np.broadcast_to(np.asarray(step_size, float), (_N_STEPS,))
        if np.ndim(step_size) == 0
        else np.asarray(step_size, float)[:_N_STEPS]
    )
    side = -1.0 if steps[0] < 0.0 else 1.0
    outcomes = []
    for k, (name, (problem, distance)) in enumerate(problems().items()):
        if method.equivariant and not problem.is_diagonal:
            continue  # the same as in the eigenbasis
        theta0 = distance * np.array([1.0, -0.7, 0.4])
        observed, error = _observed(subject, problem, theta0, side, seed=k)
        expected, other = _expected(method, problem, theta0, side * steps, seed=100 + k)
        if not math.isfinite(observed) and not math.isfinite(expected):
            continue  # at this step size the rule itself diverges
        deviation = math.hypot(error, other)
        z = (observed - expected) / deviation if deviation > 0.0 else math.inf
        if math.isclose(observed, expected, rel_tol=1e-6):
            z = 0.0  # signs may leave no noise in the loss, only rounding
        elif not math.isfinite(z):
            z = math.inf
        outcomes.append(
            LawOutcome(
                f"mean excess loss after {_N_STEPS} steps, {name}",
                observed,
                expected,
                deviation,
                z,
                bool(abs(z) <= STANDARD_ERRORS),
            )
        )
    return outcomes


def _observed(
    subject: Subject, problem: QuadraticProblem, theta0: np.ndarray, side: float, seed: int
) -> tuple[float, float]:
    rng = np.random.Generator(np.random.PCG64(seed))
    theta = np.tile(theta0, (_N_REPLICATES, 1))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        run = subject.start([theta], subject.dtypes[0])
        for _ in range(_N_STEPS):
            run.step([side * _gradients(problem, theta, rng)])
            (theta,) = run.values()
    return _mean(problem, theta)


def _expected(
    method: Method, problem: QuadraticProblem, theta0: np.ndarray, steps: np.ndarray, seed: int
) -> tuple[float, float]:
    from qpsim import theory

    has_closed_form = method.equivariant or method.name == "ssd"
    if has_closed_form and np.all(steps == steps[0]) and problem.is_diagonal:
        try:
            risk = theory.expected_excess_loss(problem, method, theta0, float(steps[0]), _N_STEPS)
            return float(np.asarray(risk)[-1]), 0.0
        except QpsimError:
            pass
    rng = np.random.Generator(np.random.PCG64(seed))
    theta = np.tile(theta0, (_N_EXPECTED, 1))
    state = method.initial_state(theta.shape)
    with np.errstate(all="ignore"):
        for step in steps:
            direction, state = method.update(_gradients(problem, theta, rng), state)
            theta = theta - step * direction
    return _mean(problem, theta)


def _gradients(
    problem: QuadraticProblem, theta: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """One stochastic gradient for each replicate, of the paper's noise."""
    noise = problem.noise_std * rng.standard_normal(theta.shape)
    if problem.is_diagonal:
        return np.array((theta - noise) * problem.eigenvalues)
    return np.array((theta - noise) @ problem.hessian)


def _mean(problem: QuadraticProblem, theta: np.ndarray) -> tuple[float, float]:
    """Mean excess loss of replicates, and its standard error."""
    slope = theta * problem.eigenvalues if problem.is_diagonal else theta @ problem.hessian
    losses = 0.5 * np.sum(slope * theta, axis=1)
    return float(losses.mean()), float(losses.std(ddof=1) / math.sqrt(losses.size))
