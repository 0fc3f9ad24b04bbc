"""Final loss against the constant step size, for every method, by the paper's search (A.2).

The grid is 6, 3, 1 x 10^m, from the largest stable step down over two orders of magnitude, and on
while the smallest step is the best. A dot marks the best step.
"""

from __future__ import annotations

import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.execution import progress
from qpsim.execution.pool import threads
from qpsim.figures import style
from qpsim.figures.data import Data
from qpsim.figures.figure2_problems import ROW_NAMES, ROWS
from qpsim.figures.options import BaseOptions, option
from qpsim.problem.random import random_problem
from qpsim.provenance import environment
from qpsim.tuning.constant_step import best_constant_step

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

ASPECT = 0.8
METHODS = ("sgd", "ssd", "svag", "va-ssd", "m-sgd", "m-ssd", "m-svag", "adam")
_LARGEST = 1e300


@dataclass(frozen=True)
class Options(BaseOptions):
    """What the search may be asked for."""

    replicates: int = option(64, "runs of each method and step size", at_least=1)
    steps: int = option(100, "steps of each run", at_least=1)
    dim: int = option(100, "coordinates", at_least=1)
    scale: float = option(10.0, "starting offsets are U[-scale, scale]", at_least=0.0)
    seed: int = option(0, "seed of everything random", at_least=0)
    noise: float = option(0.1, "noise level nu", at_least=0.0)


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Search every method's steps on every problem.

    Returns
    -------
    Data
        ``step_size`` and ``final`` (row, method, k) and ``stable``: the grid, descending, padded by
        NaN; log10 of the median final excess loss; ``best`` (row, method): index of the best step.
    """
    began = time.perf_counter()
    drawn, offset, noise = np.random.SeedSequence(options.seed).spawn(3)
    generator = np.random.Generator(np.random.PCG64(offset))
    theta0 = generator.uniform(-options.scale, options.scale, (options.replicates, options.dim))
    found = []
    with (
        threads(workers) as pool,
        progress.bar("figure sensitivity", len(ROWS) * len(METHODS)) as bar,
    ):
        for spectrum, basis in ROWS:
            problem = random_problem(
                spectrum, options.dim, basis, options.noise, scale=0.0, rng=drawn
            )
            for method in METHODS:
                found.append(
                    best_constant_step(
                        problem,
                        method,
                        options.steps,
                        options.replicates,
                        theta0,
                        rng=noise,
                        workers=pool.executor,
                    )
                )
                bar.tick()
    longest = max(search.step_sizes.size for search in found)
    shape = (len(ROWS), len(METHODS))
    steps = np.full((*shape, longest), np.nan)
    final = np.full((*shape, longest), np.nan)
    stable = np.zeros((*shape, longest), dtype=bool)
    best = np.empty(shape, dtype=np.int64)
    for place, search in zip(np.ndindex(shape), found, strict=True):
        kept = slice(search.step_sizes.size)
        steps[place][kept] = search.step_sizes
        final[place][kept] = np.log10(np.clip(search.final_loss[:, 1], 1e-300, _LARGEST))
        stable[place][kept] = search.stable
        best[place] = int(np.flatnonzero(search.step_sizes == search.best)[0])
    arrays = {"step_size": steps, "final": final, "stable": stable, "best": best}
    axes = {name: ["row", "method", "k"] for name in ("step_size", "final", "stable")}
    axes["best"] = ["row", "method"]
    labels: dict[str, list[Any]] = {"row": list(ROW_NAMES), "method": list(METHODS)}
    provenance = {**environment(), "wall_seconds": round(time.perf_counter() - began, 3)}
    return Data("sensitivity", options, arrays, axes, labels, provenance)


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """A panel a problem; methods without momentum in thin lines, those with it in thick ones."""
    import matplotlib

    em = matplotlib.rcParams["font.size"] / 72
    width, height = fig.bbox.width / fig.dpi, fig.bbox.height / fig.dpi
    panels = fig.subplots(
        2,
        2,
        gridspec_kw={
            "left": 4.8 * em / width,
            "right": 1.0 - 0.8 * em / width,
            "top": 1.0 - 6.0 * em / height,
            "bottom": 3.6 * em / height,
            "wspace": 0.2,
            "hspace": 0.36,
        },
    )
    artists: dict[Any, Any] = {}
    for row, ax in enumerate(panels.flat):
        artists[row] = draw_panel(data, row, ax)
        name = data.labels["row"][row]
        ax.set_title(name.replace("/haar", ", rotated").replace("/axis", ", axis-aligned"))
    for ax in panels[1]:
        ax.set_xlabel("step size")
    fig.text(
        1.1 * em / width,
        0.5,
        r"$\log_{10}$ median final excess loss",
        rotation=90,
        va="center",
        ha="center",
    )
    artists["legend"] = fig.legend(
        handles=[artists[0][method] for method in data.labels["method"]],
        loc="upper center",
        bbox_to_anchor=(0.5, 1.0 - 0.2 * em / height),
        ncols=4,
        borderpad=0.1,
    )
    return artists


def draw_panel(data: Data, row: int, ax: Axes) -> dict[str, Any]:
    """All methods on one problem, into any axes."""
    import matplotlib

    artists = {}
    for k, method in enumerate(data.labels["method"]):
        look = style.look(method)
        averaged = method in ("m-sgd", "m-ssd", "m-svag", "adam")
        shown = data["stable"][row, k]
        x, y = data["step_size"][row, k][shown], data["final"][row, k][shown]
        size = matplotlib.rcParams["lines.linewidth"] * (1.4 if averaged else 0.7)
        (line,) = ax.plot(
            x, y, color=look.color, linestyle=look.linestyle, label=look.label, linewidth=size
        )
        best = int(data["best"][row, k])
        ax.plot(
            data["step_size"][row, k, best],
            data["final"][row, k, best],
            marker="o",
            markersize=2.2 * size,
            color=look.color,
        )
        artists[method] = line
    ax.set_xscale("log")
    return artists
