"""Final loss against the constant step size, for every method, and the best step of each.

Shown are the stable step sizes that the search for the best one tries: one of each order of
magnitude, and 6, 3, 1 x 10^m around the best. A circle marks the best step.
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
from qpsim.provenance import provenance_since
from qpsim.tuning.constant_step import best_constant_step

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

GROUPS = (("sgd", "ssd", "svag", "va-ssd"), ("m-sgd", "m-ssd", "m-svag", "adam"))
METHODS = (*GROUPS[0], *GROUPS[1])
# Left margins in ems, with the names of the problems and without.
_NAMES, _PLAIN = 7.0, 2.8
_LARGEST = 1e300
# Decades of the loss below which the gain of a small step counts as none.
_FLAT = 0.01


@dataclass(frozen=True)
class Options(BaseOptions):
    """Options of the search."""

    n_replicates: int = option(64, "runs of each method and step size", at_least=1)
    n_steps: int = option(100, "steps of each run", at_least=1)
    dim: int = option(100, "coordinates", at_least=1)
    scale: float = option(10.0, "starting offsets are U[-scale, scale]", at_least=0.0)
    rng: int = option(0, "seed", at_least=0)
    noise_std: float = option(0.1, "noise level nu", at_least=0.0)


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Search every method's steps on every problem.

    Returns
    -------
    Data
        ``step_size`` and ``final`` (row, method, k) and ``stable``: the grid, descending, padded by
        NaN; log10 of the median final excess loss; ``best`` (row, method): index of the best step.
    """
    began = time.perf_counter()
    drawn, offset, noise = np.random.SeedSequence(options.rng).spawn(3)
    generator = np.random.Generator(np.random.PCG64(offset))
    theta0 = generator.uniform(-options.scale, options.scale, (options.n_replicates, options.dim))
    found = []
    with (
        threads(workers) as pool,
        progress.bar("figure sensitivity", len(ROWS) * len(METHODS)) as bar,
    ):
        for spectrum, basis in ROWS:
            problem = random_problem(
                spectrum, options.dim, basis, options.noise_std, scale=0.0, rng=drawn
            )
            for method in METHODS:
                found.append(
                    best_constant_step(
                        problem,
                        method,
                        options.n_steps,
                        options.n_replicates,
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
    return Data("sensitivity", options, arrays, axes, labels, provenance_since(began))


def aspect(data: Data, width: float) -> float:
    """Height over width."""
    return 1.2 if width >= 5 else 1.35


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """One row for each problem: idealised methods on the left, estimated ones on the right.

    Returns
    -------
    dict
        (row, group) -> method -> line; "legend" a list of one for each group; "note".
    """
    from qpsim.figures import page as pages

    page = pages.Page(fig)
    rows = len(data.labels["row"])
    artists: dict[Any, Any] = {
        "note": page.note(
            f"Each point: {data.options.n_replicates} runs of {data.options.n_steps} steps of one constant "
            f"size, at the noise level {data.options.noise_std:g}; larger steps diverge, smaller ones hardly move. "
            "Large circles: the best step of a method. SVAG and VA-SSD know the true variance."
        ),
        "legend": [],
    }
    parts = page.split([page.width + _NAMES - _PLAIN, page.width - _NAMES + _PLAIN])
    for members, part in zip(GROUPS, parts, strict=True):
        handles = pages.handles(members, bands=False)
        artists["legend"].append(part.legend(handles, pages.labels(members)))
    for group, part in enumerate(parts):
        part.align(parts)
        left = _PLAIN if group else _NAMES
        grid = part.grid(rows, 1, left=left, right=1.2, top=0.6, down=2.2)
        for row, name in enumerate(data.labels["row"]):
            ax = fig.add_subplot(grid[row, 0])
            artists[row, group] = draw_panel(data, row, GROUPS[group], ax)
            if row == rows - 1:
                ax.set_xlabel("step size")
            if group == 0:
                box = ax.get_position()
                middle = 0.5 * (box.y0 + box.y1)
                part.side(pages.two_lines(name), 1.5, middle, multialignment="center")
        if group == 0:
            middle = 0.5 * (grid.bottom + grid.top)
            part.side(r"$\log_{10}$ median final excess loss", 4.1, middle)
    for row in range(rows):
        _share_limits([artists[row, group] for group in range(len(GROUPS))])
    return artists


def draw_panel(data: Data, row: int, methods: tuple[str, ...], ax: Axes) -> dict[str, Any]:
    """Some methods on one problem, into any axes."""
    from qpsim.figures import page as pages

    artists = {}
    for method, shape in style.looks(methods).items():
        k = data.labels["method"].index(method)
        shown = data["stable"][row, k]
        x, y = data["step_size"][row, k][shown], data["final"][row, k][shown]
        # The largest step comes first. Of the smallest ones, which have no effect, only one is drawn.
        moves = np.flatnonzero(y < y[-1] - _FLAT)
        end = moves[-1] + 2 if moves.size else y.size
        x, y = x[:end], y[:end]
        artists[method] = pages.line(ax, x, y, shape, markevery=1)
        best = int(data["best"][row, k])
        ax.plot(
            data["step_size"][row, k, best],
            data["final"][row, k, best],
            marker="o",
            markersize=8,
            markerfacecolor="none",
            color=shape.color,
        )
    # Room for the circles around the lowest points.
    ax.margins(y=0.12)
    pages.log_axis(ax.xaxis)
    return artists


def _share_limits(panels: list[dict[str, Any]]) -> None:
    """Equal limits for the panels of a row, which are in different grids."""
    from qpsim.figures import page as pages

    axes = [next(iter(panel.values())).axes for panel in panels]
    for name in ("x", "y"):
        ends = np.array([getattr(ax, f"get_{name}lim")() for ax in axes])
        for ax in axes:
            getattr(ax, f"set_{name}lim")(ends[:, 0].min(), ends[:, 1].max())
    for ax in axes:
        pages.log_axis(ax.xaxis)
