"""What a figure is drawn from: arrays with a header, on disk before anything is drawn.

``<name>.npz`` holds all that drawing needs, so that a figure can be redrawn without computing;
``<name>.json`` beside it says in words a person can read where the numbers come from.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from qpsim.errors import FileError
from qpsim.figures.options import BaseOptions
from qpsim.files.archive import read_arrays, write_arrays
from qpsim.files.writing import write_json

_KIND = "figure"


@dataclass(frozen=True, eq=False)
class Data:
    """The numbers of one figure.

    Attributes
    ----------
    figure : str
        Registry name of the figure.
    options : BaseOptions
        What it was asked for.
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

    @property
    def header(self) -> dict[str, Any]:
        """Everything but the arrays, as plain JSON values."""
        return {
            "figure": self.figure,
            "options": self.options.as_dict(),
            "arrays": {
                name: {"shape": list(array.shape), "axes": self.axes.get(name, [])}
                for name, array in self.arrays.items()
            },
            "labels": self.labels,
            "provenance": self.provenance,
        }

    def save(self, folder: str | os.PathLike[str], stem: str) -> list[Path]:
        """Write ``stem.npz`` and ``stem.json`` into a folder, each as a whole.

        Raises
        ------
        FileError
            The folder cannot be written.
        """
        place = Path(folder)
        # Only what decides the numbers goes into the .npz, so that equal numbers are equal bytes.
        head = {name: value for name, value in self.header.items() if name != "provenance"}
        return [
            write_arrays(place / f"{stem}.npz", _KIND, head, self.arrays),
            write_json(place / f"{stem}.json", self.header),
        ]


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
        given = options.given(f"Figure {figure}", header["options"])
        return Data(figure, given, arrays, axes, dict(header["labels"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileError(
            f"{path} is no complete data file of figure {figure} ({error}); compute it again."
        ) from None
