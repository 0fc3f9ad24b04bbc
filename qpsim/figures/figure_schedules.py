"""Planned step sizes beside greedy ones and families of schedules, and how much each loses over a run.

The noisy quadratic model of Zhang et al. (2019), eigenvalues 1/i and gradient noise of covariance H/B, from a start at
distance 1 along every eigenvector. Losses are exact expectations. A greedy step is the best for the loss right after it
(Eq. 10); what it loses against the planned schedule of a whole run is the short-horizon bias of Wu et al. (2018). The
gap of a schedule is its final loss over that of the planned one, minus 1, each made for its own number of steps.
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
from qpsim.figures.options import BaseOptions, option
from qpsim.figures.style import Look
from qpsim.problem.gallery import noisy_quadratic_model
from qpsim.provenance import provenance_since
from qpsim.theory.schedules import KINDS, Schedule, best_schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

METHODS = ("sgd", "m-sgd")
# Smallest gap that is drawn; smaller ones are rounding errors or errors of the search.
_LEAST_GAP = 1e-4
_LOOKS = {
    "free": Look("planned", "#000000", "solid", "o"),
    "greedy": Look("greedy", "#0072B2", (0, (4, 1.5)), "s", False),
    "constant": Look("constant", "#E69F00", (0, (1, 1)), "^"),
    "piecewise": Look("ten pieces", "#666666", (0, (2, 1.2)), "v", False),
    "linear": Look("linear", "#D55E00", (0, (8, 2)), "D", False),
    "cosine": Look("cosine", "#CC79A7", (0, (5, 1, 1, 1)), "P"),
    "inverse-time": Look("inverse time", "#009E73", (0, (4, 1, 1, 1, 1, 1)), "X"),
    "warm-up-stable-decay": Look("warm-up, stable, decay", "#56B4E9", "solid", "<", False),
}


@dataclass(frozen=True)
class Options(BaseOptions):
    """Which problem, and runs of which lengths."""

    dim: int = option(1000, "number of coordinates", at_least=1)
    batch_size: int = option(1, "draws averaged in each gradient", at_least=1)
    n_steps: int = option(
        300, "steps of the runs whose step sizes and losses are drawn", at_least=2
    )
    step_counts: tuple[int, ...] = option(
        (2, 5, 10, 30, 100, 300, 1000), "lengths of the runs whose gaps are drawn", at_least=1
    )


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Plan every kind of schedule for every method and number of steps.

    Returns
    -------
    Data
        ``step_size`` (method, kind, step) and ``excess_loss`` (method, kind, point) of runs of n_steps;
        ``final_loss`` and ``gap`` (method, kind, horizon); ``disagreement`` (method, horizon): of the planned schedule,
        see :class:`qpsim.theory.schedules.Schedule`.

    Examples
    --------
    >>> from qpsim.figures import figure_schedules as figure
    >>> few = figure.Options(dim=3, n_steps=5, step_counts=(1, 2))
    >>> figure.compute(few, workers=1)["gap"].shape
    (2, 8, 2)
    """
    began = time.perf_counter()
    horizons = list(dict.fromkeys([*options.step_counts, options.n_steps]))
    jobs = [(options, m, n, kind) for n in horizons for m in METHODS for kind in KINDS]
    # The longest runs first.
    order = sorted(range(len(jobs)), key=lambda k: -jobs[k][2])
    found: dict[tuple[str, int, str], Schedule] = {}
    with (
        threads(workers) as pool,
        progress.bar("figure schedules", len(jobs)) as bar,
        pool.run(_plan, enumerate(jobs[k] for k in order)) as results,
    ):
        for k, one in zip(order, results.in_order(), strict=True):
            found[jobs[k][1:]] = one
            bar.tick()
    whole = [[found[m, options.n_steps, kind] for kind in KINDS] for m in METHODS]
    final = np.array(
        [
            [[found[m, n, kind].value for n in options.step_counts] for kind in KINDS]
            for m in METHODS
        ]
    )
    arrays = {
        "step_size": np.array([[one.step_size for one in row] for row in whole]),
        "excess_loss": np.array([[one.expected_excess_loss for one in row] for row in whole]),
        "final_loss": final,
        "gap": final / final[:, :1] - 1.0,
        "disagreement": np.array(
            [[found[m, n, "free"].disagreement for n in options.step_counts] for m in METHODS]
        ),
    }
    axes = {
        "step_size": ["method", "kind", "step"],
        "excess_loss": ["method", "kind", "point"],
        "final_loss": ["method", "kind", "horizon"],
        "gap": ["method", "kind", "horizon"],
        "disagreement": ["method", "horizon"],
    }
    labels: dict[str, list[Any]] = {
        "method": list(METHODS),
        "kind": list(KINDS),
        "horizon": list(options.step_counts),
    }
    return Data("schedules", options, arrays, axes, labels, provenance_since(began))


def _plan(options: Options, method: str, n_steps: int, kind: str) -> Schedule:
    problem = noisy_quadratic_model(options.dim).with_optimum(np.zeros(options.dim))
    start = np.ones(options.dim)
    return best_schedule(problem.at_batch(options.batch_size), method, n_steps, start, family=kind)


