"""A user's numbers from their own files: .npy, .npz or .csv, and nothing that could run code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from qpsim.errors import FileError, SpecError, nearest


def read_array(
    what: str, source: Path, name: str | None = None, asked: str = "problem.array"
) -> np.ndarray:
    """The array in a .npy, .npz or .csv file; pickled objects are refused.

    Parameters
    ----------
    what : str
        What is being read, for error messages.
    source : Path
        A .csv holds numbers between commas and nothing else; a single row or column is a vector.
    name : str, optional
        Which array of an .npz that holds several.
    asked : str, default "problem.array"
        Where the user says so, for error messages.

    Raises
    ------
    FileError
        The file is missing, damaged, or holds no array of numbers.
    SpecError
        Another kind of file, an empty one, or an .npz without that array.
    """
    if source.suffix not in (".npy", ".npz", ".csv"):
        raise SpecError(f"{what}: {source.name} must end in .npy, .npz or .csv.")
    try:
        if source.suffix == ".csv":
            with open(source, encoding="utf-8-sig") as lines:
                rows = [line for line in lines if line.strip()]
            if not rows:
                raise SpecError(f"{what}: {source.name} is empty.")
            return np.loadtxt(rows, delimiter=",", ndmin=1)
        with open(source, "rb") as stream:
            content = np.load(stream, allow_pickle=False)
            if isinstance(content, np.ndarray):
                return content
            return _member(what, source, content, name, asked)
    except SpecError:
        raise
    except OSError as error:
        raise FileError(f"{what}: cannot read {source}: {error.strerror or error}.") from None
    except Exception as error:
        # NumPy, zipfile and zlib each have their own errors for content that is not theirs.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileError(f"{what}: {source} holds no array of numbers ({reason}).") from None


def _member(what: str, source: Path, archive: Any, name: str | None, asked: str) -> np.ndarray:
    names = list(archive.files)
    if name is None and len(names) == 1:
        return archive[names[0]]
    if name is None:
        raise SpecError(
            f"{what}: {source.name} holds {', '.join(names) or 'nothing'}; say which one with "
            f"{asked}."
        )
    if name not in names:
        raise SpecError(f"{what}: {source.name} has no array {name!r}; {nearest(name, names)}")
    return archive[name]
