"""Exact risk curves: the expected excess loss after every step, without sampling.

A rule whose update commutes with rotations is linear in the gradient and its state (only linear maps commute with all
rotations coordinate by coordinate). On a quadratic problem it then splits into the Hessian's eigen-directions, in each
of which (error, state) obeys a small linear recursion with additive noise, whose second moments are computed exactly.
Sign descent on a diagonal Hessian is a walk on a lattice: see :mod:`qpsim.theory.lattice`, and with momentum
:mod:`qpsim.theory.momentum_lattice`.
"""

from __future__ import annotations

import warnings
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import (
    DivergenceWarning,
    MethodError,
    PrecisionWarning,
    ProblemError,
    StepSizeError,
    TheoryError,
)
from qpsim.methods import Method, momentum, plain
from qpsim.methods import method as method_of
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.theory import arguments as check
from qpsim.theory.approximate_risk import approximate_risk, law_of
from qpsim.theory.averaging import Average, average_of
from qpsim.theory.eigen_moments import (
    affine_map,
    averaged,
    eigen_variance,
    linear_map,
    one_step,
)
from qpsim.theory.lattice import sign_descent_risk
from qpsim.theory.lattice_schedule import common_spacing, scheduled_sign_risk
from qpsim.theory.law_grid import grid_risk, has_grid
from qpsim.theory.least_squares import least_squares_risk
from qpsim.theory.momentum_lattice import momentum_sign_risk
from qpsim.theory.sign_law import SignLaw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

    from qpsim.theory.arguments import Schedule

    Array = NDArray[np.float64]


_NO_AVERAGE = (
    "The risk of an average is known for methods linear in the gradient on a QuadraticProblem, not for {method}; "
    "simulate it with record={{'average': ...}}."
)


