"""Variance adaptation factors as functions of the relative standard deviation eta (Figure 5).

The optimal factor for a gradient (Eq. 16), the optimal factor for its sign (Eq. 15), and Adam's
(Eq. 6) close to the latter (Balles & Hennig, 2018). The inset shows the gap between the two, which
has both signs: Adam's factor is the smaller one below eta = 0.842, and the larger one above.
"""

from __future__ import annotations

import time
from collections.abc import Callable
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

KINDS = ("sign", "adam", "gradient")
_LABELS = {
    "sign": (r"$\mathrm{erf}(1/(\sqrt{2}\,\eta))$, sign", style.look("ssd")),
    "adam": (r"$(1+\eta^2)^{-1/2}$, ADAM", style.look("adam")),
    "gradient": (r"$(1+\eta^2)^{-1}$, gradient", style.look("svag")),
}


@dataclass(frozen=True)
class Options(BaseOptions):
    """Options of Figure 5."""

    largest: float = option(5.0, "largest eta", at_least=2.0)
    points: int = option(1001, "points of each curve", at_least=2)


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """The three factors, the gap, and where the gap is largest in either direction.

    Returns
    -------
    Data
        ``eta`` (point); ``factor`` (kind, point); ``gap`` (point): Adam's factor minus the sign's
        optimal one; ``extremes`` (extreme, 2): eta and gap at the gap's minimum and maximum;
        ``crossing`` (): the eta > 0 at which the gap is 0.

    Examples
    --------
    >>> from qpsim.figures import figure5
    >>> figure5.compute(figure5.Options())["extremes"].round(4)
    array([[ 0.4543, -0.0618],
           [ 1.9127,  0.0644]])
    """
    from scipy.optimize import brentq

    from qpsim.theory import adaptation_gap, variance_adaptation_factor

    def gap(eta: float) -> float:
        return adaptation_gap(eta**2)

    began = time.perf_counter()
    eta = np.linspace(0.0, options.largest, options.points)
    low = _minimum(gap, 0.1, 0.8)
    high = _minimum(lambda x: -gap(x), 0.9, 10.0)
    arrays = {
        "eta": eta,
        "factor": np.stack([variance_adaptation_factor(eta**2, kind) for kind in KINDS]),
        "gap": adaptation_gap(eta**2),
        "extremes": np.array([[x, gap(x)] for x in (low, high)]),
        "crossing": np.array(brentq(gap, low, high, xtol=1e-12)),
    }
    axes = {
        "eta": ["point"],
        "factor": ["kind", "point"],
        "gap": ["point"],
        "extremes": ["extreme", "eta_and_gap"],
        "crossing": [],
    }
    labels = {"kind": list(KINDS), "extreme": ["minimum", "maximum"]}
    return Data("5", options, arrays, axes, labels, provenance_since(began))


def aspect(data: Data, width: float) -> float:
    """Height over width."""
    return 0.5 if width >= 5 else 0.6


def draw(data: Data, fig: Figure | SubFigure) -> dict[str, Any]:
    """Draw the curves, with the gap in an inset, into a figure or subfigure."""
    from qpsim.figures import page as pages

    page = pages.Page(fig)
    handles = [pages.handle(_LABELS[kind][1]) for kind in KINDS]
    legend = page.legend(handles, [_LABELS[kind][0] for kind in KINDS])
    ax = fig.add_subplot(page.grid(1, 1, left=3.8, top=0.6)[0, 0])
    artists = draw_factors(data, ax)
    artists["legend"] = legend
    artists["inset"] = draw_gap(data, ax.inset_axes((0.5, 0.5, 0.49, 0.42)))
    return artists


def draw_factors(data: Data, ax: Axes) -> dict[str, Any]:
    """The three curves, into any axes."""
    artists = {}
    for kind, factor in zip(KINDS, data["factor"], strict=True):
        label, shape = _LABELS[kind]
        (artists[kind],) = ax.plot(
            data["eta"], factor, color=shape.color, linestyle=shape.linestyle, label=label
        )
    ax.set(xlim=(0.0, data.options.largest), ylim=(0.0, 1.03))
    ax.set_xlabel(r"relative standard deviation $\eta$")
    ax.set_ylabel(r"factor $\gamma$")
    return artists


def draw_gap(data: Data, ax: Axes) -> dict[str, Any]:
    """Adam's factor minus the optimal one for signs, its extremes marked, into any axes."""
    import matplotlib

    size = max(6.0, matplotlib.rcParams["font.size"] - 1.5)
    (line,) = ax.plot(data["eta"], data["gap"], color="black")
    ax.axhline(0.0, color="0.5", linewidth=0.6)
    marks = []
    for k, (eta, gap) in enumerate(data["extremes"]):
        marks += ax.plot(eta, gap, "o", color="black", markersize=2.5)
        ax.annotate(
            f"${gap:+.4f}$ at {eta:.3f}",
            (eta, gap),
            xytext=(4 - 14 * k, 2 if k else -1),
            textcoords="offset points",
            va="bottom" if k else "top",
            fontsize=size,
        )
    largest = float(np.abs(data["gap"]).max())
    ax.set(xlim=(0.0, data.options.largest), ylim=(-1.8 * largest, 1.9 * largest))
    ax.set_yticks([-0.05, 0.0, 0.05])
    ax.tick_params(labelsize=size)
    ax.set_title("ADAM minus sign; dots: its extremes", fontsize=size)
    return {"line": line, "marks": marks}


def _minimum(function: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(function, bounds=(low, high), method="bounded", options={"xatol": 1e-8})
    return float(found.x)
