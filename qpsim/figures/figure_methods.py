"""All of Table 1, idealised and estimated, with exact optimal steps on Figure 2's twelve problems.

Idealised methods (sgd, ssd, svag, va-ssd) know the relative variance and have no momentum; their
estimated counterparts (m-sgd, m-ssd, m-svag, adam) average past gradients. All see the same starts
and noise (:mod:`qpsim.figures.figure2_problems`).
"""

from __future__ import annotations

import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.figures import style
from qpsim.figures.data import Data
from qpsim.figures.figure2_problems import LEVELS, NOISE, ROW_NAMES, ROWS, Ensemble, EnsembleOptions
from qpsim.figures.options import option
from qpsim.provenance import environment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

ASPECT = 0.95
IDEALISED = ("sgd", "ssd", "svag", "va-ssd")
ESTIMATED = ("m-sgd", "m-ssd", "m-svag", "adam")
# By row and column of Table 1, the same for a method and its estimated counterpart.
_PLACES = {"sgd": "sgd", "ssd": "ssd", "svag": "svag", "va-ssd": "va-ssd"} | {
    "m-sgd": "sgd",
    "m-ssd": "ssd",
    "m-svag": "svag",
    "adam": "va-ssd",
}
_PLACE_NAMES = {
    "sgd": "gradient",
    "ssd": "sign",
    "svag": "adapted gradient",
    "va-ssd": "adapted sign",
}