@check.quiet
def expected_excess_loss(
    problem: QuadraticProblem,
    method: str | Method,
    theta0: ArrayLike,
    step_size: Schedule,
    n_steps: int,
    *,
    pruning: float = 1e-18,
    return_error_bound: bool = False,
    average: Mapping[str, float] | None = None,
    law: str = "exact",
) -> Any:
    """E[excess loss] after 0, 1, ..., n_steps steps; exact, unless ``law`` selects an approximation.

    Parameters
    ----------
    problem : QuadraticProblem
        A minibatch of B draws is ``problem.with_noise(nu / sqrt(B))``.
    method : str or Method
        sgd and heavy-ball m-sgd (r = mu r + g, theta -= step r) or any rule declared ``equivariant``, on any Hessian;
        ssd on a diagonal Hessian, and under Gaussian noise m-ssd and signum, whose momentum is integrated
        (:mod:`qpsim.theory.momentum_lattice`), and adam, adam*, adamw, adabelief, m-svag, svag-ema, rmsprop and
        adagrad, on a grid of offset and state (:mod:`qpsim.theory.law_grid`). Simulate all others.
    theta0 : array_like, shape (d,)
        Starting point; the state starts at zero.
    step_size : float, array of n_steps, or callable t -> float (t = 1, 2, ...)
        Finite and >= 0. For m-ssd and signum one number, the spacing of their lattice.
    n_steps : int
    pruning : float, default 1e-18
        ssd only. Lattice sites of negligible mass are dropped, so that the cost is O(d n_steps width) with the walk's
        typical width in sites; the total error of any entry is at most ``pruning * (excess loss of theta0 + 0.5 step^2
        tr Q)``. With 0 nothing is dropped, and the cost is O(d n_steps^2).
    return_error_bound : bool, default False
        Also return the rigorous bound.
    average : {"ema": decay} or {"tail": first_step}, optional
        Instead of the iterates, their average (:func:`qpsim.theory.averaging.average_of`); for methods linear in the
        gradient.
    law : {"exact", "closure", "high-dimensional"}, default "exact"
        Approximations of ssd for any Hessian, which return no bound. "closure" takes the iterates to be Gaussian in
        every step (:mod:`qpsim.theory.sign_closure`); the step size may then be "optimal", each step the best for the
        expected loss right after it. "high-dimensional" is :func:`qpsim.theory.high_dimensional_risk`.

    Returns
    -------
    risk : ndarray, shape (n_steps + 1,)
        Expected excess loss, infinite from where a divergent run leaves the floating-point range.
    error_bound : ndarray, shape (n_steps + 1,), if asked for
        The exact value lies in [risk, risk + error_bound], except for rounding; zero except for ssd. For m-ssd and
        signum it is an estimate of the absolute error, from the lost mass; for adam and the others on a grid, and for
        ssd with steps that are no multiples of one number, from a coarser grid.

    Raises
    ------
    ProblemError
        theta0 is not (d,), or the Hessian is not diagonal for ssd.
    MethodError
        Unknown method, or one whose risk has no exact recursion.
    StepSizeError
        A step size that is negative, not finite or not one a step; a schedule for m-ssd or signum.
    TheoryError
        n_steps below 1, a negative pruning, an unknown law, or a bound or average that it does not have.

    Warns
    -----
    DivergenceWarning
        The risk overflowed, or a constant step of sgd or m-sgd is not below
        :func:`qpsim.theory.largest_stable_step_size`.
    PrecisionWarning
        The error estimate of adam and the others on a grid, or of ssd, is above 5 % of the risk.

    Notes
    -----
    Cost O(d n_steps) for sgd and m-sgd; about a second per coordinate and 100 steps for m-ssd and rmsprop, five for
    adam. Coordinates of equal curvature, noise and distance from the optimum are computed once.
    Beyond Balles & Hennig (2018), whose Section 2 stops at one step.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([1.0, 2.0], noise_std=1.0)
    >>> qpsim.theory.expected_excess_loss(p, "sgd", [3.0, 1.0], step_size=0.5, n_steps=2)
    array([5.5   , 2.25  , 1.4375])
    >>> qpsim.theory.expected_excess_loss(p, "ssd", [3.0, 1.0], step_size=0.5, n_steps=2).round(4)
    array([5.5   , 3.6964, 2.4689])
    >>> qpsim.theory.expected_excess_loss(p, "ssd", [3.0, 1.0], 0.5, 2, law="closure").round(4)
    array([5.5   , 3.6964, 2.4481])
    """
    chosen = method_of(method)
    if law_of(law, return_error_bound, average) != "exact":
        return approximate_risk(problem, chosen, theta0, step_size, n_steps, law)
    if getattr(problem, "kind", None) == "least-squares":
        if average is not None:
            raise MethodError(_NO_AVERAGE.format(method="least squares"))
        return least_squares_risk(problem, chosen, theta0, step_size, n_steps, return_error_bound)
    p = check.problem(problem)
    start = check.point(p, theta0)
    if start.ndim != 1:
        raise ProblemError(f"theta0 must have shape ({p.dim},), not {start.shape}.")
    n = check.count(n_steps, "n_steps")
    steps = check.schedule(step_size, n)
    mean = average_of(average, TheoryError, n)
    if mean is not None and not chosen.equivariant:
        raise MethodError(_NO_AVERAGE.format(method=chosen.name))
    if chosen.rule is plain.ssd:
        offset = _walking_offset(p, chosen, start)
        if (steps == steps[0]).all():
            risk, bound = sign_descent_risk(p, offset, float(steps[0]), n, pruning)
        else:
            check.amount(pruning, "The pruning")
            lattice = common_spacing(steps)
            if lattice is None:
                risk, bound = SignLaw(p, start, n, averaged=False).risk_and_error(steps)
                _note_coarse_grid(chosen, risk, bound)
            else:
                risk, bound = scheduled_sign_risk(p, offset, *lattice), np.zeros(n + 1)
    elif chosen.rule in (plain.m_ssd, momentum.signum):
        offset = _walking_offset(p, chosen, start)
        step = _one_step_size(chosen, steps)
        mu = float(chosen.hyper_parameters["momentum"])
        risk, bound = momentum_sign_risk(p, offset, step, n, mu)
    elif has_grid(chosen):
        risk, bound = grid_risk(p, chosen, _walking_offset(p, chosen, start), steps)
        _note_coarse_grid(chosen, risk, bound)
    else:
        risk, bound = _linear_risk(p, _equivariant(chosen), start, steps, mean), np.zeros(n + 1)
        _note_divergence(p, chosen, steps, risk)
    return (risk, bound) if return_error_bound else risk


@check.quiet
def steady_state_excess_loss(
    problem: QuadraticProblem, method: str | Method, step_size: ArrayLike
) -> Any:
    """Limit of E[excess loss] for sgd or m-sgd at a constant step.

    0.5 sum_i (1 + mu) alpha c_i / ((1 - mu) (2 (1 + mu) - alpha lambda_i)), c_i the gradient's
    variance along eigenvector i (nu^2 lambda_i^2 for data noise) and mu = 0 for sgd: the variance
    of a second-order autoregression in every eigen-direction.

    Parameters
    ----------
    problem : QuadraticProblem
    method : {"sgd", "m-sgd"} or such a Method
    step_size : array_like
        alpha > 0, any shape. Infinity is returned where it is not below
        :func:`qpsim.theory.largest_stable_step_size`.

    Raises
    ------
    MethodError
        Another method.
    StepSizeError
        A step size that is not positive and finite: at 0 theta never changes.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([1.0, 2.0], noise_std=1.0)
    >>> qpsim.theory.steady_state_excess_loss(p, "sgd", [0.5, 2.0])
    array([1.16666667,        inf])
    """
    p = check.problem(problem)
    mu = _heavy_ball_momentum(method_of(method))
    alpha = check.real(step_size, "The step size")
    if not (np.isfinite(alpha) & (alpha > 0)).all():
        raise StepSizeError("A steady state needs finite step sizes above 0.")
    scaled = alpha[..., None] * p.eigenvalues
    stable = alpha < 2.0 * (1.0 + mu) / p.eigenvalues.max()
    room = np.where(stable[..., None], 2.0 * (1.0 + mu) - scaled, 1.0)
    # lambda_i times the variance along eigenvector i, over lambda_i^2: nu^2 lambda_i for data noise.
    spread = np.where(p.eigenvalues > 0.0, eigen_variance(p) / p.eigenvalues, 0.0)
    terms = (1.0 + mu) / (1.0 - mu) * spread * scaled / room
    risk = 0.5 * terms.sum(axis=-1)
    return check.scalar_or_array(np.where(stable, risk, np.inf))


