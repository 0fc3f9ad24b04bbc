"""Layout of a figure: margins in multiples of the text's size, a legend on top, a note at the bottom.

Used alike by all figures, so that they fit at any width and say what their lines and bands are.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any


from qpsim.figures.style import Look, looks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.gridspec import GridSpec

_LINE = 1.35  # height of a line of text, in ems
_BAND_ALPHA = 0.22


class Page:
    """A figure or subfigure to be filled: note and legend first, then the axes between them.

    Attributes
    ----------
    em : float
        Size of the text in inches; all distances below are in multiples of it.
    width, height : float
        Inches.
    narrow : bool
        Whether it is about as wide as a column of a printed page.
    """

    def __init__(self, fig: Figure | SubFigure) -> None:
        import matplotlib

        self.fig = fig
        self.em = float(matplotlib.rcParams["font.size"]) / 72
        self.width, self.height = fig.bbox.width / fig.dpi, fig.bbox.height / fig.dpi
        self.narrow = self.width < 5.0
        self._above = 0.2
        self._below = 0.3

    @property
    def top(self) -> float:
        """Ems that titles and legends take above the axes."""
        return self._above

    @property
    def bottom(self) -> float:
        """Ems that the note takes below the axes."""
        return self._below

    def across(self, ems: float) -> float:
        """A distance from the left as a fraction of the width."""
        return ems * self.em / self.width

    def up(self, ems: float) -> float:
        """A distance from the bottom as a fraction of the height."""
        return ems * self.em / self.height

    def note(self, text: str) -> Any:
        """Say at the bottom, in lines as long as fit, what the figure shows; returns the text."""
        size = max(6.0, 72 * self.em - 1)
        artist = self.fig.text(
            self.across(0.8), self.up(0.4), "", fontsize=size, va="bottom", linespacing=1.25
        )
        room = (self.width - 1.6 * self.em) * self.fig.dpi
        # A formula between two dollars stays in one line.
        words = re.findall(r"(?:\$[^$]*\$|[^\s$])+", text)
        lines = [words[0]]
        for word in words[1:]:
            artist.set_text(f"{lines[-1]} {word}")
            if artist.get_window_extent().width <= room:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
        artist.set_text("\n".join(lines))
        self._below = 0.4 + artist.get_window_extent().height / self.fig.dpi / self.em + 0.5
        return artist

    def legend(
        self,
        handles: Sequence[Any],
        labels: Sequence[str],
        *,
        left: float = 0.0,
        right: float = 1.0,
        keep: bool = True,
    ) -> Any:
        """A legend below the last one on top, with as many columns as fit between two fractions.

        Further texts go below it, unless ``keep`` is false: then the next legend stands beside it.
        """
        for columns in range(len(handles), 0, -1):
            legend = self.fig.legend(
                handles,
                labels,
                loc="upper center",
                bbox_to_anchor=(0.5 * (left + right), 1.0 - self.up(self._above)),
                ncols=columns,
                borderpad=0.1,
                borderaxespad=0.0,
                handlelength=3.0,
                columnspacing=1.6,
                labelspacing=0.25,
            )
            box = legend.get_window_extent()
            if box.width <= (right - left) * self.width * self.fig.dpi or columns == 1:
                break
            legend.remove()
        if keep:
            self._above += box.height / self.fig.dpi / self.em + 0.3
        return legend

    def heading(self, text: str, x: float = 0.5, *, keep: bool = True) -> Any:
        """A line of text on top, below what is there already."""
        artist = self.fig.text(x, 1.0 - self.up(self._above), text, ha="center", va="top")
        if keep:
            self._above += text.count("\n") * _LINE + _LINE
        return artist

    def grid(
        self,
        rows: int,
        columns: int,
        *,
        left: float,
        right: float = 1.0,
        top: float = 1.6,
        bottom: float = 3.0,
        across: float = 1.0,
        down: float = 1.0,
    ) -> GridSpec:
        """Places of axes; margins and the gaps between axes are in ems.

        The margins at the top and the bottom are those to the legend and to the note.
        """
        margins = {
            "left": self.across(left),
            "right": 1.0 - self.across(right),
            "top": 1.0 - self.up(self._above + top),
            "bottom": self.up(self._below + bottom),
        }
        wide = (margins["right"] - margins["left"]) * self.width / self.em
        high = (margins["top"] - margins["bottom"]) * self.height / self.em
        return self.fig.add_gridspec(
            rows,
            columns,
            **margins,
            wspace=_gap(wide, columns, across),
            hspace=_gap(high, rows, down),
        )

    def side(self, text: str, x: float, y: float = 0.5, **settings: Any) -> Any:
        """An upright text, ``x`` ems from the left and at a fraction ``y`` of the height."""
        return self.fig.text(
            self.across(x), y, text, rotation=90, va="center", ha="center", **settings
        )


def _gap(length: float, n: int, gap: float) -> float:
    """A gap between n panels as a fraction of a panel, as matplotlib wants it."""
    return gap * n / (length - (n - 1) * gap) if n > 1 else 0.0


def line(ax: Axes, x: Any, y: Any, shape: Look, k: int = 0, **settings: Any) -> Any:
    """A curve in a method's appearance; markers of the k-th curve are a little further along.

    A curve of one point is seen by its marker.
    """
    given = _marked(shape) | {"label": shape.label} | settings
    if len(x) > 1 and "markevery" not in settings:
        given["markevery"] = (0.03 + 0.06 * (k % 5), 0.3)
    (artist,) = ax.plot(x, y, **given)
    return artist


def band(
    ax: Axes, x: Any, low: Any, middle: Any, high: Any, shape: Look, k: int = 0, **settings: Any
) -> dict[str, Any]:
    """A curve with a band around it, in a method's appearance; returns the artists."""
    fill = ax.fill_between(x, low, high, color=shape.color, alpha=_BAND_ALPHA, linewidth=0)
    return {"band": fill, "line": line(ax, x, middle, shape, k, **settings)}


