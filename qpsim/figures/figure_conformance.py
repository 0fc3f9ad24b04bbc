"""Public optimizers compared with the exact rules of their methods: which conform, and how others differ.

Each is checked by :func:`qpsim.conformance.check`. A package that is not installed, or cannot be imported, has no
rows: it is listed at the end of the table with the reason. The option ``keep`` takes such rows from the data of an
earlier run, so that packages that cannot be installed together are in one table.
"""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.conformance import Report, check
from qpsim.conformance.public import PACKAGES, PUBLIC, Public, why_missing
from qpsim.conformance.snippets import snippet
from qpsim.errors import ConformanceError, FigureError, nearest
from qpsim.execution import progress
from qpsim.figures.data import Data, load
from qpsim.figures.options import BaseOptions, option
from qpsim.provenance import provenance_since

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

_YES, _NO = "#0072B2", "#D55E00"
# Ems from one line to the next, and of the columns' left ends in a wide and a narrow figure.
_LINE, _WIDE, _NARROW = 1.42, (0.8, 15.0, 22.5), (0.6, 11.0, 17.6)
# Ems of a letter in a sentence, and in names, which have more capitals.
_LETTER, _NAME_LETTER = 0.52, 0.58
# Space before each kind of entry, in lines.
_SPACE_BEFORE = {"package": 0.45, "yes": 0.12, "no": 0.12}
_N_LAWS = 4
_OF_ROWS = ("optimizer", "package", "name", "version", "method", "rule", "diagnosis", "snippet")


@dataclass(frozen=True)
class Options(BaseOptions):
    """Which packages are checked, and on how many steps."""

    packages: tuple[str, ...] = option(PACKAGES, "packages whose optimizers are checked")
    n_long: int = option(100_000, "steps of the longest stream", at_least=1)
    laws: bool = option(True, "whether the laws on quadratic problems are checked too")
    keep: str = option("", "data (.npz) of an earlier run, whose rows of other packages are kept")


def compute(options: Options, workers: int | Executor | None = None) -> Data:
    """Check one optimizer after the other; ``workers`` is not used, as libraries have threads of their own.

    Returns
    -------
    Data
        ``conforms`` (optimizer,): 1 or 0; ``streams`` (optimizer, outcome): how many streams passed,
        differ or fail, and cannot be given; ``law`` (optimizer, law): standard errors off, NaN where
        none was taken. Labels: package, version, method, diagnosis, snippet (which shows a difference without qpsim),
        and the packages that are missing, with the reason.
    """
    began = time.perf_counter()
    for name in options.packages:
        if name not in PACKAGES:
            raise FigureError(
                f"Figure conformance has no package {name!r}; {nearest(name, PACKAGES)}"
            )
    before = _earlier_data(options) if options.keep else None
    missing = {name: why for name in options.packages if (why := why_missing(name))}
    versions = {name: None if name in missing else version(name) for name in options.packages}
    chosen = [one for one in PUBLIC if versions.get(one.package)]
    reports = []
    with progress.bar("figure conformance", len(chosen)) as bar:
        for one in chosen:
            reports.append(_checked(one, options))
            bar.tick(f"{one.package} {one.name}")
    arrays = {
        "conforms": np.array([float(report.conforms) for report in reports]),
        "streams": np.array([_counts(report) for report in reports], float).reshape(-1, 3),
        "law": np.array([_laws(report) for report in reports], float).reshape(-1, _N_LAWS),
    }
    axes = {
        "conforms": ["optimizer"],
        "streams": ["optimizer", "outcome"],
        "law": ["optimizer", "law"],
    }
    labels: dict[str, list[Any]] = {
        "optimizer": [f"{one.package} {one.name}" for one in chosen],
        "outcome": ["passed", "differs", "not applicable"],
        "package": [one.package for one in chosen],
        "name": [one.name for one in chosen],
        "version": [versions[one.package] for one in chosen],
        "method": [one.method for one in chosen],
        "rule": [report.method for report in reports],
        "diagnosis": [report.diagnosis for report in reports],
        "snippet": [
            "" if report.conforms else snippet(one.package, one.name) or ""
            for one, report in zip(chosen, reports, strict=True)
        ],
        "missing": list(missing),
        "why_missing": list(missing.values()),
    }
    provenance = provenance_since(began, packages=versions)
    data = Data("conformance", options, arrays, axes, labels, provenance)
    return data if before is None else merged(data, before)


