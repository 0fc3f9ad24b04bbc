"""``Sweep``: parameters that all cells share, a grid of others, and a list of single cells.

A sweep is read from TOML, checked completely before any cell runs, and converted to one canonical form, by which a
store recognises its sweep.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qpsim import checks
from qpsim.errors import QpsimError, SpecError, nearest
from qpsim.files.reading import read_toml
from qpsim.sweep.cell import Cell, digest
from qpsim.sweep.parameters import ARRAYS, DEFAULTS, EXCLUDED, HYPER, checked, label

_SECTIONS = ("fixed", "grid", "cells")
_RANGES = ("linear", "log")
_MOST_CELLS = 1_000_000


class Sweep:
    """The specification of a sweep: which cells there are, in which order.

    Parameters
    ----------
    fixed : mapping, optional
        Parameters that all cells share; parameters that are not given have their defaults. Parameters are
        spectrum, condition, dim, scale, basis, rng, noise_std, batch_size, n_replicates, n_steps,
        method, step_size, record ("summary" or "full") and hyper.NAME; noise ("data", "hessian" or
        "white") and df of Student's t; covariance, the noise's own matrix, as an array or a file;
        problem ("quadratic" or "least-squares", where the Hessian is the data's covariance and
        noise_std the labels'); data, a table whose last column are the labels, and its order.
    grid : mapping of name to values, optional
        Every combination of the values is a cell. Values are a list, or ``{"log": [a, b], "n": n}``
        or ``{"linear": [a, b], "n": n}`` for n numbers from a to b.
    cells : sequence of mappings, optional
        Single cells, each with the parameters that differ from ``fixed``.

    Raises
    ------
    SpecError
        An unknown parameter or section, a value of the wrong type, an empty grid, cells that occur
        twice, or nothing to run.
    QpsimError
        A cell whose parameters do not fit each other.

    Examples
    --------
    >>> from qpsim.sweep import Sweep
    >>> sweep = Sweep({"spectrum": "mild"}, {"method": ["sgd", "ssd"], "noise_std": [0.1, 1.0]})
    >>> sweep, [cell.parameters["noise_std"] for cell in sweep]
    (<Sweep of 4 cells over noise_std (2) x method (2)>, [0.1, 0.1, 1.0, 1.0])
    """

    def __init__(
        self,
        fixed: Mapping[str, Any] | None = None,
        grid: Mapping[str, Any] | None = None,
        cells: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self.fixed = {name: checked(name, v) for name, v in _flat("fixed", fixed or {}).items()}
        axes = {name: _axis(name, values) for name, values in _flat("grid", grid or {}).items()}
        # In a fixed order and not that of the file, so that equal sweeps have equal forms.
        self.axes = {name: axes[name] for name in sorted(axes, key=_rank)}
        self.listed = _listed(cells)
        for name in self.fixed.keys() & self.axes.keys():
            raise SpecError(f"{name} is both fixed and in the grid; keep one.")
        if not self.axes and not self.listed:
            raise SpecError("There is nothing to sweep: give a [grid] or [[cells]].")
        if len(self) > _MOST_CELLS:
            raise SpecError(f"{len(self)} cells are more than {_MOST_CELLS}; split the sweep.")
        # Texts of InfiniteVarianceWarning, each once; a run gives them.
        self.warnings: list[str] = []
        self.ids = frozenset(self._checked_ids())

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Sweep:
        """Read a sweep from a TOML file with sections [fixed], [grid] and [[cells]]; "-" is stdin.

        Raises
        ------
        FileError, SpecError, QpsimError
            The file cannot be read, is not TOML, or describes no sweep.
        """
        table = read_toml(path)
        folder = Path() if str(path) == "-" else Path(path).parent
        try:
            return cls.from_spec(_located(table, folder))
        except QpsimError as error:
            raise type(error)(f"{path}: {error}") from None

    @classmethod
    def from_spec(cls, spec: Any) -> Sweep:
        """A sweep from the mapping that :attr:`spec` gives, or a TOML file holds."""
        if not isinstance(spec, Mapping):
            raise SpecError("A sweep is a table with [fixed], [grid] and [[cells]].")
        for name in spec:
            if name in ("noise", "problem"):
                raise SpecError(
                    f"A sweep has no section {name!r}: its keys, such as noise, df and covariance, are parameters; "
                    "give them in [fixed], [grid] or [[cells]]."
                )
            if name not in _SECTIONS:
                raise SpecError(f"Unknown section {name!r}; {nearest(str(name), _SECTIONS)}")
        return cls(**spec)

    @property
    def spec(self) -> dict[str, Any]:
        """The canonical form, plain JSON values with the defaults written out."""
        # Some spectra determine dim and condition, and some parameters exclude others; their defaults are not written.
        given = {*self.fixed, *self.axes, *(name for cell in self.listed for name in cell)}
        excluded = (name for key in EXCLUDED.keys() & given for name in EXCLUDED[key])
        taken = {*self.axes, "dim", "condition", *excluded}
        fixed = {name: value for name, value in DEFAULTS.items() if name not in taken}
        return {"fixed": {**fixed, **self.fixed}, "grid": self.axes, "cells": self.listed}

    @property
    def dims(self) -> dict[str, int]:
        """Axes of the grid and their lengths, slowest first."""
        return {name: len(values) for name, values in self.axes.items()}

    def __len__(self) -> int:
        return (math.prod(map(len, self.axes.values())) if self.axes else 0) + len(self.listed)

    def __iter__(self) -> Iterator[Cell]:
        for settings in self._settings():
            yield Cell(settings)

    def difference(self, other: Sweep) -> list[str]:
        """The differences between this sweep and another, one line each."""
        mine, theirs = _lines(self), _lines(other)
        return [
            f"{name}: {theirs.get(name, 'absent')} there, {mine.get(name, 'absent')} here"
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name) != theirs.get(name)
        ]

    def _settings(self) -> Iterator[dict[str, Any]]:
        if self.axes:
            for point in itertools.product(*self.axes.values()):
                yield {**self.fixed, **dict(zip(self.axes, point, strict=True))}
        for departures in self.listed:
            yield {**self.fixed, **departures}

    def _checked_ids(self) -> dict[str, int]:
        seen: dict[str, int] = {}
        fitting: set[str] = set()
        for number, cell in enumerate(self, start=1):
            kind = cell.kind
            if kind not in fitting:
                warning = cell.check()
                fitting.add(kind)
                if warning is not None and warning not in self.warnings:
                    self.warnings.append(warning)
            first = seen.setdefault(cell.id, number)
            if first != number:
                raise SpecError(f"Cells {first} and {number} are the same: {_short(cell)}.")
        return seen

    def __repr__(self) -> str:
        axes = " x ".join(f"{name} ({n})" for name, n in self.dims.items())
        over = f" over {axes}" if axes else ""
        return f"<Sweep of {len(self)} cells{over}>"


def _located(table: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The table of a file with the paths in it, which are relative to its folder, as paths from here."""

    def from_here(value: Any) -> Any:
        if isinstance(value, list):
            return [from_here(item) for item in value]
        return str(folder / value) if isinstance(value, str) else value

    def section(values: Any) -> Any:
        if isinstance(values, list):
            return [section(item) for item in values]
        if not isinstance(values, dict):
            return values
        return {k: from_here(v) if k in ARRAYS else v for k, v in values.items()}

    return {name: section(values) for name, values in table.items()}


def _flat(section: str, table: Any) -> dict[str, Any]:
    """A section with its ``hyper`` subtable written as hyper.NAME."""
    if not isinstance(table, Mapping):
        raise SpecError(f"[{section}] must be a table of parameters, not {checks.shown(table)}.")
    flat = checks.current_names(table, SpecError)
    hyper = flat.pop("hyper", {})
    if not isinstance(hyper, Mapping):
        raise SpecError(f"hyper in [{section}] must be a table of hyper-parameters.")
    return {**flat, **{f"{HYPER}{name}": value for name, value in hyper.items()}}


def _axis(name: str, values: Any) -> list[Any]:
    checked_name = f"The grid of {name}"
    if isinstance(values, Mapping):
        values = _range(checked_name, values)
    elif isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, (list, tuple)):
        checked(name, values)
        raise SpecError(f"{checked_name} must be a list of values, not {checks.shown(values)}.")
    axis = [checked(name, value) for value in values]
    if not axis:
        checked(name, DEFAULTS.get(name, 0.0))
        raise SpecError(f"{checked_name} is empty; give at least one value.")
    return axis