def table(data: Data) -> tuple[list[str], list[list[str]]]:
    """The losses and gaps of the longest runs."""
    longest = int(np.argmax(data.labels["horizon"]))
    rows = []
    for m, method in enumerate(data.labels["method"]):
        for k, kind in enumerate(data.labels["kind"]):
            loss, gap = data["final_loss"][m, k, longest], data["gap"][m, k, longest]
            rows.append([method, _LOOKS[kind].label, f"{loss:.4g}", f"{gap:.2%}"])
    n = data.labels["horizon"][longest]
    return ["method", "schedule", f"expected excess loss after {n} steps", "gap"], rows


def summary(data: Data) -> str:
    """The results in one sentence."""
    longest = int(np.argmax(data.labels["horizon"]))
    greedy = data.labels["kind"].index("greedy")
    said = [
        f"{100.0 * data['gap'][m, greedy, longest]:.0f} % for {shape.label}"
        for m, shape in enumerate(style.looks(data.labels["method"]).values())
    ]
    return (
        f"After {data.labels['horizon'][longest]} steps greedy ones end above the planned schedule by "
        f"{' and '.join(said)}; searches for the latter disagree by {data['disagreement'].max():.1g} at most."
    )


def aspect(data: Data, width: float) -> float:
    """Height over width."""
    return 0.78 if width >= 5 else 1.25


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """Step sizes and losses of the first method's runs, and the gaps of both methods over the number of steps.

    Returns
    -------
    dict
        "step_size" and "excess_loss" kind -> line; by method kind -> line; "legend"; "note".
    """
    from qpsim.figures import page as pages

    page = pages.Page(fig)
    first, *_ = data.labels["method"]
    shapes = style.looks(data.labels["method"])
    options = data.options
    artists: dict[Any, Any] = {
        "note": page.note(
            f"Noisy quadratic model, $h_i = 1/i$, $d = {options.dim}$, $B = {options.batch_size}$; exact expectations. "
            f"Upper row: {shapes[first].label}, {options.n_steps} steps. Lower row: final loss over that of the "
            f"planned schedule, minus 1; below {_LEAST_GAP:g} not drawn."
        )
    }
    kinds = data.labels["kind"]
    handles = [pages.handle(_LOOKS[kind], marker=True) for kind in kinds]
    artists["legend"] = page.legend(handles, [_LOOKS[kind].label for kind in kinds])
    grid = page.grid(2, 2, left=4.8, right=1.2, across=5.2, down=4.8, bottom=3.4)
    for column, name in enumerate(("step_size", "excess_loss")):
        ax = fig.add_subplot(grid[0, column])
        artists[name] = draw_run(data, name, ax)
    limits = []
    for column, method in enumerate(data.labels["method"]):
        ax = fig.add_subplot(grid[1, column])
        artists[method] = draw_gaps(data, column, ax)
        ax.set_title(f"gap, {shapes[method].label}")
        limits.append(ax)
    top = max(2.0 * _LEAST_GAP, 2.0 * float(data["gap"].max()))
    for ax in limits:
        ax.set_ylim(_LEAST_GAP, top)
        pages.log_axis(ax.yaxis)
    return artists


def draw_run(data: Data, name: str, ax: Axes) -> dict[str, Any]:
    """Step sizes or losses of the first method's runs over the steps, into any axes."""
    from qpsim.figures import page as pages

    values = data[name][0]
    x = np.arange(values.shape[1]) + (1 if name == "step_size" else 0)
    artists = {}
    for k, kind in enumerate(data.labels["kind"]):
        # The planned schedule is drawn on top.
        artists[kind] = pages.line(ax, x, values[k], _LOOKS[kind], k, zorder=3.0 - 0.1 * k)
    ax.set_xlim(0, data.options.n_steps)
    ax.set_xlabel("step")
    title = {"step_size": "step size", "excess_loss": "expected excess loss"}[name]
    ax.set_title(title)
    above = values[values > 0.0]
    ax.set_yscale("log")
    # Steps near 0 at the end of a run are cut off, to leave room for the others.
    low = max(above.min(), 3e-3 * above.max()) if above.size else 0.1
    ax.set_ylim(0.8 * low, 1.3 * above.max() if above.size else 1.0)
    pages.log_axis(ax.yaxis)
    return artists


def draw_gaps(data: Data, m: int, ax: Axes) -> dict[str, Any]:
    """Gaps of the m-th method's schedules over the number of steps, into any axes."""
    from qpsim.figures import page as pages

    n = np.array(data.labels["horizon"], dtype=float)
    artists = {}
    for k, kind in enumerate(data.labels["kind"]):
        if kind != "free":
            gap = np.where(data["gap"][m, k] > _LEAST_GAP, data["gap"][m, k], np.nan)
            artists[kind] = pages.line(ax, n, gap, _LOOKS[kind], markevery=1)
    ax.set_xlim(n.min() / 1.3, n.max() * 1.3)
    ax.set_xlabel("steps of the run")
    pages.log_axis(ax.xaxis)
    return artists
