"""``Data``: the numbers of a figure, which are saved before it is drawn.

``<name>.npz`` has everything that drawing needs, so that a figure can be redrawn without computing
it again; ``<name>.json`` has the header and the provenance as text. The numbers can also be written
as CSV, or converted to an ``xarray.Dataset``.
"""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from qpsim.errors import FigureError, FileError
from qpsim.figures.options import BaseOptions
from qpsim.files.archive import read_arrays, write_arrays
from qpsim.files.writing import write_bytes, write_json

_KIND = "figure"


@dataclass(frozen=True, eq=False, repr=False)
class Data:
    """The numbers of one figure.

    Attributes
    ----------
    figure : str
        Registry name of the figure.
    options : BaseOptions
        The options with which it was computed.
    arrays : dict of str to ndarray
    axes : dict of str to list of str
        Names of the arrays' axes.
    labels : dict of str to list
        Values along named axes, as plain JSON values.
    provenance : dict
        Versions, revision, seed, machine, wall time.
    """

    figure: str
    options: Any
    arrays: dict[str, np.ndarray]
    axes: dict[str, list[str]] = field(default_factory=dict)
    labels: dict[str, list[Any]] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name]

    def __repr__(self) -> str:
        shapes = [f"{name} {array.shape}" for name, array in self.arrays.items()]
        more = [f"{len(shapes) - 4} more arrays"] if len(shapes) > 5 else []
        return (
            f"<Data of figure {self.figure}: {', '.join((shapes[:4] if more else shapes) + more)}>"
        )

    @property
    def header(self) -> dict[str, Any]:
        """Everything but the arrays, as plain JSON values."""
        return {
            "figure": self.figure,
            "options": self.options.to_dict(),
            "arrays": {
                name: {"shape": list(array.shape), "axes": self.axes.get(name, [])}
                for name, array in self.arrays.items()
            },
            "labels": self.labels,
            "provenance": self.provenance,
        }

    def save(self, folder: str | os.PathLike[str], stem: str) -> list[Path]:
        """Write ``stem.npz`` and ``stem.json`` into a folder, atomically.

        Raises
        ------
        FileError
            The folder cannot be written.
        """
        place = Path(folder)
        # The .npz contains only what the numbers depend on, so that equal numbers give equal bytes.
        head = {name: value for name, value in self.header.items() if name != "provenance"}
        return [
            write_arrays(place / f"{stem}.npz", _KIND, head, self.arrays),
            write_json(place / f"{stem}.json", self.header),
        ]

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Write all arrays as one table of text, a row for each number.

        Columns are ``array``, the names of all axes and ``value``. An axis with labels has these,
        another one numbers from 0; axes that an array does not have are empty.

        Raises
        ------
        FileError
            The file cannot be written.
        """
        names = list(dict.fromkeys(name for axes in self.axes.values() for name in axes))
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["array", *names, "value"])
        for array, values in self.arrays.items():
            axes = self.axes.get(array, [])
            known = [self._coordinates(axis, n) for axis, n in zip(axes, values.shape, strict=True)]
            at = [axes.index(name) if name in axes else None for name in names]
            for place, value in np.ndenumerate(values):
                cells = ["" if k is None else known[k][place[k]] for k in at]
                table.writerow([array, *cells, value.item()])
        return write_bytes(path, text.getvalue().encode())

    def to_xarray(self) -> Any:
        """The arrays as an ``xarray.Dataset``, with the labels as coordinates.

        A dimension of which arrays have different lengths gets the length as part of its name, and
        an array that is called like a dimension the ending ``_values``. Options and provenance are
        the attributes, as JSON.

        Raises
        ------
        FigureError
            xarray is not installed.
        """
        try:
            import xarray
        except ImportError:
            raise FigureError(
                'to_xarray needs xarray; install it with: pip install "qpsim[xarray]"'
            ) from None
        lengths: dict[str, int] = {}
        coordinates: dict[str, Any] = {}
        placed = {}
        for array, values in self.arrays.items():
            dims = []
            for axis, n in zip(self.axes.get(array, []), values.shape, strict=True):
                name = axis if lengths.setdefault(axis, n) == n else f"{axis}_{n}"
                if name == axis and axis in self.labels:
                    coordinates[axis] = list(self._coordinates(axis, n))
                dims.append(name)
            placed[array] = (dims, values)
        taken = {name for dims, _ in placed.values() for name in dims}
        variables = {f"{k}_values" if k in taken else k: v for k, v in placed.items()}
        about = {"options": self.options.to_dict(), "provenance": self.provenance}
        attributes = {key: json.dumps(value) for key, value in about.items()}
        return xarray.Dataset(variables, coordinates, {"figure": self.figure, **attributes})

    def _coordinates(self, axis: str, length: int) -> Any:
        """Labels of an axis, or numbers from 0 if there are no labels of this length."""
        labels = self.labels.get(axis, [])
        plain = all(isinstance(label, (str, int, float)) for label in labels)
        return labels if plain and len(labels) == length else range(length)


def load(path: str | os.PathLike[str], figure: str, options: type[BaseOptions]) -> Data:
    """Read the data of a figure back; nothing in the file is ever executed.

    Raises
    ------
    FileError
        The file is missing, damaged, or holds another figure's data.
    """
    header, arrays = read_arrays(path, _KIND)
    if header.get("figure") != figure:
        raise FileError(f"{path} holds the data of figure {header.get('figure')}, not {figure}.")
    try:
        axes = {name: list(item["axes"]) for name, item in header["arrays"].items()}
        if set(axes) != set(arrays):
            raise ValueError("arrays are missing")
        given = options.given(f"Figure {figure}", header["options"], stored=True)
        return Data(figure, given, arrays, axes, dict(header["labels"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(
            f"{path} is no complete data file of figure {figure} ({error}); compute it again."
        ) from None
