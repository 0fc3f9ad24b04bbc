"""Drawing of the figure on Section 2's conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.figures import style
from qpsim.figures.data import Data
from qpsim.figures.network_panels import titles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# The range of c given by the paper.
CLAIMED = (0.1, 0.6)
_BAND = 0.25
# Height over width of the six panels, and of those of the layers, at full width and in a column.
_WIDE, _NARROW = (0.72, 0.42), (1.42, 0.5)


def aspect(data: Data, width: float) -> float:
    """Height over width."""
    return sum(_parts(data, width >= 5))


def _parts(data: Data, wide: bool) -> tuple[float, float]:
    """Height over width of the upper panels and of those of the layers, which a column stacks."""
    upper, lower = _WIDE if wide else _NARROW
    lower *= 1 if wide else len(data.labels["problem"])
    return upper, lower if "layer_mass" in data.arrays else 0.0


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """Six panels, and one a problem with c of its layers if that was measured.

    Returns
    -------
    dict
        By panel ("mass", "spectrum", "noise", "ratio", "gain", "race") problem -> artist; "layers" problem -> axes;
        "legend"; "note".
    """
    from matplotlib.lines import Line2D

    from qpsim.figures import page as pages

    page = pages.Page(fig)
    names = data.labels["problem"]
    artists: dict[Any, Any] = {
        "note": page.note(
            f"Along training with Adam; bars: 95 % intervals. Top: diagonal mass $c$ (shaded: .1 to .6); share of the "
            f"eigenvalues above a multiple of the largest after {data['step'][-1]} steps (dotted: the negative ones by "
            "size); $\\eta_i^2$ of one minibatch, median and quartiles over coordinates. Then the improvement along "
            "the sign over that along the gradient; the loss's own best decrease (open markers: gradient); and "
            f"the ratio of both methods' decreases over {data.options.n_steps} steps."
            + _left_out(data)
            + (" Bottom: first (open) and last point." if "layer_mass" in data.arrays else "")
        )
    }
    shapes = style.looks(names)
    handles = [
        Line2D(
            [], [], color=s.color, linestyle=s.linestyle, marker=s.marker,
            markerfacecolor=s.color if s.filled else "white",
        )
        for s in shapes.values()
    ]  # fmt: skip
    artists["legend"] = page.legend(handles, titles(data))
    columns = 2 if page.narrow else 3
    upper, lower = page, None
    above, below = _parts(data, not page.narrow)
    if below:
        # The legend and the note are in the upper part.
        upper, lower = page.split([above - 0.25, below], stacked=True)
    grid = upper.grid(
        6 // columns, columns, left=5.4, right=1.0, top=1.4, bottom=3.2, across=6.2, down=4.6
    )
    panels = (draw_mass, draw_spectrum, draw_noise, draw_ratio, draw_gain, draw_race)
    for k, panel in enumerate(panels):
        ax = fig.add_subplot(grid[k // columns, k % columns])
        artists[panel.__name__.removeprefix("draw_")] = panel(data, ax)
    if lower is not None:
        artists["layers"] = _draw_layers(data, fig, lower)
    return artists


def _left_out(data: Data) -> str:
    """A note on what the last panel does not show."""
    n = int(np.sum(np.isfinite(data["loss"]) & np.isnan(data["race"][..., 0])))
    shown = f" Not shown there: {n} point{'s' if n > 1 else ''} at which no loss falls."
    return shown if n else ""


def _over_steps(data: Data, values: np.ndarray, ax: Axes) -> dict[str, Any]:
    """Lines of [value, low, high] over the steps, on a logarithmic axis; what is not finite is left out."""
    from qpsim.figures import page as pages

    artists = {}
    for k, (name, shape) in enumerate(style.looks(data.labels["problem"]).items()):
        value, low, high = np.where(np.isfinite(values[k]), values[k], np.nan).T
        # An infinite interval is drawn to the edge of the panel.
        high = np.where(np.isnan(high) & ~np.isnan(value), 1e300, high)
        low = np.where(low > 0.0, low, 1e-300)
        # Shifted, so that bars do not hide each other.
        x = data["step"] + (k - 1) * 0.012 * data["step"][-1]
        artists[name] = pages.line(ax, x, value, shape, markevery=1)
        ax.vlines(x, low, high, color=shape.color, linewidth=0.9)
    _log_limits(ax, values[..., 0], values[..., 1:])
    last = data["step"][-1]
    ax.set_xlim(-0.06 * last, 1.06 * last)
    ax.set_xticks(data["step"] if len(data["step"]) <= 5 else data["step"][[0, -1]])
    ax.set_xlabel("step")
    pages.log_axis(ax.yaxis)
    return artists


def _log_limits(ax: Axes, values: np.ndarray, ends: np.ndarray, also: tuple = ()) -> None:
    """Limits of y that show all values, and of the bars what is within a factor of ten of them."""
    shown = values[np.isfinite(values) & (values > 0.0)]
    shown = np.concatenate([shown, also]) if shown.size or also else np.array([1.0])
    bars = ends[np.isfinite(ends) & (ends > shown.min() / 10.0) & (ends < shown.max() * 10.0)]
    low, high = min([shown.min(), *bars]), max([shown.max(), *bars])
    ax.set_ylim(low / 1.4, high * 1.4)


def draw_mass(data: Data, ax: Axes) -> dict[str, Any]:
    """c of Eq. 13 over the steps."""
    from qpsim.figures import page as pages

    artists = _over_steps(data, data["mass"], ax)
    _log_limits(ax, data["mass"][..., 0], data["mass"][..., 1:], CLAIMED)
    ax.set_ylim(top=1.4)
    ax.axhspan(*CLAIMED, color="0.5", alpha=_BAND, linewidth=0)
    ax.set_ylabel("diagonal mass $c$")
    pages.log_axis(ax.yaxis)
    return artists


def draw_spectrum(data: Data, ax: Axes) -> dict[str, Any]:
    """Share of the eigenvalues larger than a multiple of the largest one, at the last point."""
    from qpsim.figures import page as pages

    artists, levels, shown = {}, np.array(data.labels["level"]), []
    for k, (name, shape) in enumerate(style.looks(data.labels["problem"]).items()):
        known = np.flatnonzero(np.isfinite(data["loss"][k]))[-1]
        for share, dashes, width in zip(
            data["spectrum"][k, known], ("solid", (0, (1, 1))), (1.2, 0.9), strict=True
        ):
            y = np.where(share > 0.0, share, np.nan)
            (line,) = ax.plot(levels, y, color=shape.color, linestyle=dashes, linewidth=width)
            shown.append(share)
            if dashes == "solid":
                artists[name] = line
                place = np.flatnonzero(share > 0.0)[6::10]
                ax.plot(
                    levels[place], share[place], color=shape.color, linestyle="", marker=shape.marker,
                    markerfacecolor=shape.color if shape.filled else "white",
                )  # fmt: skip
    ax.set_xlim(levels[0], levels[-1])
    _log_limits(ax, np.array(shown), np.array([np.nan]))
    ax.set_xlabel(r"$|\lambda|$ / largest")
    ax.set_ylabel("share that is larger")
    for axis in (ax.xaxis, ax.yaxis):
        pages.log_axis(axis)
    return artists


def draw_noise(data: Data, ax: Axes) -> dict[str, Any]:
    """Relative variance of a coordinate of one minibatch's gradient: median and quartiles."""
    wanted = [data.labels["quantile"].index(q) for q in (0.5, 0.25, 0.75)]
    artists = _over_steps(data, data["relative_variance"][..., wanted], ax)
    ax.set_ylabel(r"relative variance $\eta_i^2$")
    return artists


