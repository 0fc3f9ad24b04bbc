"""A user's matrix or table as the value of a sweep's parameter.

The value contains the numbers, not a path, because the name of a cell is a hash of its parameters, the store must be
complete without other files, and a worker may be on another machine. They are written as base64 of little-endian
float64, which is exact and a third longer than the numbers.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qpsim import checks
from qpsim.errors import SpecError
from qpsim.files.arrays import read_array

# Limit, since every cell's file contains its parameters.
MOST_NUMBERS = 250_000
_KEYS = {"name", "shape", "float64"}
_UNNAMED = "array"


def packed(name: str, value: Any) -> dict[str, Any]:
    """The value of a parameter from a file's path, an array, or such a value.

    Parameters
    ----------
    name : str
        Of the parameter, for errors.
    value : str, Path, array_like or mapping
        A path is that of a .npy, .npz, .csv or .parquet file; the value keeps the file's name.

    Raises
    ------
    SpecError
        No array of numbers, more than 250 000 of them, or a value that was changed.
    FileError
        The file cannot be read.

    Examples
    --------
    >>> from qpsim.sweep.given import packed, unpacked
    >>> value = packed("covariance", [[2.0, 0.0], [0.0, 1.0]])
    >>> value["shape"], unpacked(value).tolist()
    ([2, 2], [[2.0, 0.0], [0.0, 1.0]])
    """
    if isinstance(value, Mapping):
        _numbers(name, value)
        return dict(value)
    if isinstance(value, (str, Path)):
        called, array = Path(value).name, read_array(name, Path(value), asked=name)
    else:
        called = _UNNAMED
        array = checks.array(f"{name}, if it is no file's name,", value, SpecError)
    if array.size > MOST_NUMBERS:
        raise SpecError(
            f"{name} has {array.size} numbers, and every cell keeps them; at most {MOST_NUMBERS} are possible."
        )
    text = base64.b64encode(np.ascontiguousarray(array, dtype="<f8").tobytes()).decode()
    return {"name": called, "shape": list(array.shape), "float64": text}


def unpacked(value: Mapping[str, Any]) -> np.ndarray:
    """The array of a value that :func:`packed` has made."""
    return _numbers("The value", value)


def text(value: Mapping[str, Any]) -> str:
    """A value as text for tables: the file's name, or the shape and a part of the hash.

    >>> text(packed("covariance", [1.0, 2.0]))
    'array (2,) 9e1908'
    """
    if value["name"] != _UNNAMED:
        return str(value["name"])
    head = hashlib.sha256(value["float64"].encode()).hexdigest()[:6]
    return f"{_UNNAMED} {tuple(value['shape'])} {head}"


def _numbers(name: str, value: Mapping[str, Any]) -> np.ndarray:
    try:
        if set(value) != _KEYS or not isinstance(value["name"], str):
            raise ValueError
        raw = base64.b64decode(value["float64"], validate=True)
        shape = tuple(int(n) for n in value["shape"])
        numbers = np.frombuffer(raw, dtype="<f8").astype(float).reshape(shape)
        if min(shape, default=0) < 0:
            raise ValueError
    except (ValueError, TypeError, binascii.Error, OverflowError):
        raise SpecError(
            f"{name} is a file's name or an array of numbers, not {checks.shown(dict(value))}."
        ) from None
    return numbers
