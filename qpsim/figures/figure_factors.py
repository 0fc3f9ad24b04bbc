"""What each method's effective variance adaptation factor does along a run, beside the oracle's.

One run of each variance-adapted method that estimates its factors, on one problem. The oracle knows
the exact relative variance at the same points (Lemma 1, Eq. 16 and 19). The minibatch methods see
the mean of ``batch`` draws whose noise is the larger, so that all methods' gradients are equally
noisy.
"""

from __future__ import annotations

import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.execution.pool import threads
from qpsim.figures import style
from qpsim.figures.adaptation_factors import AdaptationFactors, adaptation_factors
from qpsim.figures.data import Data
from qpsim.figures.options import BaseOptions, option
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.problem.random import random_problem
from qpsim.provenance import environment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

ASPECT = 0.62
METHODS = ("svag-ema", "m-svag", "m-svag-mb", "adam", "adam*", "adam*-mb")
_MINIBATCH = ("m-svag-mb", "adam*-mb")
LEVELS = (0.1, 0.5, 0.9)
_ORACLE, _EFFECTIVE = "#404040", "#0072B2"


@dataclass(frozen=True)
class Options(BaseOptions):
    """Which run is looked at."""

    spectrum: str = option("structured", "mild or structured")
    basis: str = option("axis", "axis or haar")
    noise: float = option(1.0, "noise level nu of the gradients", at_least=0.0)
    batch: int = option(16, "draws of a minibatch, for the methods that use one", at_least=2)
    steps: int = option(100, "steps of the run", at_least=1)
    dim: int = option(100, "coordinates", at_least=1)
    scale: float = option(10.0, "the optimum is U[-scale, scale]", at_least=0.0)
    seed: int = option(0, "seed of everything random", at_least=0)


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Run every method once and keep its factors and the oracle's.

    Returns
    -------
    Data
        ``factor`` and ``oracle`` (method, level, step): quantiles over coordinates; ``distance``
        (method, step): mean |factor - oracle| over coordinates; ``excess_loss`` (method, point).
    """
    began = time.perf_counter()
    seeds = np.random.SeedSequence(options.seed).spawn(2)
    problem = random_problem(
        options.spectrum,
        options.dim,
        options.basis,
        options.noise,
        scale=options.scale,
        rng=seeds[0],
    )
    noisier = problem.with_noise(options.noise * options.batch**0.5)

    cases = [(noisier if method in _MINIBATCH else problem, method) for method in METHODS]
    tasks = enumerate((*case, options, seeds[1]) for case in cases)
    with threads(workers) as pool, pool.run(_factors, tasks) as results:
        runs = list(results.in_order())
    arrays = {
        "factor": np.array([np.quantile(run.factor, LEVELS, axis=1) for run in runs]),
        "oracle": np.array([np.quantile(run.oracle, LEVELS, axis=1) for run in runs]),
        "distance": np.array([np.abs(run.factor - run.oracle).mean(axis=1) for run in runs]),
        "excess_loss": np.array([run.excess_loss for run in runs]),
    }
    axes = {
        "factor": ["method", "level", "step"],
        "oracle": ["method", "level", "step"],
        "distance": ["method", "step"],
        "excess_loss": ["method", "point"],
    }
    labels: dict[str, list[Any]] = {"method": list(METHODS), "level": list(LEVELS)}
    provenance = {**environment(), "wall_seconds": round(time.perf_counter() - began, 3)}
    return Data("factors", options, arrays, axes, labels, provenance)


def _factors(
    problem: QuadraticProblem, method: str, options: Options, seed: np.random.SeedSequence
) -> AdaptationFactors:
    batch = options.batch if method in _MINIBATCH else 1
    return adaptation_factors(problem, method, n_steps=options.steps, rng=seed, batch_size=batch)


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """A panel a method: gradients are adapted in the upper row, signs in the lower one."""
    import matplotlib

    em = matplotlib.rcParams["font.size"] / 72
    width, height = fig.bbox.width / fig.dpi, fig.bbox.height / fig.dpi
    panels = fig.subplots(
        2,
        3,
        sharex=True,
        sharey=True,
        gridspec_kw={
            "left": 4.6 * em / width,
            "right": 1.0 - 0.8 * em / width,
            "top": 1.0 - 4.0 * em / height,
            "bottom": 3.3 * em / height,
            "wspace": 0.08,
            "hspace": 0.24,
        },
    )
    artists: dict[Any, Any] = {}
    for k, (method, ax) in enumerate(zip(data.labels["method"], panels.flat, strict=True)):
        artists[method] = draw_panel(data, k, ax)
        adapted = "sign" if k >= 3 else "gradient"
        ax.set_title(f"{style.look(method).label} ({adapted})")
    for ax in panels[1]:
        ax.set_xlabel("steps")
    panels[0, 0].set_ylim(-0.04, 1.1)
    fig.text(
        1.0 * em / width,
        0.5,
        "variance adaptation factor",
        rotation=90,
        va="center",
        ha="center",
    )
    first = artists[data.labels["method"][0]]
    artists["legend"] = fig.legend(
        [first["line"], first["oracle"]],
        ["the method's (median and 10-90 % of the coordinates)", "the oracle's"],
        loc="upper center",
        bbox_to_anchor=(0.5, 1.0 - 0.2 * em / height),
        ncols=2,
        borderpad=0.1,
    )
    return artists


def draw_panel(data: Data, method: int, ax: Axes) -> dict[str, Any]:
    """One method's factors and the oracle's, into any axes."""
    x = np.arange(1, data.options.steps + 1)
    low, middle, high = data["factor"][method]
    below, oracle, above = data["oracle"][method]
    fill = ax.fill_between(x, low, high, color=_EFFECTIVE, alpha=0.25, linewidth=0)
    (line,) = ax.plot(x, middle, color=_EFFECTIVE)
    (dashed,) = ax.plot(x, oracle, color=_ORACLE, linestyle=(0, (4, 1.5)))
    ends = ax.plot(x, np.stack([below, above], 1), color=_ORACLE, linestyle=":", linewidth=0.7)
    ax.set_xlim(0, x[-1])
    ax.set_xticks(sorted({0, int(x[-1]) // 2}))
    return {"band": fill, "line": line, "oracle": dashed, "oracle_band": ends}
