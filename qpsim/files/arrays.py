"""Reads a user's matrices and tables from .npy, .npz, .csv or .parquet files, never pickled objects."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from qpsim import checks
from qpsim.errors import FileError, QpsimError, SpecError, nearest
from qpsim.files.reading import open_regular, reason

ENDINGS = (".npy", ".npz", ".csv", ".parquet")


def read_array(
    what: str, source: Path, name: str | None = None, asked: str = "problem.array"
) -> np.ndarray:
    """The array in a .npy, .npz, .csv or .parquet file; pickled objects are refused.

    Parameters
    ----------
    what : str
        What is being read, for error messages.
    source : Path
        A .csv holds numbers separated by commas and nothing else. In a .csv or .parquet a single row or column is a
        vector. The ending may be in capitals.
    name : str, optional
        Which array of an .npz that holds several.
    asked : str, default "problem.array"
        The key that selects the array, for error messages.

    Raises
    ------
    FileError
        The file is missing, damaged, no regular file, or holds no array of numbers.
    SpecError
        Another kind of file, an empty one, an .npz without that array, or pyarrow is not installed
        for .parquet.
    """
    ending = source.suffix.lower()
    if ending not in ENDINGS:
        raise SpecError(f"{what}: {source.name} must end in {', '.join(ENDINGS[:-1])} or .parquet.")
    try:
        stream = open_regular(source)
    except FileError as error:
        text = str(error)
        raise FileError(f"{what}: {text[0].lower()}{text[1:]}") from None
    try:
        with stream:
            if ending == ".csv":
                content = _from_csv(stream)
            elif ending == ".parquet":
                content = _from_parquet(stream)
            else:
                content = np.load(stream, allow_pickle=False)
                if not isinstance(content, np.ndarray):
                    content = _member(source, content, name, asked)
        return checks.array(f"{what} ({source.name})", content, FileError)
    except FileError:
        raise
    except QpsimError as error:
        raise SpecError(f"{what}: {source.name} {error}") from None
    except Exception as error:
        # NumPy, zipfile, zlib and pyarrow raise errors of many classes for damaged content.
        first = reason(error).splitlines()[0]
        raise FileError(f"{what}: {source} holds no array of numbers ({first}).") from None


def _from_csv(stream: BinaryIO) -> np.ndarray:
    rows = [line for line in stream.read().decode("utf-8-sig").splitlines() if line.strip()]
    if not rows:
        raise SpecError("is empty.")
    return np.loadtxt(rows, delimiter=",", ndmin=1)


def _from_parquet(stream: BinaryIO) -> Any:
    parquet = _pyarrow_parquet()
    columns = [
        checks.array(f"column {k + 1}", column.to_numpy(), SpecError)
        for k, column in enumerate(parquet.read_table(stream).columns)
    ]
    if not columns:
        raise SpecError("is empty.")
    table = np.stack(columns, axis=1)
    return table.ravel() if 1 in table.shape else table


def _pyarrow_parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise SpecError(
            'needs pyarrow to be read; install it with: pip install "qpsim[parquet]"'
        ) from None
    return pyarrow.parquet


def _member(source: Path, archive: Any, name: str | None, asked: str) -> np.ndarray:
    names = list(archive.files)
    if name is None and len(names) == 1:
        return archive[names[0]]
    if name is None:
        listed = ", ".join(names) or "nothing"
        raise SpecError(f"holds {listed}; say which one with {asked}.")
    if name not in names:
        raise SpecError(f"has no array {name!r}; {nearest(name, names)}")
    return archive[name]
