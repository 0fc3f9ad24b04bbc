"""SGD and SSD with exact optimal steps on four stochastic quadratic problems (Figure 2).

The excess loss of Balles & Hennig (2018), Section 2.2, as a distribution over replicates of the
twelve problems of :mod:`qpsim.figures.figure2_problems`.
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
from qpsim.provenance import environment

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

ASPECT = 0.86
METHODS = ("sgd", "ssd")
SPECTRA = ("mild", "structured")
_LOSS = r"$\log_{10}$ excess loss"


@dataclass(frozen=True)
class Options(EnsembleOptions):
    """What Figure 2 may be asked for."""


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Simulate all panels.

    Parameters
    ----------
    options : Options
    workers : None, int or concurrent.futures.Executor
        Threads, or an executor of threads or processes; the numbers do not depend on it.

    Returns
    -------
    Data
        ``quantiles`` (row, noise, method, level, step): of log10 excess loss; ``checkpoints``
        (row, noise, method, replicate, checkpoint): log10 excess loss of every replicate at each
        quarter of the steps; ``eigenvalues`` (spectrum, problem, coordinate); ``diagonal_mass``
        (row, problem): c of Eq. 13; ``problem`` (replicate): which draw a replicate belongs to.

    Examples
    --------
    >>> from qpsim.figures import figure2
    >>> data = figure2.compute(figure2.Options(replicates=4, problems=2, steps=5, dim=4), workers=1)
    >>> data["checkpoints"].shape
    (4, 3, 2, 4, 5)
    """
    began = time.perf_counter()
    ensemble = Ensemble(options)
    checked = _checkpoints(options.steps)
    shape = (len(ROWS), len(NOISE), len(METHODS))
    quantiles = np.empty((*shape, len(LEVELS), options.steps + 1))
    checkpoints = np.empty((*shape, options.replicates, len(checked)))
    for panel, cell in ensemble.run(METHODS, workers, "figure 2"):
        quantiles[panel] = np.quantile(cell, LEVELS, axis=1).swapaxes(0, 1)
        checkpoints[panel] = cell[:, :, checked]
    problems = ensemble.problems
    spectra = [problems[0], problems[2]]
    arrays = {
        "quantiles": quantiles,
        "checkpoints": checkpoints,
        "checkpoint_steps": np.array(checked),
        "eigenvalues": np.array([[p.eigenvalues for p in row] for row in spectra]),
        "diagonal_mass": np.array([[p.diagonal_mass for p in row] for row in problems]),
        "problem": ensemble.of_replicate,
    }
    axes = {
        "quantiles": ["row", "noise", "method", "level", "step"],
        "checkpoints": ["row", "noise", "method", "replicate", "checkpoint"],
        "checkpoint_steps": ["checkpoint"],
        "eigenvalues": ["spectrum", "problem", "coordinate"],
        "diagonal_mass": ["row", "problem"],
        "problem": ["replicate"],
    }
    labels: dict[str, list[Any]] = {
        "row": ROW_NAMES,
        "noise": list(NOISE),
        "method": list(METHODS),
        "level": list(LEVELS),
        "spectrum": list(SPECTRA),
    }
    provenance = {
        **environment(),
        "bit_generator": "SFC64",
        "wall_seconds": round(time.perf_counter() - began, 3),
    }
    return Data("2", options, arrays, axes, labels, provenance)


