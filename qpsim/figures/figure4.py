"""The probability that a Gaussian's sample has the other sign than its mean (Figure 4, Lemma 2).

Densities with mean 1 and variances 0.5, 1 and 4; the shaded mass is the probability 1 - rho of a
wrong sign, which depends on sigma / |mu| alone (Balles & Hennig, 2018, B.2).
"""

from __future__ import annotations

import time
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.figures import style
from qpsim.figures.data import Data
from qpsim.figures.options import BaseOptions, option
from qpsim.provenance import provenance_since

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

MEAN = 1.0
VARIANCES = (0.5, 1.0, 4.0)
_SPAN = (-5.0, 7.0)


@dataclass(frozen=True)
class Options(BaseOptions):
    """Options of Figure 4."""

    points: int = option(601, "points of each curve", at_least=2)


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Densities and success probabilities.

    Returns
    -------
    Data
        ``x`` (point); ``density`` (variance, point); ``variance`` and ``success_probability``
        (variance).

    Examples
    --------
    >>> from qpsim.figures import figure4
    >>> figure4.compute(figure4.Options())["success_probability"].round(4)
    array([0.9214, 0.8413, 0.6915])
    """
    from qpsim.theory import success_probability

    began = time.perf_counter()
    x = np.linspace(*_SPAN, options.points)
    variance = np.array(VARIANCES)
    square = (x - MEAN) ** 2 / variance[:, None]
    arrays = {
        "x": x,
        "density": np.exp(-0.5 * square) / np.sqrt(2.0 * np.pi * variance[:, None]),
        "variance": variance,
        "success_probability": success_probability(MEAN, np.sqrt(variance)),
    }
    axes = {
        "x": ["point"],
        "density": ["variance", "point"],
        "variance": ["variance"],
        "success_probability": ["variance"],
    }
    return Data("4", options, arrays, axes, {}, provenance_since(began))


def aspect(data: Data, width: float) -> float:
    """Height over width."""
    return 0.4 if width >= 5 else 0.46


def draw(data: Data, fig: Figure | SubFigure) -> dict[str, Any]:
    """Draw the three panels into a figure or subfigure; returns their artists by variance."""
    from qpsim.figures import page as pages

    page = pages.Page(fig)
    artists: dict[str, Any] = {
        "note": page.note(
            r"Shaded: the probability of a sample with the other sign than the mean $\mu$ (dashed)."
        )
    }
    grid = page.grid(1, len(VARIANCES), left=4.2, top=1.8, across=1.4)
    first: Axes | None = None
    for k, variance in enumerate(VARIANCES):
        ax = fig.add_subplot(grid[0, k], sharex=first, sharey=first)
        artists[f"{variance:g}"] = draw_panel(data, k, ax)
        ax.tick_params(labelleft=k == 0)
        first = first or ax
    assert first is not None
    first.set(xlim=_SPAN, ylim=(0.0, 1.25 * data["density"].max()))
    first.set_ylabel("density")
    return artists


def draw_panel(data: Data, k: int, ax: Axes) -> dict[str, Any]:
    """One density with its wrong-sign mass shaded and written, into any axes."""
    x, density = data["x"], data["density"][k]
    dark, light = style.look("ssd").color, style.look("svag").color
    (line,) = ax.plot(x, density, color=dark)
    wrong = x <= 0
    shade = ax.fill_between(x[wrong], 0.0, density[wrong], color=light, alpha=0.75, linewidth=0)
    ax.axvline(MEAN, color="0.4", linewidth=0.8, linestyle=(0, (3, 2)))
    probability = 1.0 - data["success_probability"][k]
    text = ax.text(
        0.04,
        0.95,
        f"$P[X < 0]$\n= {probability:.3f}",
        transform=ax.transAxes,
        va="top",
    )
    ax.set_title(rf"$\mu = {MEAN:g},\ \sigma^2 = {data['variance'][k]:g}$")
    ax.set_xlabel("$x$")
    ax.set_xticks([-4, 0, 4])
    return {"line": line, "shade": shade, "text": text}
