"""Where does the sign win? Maps over noise, condition number and alignment, beside the theory.

Colour is log10 of the first method's loss over the second's after all steps (SGD over SSD: above 0 the sign wins), over
the eigenbasis' angle tau from the axes (0) to a Haar rotation (1) and the noise level, on the structured spectrum; and
over tau and the condition number of a log-uniform spectrum. Two predictions without simulation are shown too: the ratio
of the exact improvements (Eq. 11) at the start, and the final losses by :func:`qpsim.theory.optimal_run`.
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
from qpsim.figures import phase_map
from qpsim.figures.data import Data
from qpsim.figures.options import BaseOptions, option
from qpsim.methods import method as find_method
from qpsim.provenance import provenance_since
from qpsim.sweep import Cell, Sweep
from qpsim.sweep.cell import read_cell

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

MAPS = ("noise", "condition")
KINDS = ("measured", "start", "run")
_LEVEL_AXES = {"noise": "noise_std", "condition": "condition_number"}
_TITLES = ("measured", "predicted (start)", "predicted (run)")
_AXIS_LABELS = {"noise": r"noise $\nu$", "condition": r"condition number $\kappa$"}


@dataclass(frozen=True)
class Options(BaseOptions):
    """Options of the maps."""

    methods: tuple[str, ...] = option(("sgd", "ssd"), "the two methods that are compared")
    step_size: str = option("optimal", "optimal, bound or line-search")
    n_replicates: int = option(64, "runs of each method, cell and problem", at_least=2)
    n_draws: int = option(4, "draws of spectrum, rotation and optimum", at_least=1)
    n_steps: int = option(100, "steps of each run", at_least=1)
    dim: int = option(50, "coordinates", at_least=2)
    scale: float = option(10.0, "starting offsets are U[-scale, scale]", at_least=0.0)
    noise_std: tuple[float, ...] = option(
        (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0, 7.0, 10.0, 20.0, 30.0),
        "noise levels",
        at_least=1e-9,
    )
    condition: tuple[float, ...] = option(
        (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4),
        "condition numbers",
        at_least=1.0,
    )
    tau: tuple[float, ...] = option(
        (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0),
        "eigenbasis, axes to Haar",
        at_least=0.0,
    )
    condition_noise: float = option(0.1, "noise level of the second map", at_least=0.0)
    rng: int = option(
        0, "seed of the first problem; the others have the following ones", at_least=0
    )


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Simulate and predict all cells of both maps.

    Returns
    -------
    Data
        ``noise`` and ``condition`` (kind, level, tau): log10 ratio of the first method's loss to the
        second's, mean over replicates and problems, for the kinds measured, start (improvement of
        the second over that of the first) and run (:func:`predicted`); NaN where nothing is predicted.
        ``noise_error`` and ``condition_error`` (level, tau): standard error of the measured ratio, of
        replicates on the same problems. ``noise_problems`` and ``condition_problems`` (kind, problem,
        level, tau): the ratios of each problem. ``agreement`` (map, kind, count): the decided cells in
        which a kind has the measured sign, and all decided cells, whose 95 % interval excludes 0.

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
    found = []
    with (
        threads(workers) as pool,
        one_blas_thread(),
        progress.bar("figure phase", len(pairs)) as bar,
        pool.run(_ratios, enumerate((pair,) for pair in pairs)) as results,
    ):
        for ratios in results.in_order():
            found.append(ratios)
            bar.tick()
    arrays: dict[str, np.ndarray] = {}
    start = 0
    for name in MAPS:
        sizes = len(getattr(options, phase_map.LEVELS[name])), len(options.tau)
        shape = (options.n_draws, *sizes, len(KINDS) + 1)
        size = int(np.prod(shape[:3]))
        *kinds, error = _sorted(sweeps[name], np.array(found[start : start + size]), name, shape)
        arrays[f"{name}_problems"] = np.array(kinds)
        arrays[name] = arrays[f"{name}_problems"].mean(axis=1)
        arrays[f"{name}_error"] = np.sqrt(np.mean(error**2, axis=0) / options.n_draws)
        start += size
    arrays["agreement"] = np.array(
        [_agreement(arrays[name], arrays[f"{name}_error"]) for name in MAPS]
    )
    axes = {"agreement": ["map", "kind", "count"]}
    for name in MAPS:
        cell = [_LEVEL_AXES[name], "tau"]
        axes |= {name: ["kind", *cell], f"{name}_error": cell}
        axes[f"{name}_problems"] = ["kind", "problem", *cell]
    labels: dict[str, list[Any]] = {
        "kind": list(KINDS),
        "map": list(MAPS),
        "count": ["same", "decided"],
        "tau": list(options.tau),
        **{_LEVEL_AXES[name]: list(getattr(options, phase_map.LEVELS[name])) for name in MAPS},
    }
    return Data(
        "phase",
        options,
        arrays,
        axes,
        labels,
        provenance_since(began, bit_generator="SFC64", workers=pool.width),
    )


def predicted(
    problem: Any, methods: tuple[Any, Any], step_size: str, n_steps: int
) -> tuple[float, float]:
    """Predicted log10 loss ratios: from the start only, and for whole runs.

    At the start it is log10 of I(second) / I(first), the exact improvements of Eq. 11: NaN for a method
    with a state or without a closed form. Of whole runs it is the difference of the means of log10 of the
    last losses, as measured: NaN but for sgd and ssd with optimal steps.
    """
    from qpsim import theory

    theta0 = np.zeros(problem.dim)
    start = run = np.nan
    if not any(method.closed_form is None or method.state_names for method in methods):
        first, second = (theory.expected_improvement(problem, m, theta0) for m in methods)
        start = float(np.log10(second / first))
    if step_size == "optimal" and {method.name for method in methods} <= {"sgd", "ssd"}:
        ends = [theory.optimal_run(problem, m, n_steps, theta0).final_log10_loss for m in methods]
        run = ends[0] - ends[1]
    return start, run


def aspect(data: Data, width: float) -> float:
    """Height over width, by how many columns there are."""
    return (0.74 if len(_kinds(data)) > 1 else 1.7) + (0.0 if width >= 5 else 0.16)


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """Draw the maps into a figure or subfigure.

    Returns
    -------
    dict
        (map, kind) -> as :func:`qpsim.figures.phase_map.draw_map`; "bar"; "legend"; "note".
    """
    from qpsim.figures import page as pages

    page = pages.Page(fig)
    kinds = _kinds(data)
    first, second = pages.labels(data.options.methods)
    artists: dict[Any, Any] = {"note": page.note(_note(data, first, second, kinds))}
    artists["legend"] = page.legend(*phase_map.legend(first, second))
    grid = page.grid(
        len(MAPS), len(kinds), left=5.2, right=7.4, top=3.0, bottom=3.2, across=1.4, down=4.6
    )
    for row, name in enumerate(MAPS):
        for column, kind in enumerate(kinds):
            ax = fig.add_subplot(grid[row, column])
            artists[name, KINDS[kind]] = phase_map.draw_map(data, name, kind, ax)
            same, all_of_them = data["agreement"][row, kind]
            ax.set_title(_TITLES[kind] + (f"\n{same:.0f} of {all_of_them:.0f}" if kind else ""))
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
    bar.set_ticks(list(phase_map.STEPS), labels=[pages.signed(step) for step in phase_map.STEPS])
    bar.ax.tick_params(length=0)
    middle = 0.5 * (grid.bottom + grid.top)
    page.side(f"$\\log_{{10}}$ {first} / {second}", page.width - 1.2, middle)
    return artists


def _kinds(data: Data) -> list[int]:
    """Numbers of the kinds that there are: what is not predicted is NaN."""
    return [k for k in range(len(KINDS)) if not np.isnan(data["noise"][k]).all()]


def _note(data: Data, first: str, second: str, kinds: list[int]) -> str:
    options = data.options
    text = (
        f"Colour: $\\log_{{10}}$ of {first}'s excess loss over {second}'s after {options.n_steps} steps, "
        f"mean over {options.n_replicates} runs on each of {options.n_draws} problems; undecided: its 95 % "
        "interval holds 0."
    )
    if 1 in kinds:
        text += f" Predicted (start): the improvement by {second} in one step over that by {first}."
    if 2 in kinds:
        text += " Predicted (run): ends of whole runs, without sampling."
    if len(kinds) > 1:
        text += " Numbers: decided cells whose winner is predicted, of all decided ones."
    return text + " Circles: Figure 2's values."


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


def _ratios(cells: tuple[Cell, Cell]) -> tuple[float, ...]:
    """Log10 loss ratios of one cell by kind, and the standard error of the measured one."""
    logs = [
        np.log10(np.clip(read_cell(c.run(), "a cell").final_loss, 1e-300, 1e300)) for c in cells
    ]
    # The methods have the same draws, so that differences of replicates have a smaller variance.
    gap = logs[0] - logs[1]
    parameters = cells[0].parameters
    methods = tuple(find_method(**cell.parameters["method"]) for cell in cells)
    expected = predicted(
        cells[0].problem(),
        (methods[0], methods[1]),
        parameters["step_size"],
        parameters["n_steps"],
    )
    return float(gap.mean()), *expected, float(gap.std(ddof=1) / np.sqrt(gap.size))


def _sorted(sweep: Sweep, flat: np.ndarray, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers in the sweep's order of its axes, as (number, problem, level, tau)."""
    order = [axis for axis in sweep.axes if axis != "method"]
    cells = flat.reshape(*(len(sweep.axes[axis]) for axis in order), shape[-1])
    level = "noise_std" if name == "noise" else "condition"
    wanted = [len(order), *(order.index(axis) for axis in ("rng", level, "basis"))]
    return np.ascontiguousarray(cells.transpose(wanted))


def _agreement(ratios: np.ndarray, error: np.ndarray) -> list[list[float]]:
    """For each kind the decided cells of the measured sign, NaN for what is not predicted, and the decided ones."""
    certain = phase_map.is_decided(ratios[0], error)
    known = [np.nan if np.isnan(kind).all() else 0.0 for kind in ratios]
    same = [np.sum((np.sign(kind) == np.sign(ratios[0])) & certain) for kind in ratios]
    return [[float(s) + k, float(certain.sum())] for s, k in zip(same, known, strict=True)]
