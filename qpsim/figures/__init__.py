"""The figures: one file a figure, ``compute -> data on disk -> draw -> image``.

A new figure is one new file here, ``figure_tails.py`` for ``qpsim figure tails``. The first line of its docstring says
what it shows. It has ``Options`` (:class:`qpsim.figures.options.BaseOptions`), ``compute(options, workers=None) ->
Data``, ``aspect(data, width) -> float`` (height over width) and ``draw(data, fig) -> dict`` of artists, laid out with
:class:`qpsim.figures.page.Page`. Command line, gallery and tests find it by its name. ``workers`` is
None (a thread for each core), a number of threads, or an executor; the numbers do not depend on it.

- For all figures: ``options``, ``choices`` (problems and methods from text), ``data``, ``canvas``, ``page``, ``style``.
- For some: ``networks`` and ``network_panels``, ``figure2_problems`` and ``figure2_statements``,
  ``conditions_panels``, ``phase_map``, ``probe_picture``.
- ``gallery``: the page of all figures in a folder.
"""

from __future__ import annotations

import os
import pkgutil
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qpsim import checks
from qpsim.errors import FigureError, FileError, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

    from qpsim.figures.data import Data

__all__ = [
    "FORMATS",
    "WIDTHS",
    "Artists",
    "Made",
    "compute",
    "draw",
    "load",
    "make",
    "module",
    "names",
    "stem",
    "table",
    "title",
]

FORMATS = ("png", "pdf", "svg", "csv")
# Inches: a column and the full width of a printed page.
WIDTHS = {"column": 3.5, "full": 7.0}
_PREFIX = "figure"


class Artists(dict):
    """What was drawn, by names and places that each figure documents; a dict with a short repr."""

    def __repr__(self) -> str:
        return f"<artists of a figure by {len(self)} names, such as {next(iter(self), None)!r}>"


@dataclass(frozen=True, eq=False, repr=False)
class Made:
    """A figure that was made: its data, the matplotlib figure and its artists, the files written."""

    data: Data
    figure: Figure
    artists: dict[Any, Any]
    paths: list[Path] = field(default_factory=list)

    def __repr__(self) -> str:
        written = ", ".join(path.name for path in self.paths) or "nothing written"
        return f"<figure {self.data.figure}: {written}>"


