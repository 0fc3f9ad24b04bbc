"""Where does the sign win? Maps over noise, condition number and alignment, beside the theory.

Colour is log10 of the first method's loss over the second's after all steps (SGD over SSD: above 0
the sign wins), over the eigenbasis' angle tau from the axes (0) to a Haar rotation (1) and the
noise level, on the structured spectrum; and over tau and the condition number of a log-uniform
spectrum. Beside what was measured stands what Section 2 predicts without simulating: the ratio of
the exact improvements (Eq. 11) at the start, and the improvements added up along the path.
"""

from __future__ import annotations

import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import FigureError
from qpsim.execution import progress
from qpsim.execution.blas import one_blas_thread
from qpsim.execution.pool import threads
from qpsim.figures.data import Data
from qpsim.figures.options import BaseOptions, option
from qpsim.methods import method as find_method
from qpsim.provenance import environment
from qpsim.sweep import Cell, Sweep
from qpsim.sweep.cell import read_cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

MAPS = ("noise", "condition")
KINDS = ("measured", "start", "path")
# Figure 2's noisy panels, and the condition numbers of its spectra: 11, and about 5000 at d = 100.
CORNERS = {"noise": (0.1, 4.0), "condition": (11.0, 5000.0)}
_OPTIONS = {"noise": "noise_std", "condition": "condition"}
_LEVEL_AXES = {"noise": "noise_std", "condition": "condition_number"}
_TITLES = ("measured", "predicted (start)", "predicted (path)")
# Ratios are shown in steps, on one scale for all maps.
_LEVELS = (-3.0, -1.0, -0.3, -0.1, -0.03, -0.01, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_HATCH, _BORDER_WIDTH = "/////", 1.6
_CORNER: dict[str, Any] = {
    "marker": "o",
    "markerfacecolor": "white",
    "markeredgecolor": "black",
}
_AXIS_LABELS = {"noise": r"noise $\nu$", "condition": r"condition number $\kappa$"}


@dataclass(frozen=True)
class Options(BaseOptions):
    """What the maps may be asked for."""

    methods: tuple[str, ...] = option(("sgd", "ssd"), "the two methods that are compared")
    step_size: str = option("optimal", "optimal, bound or line-search")
    n_replicates: int = option(64, "runs of each method, cell and problem", at_least=1)
    n_draws: int = option(2, "draws of spectrum, rotation and optimum", at_least=1)
    n_steps: int = option(100, "steps of each run", at_least=1)
    dim: int = option(50, "coordinates", at_least=2)
    scale: float = option(10.0, "starting offsets are U[-scale, scale]", at_least=0.0)
    noise_std: tuple[float, ...] = option(
        (0.01, 0.03, 0.1, 0.3, 1.0, 2.0, 4.0, 10.0, 30.0), "noise levels", at_least=1e-9
    )
    condition: tuple[float, ...] = option(
        (1.0, 3.0, 11.0, 30.0, 100.0, 300.0, 1000.0, 5000.0, 20000.0),
        "condition numbers",
        at_least=1.0,
    )
    tau: tuple[float, ...] = option(
        (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0), "eigenbasis, axes to Haar", at_least=0.0
    )
    condition_noise: float = option(0.1, "noise level of the second map", at_least=0.0)
    rng: int = option(0, "seed of the first problem; the next have the next ones", at_least=0)


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Simulate and predict all cells of both maps.

    Returns
    -------
    Data
        ``noise`` and ``condition`` (kind, level, tau): log10 ratio of the first method's loss to the
        second's, mean over replicates and problems, for the kinds measured, start (improvement of
        the second over that of the first) and path; predictions are NaN for methods with a state
        or without a closed form. ``noise_problems`` and ``condition_problems`` (kind, problem, level,
        tau): the same of each problem. ``agreement`` (map, kind): fraction of the cells where the
        prediction has the measured sign.

    Examples
    --------
    >>> from qpsim.figures import figure_phase
    >>> few = {"noise_std": (0.1, 4.0), "condition": (10.0,), "tau": (0.0, 1.0)}
    >>> small = figure_phase.Options(dim=4, n_steps=3, n_replicates=4, n_draws=1, **few)
    >>> figure_phase.compute(small, workers=1)["noise"].shape
    (3, 2, 2)
    """
    began = time.perf_counter()
    if len(options.methods) != 2:
        raise FigureError(f"methods takes two methods, not {len(options.methods)}.")
    sweeps = {name: _sweep(options, name) for name in MAPS}
    pairs = [
        tuple(cells) for sweep in sweeps.values() for cells in zip(*_by_method(sweep), strict=True)
    ]
    ratios = []
    with (
        threads(workers) as pool,
        one_blas_thread(),
        progress.bar("figure phase", len(pairs)) as bar,
        pool.run(_ratios, enumerate((pair,) for pair in pairs)) as results,
    ):
        for ratio in results.in_order():
            ratios.append(ratio)
            bar.tick()
    arrays: dict[str, np.ndarray] = {}
    start = 0
    for name in MAPS:
        sizes = len(getattr(options, _OPTIONS[name])), len(options.tau)
        shape = (options.n_draws, *sizes, len(KINDS))
        size = int(np.prod(shape[:3]))
        flat = np.array(ratios[start : start + size])
        arrays[f"{name}_problems"] = _sorted(sweeps[name], flat, name, shape)
        arrays[name] = arrays[f"{name}_problems"].mean(axis=1)
        start += size
    arrays["agreement"] = np.array([_agreement(arrays[name]) for name in MAPS])
    axes = {name: ["kind", _LEVEL_AXES[name], "tau"] for name in MAPS}
    axes |= {f"{name}_problems": ["kind", "problem", _LEVEL_AXES[name], "tau"] for name in MAPS}
    axes["agreement"] = ["map", "kind"]
    labels: dict[str, list[Any]] = {
        "kind": list(KINDS),
        "map": list(MAPS),
        "tau": list(options.tau),
        **{_LEVEL_AXES[name]: list(getattr(options, _OPTIONS[name])) for name in MAPS},
    }
    provenance = {
        **environment(),
        "bit_generator": "SFC64",
        "workers": pool.width,
        "wall_seconds": round(time.perf_counter() - began, 3),
    }
    return Data("phase", options, arrays, axes, labels, provenance)


def predicted(problem: Any, methods: tuple[Any, Any], n_steps: int) -> tuple[float, float]:
    """Log10 loss ratio that Section 2's one-step analysis predicts, from the start and along the path.

    At the start it is log10 of I(second) / I(first), the exact improvements of Eq. 11. Along the
    path each method multiplies its loss by 1 - I / loss in every step; its error keeps the direction
    of the mean path theta - alpha E[z] and the size of the predicted loss. Both are NaN for a method
    with a state or without a closed form.
    """
    from qpsim import theory

    if any(method.closed_form is None or method.state_names for method in methods):
        return np.nan, np.nan
    theta0 = np.zeros(problem.dim)
    improvement = [theory.expected_improvement(problem, method, theta0) for method in methods]
    first, second = (_log_loss(problem, method, theta0, n_steps) for method in methods)
    return float(np.log10(improvement[1] / improvement[0])), first - second


def aspect(data: Data, width: float) -> float:
    """Height over width, by how many columns there are."""
    return (0.74 if len(_kinds(data)) > 1 else 1.7) + (0.0 if width >= 5 else 0.16)


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """Draw the maps into a figure or subfigure.

    Returns
    -------
    dict
        (map, kind) -> "mesh", "hatched", "corners" and, beside the measured map, "measured" (where
        its sign changes); "bar"; "legend"; "note".
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    from qpsim.figures import page as pages

    page = pages.Page(fig)
    kinds = _kinds(data)
    first, second = pages.labels(data.options.methods)
    artists: dict[Any, Any] = {"note": page.note(_note(data, first, second, len(kinds) > 1))}
    handles = [
        Patch(facecolor="white", edgecolor="0.3", hatch=_HATCH, linewidth=0.5),
        Patch(facecolor="white", edgecolor="0.3", linewidth=0.5),
        Line2D([], [], color="black", linewidth=_BORDER_WIDTH),
        Line2D([], [], **_CORNER, linestyle=""),
    ]
    texts = [f"{first} wins", f"{second} wins", "border as measured", "as in Figure 2"]
    shown = [k for k in range(4) if k != 2 or len(kinds) > 1]
    artists["legend"] = page.legend([handles[k] for k in shown], [texts[k] for k in shown])
    grid = page.grid(
        len(MAPS), len(kinds), left=5.2, right=7.4, top=3.0, bottom=3.2, across=1.4, down=4.6
    )
    for row, name in enumerate(MAPS):
        for column, kind in enumerate(kinds):
            ax = fig.add_subplot(grid[row, column])
            artists[name, KINDS[kind]] = draw_map(data, name, kind, ax)
            share = 100 * data["agreement"][row, kind]
            ax.set_title(_TITLES[kind] + (f"\nsame winner: {share:.0f} %" if kind else ""))
            ax.tick_params(labelleft=column == 0)
            if column == 0:
                ax.set_ylabel(_AXIS_LABELS[name])
            if row == len(MAPS) - 1:
                ax.set_xlabel(r"rotation $\tau$")
    side = fig.add_axes(
        (page.x(page.width - 6.4), grid.bottom, 1.0 / page.width, grid.top - grid.bottom)
    )
    mesh = artists["noise", "measured"]["mesh"]
    bar = artists["bar"] = fig.colorbar(mesh, cax=side, extend="both", spacing="uniform")
    bar.outline.set_linewidth(0.5)
    bar.set_ticks(list(_LEVELS), labels=[pages.signed(level) for level in _LEVELS])
    bar.ax.tick_params(length=0)
    middle = 0.5 * (grid.bottom + grid.top)
    page.side(f"$\\log_{{10}}$ {first} / {second}", page.width - 1.2, middle)
    return artists