def draw_ratio(data: Data, ax: Axes) -> dict[str, Any]:
    """I(s) / I(g) over the steps."""
    artists = _over_steps(data, data["ratio"], ax)
    ax.axhline(1.0, color="0.6", linewidth=0.8, zorder=0)
    ax.set_ylabel("$I(s)\\,/\\,I(g)$")
    return artists


def _scatter(
    data: Data, ax: Axes, x: np.ndarray, y: np.ndarray, filled: bool | None = None
) -> dict[str, Any]:
    """Points with bars, x and y being (problem, point, [value, low, high]), on logarithmic axes."""
    artists = {}
    for k, (name, shape) in enumerate(style.looks(data.labels["problem"]).items()):
        good = (
            (np.isfinite(x[k]) & np.isfinite(y[k])).all(axis=-1)
            & (x[k, :, 0] > 0.0)
            & (y[k, :, 0] > 0.0)
        )
        at, of = x[k][good], y[k][good]
        ax.hlines(
            of[:, 0], np.maximum(at[:, 1], 1e-300), at[:, 2], color=shape.color, linewidth=0.7
        )
        ax.vlines(
            at[:, 0], np.maximum(of[:, 1], 1e-300), of[:, 2], color=shape.color, linewidth=0.7
        )
        full = shape.filled if filled is None else filled
        (artists[name],) = ax.plot(
            at[:, 0], of[:, 0], color=shape.color, linestyle="", marker=shape.marker,
            markerfacecolor=shape.color if full else "white", zorder=3,
        )  # fmt: skip
    return artists


