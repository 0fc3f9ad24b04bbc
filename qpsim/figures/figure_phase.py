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
from qpsim.figures import style
from qpsim.figures.data import Data
from qpsim.figures.options import BaseOptions, option
from qpsim.methods import method as find_method
from qpsim.provenance import environment
from qpsim.sweep import Cell, Sweep
from qpsim.sweep.cell import read_cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

ASPECT = 0.68
MAPS = ("noise", "condition")
KINDS = ("measured", "start", "path")
# Figure 2's noisy panels, and the condition numbers of its spectra: 11, and about 5000 at d = 100.
CORNERS = {"noise": (0.1, 4.0), "condition": (11.0, 5000.0)}
_TITLES = ("measured", "theory: start", "theory: path")
_AXIS_LABELS = {"noise": r"noise $\nu$", "condition": r"condition number $\kappa$"}


@dataclass(frozen=True)
class Options(BaseOptions):
    """What the maps may be asked for."""

    methods: tuple[str, ...] = option(("sgd", "ssd"), "the two methods that are compared")
    step_size: str = option("optimal", "optimal, bound or line-search")
    replicates: int = option(64, "runs of each method, cell and problem", at_least=1)
    problems: int = option(2, "draws of spectrum, rotation and optimum", at_least=1)
    steps: int = option(100, "steps of each run", at_least=1)
    dim: int = option(50, "coordinates", at_least=2)
    scale: float = option(10.0, "starting offsets are U[-scale, scale]", at_least=0.0)
    noise: tuple[float, ...] = option(
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
    seed: int = option(0, "seed of the first problem; the next have the next ones", at_least=0)


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
    >>> few = {"noise": (0.1, 4.0), "condition": (10.0,), "tau": (0.0, 1.0)}
    >>> small = figure_phase.Options(dim=4, steps=3, replicates=4, problems=1, **few)
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
        shape = (options.problems, len(getattr(options, name)), len(options.tau), len(KINDS))
        size = int(np.prod(shape[:3]))
        flat = np.array(ratios[start : start + size])
        arrays[f"{name}_problems"] = _sorted(sweeps[name], flat, name, shape)
        arrays[name] = arrays[f"{name}_problems"].mean(axis=1)
        start += size
    arrays["agreement"] = np.array([_agreement(arrays[name]) for name in MAPS])
    axes = {name: ["kind", "level", "tau"] for name in MAPS}
    axes |= {f"{name}_problems": ["kind", "problem", "level", "tau"] for name in MAPS}
    axes["agreement"] = ["map", "kind"]
    labels: dict[str, list[Any]] = {"kind": list(KINDS), "map": list(MAPS)}
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

    if any(method.form is None or method.state_names for method in methods):
        return np.nan, np.nan
    theta0 = np.zeros(problem.dim)
    improvement = [theory.expected_improvement(problem, method, theta0) for method in methods]
    first, second = (_log_loss(problem, method, theta0, n_steps) for method in methods)
    return float(np.log10(improvement[1] / improvement[0])), first - second


def draw(data: Data, fig: Figure | SubFigure) -> dict[str, Any]:
    """Draw the maps into a figure or subfigure; artists by (map, kind): mesh, contours, corners."""
    artists: dict[Any, Any] = {}
    kinds = [k for k in range(len(KINDS)) if not np.isnan(data["noise"][k]).all()]
    grid, em, height = _grid(fig)
    first, second = (style.look(name).label for name in data.options.methods)
    fig.text(
        0.5,
        1.0 - 0.5 * em / height,
        f"$\\log_{{10}}$ {first} / {second} loss after {data.options.steps} steps; "
        f"above 0 {second} wins",
        ha="center",
        va="top",
    )
    for row, name in enumerate(MAPS):
        for kind in kinds:
            ax = fig.add_subplot(grid[row, kind])
            artists[name, KINDS[kind]] = draw_map(data, name, kind, ax)
            bar = fig.colorbar(artists[name, KINDS[kind]]["mesh"], ax=ax, pad=0.03, fraction=0.06)
            bar.outline.set_linewidth(0.5)
            bar.minorticks_off()
            _few_ticks(bar)
            agreement = f"\nagrees: {100 * data['agreement'][row, kind]:.0f} %" if kind else ""
            ax.set_title(_TITLES[kind] + agreement)
            ax.tick_params(labelleft=kind == 0)
            if kind == 0:
                ax.set_ylabel(_AXIS_LABELS[name])
            if row == len(MAPS) - 1:
                ax.set_xlabel(r"rotation $\tau$")
    return artists


def draw_map(data: Data, name: str, kind: int, ax: Axes) -> dict[str, Any]:
    """One map into any axes: colours, its contour at 0, and dashed the measured one."""
    from matplotlib.colors import SymLogNorm

    levels, tau = np.array(getattr(data.options, name)), np.array(data.options.tau)
    values = data[name][kind]
    # Ratios of losses share one scale; that of improvements in a single step has its own.
    shared = data[name][[1]] if kind == 1 else data[name][[0, 2]]
    limit = max(float(np.nanmax(np.abs(shared))), 1e-3)
    mesh = ax.pcolormesh(
        np.arange(tau.size),
        np.arange(levels.size),
        values,
        cmap="PuOr",
        norm=SymLogNorm(0.02 * limit, vmin=-limit, vmax=limit),
        shading="nearest",
    )
    mesh.set_rasterized(True)
    artists: dict[str, Any] = {"mesh": mesh}
    artists["contour"] = _zero(ax, values, "solid")
    if kind:
        artists["measured"] = _zero(ax, data[name][0], "dashed")
    # Cells are equally wide: the values are chosen, not equidistant on any scale.
    ax.set_xticks(
        np.arange(tau.size)[:: 1 + tau.size // 4], [f"{v:g}" for v in tau][:: 1 + tau.size // 4]
    )
    ax.set_yticks(np.arange(levels.size)[::2], [f"{v:g}" for v in levels][::2])
    ax.tick_params(length=0)
    ax.minorticks_off()
    corners = [
        (float(np.interp(x, tau, np.arange(tau.size))), _place(levels, y))
        for x in (0.0, 1.0)
        for y in CORNERS[name]
        if tau[0] <= x <= tau[-1] and levels[0] <= y <= levels[-1]
    ]
    if corners:
        x, y = np.transpose(corners)
        artists["corners"] = ax.scatter(
            x, y, s=14, marker="o", facecolor="white", edgecolor="black", zorder=5
        )
    return artists


def _grid(fig: Figure | SubFigure) -> tuple[Any, float, float]:
    """Margins and gaps in multiples of the text, so that it fits at any width."""
    import matplotlib

    width, height = fig.bbox.width / fig.dpi, fig.bbox.height / fig.dpi
    em = matplotlib.rcParams["font.size"] / 72
    left, right, top, bottom, across, down = 5.0, 3.0, 4.6, 3.2, 3.6, 4.6
    one_wide = (width / em - left - right - 2 * across) / 3
    one_high = (height / em - top - bottom - down) / 2
    grid = fig.add_gridspec(
        len(MAPS),
        len(KINDS),
        left=left * em / width,
        right=1.0 - right * em / width,
        top=1.0 - top * em / height,
        bottom=bottom * em / height,
        wspace=across / one_wide,
        hspace=down / one_high,
    )
    return grid, em, height


def _few_ticks(bar: Any) -> None:
    """0, the ends in round numbers, and a tenth of them: a logarithmic bar asks for too many."""
    largest = bar.vmax
    unit = 10.0 ** np.floor(np.log10(largest))
    end = unit * np.floor(largest / unit)
    ticks = [-end, -0.1 * end, 0.0, 0.1 * end, end]
    bar.set_ticks(ticks, labels=[f"{tick:g}" for tick in ticks])


def _zero(ax: Axes, values: np.ndarray, line: str) -> Any:
    """The contour at 0, if there is one."""
    if min(values.shape) < 2 or not values.min() < 0 < values.max():
        return None
    return ax.contour(values, levels=[0.0], colors="black", linewidths=1.0, linestyles=line)


def _place(levels: np.ndarray, value: float) -> float:
    return float(np.interp(np.log(value), np.log(levels), np.arange(levels.size)))


def _sweep(options: Options, name: str) -> Sweep:
    shared = {
        "dim": options.dim,
        "scale": options.scale,
        "steps": options.steps,
        "replicates": options.replicates,
        "step_size": options.step_size,
    }
    grid: dict[str, Any] = {
        "basis": options.tau,
        "seed": [options.seed + k for k in range(options.problems)],
        "method": options.methods,
    }
    if name == "noise":
        return Sweep({**shared, "spectrum": "structured"}, {**grid, "noise_std": options.noise})
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
    n_steps = cells[0].parameters["steps"]
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
    wanted = [len(order), *(order.index(axis) for axis in ("seed", level, "basis"))]
    return np.ascontiguousarray(cells.transpose(wanted))


def _agreement(ratios: np.ndarray) -> list[float]:
    """Fraction of the cells in which each kind has the sign of the measured one."""
    known = [np.nan if np.isnan(kind).all() else 0.0 for kind in ratios]
    return [
        float(np.mean(np.sign(kind) == np.sign(ratios[0]))) + nothing
        for kind, nothing in zip(ratios, known, strict=True)
    ]
