"""A network's parameters by name in one .npz file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from qpsim.errors import FileError
from qpsim.files.archive import read_arrays, write_arrays

__all__ = ["read_weights", "write_weights"]

_KIND = "network weights"


def write_weights(path: str | os.PathLike[str], views: Mapping[str, np.ndarray]) -> Path:
    """Write named arrays; see `Network.save`."""
    return write_arrays(path, _KIND, {}, views)


def read_weights(path: str | os.PathLike[str], views: Mapping[str, np.ndarray]) -> None:
    """Fill named arrays, all or none; see `Network.load`."""
    _, arrays = read_arrays(path, _KIND)
    expected = {name: view.shape for name, view in views.items()}
    found = {name: array.shape for name, array in arrays.items()}
    for name in {**expected, **found}:
        if expected.get(name) != found.get(name):
            raise FileError(
                f"{path} holds the weights of another network: {name} is "
                f"{found.get(name, 'missing')} there and {expected.get(name, 'missing')} here."
            )
    for name, view in views.items():
        view[:] = arrays[name]