def _range(what: str, table: Mapping[str, Any]) -> list[float]:
    kinds = [kind for kind in _RANGES if kind in table]
    if len(kinds) != 1 or set(table) != {kinds[0], "n"}:
        raise SpecError(f"{what} must be a list, or like {{ log = [0.01, 10.0], n = 7 }}.")
    ends, n = table[kinds[0]], table["n"]
    if not isinstance(ends, (list, tuple)) or len(ends) != 2:
        raise SpecError(f"{what}: {kinds[0]} takes its two ends, not {checks.shown(ends)}.")
    first, last = (
        checks.number(f"{what}: an end", end, SpecError, "(-1e300, 1e300)") for end in ends
    )
    checks.count(f"{what}: n", n, SpecError, 1, _MOST_CELLS)
    if kinds[0] == "linear":
        values = np.linspace(first, last, n)
    elif min(first, last) > 0:
        values = np.geomspace(first, last, n)
    else:
        raise SpecError(
            f"{what}: the ends of a log range must be positive, not {checks.shown(ends)}."
        )
    # Rounded to twelve digits, since the last bits of a power differ between machines and would change the cell's name.
    rounded = [float(f"{value:.12g}") for value in values]
    return [int(value) if value.is_integer() else value for value in rounded]


def _listed(cells: Any) -> list[dict[str, Any]]:
    if not isinstance(cells, (list, tuple)):
        raise SpecError("cells must be a list of tables: write [[cells]] before each.")
    listed = []
    for cell in cells:
        flat = _flat("[cells]", cell)
        listed.append({name: checked(name, flat[name]) for name in sorted(flat, key=_rank)})
    return listed


def _rank(name: Any) -> tuple[int, str]:
    order = list(DEFAULTS)
    place = order.index(name) if name in order else order.index("method")
    return place, str(name)


def _lines(sweep: Sweep) -> dict[str, str]:
    spec = sweep.spec
    lines = {name: _text(name, [value]) for name, value in spec["fixed"].items()}
    lines |= {name: _text(name, values) for name, values in spec["grid"].items()}
    if sweep.listed:
        lines["cells"] = f"{len(sweep.listed)} listed, of digest {digest({'': sweep.listed})[:8]}"
    lines["number of cells"] = str(len(sweep))
    return lines


def _text(name: str, values: list[Any]) -> str:
    shown = [str(label(name, value)) for value in values]
    return ", ".join(shown if len(shown) <= 8 else [*shown[:4], "...", *shown[-3:]])


def _short(cell: Cell) -> str:
    return ", ".join(
        f"{name} = {label(name, value)}"
        for name, value in cell.parameters.items()
        if value != DEFAULTS.get(name)
    )
