"""The twelve problems of Figure 2, simulated by any methods on the same starts and noise.

Rows are problems (mild or structured spectrum; Haar or axis-aligned basis), columns noise levels. A
replicate has its own starting offset, each coordinate U[-scale, scale], and its own noise; spectra
and rotations are drawn anew every ``replicates / problems`` replicates. Methods, bases and noise
levels share offsets and noise, so that ratios may be taken replicate by replicate.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from qpsim.execution import progress
from qpsim.execution.blas import one_blas_thread
from qpsim.execution.pool import threads
from qpsim.figures.options import BaseOptions, option
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.problem.random import random_problem
from qpsim.simulation.plan import Plan, make_plan
from qpsim.simulation.run import run_plan

ROWS = (("mild", "haar"), ("mild", "axis"), ("structured", "haar"), ("structured", "axis"))
NOISE = (0.0, 0.1, 4.0)
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
ROW_NAMES = [f"{spectrum}/{basis}" for spectrum, basis in ROWS]
# log10 of zero loss would be -inf, between which quantiles cannot be interpolated.
_SMALLEST_LOSS = 1e-300
# A run that has left the finite numbers is drawn at the top, not left out.
_LARGEST_LOSS = 1e300


@dataclass(frozen=True)
class EnsembleOptions(BaseOptions):
    """How many runs, from where, and on how large problems."""

    replicates: int = option(256, "runs of each method and panel", at_least=1)
    problems: int = option(8, "draws of spectrum and rotation among them", at_least=1)
    steps: int = option(100, "steps of each run", at_least=1)
    dim: int = option(100, "coordinates", at_least=1)
    scale: float = option(10.0, "starting offsets are U[-scale, scale]", at_least=0.0)
    seed: int = option(0, "seed of everything random", at_least=0)


class Ensemble:
    """Problems, starts and noise of the options' seed, ready to be run by any methods.

    ``problems`` (row, draw) are without noise and have their optimum at 0; ``sizes`` (draw) counts
    the replicates of each draw; ``of_replicate`` (replicate) says which draw it belongs to.
    """

    def __init__(self, options: EnsembleOptions) -> None:
        self.options = options
        self.sizes = _sizes(options)
        seeds = np.random.SeedSequence(options.seed).spawn(len(self.sizes))
        self._seeds = [seed.spawn(3) for seed in seeds]
        self.offsets = [
            _offsets(seed[1], size, options)
            for seed, size in zip(self._seeds, self.sizes, strict=True)
        ]
        # Problems are made with BLAS held to one thread, as they are simulated: the same bits anywhere.
        with one_blas_thread():
            self.problems = [
                [_draw(row, seed[0], options.dim) for seed in self._seeds] for row in ROWS
            ]

    @property
    def of_replicate(self) -> np.ndarray:
        """Number of the draw that each replicate belongs to, shape (replicates,)."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def run(
        self,
        methods: Sequence[Any],
        workers: int | Executor | None,
        title: str,
        step_size: Any = "optimal",
    ) -> Generator[tuple[tuple[int, int], np.ndarray], None, None]:
        """((row, noise), log10 excess loss (method, replicate, step)), panel after panel.

        ``step_size`` is a policy, or a function of (row, noise, method) that gives one.
        """
        choose = step_size if callable(step_size) else lambda row, noise, method: step_size
        jobs = [
            self._plans(panel, draw, methods, choose)
            for panel in np.ndindex(len(ROWS), len(NOISE))
            for draw in range(len(self.sizes))
        ]
        # Closed here and not by the garbage collector: an interrupt must stop the workers at once.
        with closing(_run_all(jobs, workers, title)) as losses:
            for panel in np.ndindex(len(ROWS), len(NOISE)):
                yield (
                    (panel[0], panel[1]),
                    np.concatenate([next(losses) for _ in self.sizes], axis=1),
                )

    def _plans(
        self, panel: tuple[int, ...], draw: int, methods: Sequence[Any], choose: Any
    ) -> tuple[Plan, ...]:
        """One plan a method, all with the same starts and noise: what a worker does at a time."""
        row, noise = panel
        problem = self.problems[row][draw].with_noise(NOISE[noise])
        start, seed = self.offsets[draw], self._seeds[draw][2]
        steps, kept = self.options.steps, ("excess_loss",)
        return tuple(
            make_plan(
                problem,
                method,
                choose(row, noise, method),
                steps,
                len(start),
                start,
                rng=seed,
                record=kept,
            )
            for method in methods
        )


def _sizes(options: EnsembleOptions) -> list[int]:
    """Replicates of each problem draw, as even as can be."""
    n = min(options.problems, options.replicates)
    return [options.replicates // n + (k < options.replicates % n) for k in range(n)]


def _offsets(seed: np.random.SeedSequence, n: int, options: EnsembleOptions) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(seed))
    return generator.uniform(-options.scale, options.scale, (n, options.dim))


def _draw(row: tuple[str, str], seed: np.random.SeedSequence, dim: int) -> QuadraticProblem:
    """A problem whose optimum is 0: the starting points carry the offsets."""
    spectrum, basis = row
    return random_problem(spectrum, dim, basis, scale=0.0, rng=seed)


def _run_all(
    jobs: list[tuple[Plan, ...]], workers: int | Executor | None, title: str
) -> Generator[np.ndarray, None, None]:
    """Results in the jobs' order."""
    with (
        threads(workers) as pool,
        progress.bar(title, len(jobs)) as bar,
        pool.run(_run, enumerate((job,) for job in jobs)) as results,
    ):
        for losses in results.in_order():
            yield losses
            bar.tick()


def _run(plans: tuple[Plan, ...]) -> np.ndarray:
    """log10 excess loss, shape (method, replicate, step)."""
    losses = [run_plan(plan, workers=1).excess_loss for plan in plans]
    return np.log10(np.clip(losses, _SMALLEST_LOSS, _LARGEST_LOSS))