def draw_map(data: Data, name: str, kind: int, ax: Axes) -> dict[str, Any]:
    """One map into any axes: colours, hatching below 0, and the border of the measured one."""
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection, PatchCollection
    from matplotlib.colors import BoundaryNorm
    from matplotlib.patches import Rectangle

    levels, tau = np.array(getattr(data.options, _OPTIONS[name])), np.array(data.options.tau)
    values = data[name][kind]
    colours = colormaps["PuOr"].resampled(len(_LEVELS) + 1)
    mesh = ax.pcolormesh(
        np.arange(tau.size),
        np.arange(levels.size),
        values,
        cmap=colours,
        norm=BoundaryNorm(_LEVELS, colours.N, extend="both"),
        shading="nearest",
    )
    mesh.set_rasterized(True)
    below = [
        Rectangle((column - 0.5, row - 0.5), 1, 1) for row, column in np.argwhere(values < 0.0)
    ]
    hatched = PatchCollection(
        below, facecolor="none", edgecolor="0.3", hatch=_HATCH, linewidth=0.0, zorder=2
    )
    ax.add_collection(hatched, autolim=False)
    artists: dict[str, Any] = {"mesh": mesh, "hatched": hatched}
    if kind:
        lines = LineCollection(
            sign_changes(data[name][0]),
            colors="black",
            linewidths=_BORDER_WIDTH,
            capstyle="projecting",
            zorder=3,
        )
        artists["measured"] = ax.add_collection(lines, autolim=False)
    # Cells are equally wide: the values are chosen, not equidistant on any scale.
    for axis, steps, count in ((ax.xaxis, tau, 4), (ax.yaxis, levels, 5)):
        named = np.unique(np.linspace(0, steps.size - 1, min(count, steps.size)).round())
        axis.set_ticks(named, [f"{steps[int(k)]:g}" for k in named])
    ax.grid(False)
    ax.tick_params(length=0)
    ax.minorticks_off()
    corners = [
        (float(np.interp(x, tau, np.arange(tau.size))), _place(levels, y))
        for x in (0.0, 1.0)
        for y in CORNERS[name]
        if tau[0] <= x <= tau[-1] and levels[0] <= y <= levels[-1]
    ]
    if corners:
        (artists["corners"],) = ax.plot(*np.transpose(corners), **_CORNER, linestyle="", zorder=5)
    return artists


