"""The base class of measurements: numbers with intervals that can be printed and saved."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qpsim.errors import MeasureError
from qpsim.files.plain import plain
from qpsim.lazy import import_completely
from qpsim.simulation.statistics import student_interval

KIND = "measurement"


class Estimate(NamedTuple):
    """A measured number with its 95 % interval; low = value = high if it is exact.

    Examples
    --------
    >>> from qpsim.measure import Estimate
    >>> str(Estimate(1.0, 0.5, 1.5))
    '1 [0.5, 1.5]'
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.value:.4g}"
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def exact_estimate(value: Any) -> Estimate:
    """A number without error."""
    return Estimate(float(value), float(value), float(value))


def student_estimate(value: Any, standard_error: Any, degrees: int) -> Estimate:
    """The 95 % interval of Student's t around an estimate."""
    interval = student_interval(float(value), float(standard_error), degrees)
    return Estimate(float(value), *interval)


def mean_estimate(values: np.ndarray, factor: float = 1.0) -> Estimate:
    """The mean of independent values (n,) with its 95 % interval, the standard error times a factor."""
    n = len(values)
    return student_estimate(values.mean(), factor * values.std(ddof=1) / np.sqrt(n), n - 1)


class Measurement:
    """The base of all measurements: see the fields of each."""

    def to_dict(self) -> dict[str, Any]:
        """The measurement as plain Python numbers, lists and texts; None for numbers that are not finite."""
        return dict(plain(self))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the measurement to an .npz file; :func:`qpsim.measure.load` reads it.

        Raises
        ------
        FileError
            The place cannot be written.
        """
        from qpsim.files.archive import write_arrays

        arrays: dict[str, np.ndarray] = {}
        header = {"class": type(self).__name__, "values": _packed(self, arrays)["fields"]}
        return write_arrays(path, KIND, header, arrays)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> str:
    """A table as text, 130 columns wide at most."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", caption=note or None)
    made.caption_justify = "left"
    for k, name in enumerate(columns):
        made.add_column(name, justify="left" if k == 0 else "right")
    for row in rows:
        made.add_row(*row)
    stream = io.StringIO()
    Console(file=stream, width=130, color_system=None, force_terminal=False).print(made)
    return "\n".join(line.rstrip() for line in stream.getvalue().strip("\n").splitlines())


def axes_for(ax: Any) -> Any:
    """The axes to draw into, or new ones."""
    if ax is not None:
        return ax
    figure = import_completely("matplotlib.figure").Figure(figsize=(3.4, 2.4), layout="constrained")
    return figure.add_subplot()


def _packed(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON that names its type, with its arrays put aside."""
    if isinstance(value, np.ndarray):
        name = f"array{len(arrays)}"
        arrays[name] = value
        return {"is": "array", "name": name}
    if isinstance(value, Estimate):
        return {"is": "estimate", "values": [float(part).hex() for part in value]}
    if is_dataclass(value):
        parts = {one.name: _packed(getattr(value, one.name), arrays) for one in fields(value)}
        return {"is": type(value).__name__, "fields": parts}
    if isinstance(value, (list, tuple)):
        return {"is": "tuple", "items": [_packed(part, arrays) for part in value]}
    if isinstance(value, float):
        return {"is": "float", "value": value.hex()}
    return value


def missing(extra: str) -> MeasureError:
    """The error for a framework that is not installed."""
    return MeasureError(f"{extra} is not installed; install it with: pip install {extra}")
