"""Variance adaptation shortens noisy coordinates: less variance, at the price of bias (Figure 1).

Left, stochastic gradients around the true one; right, the same draws scaled by 1 / (1 + eta_i^2)
(Eq. 16). The numbers are those of Balles & Hennig (2018): gradient (2, 1), deviations (1, 1.5).
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

GRADIENT = (2.0, 1.0)
STD = (1.0, 1.5)
PANELS = ("stochastic gradients", "variance-adapted")
_TRUE, _DRAWN = "#000000", style.look("svag").color
_POINTS: dict[str, Any] = {"color": "0.6", "marker": ".", "markersize": 2.5, "linestyle": ""}
_OUTLINE: dict[str, Any] = {"color": _DRAWN, "linewidth": 0.9, "linestyle": (0, (3, 1.5))}
_MEAN: dict[str, Any] = {
    "color": _DRAWN,
    "marker": "o",
    "markersize": 6,
    "markerfacecolor": "none",
    "markeredgewidth": 1.4,
    "linestyle": "",
}


@dataclass(frozen=True)
class Options(BaseOptions):
    """Options of Figure 1."""

    samples: int = option(120, "stochastic gradients drawn", at_least=1)
    rng: int = option(0, "seed", at_least=0)


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Draw the gradients and adapt them.

    Returns
    -------
    Data
        ``gradient``, ``std``, ``relative_variance``, ``factor`` (coordinate); ``draws`` (panel,
        sample, coordinate); ``mean`` and ``deviation`` (panel, coordinate): the draws' law.

    Examples
    --------
    >>> from qpsim.figures import figure1
    >>> figure1.compute(figure1.Options(samples=3))["factor"].round(4)
    array([0.8   , 0.3077])
    """
    from qpsim.theory import variance_adaptation_factor

    began = time.perf_counter()
    gradient, std = np.array(GRADIENT), np.array(STD)
    eta2 = (std / gradient) ** 2
    factor = variance_adaptation_factor(eta2, "gradient")
    generator = np.random.Generator(np.random.PCG64(options.rng))
    draws = gradient + std * generator.standard_normal((options.samples, 2))
    arrays = {
        "gradient": gradient,
        "std": std,
        "relative_variance": eta2,
        "factor": factor,
        "draws": np.stack([draws, factor * draws]),
        "mean": np.stack([gradient, factor * gradient]),
        "deviation": np.stack([std, factor * std]),
    }
    one = ["coordinate"]
    axes = {
        **{name: one for name in ("gradient", "std", "relative_variance", "factor")},
        "draws": ["panel", "sample", "coordinate"],
        **{name: ["panel", "coordinate"] for name in ("mean", "deviation")},
    }
    return Data(
        "1",
        options,
        arrays,
        axes,
        {"panel": list(PANELS)},
        provenance_since(began, bit_generator="PCG64"),
    )


def aspect(data: Data, width: float) -> float:
    """Height over width."""
    return 0.58


def draw(data: Data, fig: Figure | SubFigure) -> dict[str, Any]:
    """Draw both panels into a figure or subfigure; returns their artists by panel."""
    from qpsim.figures import page as pages

    page = pages.Page(fig)
    handles = _handles()
    artists: dict[str, Any] = {"legend": page.legend(list(handles.values()), list(handles))}
    grid = page.grid(1, 2, left=4.0, top=1.8, across=1.6)
    left: Axes | None = None
    for k, name in enumerate(PANELS):
        ax = fig.add_subplot(grid[0, k], sharex=left, sharey=left)
        artists[name] = draw_panel(data, k, ax)
        left = left or ax
        ax.tick_params(labelleft=ax is left)
    assert left is not None
    left.set_ylabel(r"$\theta_2$")
    _frame(data, left)
    return artists


def draw_panel(data: Data, panel: int, ax: Axes) -> dict[str, Any]:
    """The draws of one panel with their mean and their ellipses, into any axes."""
    from matplotlib.patches import Ellipse

    draws, mean, deviation = (data[name][panel] for name in ("draws", "mean", "deviation"))
    points = ax.plot(draws[:, 0], draws[:, 1], **_POINTS, zorder=1)[0]
    for k in (1, 2):
        ax.add_patch(
            Ellipse((mean[0], mean[1]), *(2 * k * deviation), fill=False, zorder=2, **_OUTLINE)
        )
    middle = ax.plot(mean[0], mean[1], **_MEAN, zorder=4)[0]
    gradient = data["gradient"]
    ax.annotate(
        "",
        xy=(gradient[0], gradient[1]),
        xytext=(0.0, 0.0),
        arrowprops={
            "mutation_scale": 7.0,
            "arrowstyle": "-|>",
            "color": _TRUE,
            "linewidth": 1.4,
            "shrinkA": 0,
            "shrinkB": 0,
        },
        zorder=3,
    )
    ax.set_aspect("equal")
    factor = data["factor"] if panel else np.ones(2)
    ax.set_title(rf"{PANELS[panel]}, $\gamma = ({factor[0]:.2g}, {factor[1]:.2g})$")
    ax.set_xlabel(r"$\theta_1$")
    return {"draws": points, "mean": middle}


def _handles() -> dict[str, Any]:
    """Entries of the legend, where an arrow and an ellipse are shown as lines."""
    from matplotlib.lines import Line2D

    return {
        r"true gradient $\nabla L$": Line2D([], [], color=_TRUE, linewidth=1.4),
        "draws": Line2D([], [], **_POINTS),
        "mean of the draws": Line2D([], [], **_MEAN),
        "1 and 2 standard deviations": Line2D([], [], **_OUTLINE),
    }


def _frame(data: Data, ax: Axes) -> None:
    """Limits around most draws (2.6 deviations), at equal scales, that fill the panel."""
    low = np.minimum(data["gradient"] - 2.6 * data["std"], 0.0)
    high = data["gradient"] + 2.6 * data["std"]
    from matplotlib.ticker import MultipleLocator

    box = ax.get_window_extent()
    sides = np.array([box.width, box.height])
    half = 0.5 * sides * np.max((high - low) / sides)
    middle = 0.5 * (low + high)
    ax.xaxis.set_major_locator(MultipleLocator(2))
    ax.yaxis.set_major_locator(MultipleLocator(2))
    ax.set_xlim(middle[0] - half[0], middle[0] + half[0])
    ax.set_ylim(middle[1] - half[1], middle[1] + half[1])