def _heavy_ball_momentum(method: Method) -> float:
    if method.rule is plain.sgd:
        return 0.0
    if method.rule is plain.m_sgd:
        return float(method.hyper_parameters["momentum"])
    raise MethodError(
        f"The steady state is known in closed form for sgd and m-sgd, not for "
        f"{method.name}; follow expected_excess_loss or simulate."
    )


def _equivariant(method: Method) -> Method:
    if not method.equivariant or method.observes is not None:
        raise MethodError(
            f"{method.name} has no exact risk: it is known for sgd and m-sgd, for rules declared equivariant, and on a "
            "diagonal Hessian for ssd, m-ssd, signum, adam, rmsprop and their kind; simulate it instead."
        )
    return method


def _walking_offset(p: QuadraticProblem, method: Method, theta0: Array) -> Array:
    """theta0 - optimum, after the checks for methods whose coordinates are computed one by one."""
    if not p.is_diagonal:
        instead = (
            'law="closure" or qpsim.simulate' if method.rule is plain.ssd else "qpsim.simulate"
        )
        raise ProblemError(
            f"The exact risk of {method.name} needs a diagonal Hessian, where coordinates walk independently; "
            f"with this dense one, use {instead}."
        )
    if method.rule is not plain.ssd and not p.noise.law.is_gaussian:
        raise MethodError(
            f"The exact risk of {method.name} is known under Gaussian noise only; use qpsim.simulate."
        )
    return theta0 - p.optimum


def _one_step_size(method: Method, steps: Array) -> float:
    if (steps != steps[0]).any():
        raise StepSizeError(
            f"The exact risk of {method.name} needs one constant step size, the spacing of its lattice; "
            "with a schedule, use qpsim.simulate."
        )
    return float(steps[0])


def _linear_risk(
    p: QuadraticProblem, method: Method, theta0: Array, steps: Array, average: Average | None
) -> Array:
    """Second moments of x = (error, state..., average of errors if any) in every eigen-direction, step by step."""
    error = theta0 - p.optimum
    if p.eigenvectors is not None:
        error = error @ p.eigenvectors
    width = 1 + len(method.state_names) + (average is not None)
    pairs = list(combinations_with_replacement(range(width), 2))
    moments = np.zeros((len(pairs), p.dim))
    # The average starts at the initial error.
    last = 0 if average is None else width - 1
    judged = pairs.index((last, last))
    for pair in ((0, 0), (0, last), (last, last)):
        moments[pairs.index(pair)] = error**2
    half, variance = 0.5 * p.eigenvalues, eigen_variance(p)
    risk = np.full(steps.size + 1, np.inf)
    previous: tuple[Any, ...] = ()
    risk[0] = half @ moments[0]
    for t, alpha in enumerate(steps.tolist(), start=1):
        kept = None if average is None else average.kept(t)
        rows = linear_map(method, float(t))
        current = (kept, alpha, rows)
        if current != previous:
            a, push = one_step(p.eigenvalues, variance, alpha, rows)
            if kept is not None:
                a, push = averaged(a, push, kept)
            transition, noise = affine_map(a, push, pairs)
            previous = current
        moments = np.einsum("ijc,jc->ic", transition, moments) + noise
        value = float(half @ moments[judged])
        if not np.isfinite(value):
            break
        risk[t] = value
    return risk


def _note_coarse_grid(method: Method, risk: Array, error: Array) -> None:
    share = float(np.max(error / np.maximum(risk, np.finfo(float).tiny)))
    if share > 0.05:
        note = f"The risk of {method.name} is known to some {100.0 * share:.2g} % only."
        warnings.warn(note, PrecisionWarning, stacklevel=4)


def _note_divergence(p: QuadraticProblem, method: Method, steps: Array, risk: Array) -> None:
    overflow = np.flatnonzero(np.isinf(risk))
    if overflow.size:
        note = f"the risk of {method.name} leaves the floating-point range at step {overflow[0]}"
    elif method.rule in (plain.sgd, plain.m_sgd) and (steps == steps[0]).all():
        limit = 2.0 * (1.0 + _heavy_ball_momentum(method)) / float(p.eigenvalues.max())
        if steps[0] < limit:
            return
        note = f"{method.name}'s step size {steps[0]:g} is not below the largest stable {limit:g}"
    else:
        return
    warnings.warn(f"Divergence: {note}.", DivergenceWarning, stacklevel=4)
