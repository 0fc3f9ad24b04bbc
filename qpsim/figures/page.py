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

_BAND_ALPHA = 0.22


class Page:
    """A figure or subfigure, or a part of it: note and legend first, then the axes between them.

    Parameters
    ----------
    fig : matplotlib Figure or SubFigure
    box : (left, bottom, width, height), default (0, 0, 1, 1)
        The part of it, as fractions.

    Attributes
    ----------
    em : float
        Size of the text in inches; all distances are in multiples of it.
    width, height : float
        Of the part, in ems.
    narrow : bool
        Whether the figure is about as wide as a column of a printed page.
    """

    def __init__(
        self, fig: Figure | SubFigure, box: tuple[float, float, float, float] = (0, 0, 1, 1)
    ) -> None:
        import matplotlib

        self.fig, self.box = fig, box
        self.em = float(matplotlib.rcParams["font.size"]) / 72
        inches = fig.bbox.width / fig.dpi, fig.bbox.height / fig.dpi
        self._whole = inches[0] / self.em, inches[1] / self.em
        self.width, self.height = self._whole[0] * box[2], self._whole[1] * box[3]
        self.narrow = inches[0] < 5.0
        self._above = 0.3  # ems taken by texts at the top
        self._below = 0.3  # ems taken by the note

    def x(self, ems: float) -> float:
        """A distance from the left of the part, as a fraction of the figure's width."""
        return self.box[0] + ems / self._whole[0]

    def y(self, ems: float) -> float:
        """A distance from the bottom of the part, as a fraction of the figure's height."""
        return self.box[1] + ems / self._whole[1]

    def split(self, shares: Sequence[float], *, stacked: bool = False) -> list[Page]:
        """What is left between note and legend, in parts of these relative lengths.

        The parts stand beside each other, or above each other if they are ``stacked``.
        """
        left, width = self.box[0], self.box[2]
        bottom, top = self.y(self._below), self.y(self.height - self._above)
        parts, begin = [], 0.0
        for share in shares:
            end = begin + share / sum(shares)
            if stacked:
                high = (end - begin) * (top - bottom)
                part = (left, top - end * (top - bottom), width, high)
            else:
                part = (left + begin * width, bottom, (end - begin) * width, top - bottom)
            parts.append(Page(self.fig, part))
            begin = end
        return parts

    def align(self, others: Sequence[Page]) -> None:
        """Leave as much room on top as the fullest of some parts, so that their axes are level."""
        self._above = max([self._above, *(other._above for other in others)])

    def note(self, text: str) -> Any:
        """Say at the bottom, in lines as long as fit, what the figure shows; returns the text."""
        size = max(6.0, 72 * self.em - 1)
        artist = self.fig.text(
            self.x(0.8), self.y(0.5), "", fontsize=size, va="bottom", linespacing=1.25
        )
        room = (self.width - 1.6) * self.em * self.fig.dpi
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
        self._below = 1.0 + self._ems(artist.get_window_extent().height)
        return artist

    def strip(self, height: float) -> Axes:
        """Axes without frame or ticks above the note, over the whole width and so many ems high."""
        ax = self.fig.add_axes(
            (self.x(0.0), self.y(self._below), self.box[2], height / self._whole[1])
        )
        ax.set_axis_off()
        self._below += height
        return ax

    def legend(self, handles: Sequence[Any], labels: Sequence[str]) -> Any:
        """A legend below what is on top already, with as many columns as fit."""
        middle = 0.5 * (self.x(0.0) + self.x(self.width))
        for rows in range(1, len(handles) + 1):
            columns = -(-len(handles) // rows)
            legend = self.fig.legend(
                handles,
                labels,
                loc="upper center",
                bbox_to_anchor=(middle, self.y(self.height - self._above)),
                ncols=columns,
                borderpad=0.1,
                borderaxespad=0.0,
                handlelength=2.4,
                handletextpad=0.6,
                columnspacing=1.1,
                labelspacing=0.25,
            )
            box = legend.get_window_extent()
            if self._ems(box.width) <= self.width - 0.8 or columns == 1:
                break
            legend.remove()
        self._above += self._ems(box.height) + 0.3
        return legend

    def heading(self, text: str) -> Any:
        """A line of text below what is on top already."""
        middle = 0.5 * (self.x(0.0) + self.x(self.width))
        artist = self.fig.text(
            middle, self.y(self.height - self._above), text, ha="center", va="top"
        )
        self._above += self._ems(artist.get_window_extent().height) + 0.5
        return artist

    def grid(
        self,
        rows: int,
        columns: int,
        *,
        left: float,
        right: float = 1.0,
        top: float = 1.6,
        bottom: float = 3.2,
        across: float = 1.0,
        down: float = 1.0,
    ) -> Any:
        """Places of axes, as a matplotlib GridSpec; margins and the gaps between axes are in ems.

        The margins at the top and the bottom are those to the legend and to the note.
        """
        wide = self.width - left - right
        high = self.height - self._above - top - self._below - bottom
        return self.fig.add_gridspec(
            rows,
            columns,
            left=self.x(left),
            right=self.x(self.width - right),
            top=self.y(self.height - self._above - top),
            bottom=self.y(self._below + bottom),
            wspace=_gap(wide, columns, across),
            hspace=_gap(high, rows, down),
        )

    def side(self, text: str, x: float, y: float, **settings: Any) -> Any:
        """An upright text, ``x`` ems from the left and at a fraction ``y`` of the figure's height."""
        return self.fig.text(self.x(x), y, text, rotation=90, va="center", ha="center", **settings)

    def _ems(self, pixels: float) -> float:
        return pixels / self.fig.dpi / self.em


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
    from matplotlib.patches import Patch

    made = []
    for shape in looks(methods).values():
        stroke = handle(shape, marker=markers)
        fill = Patch(facecolor=shape.color, alpha=_BAND_ALPHA, linewidth=0)
        made.append((fill, stroke) if bands else stroke)
    return made


def handle(shape: Look, *, marker: bool = False) -> Any:
    """What stands in a legend for a curve without a band."""
    from matplotlib.lines import Line2D

    return Line2D([], [], **_marked(shape) | ({} if marker else {"marker": ""}))


def labels(methods: Sequence[str]) -> list[str]:
    """Names of methods as they stand in legends and tables."""
    return [shape.label for shape in looks(methods).values()]


def log_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Values to label on a logarithmic axis: at least three of them wherever it begins and ends.

    They are powers of ten, or 1, 2 and 5 times those, or as many digits as it takes; of more than
    about ``most`` of them some are left out.

    >>> log_ticks(0.8, 2.4), log_ticks(0.01, 300.0), log_ticks(0.93, 1.11)
    ([1.0, 1.5, 2.0], [0.01, 0.1, 1.0, 10.0, 100.0], [0.95, 1.0, 1.05, 1.1])
    """
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [float(f"{step}e{k}") for k in range(first, last + 1) for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 3:
            stride = -(-len(ticks) // most)
            return ticks[:: stride if len(ticks) > 2 * stride else 1]
    from matplotlib.ticker import MaxNLocator

    for bins in range(4, 12):
        near = MaxNLocator(bins, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
        within = [float(f"{tick:.12g}") for tick in near if low <= tick <= high]
        if len(within) >= 3:
            break
    return within


def log_axis(axis: Any) -> None:
    """Make an axis of axes logarithmic, with labels 0.5, 1, 2 and the like between its limits."""
    import matplotlib
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    name = axis.axis_name
    getattr(axis.axes, f"set_{name}scale")("log")
    box = axis.axes.get_window_extent()
    ems = (box.width / 3.4 if name == "x" else box.height / 1.8) / axis.axes.figure.dpi * 72
    most = max(3, int(ems / matplotlib.rcParams["font.size"]))
    low, high = axis.get_view_interval()
    ticks = log_ticks(low, high, most)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([_log_label(tick) for tick in ticks]))
    axis.set_minor_locator(NullLocator())


def _log_label(value: float) -> str:
    power = round(math.log10(value))
    if abs(power) > 3 and math.isclose(value, 10.0**power):
        return f"$10^{{{power}}}$"
    return signed(value)


def signed(value: float) -> str:
    """A number as text, with a minus sign and not a hyphen.

    >>> signed(-0.5)
    '\N{MINUS SIGN}0.5'
    """
    return f"{value:g}".replace("-", "\N{MINUS SIGN}")


def panel_axes(ax: Axes, x: Any, values: Any) -> None:
    """Axes of a panel of losses over steps: three labelled steps, and a margin around the values."""
    from matplotlib.ticker import MaxNLocator

    ax.set_xlim(0, x[-1])
    ax.set_xticks(sorted({0, int(x[-1]) // 2, int(x[-1])}))
    ends_inside(ax)
    ax.set_ylim(*padded(float(values.min()), float(values.max())))
    ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10], min_n_ticks=2))


def ends_inside(ax: Axes) -> None:
    """Keep the first and last label below an axis from reaching into the neighbouring panels."""
    names = ax.get_xticklabels()
    if len(names) > 1:
        names[0].set_horizontalalignment("left")
        names[-1].set_horizontalalignment("right")


def two_lines(problem: str) -> str:
    """Name of a problem beside its row: spectrum above basis.

    >>> two_lines("mild/haar"), two_lines("H.npy")
    ('mild,\\nrotated', 'H.npy')
    """
    spectrum, slash, basis = problem.rpartition("/")
    if not slash:
        return problem
    words = {"haar": "rotated", "axis": "axis-aligned"}
    return f"{spectrum},\n{words.get(basis, f'rotation {basis}')}"


def padded(low: float, high: float, share: float = 0.05) -> tuple[float, float]:
    """Limits with a margin around values.

    >>> padded(0.0, 10.0)
    (-0.5, 10.5)
    """
    margin = share * max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-12)
    return low - margin, high + margin


def _marked(shape: Look) -> dict[str, Any]:
    return {
        "color": shape.color,
        "linestyle": shape.linestyle,
        "marker": shape.marker,
        "markerfacecolor": shape.color if shape.filled else "white",
    }