def sign_changes(values: np.ndarray) -> list[list[tuple[float, float]]]:
    """Edges between neighbouring cells of a map of which one is above 0 and the other is not.

    Parameters
    ----------
    values : ndarray, shape (row, column)

    Returns
    -------
    list of [(x, y), (x, y)]
        Cells are squares around whole numbers.

    Examples
    --------
    >>> import numpy as np
    >>> sign_changes(np.array([[-1.0, 1.0]]))
    [[(0.5, -0.5), (0.5, 0.5)]]
    """
    above = values > 0.0
    beside = np.argwhere(above[:, 1:] != above[:, :-1]).tolist()
    over = np.argwhere(above[1:] != above[:-1]).tolist()
    return [[(x + 0.5, y - 0.5), (x + 0.5, y + 0.5)] for y, x in beside] + [
        [(x - 0.5, y + 0.5), (x + 0.5, y + 0.5)] for y, x in over
    ]


def _kinds(data: Data) -> list[int]:
    """Numbers of the kinds that there are: predictions are NaN for methods with a state."""
    return [k for k in range(len(KINDS)) if not np.isnan(data["noise"][k]).all()]


def _note(data: Data, first: str, second: str, predicted: bool) -> str:
    options = data.options
    text = (
        f"Colour: $\\log_{{10}}$ of {first}'s excess loss over {second}'s after {options.n_steps} steps, "
        f"mean over {options.n_replicates} runs on each of {options.n_draws} problems."
    )
    if predicted:
        text += (
            f" Predicted: of the exact improvement by {second} in one step over that by {first} (start); of "
            "the losses if every step takes its exact improvement off them (path). "
            "Same winner: share of the cells where prediction and measurement agree."
        )
    return text + " Circles: the problems of Figure 2."


