"""SGD and SSD with exact optimal steps on four stochastic quadratic problems (Figure 2).

The excess loss of Balles & Hennig (2018), Section 2.2, as a distribution over replicates. Problems,
noise levels and methods are options: by default the paper's, or any others
(:mod:`qpsim.figures.choices`).
"""

from __future__ import annotations

import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.figures import choices, style
from qpsim.figures.data import Data
from qpsim.figures.figure2_problems import LEVELS, NOISE, ROWS, Ensemble, PanelOptions
from qpsim.figures.options import option
from qpsim.provenance import provenance_since

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from qpsim.figures.page import Page

__all__ = ["METHODS", "NOISE", "ROWS", "Options", "aspect", "compute", "draw", "draw_panel"]

METHODS = ("sgd", "ssd")


@dataclass(frozen=True)
class Options(PanelOptions):
    """Options of Figure 2."""

    methods: tuple = option(METHODS, "methods to compare", text=choices.method_text)


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Simulate all panels.

    Returns
    -------
    Data
        ``quantiles`` (row, noise, method, level, step): of log10 excess loss; ``checkpoints``
        (row, noise, method, replicate, checkpoint): log10 excess loss of every replicate at each
        quarter of the steps; ``eigenvalues`` (spectrum, draw, coordinate), NaN beyond the last one
        of a smaller problem; ``diagonal_mass`` (row, draw): c of Eq. 13; ``problem`` (replicate):
        which draw a replicate belongs to.

    Examples
    --------
    >>> from qpsim.figures import figure2
    >>> few = figure2.Options(n_replicates=4, n_draws=2, n_steps=5, dim=4)
    >>> figure2.compute(few, workers=1)["checkpoints"].shape
    (4, 3, 2, 4, 5)
    """
    began = time.perf_counter()
    methods = choices.methods(options.methods)
    ensemble = Ensemble(options)
    checked = [round(k * options.n_steps / 4) for k in range(5)]
    shape = (len(ensemble.rows), len(options.noise_std), len(methods))
    quantiles = np.empty((*shape, len(LEVELS), options.n_steps + 1))
    checkpoints = np.empty((*shape, options.n_replicates, len(checked)))
    for panel, cell in ensemble.run(methods, workers, "figure 2"):
        quantiles[panel] = np.quantile(cell, LEVELS, axis=1).swapaxes(0, 1)
        checkpoints[panel] = cell[:, :, checked]
    spectra, eigenvalues = ensemble.spectra()
    arrays = {
        "quantiles": quantiles,
        "checkpoints": checkpoints,
        "checkpoint_steps": np.array(checked),
        "eigenvalues": eigenvalues,
        "diagonal_mass": np.array([[p.diagonal_mass for p in row] for row in ensemble.problems]),
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
        "row": [row.label for row in ensemble.rows],
        "noise": list(options.noise_std),
        "method": list(methods),
        "level": list(LEVELS),
        "spectrum": spectra,
        "row_spectrum": [row.spectrum for row in ensemble.rows],
    }
    return Data("2", options, arrays, axes, labels, provenance_since(began, bit_generator="SFC64"))


def aspect(data: Data, width: float) -> float:
    """Height over width, by the number of rows."""
    return 0.13 + 0.19 * len(data.labels["row"])


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """Draw a row of panels for each problem into a figure or subfigure.

    Returns
    -------
    dict
        By (row, "spectrum") the bars of a histogram, by (row, noise level) a dict of artists for
        each method; "legend", "note".
    """
    from qpsim.figures import page as pages

    page = pages.Page(fig)
    names, levels, methods = (data.labels[key] for key in ("row", "noise", "method"))
    runs, draws = data["checkpoints"].shape[3], data["eigenvalues"].shape[1]
    artists: dict[Any, Any] = {
        "note": page.note(
            f"Lines: medians over {runs} runs; bands: 10 to 90 % of them. Every panel has its own loss "
            f"axis. Histograms: mean over {draws} {'draws' if draws > 1 else 'draw'}."
        )
    }
    artists["legend"] = page.legend(
        pages.handles(methods, markers=len(methods) > 2), pages.labels(methods)
    )
    split = 15.4
    spectra = page.grid(len(names), 1, left=6.8, right=page.width - split + 2.2, down=1.9, top=1.8)
    panels = page.grid(
        len(names), len(levels), left=split + 1.6, right=1.0, down=1.9, across=2.4, top=1.8
    )
    for row, name in enumerate(names):
        last = row == len(names) - 1
        ax = fig.add_subplot(spectra[row, 0])
        artists[row, "spectrum"] = draw_spectrum(data, row, ax)
        if row == 0:
            ax.set_title("spectrum")
        if last:
            ax.set_xlabel("eigenvalue")
        box = ax.get_position()
        page.side(pages.two_lines(name), 1.5, 0.5 * (box.y0 + box.y1), multialignment="center")
        for column, noise in enumerate(levels):
            ax = fig.add_subplot(panels[row, column])
            artists[row, noise] = draw_panel(data, row, column, ax)
            ax.tick_params(labelbottom=last)
            if row == 0:
                ax.set_title(rf"$\nu = {noise:g}$")
            if last:
                ax.set_xlabel("steps")
    _label_axes(page, panels, split)
    return artists


def draw_panel(data: Data, row: int, column: int, ax: Axes) -> dict[str, Any]:
    """Median and 10-90 % band of all methods for one problem and noise level, into any axes."""
    from qpsim.figures import page as pages

    values = data["quantiles"][row, column]
    x = np.arange(values.shape[-1])
    shapes = style.looks(data.labels["method"])
    plain = {"marker": ""} if len(shapes) <= 2 else {}
    artists = {}
    for k, (method, shape) in enumerate(shapes.items()):
        low, _, middle, _, high = values[k]
        artists[method] = pages.band(ax, x, low, middle, high, shape, k, **plain)
        # Dashed lines above solid ones: both are seen where they coincide.
        artists[method]["line"].set_zorder(3 - (shape.linestyle == "solid"))
    pages.panel_axes(ax, x, values)
    return artists


def draw_spectrum(data: Data, row: int, ax: Axes) -> Any:
    """Histogram of the eigenvalues of a row's problem, mean over its draws, into any axes."""
    from qpsim.figures import page as pages

    values = data["eigenvalues"][_spectrum_of(data, row)]
    known = values[np.isfinite(values)]
    largest = 1.2 if 1.0 < known.max() <= 1.2 else 60.0 if 30.0 < known.max() <= 60.0 else None
    edges = np.linspace(0.0, float(known.max()) if largest is None else largest, 13)
    weights = np.full(known.size, 1.0 / values.shape[0])
    _, _, patches = ax.hist(known, list(edges), weights=weights, color="0.45", log=True)
    ax.set_xlim(0.0, edges[-1])
    ax.set_ylim(0.2, max(2.0, 2.0 * known.size / values.shape[0]))
    pages.log_axis(ax.yaxis)
    return patches


def _spectrum_of(data: Data, row: int) -> int:
    """Number of the spectrum of a row; files of earlier versions name a row SPECTRUM/BASIS."""
    known = data.labels["spectrum"]
    named = data.labels.get("row_spectrum")
    return known.index(named[row] if named else data.labels["row"][row].split("/")[0])


def _label_axes(page: Page, panels: Any, split: float) -> None:
    """One label for all rows: at column width a row is lower than its label is long."""
    middle = 0.5 * (panels.bottom + panels.top)
    page.side("eigenvalues per bin", 3.5, middle)
    page.side(r"$\log_{10}$ excess loss", split - 1.4, middle)