def draw(data: Data, fig: Figure | SubFigure) -> dict[str, Any]:
    """Draw the sixteen panels into a figure or subfigure; returns their artists by (row, column).

    Column "spectrum" holds the histogram's patches, the noise levels a dict of artists a method.
    """
    from matplotlib.ticker import MaxNLocator

    grid, em, (width, height) = _grid(fig)
    artists: dict[Any, Any] = {}
    left = 0.0
    for row, (spectrum, basis) in enumerate(ROWS):
        ax = fig.add_subplot(grid[row, 0])
        artists[row, "spectrum"] = draw_spectrum(data, spectrum, ax)
        ax.tick_params(labelbottom=basis == "axis")
        if row == 0:
            ax.set_title("spectrum")
        if row == len(ROWS) - 1:
            ax.set_xlabel("eigenvalue")
        box = ax.get_position()
        fig.text(
            1.5 * em / width,
            box.y0 + box.height / 2,
            f"{spectrum},\n{'rotated' if basis == 'haar' else 'axis-aligned'}",
            rotation=90,
            va="center",
            ha="center",
            multialignment="center",
        )
        first: Axes | None = None
        for column, noise in enumerate(NOISE):
            ax = fig.add_subplot(grid[row, column + 2], sharey=first)
            artists[row, noise] = draw_panel(data, row, column, ax)
            ax.tick_params(labelleft=first is None, labelbottom=row == len(ROWS) - 1)
            first = first or ax
            if row == 0:
                ax.set_title(rf"$\nu = {noise:g}$")
            if row == len(ROWS) - 1:
                ax.set_xlabel("steps")
                _tuck_in(ax)
        assert first is not None
        first.set_ylim(*_limits(data, row))
        first.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        left = first.get_position().x0
    # One label for all rows: at column width a row is lower than its label is long.
    middle = 0.5 * (grid.bottom + grid.top)
    for x, label in ((4.2 * em / width, "count"), (left - 3.3 * em / width, _LOSS)):
        fig.text(x, middle, label, rotation=90, va="center", ha="center")
    lines = [artists[0, NOISE[0]][method]["line"] for method in METHODS]
    artists["legend"] = fig.legend(
        handles=lines,
        loc="upper center",
        bbox_to_anchor=(0.6, 1.0 - 0.3 * em / height),
        ncols=len(lines),
        borderpad=0.1,
    )
    return artists


def draw_panel(data: Data, row: int, column: int, ax: Axes) -> dict[str, Any]:
    """Median and 10-90 % band of both methods for one problem and noise level, into any axes."""
    x = np.arange(data.options.steps + 1)
    artists = {}
    for k, method in enumerate(METHODS):
        low, _, middle, _, high = data["quantiles"][row, column, k]
        artists[method] = style.band(ax, x, low, middle, high, method)
        # The dashed line above the solid one: both are seen where they coincide.
        artists[method]["line"].set_zorder(4 - k)
    ax.set_xlim(0, x[-1])
    ax.set_xticks(_ticks(int(x[-1])))
    return artists


def draw_spectrum(data: Data, spectrum: str, ax: Axes) -> Any:
    """Histogram of the eigenvalues of one problem on average, into any axes."""
    values = data["eigenvalues"][SPECTRA.index(spectrum)]
    edges = np.linspace(0, 1.2, 13) if spectrum == "mild" else np.linspace(0, 60, 13)
    weights = np.full(values.size, 1.0 / values.shape[0])
    _, _, patches = ax.hist(values.ravel(), list(edges), weights=weights, color="0.45", log=True)
    ax.set_xlim(0, edges[-1])
    ax.set_ylim(0.5, 2.0 * values.shape[1])
    ax.minorticks_off()
    return patches


def _checkpoints(n_steps: int) -> list[int]:
    return [round(k * n_steps / 4) for k in range(5)]


def _limits(data: Data, row: int) -> tuple[float, float]:
    """What the bands of a row need, and a little air."""
    values = data["quantiles"][row]
    low, high = float(values.min()), float(values.max())
    air = 0.05 * max(high - low, 1.0)
    return low - air, high + air


def _ticks(n_steps: int) -> list[int]:
    """Start, middle and end: neighbours' labels would touch at more."""
    return sorted({0, n_steps // 2, n_steps})


def _tuck_in(ax: Axes) -> None:
    """Keep the first and last tick label from reaching into the neighbouring panels."""
    labels = ax.get_xticklabels()
    labels[0].set_horizontalalignment("left")
    labels[-1].set_horizontalalignment("right")


def _grid(fig: Figure | SubFigure) -> tuple[Any, float, tuple[float, float]]:
    """Spectrum, a gap for the loss axis' labels, three panels; margins in multiples of the text."""
    import matplotlib

    inch = fig.dpi
    width, height = fig.bbox.width / inch, fig.bbox.height / inch
    em = matplotlib.rcParams["font.size"] / 72
    grid = fig.add_gridspec(
        len(ROWS),
        len(NOISE) + 2,
        width_ratios=[0.85, 4.4 * em * 4.4 / (width - 8 * em), 1, 1, 1],
        left=7.2 * em / width,
        right=1.0 - 1.2 * em / width,
        top=1.0 - 3.6 * em / height,
        bottom=3.3 * em / height,
        wspace=0.14,
        hspace=0.28,
    )
    return grid, em, (width, height)