def draw_gain(data: Data, ax: Axes) -> dict[str, Any]:
    """Best decrease of the loss itself over I(z), of both methods."""
    from qpsim.figures import page as pages

    artists: dict[str, Any] = {}
    for m, method in enumerate(data.labels["method"]):
        x, y = data["improvement"][:, :, m], data["realised"][:, :, m]
        for name, line in _scatter(data, ax, x, y, method == "ssd").items():
            artists[f"{name}, {method}"] = line
    values = np.concatenate([data[key][..., 0].ravel() for key in ("improvement", "realised")])
    _log_limits(ax, values, np.array([np.nan]))
    ax.set_xlim(ax.get_ylim())
    ax.axline((1.0, 1.0), (2.0, 2.0), color="0.6", linewidth=0.8, zorder=0)
    ax.set_xlabel("$I(z)$")
    ax.set_ylabel("best decrease of the loss")
    for axis in (ax.xaxis, ax.yaxis):
        pages.log_axis(axis)
    return artists


def draw_race(data: Data, ax: Axes) -> dict[str, Any]:
    """Ratio of the decreases over the next steps, over I(s) / I(g)."""
    from qpsim.figures import page as pages

    ran = np.exp(np.clip(data["race"], -600.0, 600.0))
    artists = _scatter(data, ax, data["ratio"], ran)
    ax.axhline(1.0, color="0.6", linewidth=0.8, zorder=0)
    ax.axvline(1.0, color="0.6", linewidth=0.8, zorder=0)
    none = np.array([np.nan])
    both = np.concatenate([ran[..., 0].ravel(), [1.0]])
    _log_limits(ax, both[both < 1e100], none)
    bottom, top = ax.get_ylim()
    _log_limits(ax, np.concatenate([data["ratio"][..., 0].ravel(), [1.0]]), none)
    ax.set_xlim(ax.get_ylim())
    ax.set_ylim(bottom, top)
    ax.set_xlabel("$I(s)\\,/\\,I(g)$")
    ax.set_ylabel(f"sign / gradient, {data.options.n_steps} steps")
    for axis in (ax.xaxis, ax.yaxis):
        pages.log_axis(axis)
    return artists


def _draw_layers(data: Data, fig: Figure | SubFigure, page: Any) -> dict[str, Any]:
    """c of each layer's parameters alone, at the first and the last point."""
    from qpsim.figures import page as pages

    names, artists = data.labels["problem"], {}
    rows, columns = (len(names), 1) if page.narrow else (1, len(names))
    grid = page.grid(rows, columns, left=5.4, right=1.0, top=1.8, bottom=8.0, across=6.2, down=10.0)
    for k, (name, shape) in enumerate(style.looks(names).items()):
        ax = fig.add_subplot(grid[k // columns, k % columns])
        layers = data.labels["layers"][k]
        x, known = np.arange(len(layers)), np.flatnonzero(np.isfinite(data["loss"][k]))
        for shift, n, filled in ((-0.15, known[0], False), (0.15, known[-1], True)):
            value, low, high = data["layer_mass"][k, n, : len(layers)].T
            ax.vlines(x + shift, np.maximum(low, 1e-300), high, color=shape.color, linewidth=0.9)
            ax.plot(
                x + shift, value, color=shape.color, linestyle="", marker=shape.marker,
                markerfacecolor=shape.color if filled else "white",
            )  # fmt: skip
        shown = data["layer_mass"][k, known[[0, -1]], : len(layers)]
        _log_limits(ax, shown[..., 0], shown[..., 1:], CLAIMED)
        ax.set_ylim(top=1.4)
        ax.axhspan(*CLAIMED, color="0.5", alpha=_BAND, linewidth=0)
        ax.set_xticks(x, layers, rotation=90)
        ax.set_title(titles(data)[k])
        if k % columns == 0:
            ax.set_ylabel("$c$ of the layer")
        ax.set_xlim(-0.6, len(layers) - 0.4)
        pages.log_axis(ax.yaxis)
        artists[name] = ax
    return artists
