"""Schedules of step sizes for any method: exact where the risk is, else searched by simulation within a family."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qpsim import checks
from qpsim.errors import ArtefactWarning, DivergenceWarning, StepSizeError
from qpsim.execution.pool import threads
from qpsim.methods import Method, Rule
from qpsim.methods import method as find_method
from qpsim.problem.interface import Problem
from qpsim.seeds import seed_sequence
from qpsim.simulation.run import simulate
from qpsim.theory import families, schedules
from qpsim.theory.schedules import Schedule
from qpsim.theory.sign_law import LawSizeError
from qpsim.tuning.constant_step import best_constant_step

# Each parameter is multiplied and divided by these, one after another, for as long as that lowers the loss.
_FACTORS = (3.0, 1.7, 1.3, 1.1, 1.04)
# The chosen schedule is judged by so many times the replicates of the search.
_JUDGED = 4
# Families whose best schedules are cut into pieces, where a search for pieces begins.
_SMOOTH = ("cosine", "inverse-time")


def best_schedule(
    problem: Problem,
    method: str | Method | Rule,
    n_steps: int,
    theta0: ArrayLike | None = None,
    *,
    family: str = "free",
    n_pieces: int = 10,
    objective: str = "final",
    n_replicates: int = 64,
    rng: Any = 0,
    workers: int | Executor | None = None,
    batch_size: int = 1,
) -> Schedule:
    """The step sizes that minimise the expected excess loss of a run.

    For methods that are linear in the gradient (sgd, m-sgd, nesterov, damped-m-sgd and rules declared ``equivariant``,
    with at most one state) on a QuadraticProblem it is exact, and for ssd on a diagonal Hessian it follows the law on a
    fine grid, whose error is told: :func:`qpsim.theory.schedules.best_schedule`, whose notes say how. For every other
    method, and on every other problem, the few parameters of a family are searched by simulation, all schedules under
    the same noise; the one that is chosen is then judged under other noise.

    Parameters
    ----------
    problem : Problem
    method : str, Method or Rule
    n_steps : int
    theta0 : array_like, shape (d,), optional
        Starting point; zeros by default. Where nothing is simulated also (n, d): of several the mean loss is minimised.
    family : str, default "free"
        "free": every step of its own. "greedy": each step the best for the expected loss right after it. These two only
        where nothing is simulated. "constant", "piecewise" (n_pieces constant pieces of equal length), "linear" and
        "cosine" (from a first to a last step), "inverse-time" (a / (1 + t / b)), "warm-up-stable-decay" (linear up,
        constant, linear down to 0).
    n_pieces : int, default 10
        Of the family "piecewise", and of that start of the free search.
    objective : {"final", "averaged"}
        The loss after the last step, or its mean over all steps.
    n_replicates, rng, workers
        As in :func:`qpsim.simulate`, where it is searched by simulation.
    batch_size : int, default 1

    Returns
    -------
    Schedule
        Searched by simulation, ``expected_excess_loss`` is the mean over 4 n_replicates runs, and ``standard_error``
        that of it.

    Raises
    ------
    MethodError
        A method that has to be simulated with the family "free" or "greedy".
    ProblemError
        The same for ssd on a dense Hessian or with hardly any noise; a noise of infinite variance where it is exact; a
        theta0 that is not (d,) or (n, d).
    StepSizeError
        An unknown family or objective, a start at the optimum without noise, or no step size that ends below the start.
    TheoryError
        n_steps or n_pieces below 1.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([1.0, 10.0], noise_std=0.3)
    >>> qpsim.best_schedule(p, "sgd", n_steps=30, theta0=[3.0, 1.0])
    <Schedule of 30 free steps for sgd: expected excess loss 9.5 -> 0.02247>
    >>> one = qpsim.best_schedule(p, "adam", n_steps=30, theta0=[3.0, 1.0], family="linear", workers=1)
    >>> bool(one.value < 0.1), one.standard_error.shape
    (True, (31,))
    """
    moving = find_method(method)
    checks.choice("family", family, schedules.KINDS, StepSizeError)
    exact = schedules.is_planned(problem, moving)
    if exact or family not in families.NAMES:
        # What is not exact is refused there in words.
        p: Any = problem
        size = checks.count("batch_size", batch_size, StepSizeError)
        p = p.at_batch(size) if exact and size > 1 else p
        try:
            return schedules.best_schedule(
                p, moving, n_steps, theta0, family=family, n_pieces=n_pieces, objective=objective
            )
        except LawSizeError as error:
            if family not in families.NAMES:
                raise LawSizeError(
                    f"{error} A family such as 'cosine' is searched by simulation there."
                ) from None
    (found,) = simulated_schedules(
        problem,
        moving,
        n_steps,
        theta0,
        (family,),
        n_pieces=n_pieces,
        objective=objective,
        n_replicates=n_replicates,
        rng=rng,
        workers=workers,
        batch_size=batch_size,
    )
    return found


def simulated_schedules(
    problem: Problem,
    method: Method,
    n_steps: int,
    theta0: ArrayLike | None,
    names: Sequence[str],
    *,
    n_pieces: int,
    objective: str,
    n_replicates: int,
    rng: Any,
    workers: int | Executor | None,
    batch_size: int,
) -> list[Schedule]:
    """The best schedule of each of some families by simulation, each as :func:`best_schedule` finds it alone.

    The best constant step size, from which all searches begin, is searched once.
    """
    n = checks.count("n_steps", n_steps, StepSizeError)
    pieces = min(checks.count("n_pieces", n_pieces, StepSizeError), n)
    checks.choice("objective", objective, schedules.OBJECTIVES, StepSizeError)
    seeds = seed_sequence(rng).spawn(2)
    with threads(workers) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)

        def losses(steps: np.ndarray, seed: np.random.SeedSequence, times: int) -> np.ndarray:
            run = simulate(
                problem,
                method,
                steps,
                n,
                times * n_replicates,
                theta0,
                rng=seed,
                workers=pool.executor,
                batch_size=batch_size,
                record=(),
            )
            return np.asarray(run.excess_loss)

        def value_of(found: np.ndarray) -> float:
            with np.errstate(over="ignore"):
                mean = found.mean(axis=0)
            return float(mean[-1] if objective == "final" else mean[1:].mean())

        def value(steps: np.ndarray) -> float:
            found = value_of(losses(steps, seeds[0], 1))
            return found if np.isfinite(found) else np.inf

        # Warnings about the start are those of every run: given by one of a single step, then no more.
        simulate(
            problem,
            method,
            np.zeros(1),
            1,
            n_replicates,
            theta0,
            rng=seeds[0],
            workers=pool.executor,
            batch_size=batch_size,
            record=(),
        )
        warnings.simplefilter("ignore", ArtefactWarning)
        start = best_constant_step(
            problem,
            method,
            n,
            n_replicates,
            theta0,
            rng=seeds[0],
            workers=pool.executor,
            batch_size=batch_size,
        ).best
        known: dict[str, tuple[np.ndarray, float]] = {}

        def searched(name: str) -> tuple[np.ndarray, float]:
            """Steps and value where the search in a family ends."""
            if name not in known:
                shape = families.shape(name, n, pieces)
                begins = [shape.start(start)]
                if name == "piecewise":
                    # Piece by piece a search does not find its way from a constant step to falling ones.
                    begins += [_piece_means(searched(other)[0], pieces) for other in _SMOOTH]
                ends = [_compass(value, shape, begin) for begin in begins]
                known[name] = min(ends, key=lambda one: one[1])
            return known[name]

        found = []
        for name in names:
            steps, _ = searched(name)
            judged = losses(steps, seeds[1], _JUDGED)
            final = value_of(judged)
            error = judged.std(axis=0, ddof=1) / np.sqrt(judged.shape[0])
            means, ends = judged.mean(axis=0), np.array([final])
            found.append(Schedule(method.name, name, steps, means, objective, final, ends, error))
    return found


def _piece_means(steps: np.ndarray, n_pieces: int) -> np.ndarray:
    """The mean step of each piece of the family "piecewise"."""
    piece = np.arange(steps.size) * n_pieces // steps.size
    return np.bincount(piece, weights=steps) / np.bincount(piece)


def _compass(value: Any, shape: families.Shape, parameters: np.ndarray) -> tuple[np.ndarray, float]:
    """Steps that no factor of one parameter improves, and their value (compass search; Kolda, Lewis & Torczon, 2003).

    All parameters are above 0.
    """
    best = np.array(parameters, dtype=float)
    lowest = value(shape.steps(best))
    for factor in _FACTORS:
        gained = True
        while gained:
            gained = False
            for k in range(best.size):
                for by in (factor, 1.0 / factor):
                    tried = best.copy()
                    tried[k] *= by
                    found = value(shape.steps(tried))
                    if found < lowest:
                        best, lowest, gained = tried, found, True
                        break
    return shape.steps(best), lowest