@cache
def names() -> tuple[str, ...]:
    """Names of all figures, numbers first.

    >>> "2" in names()
    True
    """
    found = [
        item.name.removeprefix(_PREFIX).removeprefix("_").replace("_", "-")
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

    Examples
    --------
    >>> module("phase").__name__
    'qpsim.figures.figure_phase'
    """
    key = str(name)
    if key not in names():
        raise FigureError(f"There is no figure {key!r}; {nearest(key, names())}")
    tail = key if key.isdigit() else f"_{key.replace('-', '_')}"
    return import_module(f"qpsim.figures.{_PREFIX}{tail}")


def title(name: str) -> str:
    """What a figure shows, in one line.

    >>> title("2")
    'SGD and SSD with exact optimal steps on four stochastic quadratic problems (Figure 2).'
    """
    # python -OO leaves docstrings out.
    lines = (module(name).__doc__ or f"Figure {name}.").strip().splitlines()
    return lines[0]


def stem(name: str) -> str:
    """Name of a figure's files without their ending.

    >>> stem("2"), stem("phase")
    ('figure2', 'phase')
    """
    return f"{_PREFIX}{name}" if str(name).isdigit() else str(name)


def compute(name: str, *, workers: Any = None, **options: Any) -> Data:
    """The numbers of a figure, without drawing it; the arguments are those of :func:`make`.

    >>> compute("4", points=3)["success_probability"].round(3)
    array([0.921, 0.841, 0.691])
    """
    figure = module(name)
    return figure.compute(figure.Options.given(f"Figure {name}", options), workers=workers)


def load(folder: str | os.PathLike[str], name: str) -> Data:
    """The numbers of a figure that :func:`make` has written into a folder.

    Raises
    ------
    FileError
        They are missing or damaged.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     made = make("4", folder, formats="csv", points=3)
    ...     load(folder, "4")
    <Data of figure 4: x (3,), density (3, 3), variance (3,), success_probability (3,)>
    """
    from qpsim.figures.data import load as read

    options = module(name).Options
    return read(checks.path("folder", folder, FileError) / f"{stem(name)}.npz", str(name), options)


def draw(
    data: Data, fig: Figure | SubFigure | None = None, width: float | None = None
) -> tuple[Any, Artists]:
    """Draw a figure from its data.

    Parameters
    ----------
    data : Data
    fig : matplotlib Figure or SubFigure, optional
        Where to draw; by default a new figure.
    width : float, optional
        Inches, 7 by default, or as wide as ``fig``; the size of the text follows from it.

    Returns
    -------
    (figure, artists) : the matplotlib figure and a dict of what was drawn.

    Examples
    --------
    >>> fig, artists = draw(compute("5"), width=3.5)
    >>> sorted(artists)
    ['adam', 'gradient', 'inset', 'legend', 'sign']
    """
    from qpsim.figures import canvas, style

    figure = module(data.figure)
    inches = width or (WIDTHS["full"] if fig is None else fig.bbox.width / fig.dpi)
    with style.use(inches):
        fig = canvas.StyledFigure(inches, figure.aspect(data, inches)) if fig is None else fig
        return fig, Artists(figure.draw(data, fig))


def table(data: Data) -> tuple[list[str], list[list[str]]] | None:
    """Columns and rows of text that say the same as a drawing; None for a figure that has none."""
    make_table = getattr(module(data.figure), "table", None)
    return None if make_table is None else make_table(data)


def make(
    name: str,
    out: str | os.PathLike[str] | None = None,
    *,
    formats: str | Sequence[str] = ("png", "pdf"),
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
    formats : sequence of {"png", "pdf", "svg", "csv"}, default ("png", "pdf")
        "csv" are the data as a table of text (:meth:`qpsim.figures.data.Data.to_csv`).
    width : {"full", "column"} or float, default "full"
        7 or 3.5 inches, or a number of inches.
    workers : None, int or concurrent.futures.Executor
        As in :func:`qpsim.simulate`; the numbers do not depend on it.
    redraw : bool, default False
        Draw the data that ``out`` holds already instead of computing them.
    **options
        The figure's own options, such as ``n_replicates`` and ``rng``, its seed.

    Raises
    ------
    FigureError
        Unknown figure, format, width or option, or an option's value that makes no sense.
    FileError
        ``out`` cannot be written (found out before the work starts), or holds no data to redraw.

    Examples
    --------
    >>> import qpsim.figures
    >>> made = qpsim.figures.make("2", n_replicates=2, n_draws=1, n_steps=3, dim=3, workers=1)
    >>> made
    <figure 2: nothing written>
    >>> made.data["quantiles"].shape        # (row, noise, method, quantile, step)
    (4, 3, 2, 5, 4)
    """
    figure = module(name)
    name = str(name)
    wanted = _formats(formats)
    inches = _inches(width)
    place = None if out is None else checks.path("out", out, FileError)
    if redraw:
        if place is None:
            raise FigureError("Redrawing needs the folder that holds the data: give out=...")
        if options:
            raise FigureError(
                f"Redrawing takes the data as they are: {', '.join(options)} cannot be changed."
            )
        data = load(place, name)
    else:
        asked = figure.Options.given(f"Figure {name}", options)
    if place is not None:
        from qpsim.files.writing import check_file

        for ending in (*(() if redraw else ("npz", "json")), *wanted):
            check_file(place / f"{stem(name)}.{ending}")
    paths: list[Path] = []
    if not redraw:
        data = figure.compute(asked, workers=workers)
        if place is not None:
            paths += data.save(place, stem(name))
    drawn, artists = draw(data, width=inches)
    if place is not None:
        paths += [_written(data, drawn, place / f"{stem(name)}.{kind}", kind) for kind in wanted]
    return Made(data, drawn, artists, paths)


def _written(data: Data, drawn: Figure, path: Path, kind: str) -> Path:
    if kind == "csv":
        return data.to_csv(path)
    from qpsim.figures import canvas

    return canvas.save(drawn, path, kind)


def _formats(formats: str | Sequence[str]) -> tuple[str, ...]:
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
    except (TypeError, ValueError):
        raise FigureError(
            f"A width is a number of inches, 'column' or 'full', not {checks.shown(width)}."
        ) from None
    if not 2.0 <= inches <= 30.0:
        raise FigureError(f"A width lies between 2 and 30 inches, not {inches:g}.")
    return inches
