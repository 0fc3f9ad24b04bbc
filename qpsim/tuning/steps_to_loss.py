"""The fewest steps to a target loss over constant step sizes: exact if the risk is known, else by simulation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qpsim import checks
from qpsim.errors import SimulationError
from qpsim.files.plain import plain
from qpsim.methods import Method, Rule
from qpsim.methods import method as find_method
from qpsim.problem.interface import has_additive_noise
from qpsim.simulation.run import simulate
from qpsim.theory.approximate_risk import law_of
from qpsim.theory.risk import expected_excess_loss
from qpsim.theory.steps import STEP_SIZES, steps_until

DEFAULT_STEP_SIZES = STEP_SIZES
_RESAMPLES = 400


@dataclass(frozen=True, eq=False)
class StepsToLoss:
    """The number of steps to a target loss. Made by :func:`steps_to_loss`.

    Attributes
    ----------
    n_steps : float
        The fewest steps over all step sizes; infinite if none reaches the target.
    step_size : float
        The step size that takes the fewest; NaN if none reaches the target.
    interval : (float, float)
        95 % bootstrap interval of n_steps over replicates; with a law, from the error bound of its risk. Both ends are
        n_steps where it is exact, and where an approximation tells no error.
    is_exact : bool
        Whether the number comes from the exact risk and not from an ensemble or an approximation.
    step_sizes, steps : ndarray (n,)
        All step sizes, and the steps that each of them takes.
    at_edge : bool
        Whether the best step size is the first or last of the grid, so that a wider one may do better.
    law : str or None
        The law that was asked for.
    """

    n_steps: float
    step_size: float
    interval: tuple[float, float]
    is_exact: bool
    step_sizes: np.ndarray
    steps: np.ndarray
    at_edge: bool
    law: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; infinities and NaN are None."""
        return dict(plain(self))

    def __repr__(self) -> str:
        how = (
            "exact"
            if self.is_exact
            else f"ensemble, 95 % in [{self.interval[0]:g}, {self.interval[1]:g}]"
            if self.law is None
            else f"{self.law} law"
        )
        return f"<StepsToLoss {self.n_steps:.10g} steps at step size {self.step_size:.4g}, {how}>"


def steps_to_loss(
    problem: Any,
    method: str | Method | Rule,
    target: float,
    *,
    step_size: float | Sequence[float] | None = None,
    theta0: ArrayLike | None = None,
    initial_square: ArrayLike | None = None,
    batch_size: int = 1,
    n_steps: int = 1000,
    n_replicates: int = 256,
    rng: Any = None,
    workers: Any = None,
    law: str | None = None,
) -> StepsToLoss:
    """The fewest steps after which the expected excess loss is at most ``target``, over constant step sizes.

    Parameters
    ----------
    problem : QuadraticProblem, or another problem for an ensemble
    method : str, Method or Rule
        sgd, m-sgd, nesterov and other rules declared equivariant are counted exactly on a quadratic problem
        (:func:`qpsim.theory.steps_until`), all others on an ensemble.
    target : float
        Excess loss above 0.
    step_size : float or sequence of float, default 100 values from 1e-5 to 10^0.5 (Zhang et al., 2019)
        Step sizes to choose from.
    theta0 : array_like, shape (d,), default zeros
    initial_square : array_like, shape (d,) or one number, optional
        E[(theta_0 - optimum)^2] along each eigenvector instead of theta0, for exact counts.
    batch_size : int, default 1
    n_steps, n_replicates, rng, workers
        Of the ensembles, as in :func:`qpsim.simulate`; n_steps is the most that is looked at.
    law : {"exact", "closure", "high-dimensional"}, optional
        Instead of an ensemble, the risk of :func:`qpsim.theory.expected_excess_loss` by this law, up to n_steps and one
        step size after the other: exact for ssd, m-ssd, signum, adam, rmsprop and their kind on a diagonal Hessian.

    Returns
    -------
    StepsToLoss

    Raises
    ------
    QpsimError
        A target or step size that is not above 0; whatever the simulation refuses.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.gallery.noisy_quadratic_model(dim=10_000, bins=100)
    >>> qpsim.steps_to_loss(p, "sgd", 0.01, initial_square=1.0, batch_size=16384)
    <StepsToLoss 7448 steps at step size 1.896, exact>
    >>> p = qpsim.QuadraticProblem([1.0, 10.0], noise_std=0.3)
    >>> qpsim.steps_to_loss(p, "ssd", 0.05, step_size=[0.01, 0.02, 0.05], theta0=[3.0, 1.0], law="exact")
    <StepsToLoss 143 steps at step size 0.02, exact>
    """
    chosen = find_method(method)
    grid = _step_sizes(step_size)
    goal = checks.number("target", target, SimulationError, "(0, inf)")
    steps_at_most = checks.count("n_steps", n_steps, SimulationError)
    replicates = checks.count("n_replicates", n_replicates, SimulationError)
    exact = has_additive_noise(problem) and chosen.equivariant
    if exact:
        p = problem.at_batch(batch_size)
        steps = steps_until(p, chosen, goal, grid, theta0, initial_square=initial_square)
        spread = None
    elif initial_square is not None:
        raise SimulationError(
            f"initial_square serves exact counts of methods linear in the gradient, not of {chosen.name}; give theta0."
        )
    elif law is not None:
        law = law_of(law, False, None)
        p = problem.at_batch(batch_size)
        start = np.zeros(problem.dim) if theta0 is None else theta0
        steps, spread = _by_law(p, chosen, goal, grid, start, steps_at_most, law)
        exact = law == "exact"
    else:
        steps, spread = _on_ensembles(
            problem, chosen, goal, grid, theta0, batch_size, steps_at_most, replicates, rng, workers
        )
    best = int(np.argmin(steps))
    found = float(steps[best])
    interval = (found, found) if spread is None else spread[best]
    return StepsToLoss(
        n_steps=found,
        step_size=float(grid[best]) if math.isfinite(found) else math.nan,
        interval=interval,
        is_exact=exact,
        step_sizes=grid,
        steps=steps,
        at_edge=math.isfinite(found) and grid.size > 1 and best in (0, grid.size - 1),
        law=law,
    )


