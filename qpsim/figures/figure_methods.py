"""All of Table 1, idealised and estimated, with exact optimal steps on Figure 2's problems.

Idealised methods (sgd, ssd, svag, va-ssd) know the relative variance and have no momentum; their estimated counterparts
(m-sgd, m-ssd, m-svag, adam) average past gradients. All have the same starts and noise
(:mod:`qpsim.figures.figure2_problems`). Problems, noise levels and methods are options.
"""

from __future__ import annotations

import math
import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.figures import choices, style
from qpsim.figures.data import Data
from qpsim.figures.figure2_problems import LEVELS, Ensemble, PanelOptions
from qpsim.figures.options import option
from qpsim.provenance import provenance_since
from qpsim.simulation.statistics import median_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from qpsim.figures.page import Page

IDEALISED = ("sgd", "ssd", "svag", "va-ssd")
ESTIMATED = ("m-sgd", "m-ssd", "m-svag", "adam")
# Left margins in ems, with the names of the problems and without.
_NAMES, _PLAIN = 7.0, 2.8


@dataclass(frozen=True)
class Options(PanelOptions):
    """Options of the comparison."""

    n_replicates: int = option(64, "runs of each method and panel", at_least=1)
    methods: tuple = option(
        (*IDEALISED, *ESTIMATED), "methods to compare", text=choices.method_text
    )
    tolerance: float = option(0.01, "fraction of the initial loss to be reached", at_least=0.0)


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Simulate all methods on all problems.

    Returns
    -------
    Data
        ``quantiles`` (row, noise, method, level, step): of log10 excess loss; ``final`` (row,
        noise, method, replicate): log10 excess loss after the last step; ``reached`` (row, noise,
        method, replicate): first step with a loss of at most ``tolerance`` times the initial one,
        infinite if there is none; ``problem`` (replicate): which draw a replicate belongs to.
    """
    began = time.perf_counter()
    methods = choices.methods(options.methods)
    ensemble = Ensemble(options)
    shape = (len(ensemble.rows), len(options.noise_std), len(methods))
    quantiles = np.empty((*shape, len(LEVELS), options.n_steps + 1))
    final = np.empty((*shape, options.n_replicates))
    reached = np.empty((*shape, options.n_replicates))
    for panel, cell in ensemble.run(methods, workers, "figure methods"):
        quantiles[panel] = np.quantile(cell, LEVELS, axis=1).swapaxes(0, 1)
        final[panel] = cell[:, :, -1]
        reached[panel] = first_step_below(cell, options.tolerance)
    arrays = {
        "quantiles": quantiles,
        "final": final,
        "reached": reached,
        "problem": ensemble.of_replicate,
    }
    axes = {
        "quantiles": ["row", "noise", "method", "level", "step"],
        "final": ["row", "noise", "method", "replicate"],
        "reached": ["row", "noise", "method", "replicate"],
        "problem": ["replicate"],
    }
    labels: dict[str, list[Any]] = {
        "row": [row.label for row in ensemble.rows],
        "noise": list(options.noise_std),
        "method": list(methods),
        "has_state": [bool(method.state_names) for method in methods.values()],
        "level": list(LEVELS),
    }
    return Data(
        "methods", options, arrays, axes, labels, provenance_since(began, bit_generator="SFC64")
    )


def first_step_below(log_loss: np.ndarray, tolerance: float) -> np.ndarray:
    """First step at which the loss is at most tolerance times the initial one; infinite if none.

    Parameters
    ----------
    log_loss : ndarray, shape (..., n_steps + 1): log10 losses
    tolerance : float

    Examples
    --------
    >>> import numpy as np
    >>> from qpsim.figures.figure_methods import first_step_below
    >>> first_step_below(np.log10([[8.0, 4.0, 2.0], [8.0, 8.0, 8.0]]), 0.5)
    array([ 1., inf])
    """
    if tolerance <= 0.0:
        return np.full(log_loss.shape[:-1], np.inf)
    # With a margin for the rounding of logarithms, for losses exactly at the tolerance.
    below = log_loss <= log_loss[..., :1] + np.log10(tolerance) + 1e-12
    return np.where(below.any(axis=-1), np.argmax(below, axis=-1), np.inf)


def rows(data: Data) -> list[dict[str, Any]]:
    """One row a problem, noise level and method: final loss and steps to tolerance with intervals.

    Medians over replicates, with 95 % intervals that include the variation between problem draws
    (:mod:`qpsim.simulation.statistics`); plain JSON values, None for what is infinite or not reached.

    Examples
    --------
    >>> from qpsim.figures import figure_methods
    >>> few = figure_methods.Options(
    ...     n_replicates=2, n_draws=1, n_steps=3, dim=3, methods=("sgd", "ssd")
    ... )
    >>> rows = figure_methods.rows(figure_methods.compute(few, workers=1))
    >>> len(rows), rows[0]["problem"], rows[0]["method"]
    (24, 'mild/haar', 'sgd')
    """
    found = []
    never = data.options.n_steps + 1.0
    for row, noise, k in np.ndindex(*data["final"].shape[:3]):
        final, ends = median_interval(data["final"][row, noise, k], data["problem"])
        reached = data["reached"][row, noise, k]
        # Runs that do not reach it count as later than all others.
        steps, between = median_interval(np.minimum(reached, never), data["problem"])
        found.append(
            {
                "problem": data.labels["row"][row],
                "noise_std": data.labels["noise"][noise],
                "method": data.labels["method"][k],
                "log10_final_loss": final,
                "log10_final_loss_interval": [x if math.isfinite(x) else None for x in ends],
                "steps_to_tolerance": _or_none(steps, never),
                "steps_to_tolerance_interval": [_or_none(max(x, 0.0), never) for x in between],
                "fraction_reached": float(np.isfinite(reached).mean()),
            }
        )
    return found


def table(data: Data) -> tuple[list[str], list[list[str]]]:
    """The table as columns and rows of text."""
    goal = f"steps to {data.options.tolerance:g}"
    columns = ["problem", "nu", "method", "log10 final loss", "95 %", goal, "95 %", "reached"]
    lines = []
    for row in rows(data):
        low, high = row["log10_final_loss_interval"]
        first, last = row["steps_to_tolerance_interval"]
        lines.append(
            [
                row["problem"],
                f"{row['noise_std']:g}",
                row["method"],
                f"{row['log10_final_loss']:.2f}",
                f"[{_end(low, '-inf')}, {_end(high, 'inf')}]",
                _steps(row["steps_to_tolerance"]),
                f"[{_steps(first)}, {_steps(last)}]",
                f"{100 * row['fraction_reached']:.0f} %",
            ]
        )
    return columns, lines


def _end(value: float | None, otherwise: str) -> str:
    """An end of an interval as text; ``otherwise`` where it is not known."""
    return otherwise if value is None else f"{value:.2f}"


def aspect(data: Data, width: float) -> float:
    """Height over width: the groups of methods stand beside each other, or on each other if narrow."""
    rows = len(data.labels["row"])
    return 0.2 + 0.2 * rows if width >= 5.0 else 0.3 + 0.22 * rows * len(_groups(data))


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """Rows are problems, columns noise levels; methods without a state first, then the others.

    Returns
    -------
    dict
        (group, row, noise level) -> method -> artists; "legend" a list with one for each group;
        "note".
    """
    from qpsim.figures import page as pages

    page = pages.Page(fig)
    groups = _groups(data)
    idealised = [style.look(m).label for m in data.labels["method"] if m in ("svag", "va-ssd")]
    known = f" {' and '.join(idealised)} know the true variance." if idealised else ""
    artists: dict[Any, Any] = {
        "note": page.note(
            f"Lines: medians over {data['final'].shape[-1]} runs; bands: 10 to 90 % of them. Every panel "
            f"has its own loss axis. All step sizes are the exact optimal ones.{known}"
        ),
        "legend": [],
    }
    beside = not page.narrow
    lengths = [page.width + _NAMES - _PLAIN, page.width - _NAMES + _PLAIN][: len(groups)]
    parts = page.split(lengths if beside else [1.0] * len(groups), stacked=not beside)
    for (title, members), part in zip(groups, parts, strict=True):
        part.heading(title)
        artists["legend"].append(part.legend(pages.handles(members), pages.labels(members)))
    for group, ((_, members), part) in enumerate(zip(groups, parts, strict=True)):
        part.align(parts)
        drawn = _draw_group(data, members, part, with_names=group == 0 or not beside)
        artists |= {(group, *place): panel for place, panel in drawn.items()}
    return artists


def _draw_group(
    data: Data, members: list[str], page: Page, with_names: bool
) -> dict[Any, dict[str, Any]]:
    """Panels of one group of methods by (row, noise level)."""
    from qpsim.figures import page as pages

    names, levels = data.labels["row"], data.labels["noise"]
    grid = page.grid(
        len(names),
        len(levels),
        left=_NAMES if with_names else _PLAIN,
        top=1.8,
        across=2.3,
        down=1.0,
    )
    artists = {}
    for row, name in enumerate(names):
        for column, noise in enumerate(levels):
            ax = page.fig.add_subplot(grid[row, column])
            artists[row, noise] = draw_panel(data, row, column, members, ax)
            ax.tick_params(labelbottom=row == len(names) - 1)
            if row == 0:
                ax.set_title(rf"$\nu = {noise:g}$")
            if row == len(names) - 1:
                ax.set_xlabel("steps")
        box = ax.get_position()
        if with_names:
            middle = 0.5 * (box.y0 + box.y1)
            page.side(pages.two_lines(name), 1.5, middle, multialignment="center")
    if with_names:
        page.side(r"$\log_{10}$ excess loss", 3.4, 0.5 * (grid.bottom + grid.top))
    return artists


def draw_panel(data: Data, row: int, noise: int, methods: list[str], ax: Axes) -> dict[str, Any]:
    """Medians and 10-90 % bands of some methods on one problem, into any axes."""
    from qpsim.figures import page as pages

    x = np.arange(data["quantiles"].shape[-1])
    shapes = style.looks(methods)
    artists = {}
    for k, (method, shape) in enumerate(shapes.items()):
        at = data.labels["method"].index(method)
        low, _, middle, _, high = data["quantiles"][row, noise, at]
        artists[method] = pages.band(ax, x, low, middle, high, shape, k)
    kept = [data.labels["method"].index(method) for method in methods]
    pages.panel_axes(ax, x, data["quantiles"][row, noise, kept])
    return artists


def _groups(data: Data) -> list[tuple[str, list[str]]]:
    """Methods without and with a state, with a heading for each group."""
    methods = data.labels["method"]
    state = data.labels.get("has_state", [method in ESTIMATED for method in methods])
    titles = ("without averages of past gradients", "with averages of past gradients")
    found = [
        (title, [m for m, has in zip(methods, state, strict=True) if has is wanted])
        for title, wanted in zip(titles, (False, True), strict=True)
    ]
    return [group for group in found if group[1]]


def _steps(value: float | None) -> str:
    return "never" if value is None else f"{value:g}"


def _or_none(steps: float, never: float) -> float | None:
    """A number of steps; None if it is at least ``never``, which stands for a target that was not reached."""
    return None if steps >= never else steps
