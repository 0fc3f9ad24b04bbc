"""The best constant step size of a method on a problem, by simulation.

The final loss is computed for step sizes of all orders of magnitude at which the method is stable, then on the paper's
grid 6, 3, 1 x 10^m around the best (:mod:`qpsim.tuning.grid`). A step size is stable here if the median replicate ends
no higher than it began, and its loss does not rise so high during the run that rounding errors decide the final loss
(with very large steps sign descent moves far away and back). All step sizes have the same noise, so that the result
does not depend on the number of workers, and a bootstrap over the replicates gives its uncertainty.
"""

from __future__ import annotations

import warnings
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from qpsim.errors import DivergenceWarning, StepSizeError
from qpsim.execution.pool import threads
from qpsim.methods import Method, Rule
from qpsim.methods import method as find_method
from qpsim.problem.interface import Problem
from qpsim.seeds import seed_sequence
from qpsim.simulation.run import simulate
from qpsim.tuning import grid
from qpsim.tuning.grid import PER_ORDER, Found, grid_step

# Largest distance of a step size from 1, in orders of magnitude: the range of floating-point numbers.
_FARTHEST_ORDER = 300
# Largest factor by which the loss of a stable run may rise; half of the digits of the offset are lost then.
_HIGHEST_RISE = 1e15
# A run has moved if the loss of some replicate has changed by this fraction.
_SMALLEST_CHANGE = 1e-3


@dataclass(frozen=True, eq=False)
class StepSearch:
    """A method's final loss at every constant step size tried. Made by :func:`best_constant_step`.

    Attributes
    ----------
    method : Method
    step_sizes : ndarray, shape (k,), descending
        Whole orders of magnitude, and the grid 6, 3, 1 x 10^m around the best.
    final_loss : ndarray, shape (k, 3)
        10, 50 and 90 % quantiles over the replicates of the excess loss after the last step.
    stable : ndarray of bool, shape (k,)
        Whether the median replicate ends no higher than it began, and rises on its way to no more than 1e15 times that.
    share : ndarray, shape (k,)
        Fraction of bootstrap resamples of the replicates in which the step size is the best.
    best : float
        The stable step size of the lowest median final loss.
    at_edge : None, "largest stable" or "smallest tried"
        Whether ``best`` is at an end of the search. At "largest stable" the next larger step of the grid is not stable.
    """

    method: Method
    step_sizes: np.ndarray
    final_loss: np.ndarray
    stable: np.ndarray
    share: np.ndarray = field(repr=False)
    best: float
    at_edge: str | None

    @property
    def best_loss(self) -> float:
        """The median final loss of the best step size."""
        return float(self.final_loss[self.step_sizes == self.best][0, 1])

    @property
    def largest_stable(self) -> float:
        """The largest stable step size of the grid."""
        return float(self.step_sizes[self.stable][0])

    @property
    def interval(self) -> tuple[float, float]:
        """Two step sizes between which the best one lies, with 95 % confidence.

        They are the grid neighbours of the step sizes chosen in the central 95 % of the bootstrap resamples, since the
        best step may lie between two of the grid. The curve is assumed to have a single minimum there.
        """
        first, last = grid.central(self.share)
        low = self.step_sizes[min(last + 1, self.step_sizes.size - 1)]
        return float(low), float(self.step_sizes[max(first - 1, 0)])

    def to_dict(self) -> dict[str, Any]:
        """All attributes as plain JSON values; a loss that is not finite is None."""
        rows = zip(self.step_sizes, self.final_loss, self.stable, self.share, strict=True)
        return {
            "method": {"name": self.method.name, "hyper": self.method.hyper_parameters},
            "best": self.best,
            "interval": list(self.interval),
            "at_edge": self.at_edge,
            "largest_stable": self.largest_stable,
            "curve": [
                {
                    "step_size": float(step),
                    "final_loss": {
                        name: float(loss) if np.isfinite(loss) else None
                        for name, loss in zip(("10%", "median", "90%"), losses, strict=True)
                    },
                    "stable": bool(stable),
                    "share": float(share),
                }
                for step, losses, stable, share in rows
            ],
        }

    def __repr__(self) -> str:
        low, high = self.interval
        edge = f", the {self.at_edge} step" if self.at_edge else ""
        return (
            f"<StepSearch {self.method!r}: best {self.best:g} (between {low:g} and {high:g}){edge}, "
            f"{self.step_sizes.size} step sizes>"
        )