@dataclass(frozen=True)
class Options(EnsembleOptions):
    """What the comparison may be asked for."""

    replicates: int = option(64, "runs of each method and panel", at_least=1)
    tolerance: float = option(0.01, "fraction of the initial loss to be reached", at_least=0.0)


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Simulate all methods on all problems.

    Parameters
    ----------
    options : Options
    workers : None, int or concurrent.futures.Executor
        Threads, or an executor of threads or processes; the numbers do not depend on it.

    Returns
    -------
    Data
        ``quantiles`` (row, noise, method, level, step): of log10 excess loss; ``final`` (row,
        noise, method, replicate): log10 excess loss after the last step; ``reached`` (row, noise,
        method, replicate): first step with a loss of at most ``tolerance`` times the initial one,
        infinite if there is none; ``problem`` (replicate): which draw a replicate belongs to.
    """
    began = time.perf_counter()
    ensemble = Ensemble(options)
    methods = (*IDEALISED, *ESTIMATED)
    shape = (len(ROWS), len(NOISE), len(methods))
    quantiles = np.empty((*shape, len(LEVELS), options.steps + 1))
    final = np.empty((*shape, options.replicates))
    reached = np.empty((*shape, options.replicates))
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
        "row": list(ROW_NAMES),
        "noise": list(NOISE),
        "method": list(methods),
        "level": list(LEVELS),
    }
    provenance = {
        **environment(),
        "bit_generator": "SFC64",
        "wall_seconds": round(time.perf_counter() - began, 3),
    }
    return Data("methods", options, arrays, axes, labels, provenance)


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
    # A loss that is exactly at the tolerance must not miss it by the rounding of a logarithm.
    below = log_loss <= log_loss[..., :1] + np.log10(tolerance) + 1e-12
    return np.where(below.any(axis=-1), np.argmax(below, axis=-1), np.inf)


def table(data: Data) -> list[dict[str, Any]]:
    """One row a problem, noise level and method: final loss and steps to tolerance with intervals.

    Medians over replicates, with 95 % bootstrap intervals that resample problem draws and then
    replicates; plain JSON values, None where the tolerance is not reached.

    Examples
    --------
    >>> from qpsim.figures import figure_methods
    >>> few = figure_methods.Options(replicates=2, problems=1, steps=3, dim=3)
    >>> rows = figure_methods.table(figure_methods.compute(few, workers=1))
    >>> len(rows), rows[0]["problem"], rows[0]["method"]
    (96, 'mild/haar', 'sgd')
    """
    from qpsim.verdicts.record import bootstrap_median

    rows = []
    never = data.options.steps + 1.0
    for row, noise, k in np.ndindex(*data["final"].shape[:3]):
        final, ends = bootstrap_median(data["final"][row, noise, k], data["problem"])
        reached = data["reached"][row, noise, k]
        # A run that never gets there counts as later than all that do.
        steps, between = bootstrap_median(np.minimum(reached, never), data["problem"])
        rows.append(
            {
                "problem": data.labels["row"][row],
                "noise_std": data.labels["noise"][noise],
                "method": data.labels["method"][k],
                "log10_final_loss": final,
                "log10_final_loss_interval": list(ends),
                "steps_to_tolerance": _or_none(steps, never),
                "steps_to_tolerance_interval": [_or_none(end, never) for end in between],
                "fraction_reached": float(np.isfinite(reached).mean()),
            }
        )
    return rows


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """Rows are problems; columns noise levels, idealised methods left and estimated ones right."""
    import matplotlib

    em = matplotlib.rcParams["font.size"] / 72
    width, height = fig.bbox.width / fig.dpi, fig.bbox.height / fig.dpi
    columns = [(group, noise) for group in (IDEALISED, ESTIMATED) for noise in range(len(NOISE))]
    grid: Any = fig.add_gridspec(
        len(ROWS),
        len(columns) + 1,
        width_ratios=[1, 1, 1, 0.12, 1, 1, 1],
        left=7.0 * em / width,
        right=1.0 - 0.8 * em / width,
        top=1.0 - 4.8 * em / height,
        bottom=3.3 * em / height,
        wspace=0.12,
        hspace=0.18,
    )
    artists: dict[Any, Any] = {}
    for row, name in enumerate(data.labels["row"]):
        first: Axes | None = None
        for column, (group, noise) in enumerate(columns):
            place = column + (group is ESTIMATED)
            ax = fig.add_subplot(grid[row, place], sharey=first)
            artists[row, column] = draw_panel(data, row, noise, group, ax)
            ax.tick_params(labelleft=first is None, labelbottom=row == len(ROWS) - 1)
            first = first or ax
            if row == 0:
                ax.set_title(rf"$\nu = {NOISE[noise]:g}$")
            if row == len(ROWS) - 1 and noise == 1:
                ax.set_xlabel("steps")
        assert first is not None
        values = data["quantiles"][row]
        low, high = float(values.min()), float(values.max())
        first.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        box = first.get_position()
        fig.text(
            1.5 * em / width,
            box.y0 + box.height / 2,
            name.replace("/haar", ",\nrotated").replace("/axis", ",\naxis-aligned"),
            rotation=90,
            va="center",
            ha="center",
            multialignment="center",
        )
    lines = [artists[0, 0][method]["line"] for method in IDEALISED]
    artists["legend"] = fig.legend(
        lines,
        [_PLACE_NAMES[method] for method in IDEALISED],
        loc="upper center",
        bbox_to_anchor=(0.5, 1.0 - 0.2 * em / height),
        ncols=len(lines),
        borderpad=0.1,
    )
    for text, at in (("known variance, no momentum", 0), ("moving averages", 3)):
        left, right = (fig.axes[at + k].get_position() for k in (0, 2))
        middle = 0.5 * (left.x0 + right.x1)
        fig.text(middle, 1.0 - 2.6 * em / height, text, va="center", ha="center")
    fig.text(
        3.7 * em / width,
        0.5 * (grid.bottom + grid.top),
        r"$\log_{10}$ excess loss",
        rotation=90,
        va="center",
        ha="center",
    )
    return artists


def draw_panel(
    data: Data, row: int, noise: int, group: tuple[str, ...], ax: Axes
) -> dict[str, Any]:
    """Medians and 10-90 % bands of one group of methods on one problem, into any axes."""
    x = np.arange(data.options.steps + 1)
    artists = {}
    for method in group:
        k = data.labels["method"].index(method)
        low, _, middle, _, high = data["quantiles"][row, noise, k]
        artists[method] = style.band(ax, x, low, middle, high, _PLACES[method])
    ax.set_xlim(0, x[-1])
    ax.set_xticks(sorted({0, int(x[-1]) // 2}))
    return artists


def _or_none(steps: float, never: float) -> float | None:
    return None if steps >= never else steps
