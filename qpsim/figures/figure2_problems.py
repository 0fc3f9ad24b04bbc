"""An ensemble of runs on several problems and noise levels: those of Figure 2, or the user's own.

Rows are problems (by default mild or structured spectrum; Haar or axis-aligned basis), columns noise levels. Each
replicate has its own starting offset, with coordinates U[-scale, scale], and its own noise; groups of ``n_replicates /
n_draws`` replicates have the same spectrum and rotation. Methods, bases and noise levels have the same offsets and
noise, so that ratios can be computed replicate by replicate.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from qpsim.execution import progress
from qpsim.execution.blas import one_blas_thread
from qpsim.execution.pool import threads
from qpsim.figures import choices
from qpsim.figures.options import BaseOptions, option
from qpsim.methods import Method
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.simulation.plan import Plan, make_plan
from qpsim.simulation.run import run_plan

ROWS = (("mild", "haar"), ("mild", "axis"), ("structured", "haar"), ("structured", "axis"))
NOISE = (0.0, 0.1, 4.0)
LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
ROW_NAMES = [f"{spectrum}/{basis}" for spectrum, basis in ROWS]
# log10 of zero loss would be -inf, between which quantiles cannot be interpolated.
_SMALLEST_LOSS = 1e-300
# Diverged runs are drawn at the top and not left out.
_LARGEST_LOSS = 1e300


@dataclass(frozen=True)
class EnsembleOptions(BaseOptions):
    """Options of an ensemble: number of runs, start, and size of the problems."""

    n_replicates: int = option(256, "runs of each method and panel", at_least=1)
    n_draws: int = option(8, "draws of spectrum and rotation among them", at_least=1)
    n_steps: int = option(100, "steps of each run", at_least=1)
    dim: int = option(100, "coordinates", at_least=1)
    scale: float = option(10.0, "starting offsets are U[-scale, scale]", at_least=0.0)
    rng: int = option(0, "seed", at_least=0)


@dataclass(frozen=True)
class PanelOptions(EnsembleOptions):
    """Also the problems and noise levels, for figures with rows and columns."""

    problems: tuple = option(
        tuple(ROW_NAMES),
        "SPECTRUM/BASIS, such as mild/haar, or files with a Hessian",
        text=choices.problem_text,
    )
    noise_std: tuple[float, ...] = option(NOISE, "noise levels nu", at_least=0.0)


WithNoise = Callable[[QuadraticProblem, int], QuadraticProblem]


class Ensemble:
    """Problems, starts and noise for the options' seed, on which any methods can be run.

    ``rows`` are the problems; ``problems`` (row, draw) are without noise and have their optimum at 0;
    ``sizes`` (draw) counts the replicates of each draw; ``of_replicate`` (replicate) says which draw
    it belongs to. A column's noise is a function from a problem and the number of its draw to the
    problem with that noise; by default the columns are the options' levels of the paper's noise.
    """

    def __init__(self, options: PanelOptions, columns: Sequence[WithNoise] | None = None) -> None:
        self.options = options
        self.columns = columns or [_at_level(level) for level in options.noise_std]
        self.rows = choices.rows(options.problems)
        self.sizes = _sizes(options)
        seeds = np.random.SeedSequence(options.rng).spawn(len(self.sizes))
        self._seeds = [seed.spawn(3) for seed in seeds]
        # Problems are made with one BLAS thread, as in simulations, so that the bits are always the same.
        with one_blas_thread():
            self.problems = [
                [row.draw(options.dim, seed[0]) for seed in self._seeds] for row in self.rows
            ]

    @property
    def of_replicate(self) -> np.ndarray:
        """Number of the draw that each replicate belongs to, shape (n_replicates,)."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def spectra(self) -> tuple[list[str], np.ndarray]:
        """Names of the spectra, and eigenvalues (spectrum, draw, coordinate), NaN beyond the last."""
        first = {
            row.spectrum: problems for row, problems in zip(self.rows, self.problems, strict=True)
        }
        largest = max(p.dim for problems in first.values() for p in problems)
        values = np.full((len(first), len(self.sizes), largest), np.nan)
        for k, problems in enumerate(first.values()):
            for draw, problem in enumerate(problems):
                values[k, draw, : problem.dim] = problem.eigenvalues
        return list(first), values

    def noisy(self, row: int, column: int, draw: int) -> QuadraticProblem:
        """The problem of a panel."""
        return self.columns[column](self.problems[row][draw], draw)

    def start(self, row: int, draw: int) -> np.ndarray:
        """Starts of a draw's replicates, shape (replicate, coordinate)."""
        # Drawn again for every panel, so that rows of equal dimension start at the same points.
        generator = np.random.Generator(np.random.PCG64(self._seeds[draw][1]))
        size = (self.sizes[draw], self.problems[row][draw].dim)
        return generator.uniform(-self.options.scale, self.options.scale, size)

    def run(
        self,
        methods: Mapping[str, Method],
        workers: int | Executor | None,
        title: str,
    ) -> Generator[tuple[tuple[int, int], np.ndarray], None, None]:
        """((row, noise), log10 excess loss (method, replicate, step)), panel after panel.

        All methods use the optimal step size.
        """
        panels = list(np.ndindex(len(self.rows), len(self.columns)))
        jobs = [
            self._plans(panel, draw, methods) for panel in panels for draw in range(len(self.sizes))
        ]
        # Closed explicitly, so that an interrupt stops the workers at once.
        with closing(_run_all(jobs, workers, title)) as losses:
            for panel in panels:
                yield (
                    (panel[0], panel[1]),
                    np.concatenate([next(losses) for _ in self.sizes], axis=1),
                )

    def _plans(
        self, panel: tuple[int, ...], draw: int, methods: Mapping[str, Method]
    ) -> tuple[Plan, ...]:
        """The plans of all methods, with the same starts and noise; one task of a worker."""
        row, column = panel
        problem = self.noisy(row, column, draw)
        return tuple(
            make_plan(
                problem,
                method,
                "optimal",
                self.options.n_steps,
                self.sizes[draw],
                self.start(row, draw),
                rng=self._seeds[draw][2],
                record=("excess_loss",),
            )
            for method in methods.values()
        )


def _at_level(level: float) -> WithNoise:
    return lambda problem, draw: problem.with_noise(level)


def _sizes(options: EnsembleOptions) -> list[int]:
    """Number of replicates of each problem draw, as equal as possible."""
    n = min(options.n_draws, options.n_replicates)
    return [options.n_replicates // n + (k < options.n_replicates % n) for k in range(n)]


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