def _place(levels: np.ndarray, value: float) -> float:
    return float(np.interp(np.log(value), np.log(levels), np.arange(levels.size)))


def _sweep(options: Options, name: str) -> Sweep:
    shared = {
        "dim": options.dim,
        "scale": options.scale,
        "n_steps": options.n_steps,
        "n_replicates": options.n_replicates,
        "step_size": options.step_size,
    }
    grid: dict[str, Any] = {
        "basis": options.tau,
        "rng": [options.rng + k for k in range(options.n_draws)],
        "method": options.methods,
    }
    if name == "noise":
        return Sweep({**shared, "spectrum": "structured"}, {**grid, "noise_std": options.noise_std})
    return Sweep(
        {**shared, "spectrum": "log-uniform", "noise_std": options.condition_noise},
        {**grid, "condition": options.condition},
    )


def _by_method(sweep: Sweep) -> list[list[Cell]]:
    """Cells of the first and of the second method, in the same order."""
    cells = list(sweep)
    methods = [cell.parameters["method"] for cell in cells]
    first = methods[0]
    pair = [[c for c, m in zip(cells, methods, strict=True) if (m == first) == w] for w in (1, 0)]
    return pair


def _ratios(cells: tuple[Cell, Cell]) -> tuple[float, float, float]:
    """Measured and predicted log10 loss ratio of one cell."""
    final = [read_cell(cell.run(), "a cell").mean_log10_loss[-1] for cell in cells]
    methods = tuple(find_method(**cell.parameters["method"]) for cell in cells)
    n_steps = cells[0].parameters["n_steps"]
    return (final[0] - final[1], *predicted(cells[0].problem(), (methods[0], methods[1]), n_steps))


def _log_loss(problem: Any, method: Any, theta0: np.ndarray, n_steps: int) -> float:
    """log10 of the loss after the steps, if every step did what Eq. 11 expects of it."""
    from qpsim import theory

    error = theta0 - problem.optimum
    loss = problem.excess_loss(problem.optimum + error)
    for _ in range(n_steps):
        theta = problem.optimum + error
        mean, quadratic = theory.direction_moments(problem, method, theta)
        slope = float(problem.gradient(theta) @ mean)
        if not quadratic > 0.0 or loss <= 1e-300:
            break
        error = error - slope / quadratic * mean
        loss = max(loss - 0.5 * slope**2 / quadratic, 1e-300)
        size = problem.excess_loss(problem.optimum + error)
        if size > 0.0:
            error = error * np.sqrt(loss / size)
    return float(np.log10(max(loss, 1e-300)))


def _sorted(sweep: Sweep, flat: np.ndarray, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Ratios in the sweep's order of its axes, as (kind, problem, level, tau)."""
    order = [axis for axis in sweep.axes if axis != "method"]
    cells = flat.reshape(*(len(sweep.axes[axis]) for axis in order), shape[-1])
    level = "noise_std" if name == "noise" else "condition"
    wanted = [len(order), *(order.index(axis) for axis in ("rng", level, "basis"))]
    return np.ascontiguousarray(cells.transpose(wanted))


def _agreement(ratios: np.ndarray) -> list[float]:
    """Fraction of the cells in which each kind has the sign of the measured one."""
    known = [np.nan if np.isnan(kind).all() else 0.0 for kind in ratios]
    return [
        float(np.mean(np.sign(kind) == np.sign(ratios[0]))) + nothing
        for kind, nothing in zip(ratios, known, strict=True)
    ]
