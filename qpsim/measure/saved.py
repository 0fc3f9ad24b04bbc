"""Measurements read back from their files."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from qpsim import checks
from qpsim.errors import FileError
from qpsim.measure.record import KIND, Estimate

# The classes that a file may hold, by name, and their modules.
_CLASSES = {
    "NoiseMeasurement": "qpsim.measure.gradient_noise",
    "CurvatureMeasurement": "qpsim.measure.hessian",
    "DirectionsMeasurement": "qpsim.measure.improvement",
    "MeasuredDirection": "qpsim.measure.improvement",
    "Block": "qpsim.measure.hessian",
}


def load(path: str | os.PathLike[str]) -> Any:
    """The measurement that :meth:`Measurement.save` wrote.

    Raises
    ------
    FileError
        The file is missing, damaged or holds something else.
    """
    from qpsim.files.archive import read_arrays

    header, arrays = read_arrays(checks.path("path", path, FileError), KIND)
    try:
        return _unpacked({"is": header["class"], "fields": header["values"]}, arrays)
    except (KeyError, TypeError, ValueError):
        raise FileError(f"{path} holds no measurement of this version of qpsim.") from None


def _unpacked(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if not isinstance(value, dict):
        return value
    kind = value["is"]
    if kind == "array":
        return arrays[value["name"]]
    if kind == "estimate":
        return Estimate(*(float.fromhex(part) for part in value["values"]))
    if kind == "tuple":
        return tuple(_unpacked(part, arrays) for part in value["items"])
    if kind == "float":
        return float.fromhex(value["value"])
    made = getattr(import_module(_CLASSES[kind]), kind)
    return made(**{name: _unpacked(part, arrays) for name, part in value["fields"].items()})
