"""The picture of a probe: c and the worth of each direction along one training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from qpsim.figures import canvas, style


def draw(points: Sequence[Mapping[str, Any]], width: float = 7.0) -> Any:
    """Draw measured points, as :meth:`qpsim.nn.measured.Probe.to_dict` gives them.

    Parameters
    ----------
    points : sequence of dict
        In the order of their steps.
    width : float, default 7
        Inches.

    Returns
    -------
    matplotlib Figure
        With the axes of c and of I(z) / I(g).
    """
    from qpsim.figures import page as pages

    with style.use(width):
        fig = canvas.StyledFigure(width, 0.46)
        page = pages.Page(fig)
        exact = all(
            _estimate(one["curvature"]["diagonal_mass"])[1:] == (None, None) for one in points
        )
        page.note(
            "Left: diagonal mass of the Hessian (Eq. 13). Right: the largest expected improvement of one step along a "
            "method's direction (Eq. 11) over that of SGD; above the line the method is the better one. Bars: 95 % "
            f"intervals{'; c is exact' if exact else ''}."
        )
        rows = [
            {row["method"]: row["ratio_to_sgd"] for row in one["directions"]["rows"]}
            for one in points
        ]
        methods = [name for name in rows[0] if name != "sgd"]
        page.legend(pages.handles(methods, bands=False), pages.labels(methods))
        grid = page.grid(1, 2, left=5.0, right=1.0, top=0.8, across=6.4)
        left, right = (fig.add_subplot(grid[0, k]) for k in range(2))
        steps = np.array([one["step"] for one in points], dtype=float)
        plain = style.Look("c", "0.2", "solid", "o")
        _line(left, steps, [one["curvature"]["diagonal_mass"] for one in points], plain)
        left.set_ylim(bottom=0.0)
        left.set_ylabel("diagonal mass $c$")
        span = max(steps[-1] - steps[0], 1.0)
        for k, (name, shape) in enumerate(style.looks(methods).items()):
            # Beside each other: a bar hides no other one.
            shift = (k - 0.5 * (len(methods) - 1)) * 0.012 * span
            _line(right, steps + shift, [one[name] for one in rows], shape)
        right.axhline(1.0, color="0.6", linewidth=0.8, zorder=0)
        right.set_ylabel("$I(z)\\,/\\,I(g)$")
        pages.log_axis(right.yaxis)
        for ax in (left, right):
            ax.set_xlim(steps[0] - 0.07 * span, steps[-1] + 0.07 * span)
            ax.set_xlabel("step")
            if len(steps) <= 6:
                ax.set_xticks(steps, [f"{step:g}" for step in steps])
        return fig


def _estimate(value: Mapping[str, float | None]) -> tuple[float | None, ...]:
    """Value and the ends of its interval; no ends where it is exact or they are not known."""
    ends = (value["low"], value["high"])
    return value["value"], *((None, None) if ends[0] == ends[1] else ends)


def _line(
    ax: Any, x: np.ndarray, values: Sequence[Mapping[str, float | None]], shape: style.Look
) -> None:
    """A line of estimates with bars; a value that is not known leaves a gap, an end that is not known has no bar."""
    from qpsim.figures import page as pages

    found = np.array([_estimate(one) for one in values], dtype=float)
    pages.line(ax, x, found[:, 0], shape, markevery=1)
    middle = found[:, 0]
    low, high = (np.where(np.isnan(found[:, k]), middle, found[:, k]) for k in (1, 2))
    ax.vlines(x, low, high, color=shape.color, linewidth=0.9)