def _earlier_data(options: Options) -> Data:
    """The data of an earlier run, which must have been checked for as long."""
    data = load(options.keep, "conformance", Options)
    given = data.options
    if (given.n_long, given.laws) != (options.n_long, options.laws):
        raise FigureError(
            f"{options.keep} was computed with n_long {given.n_long} and laws {given.laws}, not with "
            f"{options.n_long} and {options.laws}; rows of both in one table would not mean the same."
        )
    return data


def merged(data: Data, before: Data) -> Data:
    """All rows of some data, and those of earlier data that are of other packages; each has its version.

    Packages stand in the order of :data:`qpsim.conformance.public.PACKAGES`.
    """
    own = set(data.labels["package"])
    rows = [(data, k) for k in range(len(data.labels["package"]))]
    rows += [(before, k) for k, name in enumerate(before.labels["package"]) if name not in own]
    rows.sort(key=lambda row: PACKAGES.index(row[0].labels["package"][row[1]]))
    arrays = {
        name: np.array([source[name][k] for source, k in rows], float) if rows else old
        for name, old in data.arrays.items()
    }
    labels = {
        name: [source.labels[name][k] for source, k in rows] if name in _OF_ROWS else values
        for name, values in data.labels.items()
    }
    found = set(labels["package"])
    left = [(name, why) for name, why in _missing(data) if name not in found]
    labels |= {"missing": [name for name, _ in left], "why_missing": [why for _, why in left]}
    versions = dict(zip(labels["package"], labels["version"], strict=True))
    provenance = {**data.provenance, "packages": versions}
    return Data("conformance", data.options, arrays, data.axes, labels, provenance)


def _checked(one: Public, options: Options) -> Report:
    try:
        return check(
            one.optimizer(), one.method, n_long=options.n_long, run_laws=options.laws, **one.hyper
        )
    except ConformanceError as error:
        return Report(False, str(error), one.method, "", "", ())


def _counts(report: Report) -> list[int]:
    outcomes = [outcome.outcome for outcome in report.streams]
    given = len(outcomes) - outcomes.count("not applicable")
    passed = outcomes.count("passed")
    return [passed, given - passed, len(outcomes) - given]


def _laws(report: Report) -> list[float]:
    found = [law.z for law in report.laws]
    return (found + [np.nan] * _N_LAWS)[:_N_LAWS]


def _difference_text(data: Data, k: int) -> str:
    """The difference as text, without what is in the row already."""
    if data["conforms"][k]:
        return "conforms"
    # The purpose of a stream is left out of the table.
    text = re.sub(r"(stream '[^']*') \([^)]*\)", r"\1", str(data.labels["diagnosis"][k]))
    return text.removeprefix(f"equals {data.labels['rule'][k]}").lstrip(" ,")


def _short(text: str) -> str:
    """The same for a drawing: no message of another library, and one word for what occurs often."""
    text = re.sub(r"(fails: \w+):.*?(?=; on stream|$)", r"\1", text)
    counts = r"(, )?except on stream 'no gradient', where steps without a gradient are counted too"
    text = re.sub(
        counts, lambda found: ("; " if found[1] else "") + "counts steps without a gradient", text
    )
    return re.sub(r"(?<=[^,]) (with scalars|computed in)", r", \1", text)


def table(data: Data) -> tuple[list[str], list[list[str]]]:
    """The rows as text."""
    rows = [
        [
            data.labels["optimizer"][k],
            data.labels["version"][k],
            data.labels["method"][k],
            "yes" if data["conforms"][k] else "no",
            "" if data["conforms"][k] else _difference_text(data, k),
        ]
        for k in range(len(data.labels["optimizer"]))
    ]
    rows += [[name, why, "", "", ""] for name, why in _missing(data)]
    return ["optimizer", "version", "method", "conforms", "how it differs"], rows


def _missing(data: Data) -> list[tuple[str, str]]:
    """Packages that could not be checked, and why."""
    names = data.labels["missing"]
    # Data of an earlier version have no reason.
    return list(
        zip(names, data.labels.get("why_missing", ["not installed"] * len(names)), strict=True)
    )


