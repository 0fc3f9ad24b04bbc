"""What a simulation costs: time against dimension, replicates, steps and workers.

Four ensembles: SGD and SSD with optimal steps on a diagonal Hessian, and on a rotated one, where SGD runs in the
eigenbasis and SSD needs the exact E[s s^T]. One size varies in each panel while the others are fixed. A time is the
minimum over several rounds, since other work of the machine only increases it. These are measurements: another run
gives other numbers.
"""

from __future__ import annotations

import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import FigureError
from qpsim.execution import progress
from qpsim.execution.cores import available_cores
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

CURVES = (("sgd", "axis"), ("ssd", "axis"), ("sgd", "haar"), ("ssd", "haar"))
PANELS = {
    "dims": "coordinates",
    "replicate_counts": "replicates",
    "step_counts": "steps",
    "worker_counts": "workers",
}
_BASES = {"axis": "diagonal", "haar": "rotated"}


@dataclass(frozen=True)
class Options(BaseOptions):
    """Options of the figure."""

    dim: int = option(100, "coordinates in panels where they are fixed", at_least=1)
    n_replicates: int = option(1024, "replicates in panels where they are fixed", at_least=1)
    n_steps: int = option(100, "steps in panels where they are fixed", at_least=1)
    dims: tuple = option((10, 30, 100, 300), "numbers of coordinates", at_least=1)
    replicate_counts: tuple = option(
        (64, 256, 1024, 4096, 16_384), "numbers of replicates", at_least=1
    )
    step_counts: tuple = option((10, 30, 100, 300, 1000), "numbers of steps", at_least=1)
    worker_counts: tuple = option((1, 2, 4), "numbers of threads", at_least=1)
    rounds: int = option(5, "rounds", at_least=1)
    rng: int = option(0, "seed of problems and noise", at_least=0)


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Time all runs.

    Parameters
    ----------
    options : Options
    workers : None or int
        Number of threads where it is fixed; all cores if None. An executor is refused, since its cost would be measured
        too.

    Returns
    -------
    Data
        ``dims``, ``replicate_counts``, ``step_counts`` and ``worker_counts`` (curve, value): least
        seconds of a run, one array a panel; the values are the options of the same names. ``workers``, ``cores``
        () is how many there were.

    Examples
    --------
    >>> from qpsim.figures import figure_scaling as scaling
    >>> small = dict(dim=4, n_replicates=2, n_steps=2, rounds=1, dims=(3, 5), replicate_counts=(1, 2),
    ...              step_counts=(1, 2), worker_counts=(1,))
    >>> scaling.compute(scaling.Options(**small), workers=1)["dims"].shape
    (4, 2)
    """
    if isinstance(workers, Executor):
        raise FigureError("The figure of costs needs a number of workers, not an executor.")
    threads = available_cores() if workers is None else workers
    began = time.perf_counter()
    runs = [
        (panel, k, curve, sizes)
        for panel in PANELS
        for k, sizes in enumerate(_sizes(options, panel, threads))
        for curve in range(len(CURVES))
    ]
    problems: dict[tuple[str, int], QuadraticProblem] = {}
    for *_, curve, (dim, *_) in runs:
        basis = CURVES[curve][1]
        if (basis, dim) not in problems:
            problems[basis, dim] = random_problem("structured", dim, basis, rng=options.rng)
    seconds: dict[tuple[str, int, int], list[float]] = {run[:3]: [] for run in runs}
    with progress.bar("scaling", options.rounds + 1) as bar:
        for turn in range(options.rounds + 1):
            for panel, k, curve, sizes in runs:
                method, basis = CURVES[curve]
                taken = _run(problems[basis, sizes[0]], method, sizes, options.rng)
                if turn > 0:  # the first compiles
                    seconds[panel, k, curve].append(taken)
            bar.tick()
    arrays = {
        panel: np.array(
            [
                [min(seconds[panel, k, curve]) for k in range(len(getattr(options, panel)))]
                for curve in range(len(CURVES))
            ]
        )
        for panel in PANELS
    }
    arrays["cores"] = np.array(available_cores())
    arrays["workers"] = np.array(threads)
    provenance = provenance_since(began, cores=available_cores(), workers=threads)
    axes = {panel: ["curve", "value"] for panel in PANELS}
    labels: dict[str, list[Any]] = {"curve": [f"{m}/{basis}" for m, basis in CURVES]}
    return Data("scaling", options, arrays, axes, labels, provenance)


def table(data: Data) -> tuple[list[str], list[list[str]]]:
    """The same as columns and rows of text: milliseconds, and the exponent of the growth.

    The exponent is that between a panel's last two values, of threads the last two for which there
    was a core each: 1 where cost is linear, -1 where threads share it without loss.
    """
    columns = ["milliseconds", *(_label(method, basis) for method, basis in CURVES)]
    rows = []
    for panel, label in PANELS.items():
        values, seconds = getattr(data.options, panel), data[panel]
        for k, value in enumerate(values):
            rows.append([f"{value:g} {label}", *(f"{1e3 * s:.3g}" for s in seconds[:, k])])
        most = int(data["cores"]) if panel == "worker_counts" else max(values)
        fitting = [k for k, value in enumerate(values) if value <= most]
        if len(fitting) > 1:
            i, j = fitting[-2:]
            growth = np.log(seconds[:, j] / seconds[:, i]) / np.log(values[j] / values[i])
            rows.append([f"exponent of {label}", *(f"{g:.2f}" for g in growth)])
    return columns, rows


def aspect(data: Data, width: float) -> float:
    """Height over width."""
    return 0.48 if width >= 5 else 0.62


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """Draw the four panels on logarithmic axes.

    Returns
    -------
    dict
        (panel, curve) -> line; "legend"; "note".
    """
    from qpsim.figures import page as pages

    page = pages.Page(fig)
    options = data.options
    # Files of earlier versions do not contain the number of threads.
    held = f" and {int(data['workers'])} threads" if "workers" in data.arrays else ""
    artists: dict[Any, Any] = {
        "note": page.note(
            f"Where they do not vary: {options.dim} coordinates, {options.n_replicates} replicates, "
            f"{options.n_steps} steps{held}. Each point is the shortest of {options.rounds} runs, on "
            f"{int(data['cores'])} cores."
        )
    }
    artists["legend"] = page.legend(
        [_handle(curve) for curve in range(len(CURVES))], [_label(*curve) for curve in CURVES]
    )
    grid = page.grid(1, len(PANELS), left=6.3, right=1.2, top=0.8, across=1.4)
    first: Axes | None = None
    for column, (panel, label) in enumerate(PANELS.items()):
        ax = fig.add_subplot(grid[0, column], sharey=first)
        values = getattr(options, panel)
        for curve in range(len(CURVES)):
            (artists[panel, curve],) = ax.plot(values, data[panel][curve], **_shape(curve))
        ax.set_xscale("log")
        ax.set_xlabel(label)
        # Labels must not overlap: in a narrow panel only the ends have one, among many values every second.
        last = len(values) - 1
        named = {0, last} if page.narrow else set(range(0, last + 1, 2 if last > 3 else 1))
        ax.set_xticks(values, [f"{v:g}" if k in named else "" for k, v in enumerate(values)])
        if page.narrow or last > 3:
            pages.ends_inside(ax)
        ax.minorticks_off()
        ax.tick_params(labelleft=first is None)
        first = first or ax
    assert first is not None
    pages.log_axis(first.yaxis)
    page.side("seconds", 1.2, 0.5 * (grid.bottom + grid.top))
    return artists


def _label(method: str, basis: str) -> str:
    return f"{style.look(method).label}, {_BASES[basis]}"


def _shape(curve: int) -> dict[str, Any]:
    method, basis = CURVES[curve]
    shape = style.look(method)
    return {
        "color": shape.color,
        "linestyle": "solid" if basis == "axis" else (0, (4, 1.5)),
        "marker": shape.marker,
        "markerfacecolor": shape.color if basis == "axis" else "white",
    }


def _handle(curve: int) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], **_shape(curve))


def _sizes(options: Options, panel: str, workers: int) -> list[tuple[int, int, int, int]]:
    """(dim, replicates, steps, workers) of a panel's runs."""
    held = [options.dim, options.n_replicates, options.n_steps, workers]
    varied = list(PANELS).index(panel)
    rows = []
    for value in getattr(options, panel):
        sizes = list(held)
        sizes[varied] = value
        rows.append((sizes[0], sizes[1], sizes[2], sizes[3]))
    return rows


def _run(
    problem: QuadraticProblem, method: str, sizes: tuple[int, int, int, int], seed: int
) -> float:
    _, replicates, steps, workers = sizes
    began = time.perf_counter()
    simulate(
        problem,
        method,
        n_steps=steps,
        n_replicates=replicates,
        rng=seed,
        workers=workers,
        record=("excess_loss",),
    )
    return time.perf_counter() - began