def best_constant_step(
    problem: Problem,
    method: str | Method | Rule,
    n_steps: int = 100,
    n_replicates: int = 64,
    theta0: ArrayLike | None = None,
    *,
    rng: Any = None,
    workers: int | Executor | None = None,
    batch_size: int = 1,
) -> StepSearch:
    """Search the constant step size at which a method ends lowest (after Appendix A.2).

    The paper searches two orders of magnitude below the largest stable step size. Here all orders
    are searched at which the method moves and is stable.

    Parameters
    ----------
    problem, method, n_steps, n_replicates, theta0, workers, batch_size
        As in :func:`qpsim.simulate`.
    rng : None, int, SeedSequence, BitGenerator or Generator
        Seed; all step sizes have the same noise.

    Returns
    -------
    StepSearch
        With the best step size, an interval for it, and the losses of all that were tried.

    Raises
    ------
    StepSizeError
        There is no best step: every replicate starts at a minimum, no step size moves the method,
        or none ends below its start.
    QpsimError
        As :func:`qpsim.simulate`.

    Examples
    --------
    >>> import qpsim
    >>> p = qpsim.QuadraticProblem([1.0, 10.0], optimum=[3.0, -2.0], noise_std=0.1)
    >>> found = qpsim.best_constant_step(p, "sgd", n_steps=50, rng=0, workers=1)
    >>> found.best, found.interval, found.largest_stable
    (0.06, (0.03, 0.3), 0.1)
    """
    moving = find_method(method)
    seed = seed_sequence(rng)
    final: dict[int, np.ndarray] = {}
    quantiles: dict[int, list[float]] = {}

    with threads(workers) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)

        def try_step(k: int) -> Found:
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
            first, last = run.excess_loss[:, 0], run.excess_loss[:, -1]
            _check_start(first)
            summary = run.summary()
            final[k], quantiles[k] = last.copy(), list(summary["final_loss"].values())
            score = quantiles[k][1]
            moved = not bool((abs(last - first) <= _SMALLEST_CHANGE * first).all())
            highest = float(np.median(run.excess_loss.max(axis=1)))
            stable = score <= summary["initial_loss"] and highest <= _HIGHEST_RISE * float(
                np.median(first)
            )
            return Found(score, stable, moved)

        def likely(tried: dict[int, Found]) -> list[int]:
            numbers = sorted(tried)
            shares = _shares(numbers, tried, final)
            return [numbers[index] for index in grid.central(shares)]

        farthest = _FARTHEST_ORDER * PER_ORDER
        tried = grid.answered(
            grid.search(0, -farthest, farthest, chosen=likely),
            lambda asked: [try_step(k) for k in asked],
        )
    numbers = sorted(tried, reverse=True)
    chosen = grid.best(tried)
    _check_result(moving, tried)
    assert chosen is not None  # _check_result has checked it
    return StepSearch(
        moving,
        np.array([grid_step(k) for k in numbers]),
        np.array([quantiles[k] for k in numbers]),
        np.array([tried[k].stable for k in numbers]),
        _shares(numbers, tried, final),
        grid_step(chosen),
        grid.edge(tried),
    )


def _shares(
    numbers: list[int], tried: dict[int, Found], final: dict[int, np.ndarray]
) -> np.ndarray:
    """Fraction of resamples of the replicates in which each step size is the best stable one."""
    shares = np.zeros(len(numbers))
    stable = [index for index, k in enumerate(numbers) if tried[k].stable]
    if stable:
        # Steps whose best replicate ends above the worst replicate of another step are never the best.
        highest = min(final[numbers[index]].max() for index in stable)
        rivals = [index for index in stable if final[numbers[index]].min() <= highest]
        losses = np.stack([final[numbers[index]] for index in rivals], axis=1)
        shares[rivals] = grid.chosen_shares(losses, np.median)
    return shares


def _check_start(losses: np.ndarray) -> None:
    if not losses.any():
        raise StepSizeError(
            "Every replicate starts at a minimum, so that no step size lowers its loss; give another "
            "theta0, or a problem with another optimum."
        )
    if not np.isfinite(losses).all():
        raise StepSizeError(
            "theta0 is too far from the optimum for its loss to be a finite number; start nearer."
        )


def _check_result(method: Method, tried: dict[int, Found]) -> None:
    low, high = grid_step(min(tried)), grid_step(max(tried))
    if not any(found.moves for found in tried.values()):
        raise StepSizeError(
            f"{method.name} moves at no constant step size from {low:g} to {high:g}."
        )
    if grid.best(tried) is None:
        raise StepSizeError(
            f"{method.name} ends above its start at every constant step size from {low:g} to "
            f"{high:g}: the best is not to move; start farther from the optimum, or give more steps."
        )
