"""The paper's figures, and more: one file a figure, one path from numbers to paper for all of them.

``compute -> data on disk -> draw -> image``. A figure is a module ``figure2.py`` ("2") or
``figure_phase.py`` ("phase") of this folder, with

- a first docstring line that says what it shows;
- ``Options``, a :class:`qpsim.figures.options.BaseOptions`;
- ``compute(options, workers=None) -> Data``;
- ``draw(data, fig) -> dict`` of the artists drawn into a matplotlib figure or subfigure;
- ``ASPECT``, height over width.

Putting the file there is all it takes.
"""

from __future__ import annotations

import os
import pkgutil
import re
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpsim.errors import FigureError, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

    from qpsim.figures.data import Data

__all__ = ["FORMATS", "WIDTHS", "Made", "compute", "draw", "make", "module", "names", "title"]

FORMATS = ("png", "pdf", "svg")
# Inches: a column and the full width of a printed page.
WIDTHS = {"column": 3.5, "full": 7.0}
_PREFIX = "figure"


@dataclass(frozen=True, eq=False)
class Made:
    """A figure that was made: its data, the matplotlib figure and its artists, the files written."""

    data: Data
    figure: Figure
    artists: dict[str, Any]
    paths: list[Path] = field(default_factory=list)


@cache
def names() -> tuple[str, ...]:
    """Names of all figures, numbers first.

    >>> "2" in names()
    True
    """
    found = [
        item.name.removeprefix(_PREFIX).removeprefix("_")
        for item in pkgutil.iter_modules(__path__)
        if re.fullmatch(rf"{_PREFIX}(\d+|_\w+)", item.name)
    ]
    return tuple(sorted(found, key=lambda name: (not name.isdigit(), name.zfill(3))))


def module(name: str) -> Any:
    """The module of a figure.

    Raises
    ------
    FigureError
        There is no such figure.
    """
    key = str(name)
    if key not in names():
        raise FigureError(f"There is no figure {key!r}; {nearest(key, names())}")
    return import_module(f"qpsim.figures.{_PREFIX}{key if key.isdigit() else f'_{key}'}")


def title(name: str) -> str:
    """What a figure shows, in one line."""
    return (module(name).__doc__ or "").strip().splitlines()[0]


def compute(name: str, *, workers: Any = None, **options: Any) -> Data:
    """The numbers of a figure, without drawing it; the arguments are those of :func:`make`."""
    figure = module(name)
    return figure.compute(figure.Options.given(f"Figure {name}", options), workers=workers)


def draw(data: Data, fig: Figure | SubFigure | None = None, width: float = 7.0) -> Any:
    """Draw a figure from its data, into an existing matplotlib figure if one is given.

    Returns
    -------
    (figure, artists) : the matplotlib figure and a dict of what was drawn.
    """
    from qpsim.figures import style

    figure = module(data.figure)
    with style.use(width):
        fig = style.new_figure(width, figure.ASPECT) if fig is None else fig
        return fig, figure.draw(data, fig)


def table(data: Data) -> tuple[list[str], list[list[str]]] | None:
    """Columns and rows of text that say the same as a drawing, of a figure that has them."""
    told = getattr(module(data.figure), "table", None)
    return None if told is None else told(data)


def make(
    name: str,
    out: str | os.PathLike[str] | None = None,
    *,
    formats: str | tuple[str, ...] | list[str] = ("png", "pdf"),
    width: str | float = "full",
    workers: Any = None,
    redraw: bool = False,
    **options: Any,
) -> Made:
    """Make a figure: compute its data, save them, draw it, save the image.

    Parameters
    ----------
    name : str
        One of :func:`names`, such as "2".
    out : path, optional
        Folder for ``figure2.npz`` (the data), ``figure2.json`` (where they come from) and the
        images; nothing is written if it is None.
    formats : sequence of {"png", "pdf", "svg"}, default ("png", "pdf")
    width : {"full", "column"} or float, default "full"
        7 or 3.5 inches, or a number of inches.
    workers : None, int or concurrent.futures.Executor
        As in :func:`qpsim.simulation.run`; the numbers do not depend on it.
    redraw : bool, default False
        Draw the data that ``out`` holds already instead of computing them.
    **options
        The figure's own options, such as ``replicates`` and ``seed``.

    Raises
    ------
    FigureError
        Unknown figure, format, width or option, or an option's value that makes no sense.
    FileError
        ``out`` cannot be written (found out before the work starts), or holds no data to redraw.

    Examples
    --------
    >>> import qpsim.figures
    >>> made = qpsim.figures.make("2", replicates=2, problems=1, steps=3, dim=3, workers=1)
    >>> made.data["quantiles"].shape        # (row, noise, method, quantile, step)
    (4, 3, 2, 5, 4)
    """
    figure = module(name)
    name = str(name)
    wanted = _formats(formats)
    inches = _inches(width)
    stem = f"{_PREFIX}{name}" if name.isdigit() else name
    place = Path() if out is None else Path(out)
    paths: list[Path] = []
    if redraw:
        if out is None:
            raise FigureError("Redrawing needs the folder that holds the data: give out=...")
        if options:
            raise FigureError(
                f"Redrawing takes the data as they are: {', '.join(options)} cannot be changed."
            )
        from qpsim.figures.data import load

        data = load(place / f"{stem}.npz", name, figure.Options)
    else:
        asked = figure.Options.given(f"Figure {name}", options)
    if out is not None:
        from qpsim.files.writing import check_writable

        check_writable(place)
    if not redraw:
        data = figure.compute(asked, workers=workers)
        if out is not None:
            paths += data.save(place, stem)
    drawn, artists = draw(data, width=inches)
    if out is not None:
        from qpsim.figures import style

        paths += [style.save(drawn, place / f"{stem}.{kind}", kind) for kind in wanted]
    return Made(data, drawn, artists, paths)


def _formats(formats: str | tuple[str, ...] | list[str]) -> tuple[str, ...]:
    wanted = (formats,) if isinstance(formats, str) else tuple(formats)
    for kind in wanted:
        if kind not in FORMATS:
            raise FigureError(f"Unknown format {kind!r}; {nearest(str(kind), FORMATS)}")
    if not wanted:
        raise FigureError(f"No format is given; known are: {', '.join(FORMATS)}.")
    return tuple(dict.fromkeys(wanted))


def _inches(width: str | float) -> float:
    if isinstance(width, str) and width in WIDTHS:
        return WIDTHS[width]
    try:
        inches = float(width)
    except ValueError:
        raise FigureError(
            f"A width is a number of inches, 'column' or 'full', not {width!r}."
        ) from None
    if not 2.0 <= inches <= 30.0:
        raise FigureError(f"A width lies between 2 and 30 inches, not {inches:g}.")
    return inches