def _step_sizes(step_size: Any) -> np.ndarray:
    grid = np.atleast_1d(
        np.asarray(DEFAULT_STEP_SIZES)
        if step_size is None
        else checks.finite_numbers("step_size", step_size, SimulationError)
    )
    if grid.ndim != 1 or grid.size == 0 or not grid.min() > 0.0:
        raise SimulationError("step_size must be one number above 0 or a sequence of such numbers.")
    return grid


def _by_law(
    problem: Any,
    method: Method,
    target: float,
    grid: np.ndarray,
    theta0: Any,
    n_steps: int,
    law: str,
) -> tuple[np.ndarray, list[tuple[float, float]]]:
    steps, intervals = [], []
    for alpha in grid.tolist():
        if law == "exact":
            risk, bound = expected_excess_loss(
                problem, method, theta0, alpha, n_steps, return_error_bound=True
            )
        else:
            risk, bound = (
                expected_excess_loss(problem, method, theta0, alpha, n_steps, law=law),
                0.0,
            )
        steps.append(_first_below(risk, target))
        intervals.append((_first_below(risk - bound, target), _first_below(risk + bound, target)))
    return np.array(steps), intervals


def _on_ensembles(
    problem: Any,
    method: Method,
    target: float,
    grid: np.ndarray,
    theta0: Any,
    batch_size: int,
    n_steps: int,
    n_replicates: int,
    rng: Any,
    workers: Any,
) -> tuple[np.ndarray, list[tuple[float, float]]]:
    import warnings

    from qpsim.errors import DivergenceWarning
    from qpsim.seeds import seed_sequence

    seed = seed_sequence(rng)
    draws = np.random.Generator(np.random.PCG64(seed.spawn(1)[0]))
    counts: np.ndarray | None = None
    steps, intervals = [], []
    for alpha in grid:
        with warnings.catch_warnings():
            # Some step sizes of the grid are too large, which is expected.
            warnings.simplefilter("ignore", DivergenceWarning)
            run = simulate(
                problem,
                method,
                float(alpha),
                n_steps,
                n_replicates,
                theta0,
                rng=seed,
                workers=workers,
                batch_size=batch_size,
                record=(),
            )
        steps.append(_first_below(run.excess_loss.mean(axis=0), target))
        if counts is None:  # after the first run, which says if there is too little memory
            chosen = draws.integers(n_replicates, size=(_RESAMPLES, n_replicates))
            counted = [np.bincount(row, minlength=n_replicates) for row in chosen]
            counts = np.stack(counted) / n_replicates
        with np.errstate(invalid="ignore"):
            resampled = [_first_below(mean, target) for mean in counts @ _finite(run.excess_loss)]
        low, high = np.quantile(resampled, [0.025, 0.975], method="nearest")
        intervals.append((float(low), float(high)))
    return np.array(steps), intervals


def _finite(losses: np.ndarray) -> np.ndarray:
    """Losses with a large number in the place of infinity, since 0 times infinity is NaN."""
    return np.minimum(losses, 1e300)


def _first_below(mean: np.ndarray, target: float) -> float:
    below = np.flatnonzero(mean <= target)
    return float(below[0]) if below.size else math.inf
