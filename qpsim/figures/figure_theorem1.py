"""Idealised variance adaptation converges like 1/t at a constant step, where SGD stalls (Theorem 1).

Both move at step 1/L on one quadratic problem, on the same noise; shown is t times the expected
excess loss e_t. Theorem 1 (Balles & Hennig, 2018, B.4) bounds that of idealised SVAG by
t / (1/e_0 + c t) with c = 2 mu^2 / (L G^2) and G^2 the largest conditional second moment
E_t||g_t||^2 met on any simulated path, so that SVAG's curve levels off; SGD's stays parallel to t.
"""

from __future__ import annotations

import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import FigureError
from qpsim.figures import style
from qpsim.figures.data import Data
from qpsim.figures.options import BaseOptions, option
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.problem.random import random_problem
from qpsim.provenance import provenance_since
from qpsim.simulation.run import simulate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

METHODS = ("svag", "sgd")
_BOUND: dict[str, Any] = {"color": "black", "linewidth": 0.8}
# Paths simulated at once, since all points of a path are in memory.
_CHUNK = 256


@dataclass(frozen=True)
class Options(BaseOptions):
    """Options of the figure of Theorem 1."""

    n_replicates: int = option(1024, "runs of each method", at_least=2)
    n_steps: int = option(1000, "steps of each run", at_least=1)
    dim: int = option(10, "coordinates", at_least=1)
    smallest: float = option(0.5, "smallest eigenvalue; the largest is 1", at_least=1e-6)
    noise_std: float = option(1.0, "noise of the data, nu", at_least=1e-6)
    scale: float = option(3.0, "the starting offset is U[-scale, scale]", at_least=1e-6)
    rng: int = option(0, "seed", at_least=0)


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Simulate both methods and evaluate the bound.

    Returns
    -------
    Data
        ``mean`` and ``standard_error`` (method, step): of the excess loss; ``bound`` (step): of
        Theorem 1; ``exact_sgd`` (step) and ``steady_sgd`` (): SGD's expected excess loss without
        sampling, and its limit; ``second_moment``, ``rate``, ``step_size`` (): G^2, c and 1/L.

    Examples
    --------
    >>> from qpsim.figures import figure_theorem1 as figure
    >>> data = figure.compute(figure.Options(n_replicates=8, n_steps=5, dim=3), workers=1)
    >>> bool((data["mean"][0] <= data["bound"] + 4 * data["standard_error"][0]).all())
    True
    """
    from qpsim import theory

    began = time.perf_counter()
    problem, noise = _problem(options)
    start = np.zeros(options.dim)
    step = 1.0 / float(problem.eigenvalues.max())
    mean, error, largest = [], [], []
    for method in METHODS:
        # The same noise for both methods: the same seed sequence is made again.
        seeds = np.random.SeedSequence(noise.entropy, spawn_key=noise.spawn_key)
        losses, moment = _ensemble(problem, method, step, start, options, seeds, workers)
        mean.append(losses.mean(axis=0))
        error.append(losses.std(axis=0, ddof=1) / np.sqrt(options.n_replicates))
        largest.append(moment)
    guarantee = theory.theorem1(problem, start, options.n_steps, second_moment=largest[0])
    arrays = {
        "mean": np.array(mean),
        "standard_error": np.array(error),
        "bound": guarantee.bound,
        "exact_sgd": theory.expected_excess_loss(problem, "sgd", start, step, options.n_steps),
        "steady_sgd": np.array(theory.steady_state_excess_loss(problem, "sgd", step)),
        "second_moment": np.array(guarantee.second_moment),
        "rate": np.array(guarantee.rate),
        "step_size": np.array(guarantee.step_size),
    }
    axes = {
        "mean": ["method", "step"],
        "standard_error": ["method", "step"],
        "bound": ["step"],
        "exact_sgd": ["step"],
        **{name: [] for name in ("steady_sgd", "second_moment", "rate", "step_size")},
    }
    return Data(
        "theorem1",
        options,
        arrays,
        axes,
        {"method": list(METHODS)},
        provenance_since(began, bit_generator="SFC64"),
    )


def aspect(data: Data, width: float) -> float:
    """Height over width."""
    return 0.6 if width >= 5 else 0.75


def draw(data: Data, fig: Figure | SubFigure) -> dict[str, Any]:
    """Draw t e_t of both methods with the bound into a figure or subfigure."""
    from matplotlib.lines import Line2D

    from qpsim.figures import page as pages

    page = pages.Page(fig)
    note = page.note(
        f"Mean over {data.options.n_replicates} runs at the constant step 1/L; bands: ± 2 standard errors "
        "(narrower than the lines where they cannot be seen). A loss that falls like 1/t gives a horizontal line."
    )
    legend = page.legend(
        [*pages.handles(METHODS), Line2D([], [], **_BOUND)],
        ["SVAG (true variance)", "SGD", r"bound $t\,/\,(1/e_0 + c\,t)$ for SVAG"],
    )
    ax = fig.add_subplot(page.grid(1, 1, left=4.8, right=1.4, top=0.6)[0, 0])
    return {**draw_curves(data, ax), "legend": legend, "note": note}


def draw_curves(data: Data, ax: Axes) -> dict[str, Any]:
    """The curves on logarithmic axes, with bands of two standard errors, into any axes."""
    last = data["bound"].size - 1
    # Equally many points in each decade, so that dashes and dots are drawn evenly.
    t = np.unique(np.geomspace(1, last, 150).round().astype(int))
    artists: dict[str, Any] = {}
    from qpsim.figures import page as pages

    (artists["bound"],) = ax.plot(t, t * data["bound"][t], **_BOUND)
    for k, method in enumerate(METHODS):
        middle, air = t * data["mean"][k, t], 2.0 * t * data["standard_error"][k, t]
        low = np.maximum(middle - air, 1e-3 * middle)
        shape = style.look(method)
        artists[method] = pages.band(ax, t, low, middle, middle + air, shape, k)
    ax.set_xlim(1, max(2, last))
    pages.log_axis(ax.xaxis)
    pages.log_axis(ax.yaxis)
    ax.set_xlabel("step $t$")
    ax.set_ylabel(r"$t\ \times$ expected excess loss $e_t$")
    return artists


def _problem(options: Options) -> tuple[QuadraticProblem, np.random.SeedSequence]:
    seeds = np.random.SeedSequence(options.rng).spawn(2)
    if options.smallest > 1.0:
        raise FigureError(f"smallest must be at most 1, not {options.smallest:g}.")
    problem = random_problem(
        np.linspace(options.smallest, 1.0, options.dim),
        basis="haar",
        noise_std=options.noise_std,
        scale=options.scale,
        rng=seeds[0],
    )
    return problem, seeds[1]


def _ensemble(
    problem: QuadraticProblem,
    method: str,
    step: float,
    start: np.ndarray,
    options: Options,
    seeds: np.random.SeedSequence,
    workers: int | Executor | None,
) -> tuple[np.ndarray, float]:
    """Excess losses (replicate, step), and the largest E_t||g_t||^2 met on any path."""
    from qpsim.theory import largest_second_moment

    losses, largest = [], 0.0
    counts = [_CHUNK] * (options.n_replicates // _CHUNK) + [options.n_replicates % _CHUNK]
    for n, seed in zip(counts, seeds.spawn(len(counts)), strict=True):
        if n:
            run = simulate(
                problem,
                method,
                step,
                options.n_steps,
                n,
                start,
                rng=seed,
                workers=workers,
                record=("excess_loss", "theta"),
            )
            losses.append(run.excess_loss)
            assert run.theta is not None
            largest = max(largest, largest_second_moment(problem, run.theta))
    return np.concatenate(losses), largest
