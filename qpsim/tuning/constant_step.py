"""The best constant step by the paper's search: 6, 3, 1 x 10^m, from the largest stable one downwards.

Appendix A.2: find the largest stable step size, then search down over two orders of magnitude, and
further while the smallest step is the best. A step is stable here if the median replicate ends no
higher than it began. Everything is decided by simulations with one seed, so that the search gives
the same answer on any number of workers.
"""

from __future__ import annotations

import warnings
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qpsim.errors import DivergenceWarning, StepSizeError
from qpsim.execution.pool import threads
from qpsim.methods import Method, Rule
from qpsim.methods import method as find_method
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.seeds import seed_sequence
from qpsim.simulation.run import simulate
from qpsim.tuning.grid import PER_ORDER, answered, downwards, grid_step, largest_stable

# Orders of magnitude below the largest stable step that are tried, and how far from 1 it may lie.
_ORDERS_BELOW = 2
_FARTHEST_ORDER = 12
QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, eq=False)
class StepSearch:
    """A method's final loss for every constant step of the grid. Made by :func:`best_constant_step`.

    Attributes
    ----------
    method : Method
    step_sizes : ndarray, shape (k,), descending from the first unstable step found
    final_loss : ndarray, shape (k, 3): the 10, 50 and 90 % quantiles over replicates
    stable : ndarray of bool, shape (k,)
    """

    method: Method
    step_sizes: np.ndarray
    final_loss: np.ndarray
    stable: np.ndarray

    @property
    def best(self) -> float:
        """The stable step of the lowest median final loss."""
        return float(self.step_sizes[self._best])

    @property
    def best_loss(self) -> float:
        """The median final loss of the best step."""
        return float(self.final_loss[self._best, 1])

    @property
    def largest_stable(self) -> float:
        """The largest stable step of the grid."""
        return float(self.step_sizes[self.stable][0])

    @property
    def _best(self) -> int:
        return int(np.argmin(np.where(self.stable, self.final_loss[:, 1], np.inf)))

    def table(self) -> list[dict[str, Any]]:
        """One row a step, as plain JSON values."""
        rows = zip(self.step_sizes, self.final_loss, self.stable, strict=True)
        return [
            {
                "step_size": float(step),
                "final_loss": {"10%": float(low), "median": float(middle), "90%": float(high)},
                "stable": bool(stable),
            }
            for step, (low, middle, high), stable in rows
        ]

    def __repr__(self) -> str:
        return f"<StepSearch {self.method!r}: best {self.best:g} of {self.step_sizes.size} steps>"


def best_constant_step(
    problem: QuadraticProblem,
    method: str | Method | Rule,
    n_steps: int = 100,
    n_replicates: int = 64,
    theta0: ArrayLike | None = None,
    *,
    rng: Any = None,
    workers: int | Executor | None = None,
    batch_size: int = 1,
) -> StepSearch:
    """Search the constant step size on which a method ends lowest (Appendix A.2).

    Parameters
    ----------
    problem, method, n_steps, n_replicates, theta0, workers, batch_size
        As in :func:`qpsim.simulation.run`.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Seed; every step size sees the same noise.

    Returns
    -------
    StepSearch

    Raises
    ------
    QpsimError
        As :func:`qpsim.simulation.run`; also if no step, or every step, between 1e-12 and 1e12 is stable.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([1.0, 10.0], optimum=[3.0, -2.0], noise_std=0.1)
    >>> found = qpsim.best_constant_step(p, "sgd", n_steps=50, rng=0, workers=1)
    >>> found.best, found.largest_stable
    (0.06, 0.1)
    """
    moving = find_method(method)
    seed = seed_sequence(rng)
    tried: dict[int, tuple[np.ndarray, bool]] = {}

    with threads(workers) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)

        def is_stable(k: int) -> bool:
            if k not in tried:
                run = simulate(
                    problem,
                    moving,
                    grid_step(k),
                    n_steps,
                    n_replicates,
                    theta0,
                    rng=seed,
                    workers=pool.executor,
                    batch_size=batch_size,
                    record=(),
                )
                quantiles = run.quantile(QUANTILES)
                tried[k] = quantiles[:, -1], bool(quantiles[1, -1] <= quantiles[1, 0])
            return tried[k][1]

        def score(k: int) -> float:
            return float(tried[k][0][1]) if is_stable(k) else np.inf

        limit = _FARTHEST_ORDER * PER_ORDER
        largest = answered(largest_stable(0, -limit, limit), is_stable)
        if largest is None:
            raise StepSizeError(f"{moving.name} is stable at no constant step down to 1e-12.")
        if largest == limit:
            raise StepSizeError(f"{moving.name} is stable at every constant step up to 1e12.")
        lowest = answered(
            downwards(largest, _ORDERS_BELOW, -limit), lambda asked: [score(k) for k in asked]
        )[-1]
    kept = range(largest + 1, lowest - 1, -1)
    return StepSearch(
        moving,
        np.array([grid_step(k) for k in kept]),
        np.array([tried[k][0] for k in kept]),
        np.array([tried[k][1] for k in kept]),
    )