def handles(methods: Sequence[str], *, bands: bool = True, markers: bool = True) -> list[Any]:
    """What stands for methods in a legend: a line, on a piece of its band if there are bands."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    made = []
    for shape in looks(methods).values():
        given = _marked(shape) | ({} if markers else {"marker": ""})
        stroke = Line2D([], [], **given)
        fill = Patch(facecolor=shape.color, alpha=_BAND_ALPHA, linewidth=0)
        made.append((fill, stroke) if bands else stroke)
    return made


def labels(methods: Sequence[str]) -> list[str]:
    """Names of methods as they stand in legends and tables."""
    return [shape.label for shape in looks(methods).values()]


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Values to label on a logarithmic axis: at least three of them wherever it begins and ends.

    They are powers of ten, or 1, 2 and 5 times those, or as many digits as it takes.

    >>> log_ticks(0.8, 2.4), log_ticks(0.01, 300.0), log_ticks(0.93, 1.11)
    ([1.0, 1.5, 2.0], [0.01, 0.1, 1.0, 10.0, 100.0], [0.95, 1.0, 1.05, 1.1])
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [float(f"{step}e{k}") for k in range(first, last + 1) for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 3:
            return ticks[:: 1 + (len(ticks) - 1) // most]
    from matplotlib.ticker import MaxNLocator

    within = MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return [float(f"{tick:.12g}") for tick in within if low <= tick <= high]


def log_axis(axis: Any) -> None:
    """Make an axis of axes logarithmic, with labels 0.5, 1, 2 and the like between its limits."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    name = axis.axis_name
    getattr(axis.axes, f"set_{name}scale")("log")
    ticks = log_ticks(*axis.get_view_interval())
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([signed(tick) for tick in ticks]))
    axis.set_minor_locator(NullLocator())


def signed(value: float) -> str:
    """A number as text, with a minus sign and not a hyphen.

    >>> signed(-0.5)
    '\N{MINUS SIGN}0.5'
    """
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def ends_inside(ax: Axes) -> None:
    """Keep the first and last label below an axis from reaching into the neighbouring panels."""
    names = ax.get_xticklabels()
    if len(names) > 1:
        names[0].set_horizontalalignment("left")
        names[-1].set_horizontalalignment("right")


def padded(low: float, high: float, share: float = 0.05) -> tuple[float, float]:
    """Limits with a little air around values.

    >>> padded(0.0, 10.0)
    (-0.5, 10.5)
    """
    air = share * max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-12)
    return low - air, high + air


def _marked(shape: Look) -> dict[str, Any]:
    return {
        "color": shape.color,
        "linestyle": shape.linestyle,
        "marker": shape.marker,
        "markerfacecolor": shape.color if shape.filled else "white",
    }


