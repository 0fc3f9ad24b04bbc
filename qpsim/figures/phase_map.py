"""One map of which of two methods wins: colours, hatching, the border as measured, and cells that are undecided."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from qpsim.figures.data import Data

# Figure 2's noisy panels, and the condition numbers of its spectra: 11, and about 5000 at d = 100.
CORNERS = {"noise": (0.1, 4.0), "condition": (11.0, 5000.0)}
# The option that holds a map's levels.
LEVELS = {"noise": "noise_std", "condition": "condition"}
# Half a 95 % interval in standard errors.
_HALF_INTERVAL = 1.96
# Ratios are shown in steps, on one scale for all maps.
STEPS = (-3.0, -1.0, -0.3, -0.1, -0.03, -0.01, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_HATCH, _BORDER_WIDTH = "/////", 1.6
_CORNER: dict[str, Any] = {
    "marker": "o",
    "markerfacecolor": "white",
    "markeredgecolor": "black",
    "linestyle": "",
}
_UNDECIDED: dict[str, Any] = {
    "marker": "x",
    "markersize": 3.0,
    "markeredgecolor": "0.25",
    "markeredgewidth": 0.7,
    "linestyle": "",
}


def is_decided(ratio: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Where the 95 % interval of a measured ratio of this standard error excludes 0.

    >>> import numpy as np
    >>> is_decided(np.array([0.3, -0.3]), np.array([0.2, 0.1]))
    array([False,  True])
    """
    return np.asarray(np.abs(ratio) > _HALF_INTERVAL * error)


def legend(first: str, second: str) -> tuple[list[Any], list[str]]:
    """Handles and texts for the maps of two methods."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(facecolor="white", edgecolor="0.3", hatch=_HATCH, linewidth=0.5),
        Patch(facecolor="white", edgecolor="0.3", linewidth=0.5),
        Line2D([], [], color="black", linewidth=_BORDER_WIDTH),
        Line2D([], [], **_UNDECIDED),
        Line2D([], [], **_CORNER),
    ]
    texts = [f"{first} wins", f"{second} wins", "border as measured", "undecided", "as in Figure 2"]
    return handles, texts


def draw_map(data: Data, name: str, kind: int, ax: Axes) -> dict[str, Any]:
    """One map into any axes.

    Returns
    -------
    dict
        "mesh"; "hatched", the cells below 0; "border", the contour of 0 as measured; "undecided" on the measured map;
        "corners".
    """
    from matplotlib import colormaps
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import BoundaryNorm
    from matplotlib.patches import Rectangle

    levels = np.array(getattr(data.options, LEVELS[name]))
    tau = np.array(data.options.tau)
    values = data[name][kind]
    colours = colormaps["PuOr"].resampled(len(STEPS) + 1)
    mesh = ax.pcolormesh(
        np.arange(tau.size),
        np.arange(levels.size),
        values,
        cmap=colours,
        norm=BoundaryNorm(STEPS, colours.N, extend="both"),
        shading="nearest",
    )
    mesh.set_rasterized(True)
    below = [
        Rectangle((column - 0.5, row - 0.5), 1, 1) for row, column in np.argwhere(values < 0.0)
    ]
    hatched = PatchCollection(
        below, facecolor="none", edgecolor="0.3", hatch=_HATCH, linewidth=0.0, zorder=2
    )
    ax.add_collection(hatched, autolim=False)
    artists: dict[str, Any] = {"mesh": mesh, "hatched": hatched}
    edges = border(data[name][0])
    if edges is not None:
        artists["border"] = ax.contour(
            *edges, levels=[0.0], colors="black", linewidths=_BORDER_WIDTH, zorder=3
        )
    if kind == 0:
        rows, columns = np.nonzero(~is_decided(data[name][0], data[f"{name}_error"]))
        (artists["undecided"],) = ax.plot(columns, rows, **_UNDECIDED, zorder=4)
    # Cells are equally wide: the values are chosen, not equidistant on any scale.
    _ticks(ax.xaxis, tau, np.linspace(0, tau.size - 1, min(4, tau.size)).round())
    decades = np.flatnonzero(np.isclose(np.log10(levels) % 1.0, 0.0))
    spread = np.linspace(0, levels.size - 1, min(5, levels.size)).round()
    _ticks(ax.yaxis, levels, decades if decades.size > 2 else spread)
    ax.set_xlim(-0.5, tau.size - 0.5)
    ax.set_ylim(-0.5, levels.size - 0.5)
    ax.grid(False)
    ax.tick_params(length=0)
    ax.minorticks_off()
    corners = [
        (float(np.interp(x, tau, np.arange(tau.size))), _place(levels, y))
        for x in (0.0, 1.0)
        for y in CORNERS[name]
        if tau[0] <= x <= tau[-1] and levels[0] <= y <= levels[-1]
    ]
    if corners:
        (artists["corners"],) = ax.plot(*np.transpose(corners), **_CORNER, zorder=5)
    return artists


def border(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Places (x,), (y,) and heights (y, x) whose contour of 0 parts a map (row, column); None if one side is empty.

    Cells are squares around whole numbers; the outermost are drawn out to the map's edge. Heights are compressed, so
    that one cell of a large ratio does not push the contour into its neighbour.

    Examples
    --------
    >>> import numpy as np
    >>> x, y, heights = border(np.array([[-1.0, 1.0]]))
    >>> x, heights.shape
    (array([-0.5,  0. ,  1. ,  1.5]), (3, 4))
    """
    if not (values.min() < 0.0 < values.max()):
        return None
    heights = np.pad(np.sign(values) * np.sqrt(np.abs(values)), 1, mode="edge")
    y, x = (np.r_[-0.5, np.arange(size), size - 0.5] for size in values.shape)
    return x, y, heights


def _ticks(axis: Any, values: np.ndarray, named: np.ndarray) -> None:
    axis.set_ticks(named, [f"{values[int(k)]:g}" for k in np.unique(named)])


def _place(levels: np.ndarray, value: float) -> float:
    """Position of a value on an axis whose cells 0, 1, ... are the levels, by logarithms."""
    return float(np.interp(np.log(value), np.log(levels), np.arange(levels.size)))
