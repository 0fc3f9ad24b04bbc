"""What a variance-adapted method's factors really are along a run, beside what an oracle would use.

A variance-adapted method moves along gamma times something: the (averaged) gradient, or its sign.
Lemma 1 says which gamma is best if the relative variance eta^2 of that something is known; the
methods estimate it. Here one run's gamma is read off its direction and set beside the oracle's, with
eta^2 = kappa(mu, t) sigma_i^2 / grad_i^2 from the exact gradient (Eq. 16, 19).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qpsim.errors import MethodError
from qpsim.methods import Method, Rule
from qpsim.methods import method as find_method
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.rules.scalar import momentum_correction
from qpsim.seeds import seed_sequence
from qpsim.simulation.run import simulate
from qpsim.simulation.stepsize import StepSize

# What gamma multiplies: the gradient, a state's array, or a sign (then |direction| is gamma).
_ADAPTED = {
    "svag": "gradient",
    "svag-ema": "gradient",
    "m-svag": "m",
    "m-svag-mb": "r",
    "va-ssd": "sign",
    "va-ssd-erf": "sign",
    "adam": "sign",
    "adam*": "sign",
    "adam*-mb": "sign",
}


@dataclass(frozen=True, eq=False)
class AdaptationFactors:
    """Effective and oracle factors of one run. Made by :func:`adaptation_factors`.

    Attributes
    ----------
    method : Method
    factor : ndarray, shape (n_steps, d)
        gamma of each step and coordinate; 0 where nothing moves.
    oracle : ndarray, shape (n_steps, d)
        1 / (1 + eta^2), or (1 + eta^2)^(-1/2) for a method that adapts a sign.
    excess_loss : ndarray, shape (n_steps + 1,)
    """

    method: Method
    factor: np.ndarray
    oracle: np.ndarray
    excess_loss: np.ndarray


def adaptation_factors(
    problem: QuadraticProblem,
    method: str | Method | Rule,
    step_size: StepSize = "optimal",
    n_steps: int = 100,
    theta0: ArrayLike | None = None,
    *,
    rng: Any = None,
    batch_size: int = 1,
) -> AdaptationFactors:
    """Factors along one run: replicate 0 of :func:`qpsim.simulation.run` with the same arguments.

    Parameters
    ----------
    problem, method, step_size, n_steps, theta0, rng, batch_size
        As in :func:`qpsim.simulation.run`; theta0 of shape (d,).

    Returns
    -------
    AdaptationFactors

    Raises
    ------
    MethodError
        The method adapts nothing to the variance: only those of Table 1 do, idealised or estimated.

    Examples
    --------
    >>> import numpy as np, qpsim
    >>> p = qpsim.random_problem("mild", dim=10, basis="axis", noise_std=1.0, rng=0)
    >>> f = qpsim.adaptation_factors(p, "svag", n_steps=5, rng=0)
    >>> f.factor.shape, bool(np.allclose(f.factor, f.oracle))
    ((5, 10), True)
    """
    moving = find_method(method)
    what = _ADAPTED.get(moving.name)
    if what is None or moving.rule is not find_method(moving.name).rule:
        raise MethodError(
            f"{moving.name} has no variance adaptation factors; {', '.join(_ADAPTED)} do."
        )
    seed = seed_sequence(rng)
    run = simulate(
        problem,
        moving,
        step_size,
        n_steps,
        1,
        theta0,
        rng=seed,
        workers=1,
        batch_size=batch_size,
        record={"step_size": True, "theta": True},
    )
    assert run.theta is not None
    theta = run.theta[0, :-1]
    exact = problem.gradient(theta)
    noise, estimates = _noise(problem, moving, seed, n_steps, batch_size)
    variance = problem.gradient_std() ** 2 / batch_size
    with np.errstate(divide="ignore", invalid="ignore"):
        eta2 = np.where(variance > 0, variance / exact**2, 0.0)
    state = moving.initial_state(problem.dim)
    factor = np.empty_like(exact)
    for k in range(n_steps):
        gradient = exact[k] - noise[k]
        observed = {None: None, "relative_variance": eta2[k], "variance_estimate": estimates[k]}
        given = {} if moving.observes is None else {moving.observes: observed[moving.observes]}
        direction, state = moving.update(gradient, state, **given)
        base = {"gradient": gradient, "sign": np.sign(direction)}.get(what)
        base = state[what] if base is None else base
        factor[k] = np.divide(direction, base, out=np.zeros(problem.dim), where=base != 0)
    hyper = moving.hyper_parameters
    mu = hyper.get("momentum", hyper.get("b1", 0.0))
    kappa = np.array([momentum_correction(mu, float(t)) for t in range(1, n_steps + 1)])
    spread = 1.0 + kappa[:, None] * eta2
    oracle = spread**-0.5 if what == "sign" else 1.0 / spread
    return AdaptationFactors(moving, factor, oracle, run.excess_loss[0])


def _noise(
    problem: QuadraticProblem,
    method: Method,
    seed: np.random.SeedSequence,
    n_steps: int,
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Gradient noise and variance estimates (n_steps, d) that replicate 0 of a simulation draws."""
    from qpsim.kernels.noise import fill_normals, seed_lanes
    from qpsim.kernels.observed import fill_chi_squares, fill_correlated_estimates

    stream = seed_lanes(seed, 0, 1)
    nu = problem.noise_std / batch_size**0.5
    vectors = np.eye(problem.dim) if problem.is_diagonal else problem.eigenvectors
    assert vectors is not None
    factor = nu * vectors * problem.eigenvalues
    noise = np.empty((n_steps, problem.dim))
    estimates = np.zeros((n_steps, problem.dim))
    drawn = np.empty((problem.dim, 1))
    for k in range(n_steps):
        fill_normals(stream, drawn)
        noise[k] = factor @ drawn[:, 0]
        if method.observes == "variance_estimate":
            if problem.is_diagonal:
                fill_chi_squares(stream, batch_size - 1, drawn)
                drawn *= np.square(nu * problem.eigenvalues)[:, None] / (batch_size - 1)
            else:
                fill_correlated_estimates(stream, factor.T.copy(), batch_size, drawn)
            estimates[k] = drawn[:, 0]
    return noise, estimates