def _lines(data: Data, width: float) -> Iterator[tuple[str, Any]]:
    """The content of each line: a package's heading, the names that conform, and each that differs.

    "package": a text; "yes": the rows' numbers and the lines of their names; "no": a row's number and the lines of its
    text.
    """
    ems = width * 72 / _size(width)
    columns = _columns(width)
    room = int((ems - columns[2] - 0.6) / _LETTER)
    across = int((ems - columns[0] - 2.0) / _NAME_LETTER)
    packages = data.labels["package"]
    for package in dict.fromkeys(packages):
        rows = [k for k, name in enumerate(packages) if name == package]
        yes = [k for k in rows if data["conforms"][k]]
        head = f"{package} {data.labels['version'][rows[0]]}"
        yield "package", f"{head}: {len(yes)} of {len(rows)} conform"
        if yes:
            names = "; ".join(data.labels["name"][k] for k in yes)
            yield "yes", (yes, textwrap.wrap(names, across))
        for k in rows:
            if k not in yes:
                text = textwrap.shorten(
                    _short(_difference_text(data, k)), 5 * room, placeholder=" ..."
                )
                yield "no", (k, textwrap.wrap(text, room))
    for name, why in _missing(data):
        yield "package", textwrap.shorten(f"{name}: {why}", across, placeholder=" ...")


def _columns(width: float) -> tuple[float, ...]:
    return _WIDE if width >= 5 else _NARROW


def _size(width: float) -> float:
    from qpsim.figures import style

    return style.text_size(width)


def _height(data: Data, width: float) -> float:
    """Height of the table, in ems."""
    n = 0.0
    for kind, what in _lines(data, width):
        n += _SPACE_BEFORE[kind] + (1.0 if kind == "package" else max(1, len(what[1])))
    return (n + 1.5) * _LINE


def aspect(data: Data, width: float) -> float:
    """Height over width."""
    em = _size(width) / 72
    note = 4.6 if width >= 5 else 8.0
    return float((_height(data, width) + note) * em / width)


def draw(data: Data, fig: Figure | SubFigure) -> dict[Any, Any]:
    """A table: of each package those that conform, then each that differs, the rule, and how.

    Returns
    -------
    dict
        Name of an optimizer -> its mark, one for all of a package that conform; "note".
    """
    from matplotlib.lines import Line2D

    from qpsim.figures import page as pages

    page = pages.Page(fig)
    width = fig.bbox.width / fig.dpi
    n_yes, n = int(data["conforms"].sum()), len(data["conforms"])
    artists: dict[Any, Any] = {
        "note": page.note(
            f"{n_yes} of {n} conform (filled): every move on all streams of gradients is the rule's within "
            "rounding, and the mean loss on noisy quadratics within 4.5 standard errors. Open: the "
            "implementation differs, and how; many are choices, not errors."
        )
    }
    columns = _columns(width)
    y = page.height - 1.2

    def write(x: float, y: float, text: str, **more: Any) -> Any:
        return fig.text(page.x(x), page.y(y), text, va="center", **more)

    def mark(y: float, conforms: bool) -> Any:
        return fig.add_artist(
            Line2D(
                [page.x(columns[0] + 0.5)],
                [page.y(y)],
                marker="o" if conforms else "D",
                markersize=0.45 * page.em * 72,
                color=_YES if conforms else _NO,
                markerfacecolor=_YES if conforms else "white",
                transform=fig.transSubfigure if hasattr(fig, "transSubfigure") else None,
            )
        )

    titles = ("optimizer", "rule", "how it differs")
    for x, text in zip((columns[0] + 1.4, *columns[1:]), titles, strict=True):
        write(x, y, text, color="#404040", style="italic")
    y -= 0.3 * _LINE
    for kind, what in _lines(data, width):
        y -= (1.0 + _SPACE_BEFORE[kind]) * _LINE
        if kind == "package":
            write(columns[0], y, what, weight="bold")
            continue
        rows, lines = what
        made = mark(y, kind == "yes")
        if kind == "yes":
            artists |= {data.labels["optimizer"][k]: made for k in rows}
        else:
            artists[data.labels["optimizer"][rows]] = made
            write(columns[0] + 1.4, y, data.labels["name"][rows])
            write(columns[1], y, data.labels["method"][rows])
        for j, line in enumerate(lines):
            write(columns[0] + 1.4 if kind == "yes" else columns[2], y - j * _LINE, line)
        y -= (max(1, len(lines)) - 1) * _LINE
    return artists
