"""The folder of a sweep's results: one file for each finished cell; other files can be rebuilt from them.

The file of a cell is written under another name, flushed and renamed, so that it is complete or absent. It contains a
checksum, and its name is the hash of its parameters, so that files cannot be confused. Timings and failures, which
differ between runs, are in other folders, so that the data of two runs of one sweep are equal byte for byte. Links,
pipes and devices are never opened.

``sweep.json``: the specification; ``cells/ID.npz``: the cells; ``index.jsonl``: one line for each cell, made from the
files; ``failed/ID.json``: errors; ``runs/*.jsonl``: timings and provenance; ``quarantine/``: files that do not belong
to the sweep.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import qpsim
from qpsim.errors import FileError, QpsimError, SweepError
from qpsim.files.reading import is_regular, read_bytes
from qpsim.files.writing import TEMPORARY, check_writable, sweep_up, write_bytes, write_json
from qpsim.sweep import lock, manifest, table
from qpsim.sweep.cell import Cell, Record, read_cell
from qpsim.sweep.grid import Sweep

INDEX = "index.jsonl"
CELLS, FAILED, QUARANTINE, RUNS = "cells", "failed", "quarantine", "runs"
_OURS = {manifest.NAME, INDEX, CELLS, FAILED, QUARANTINE, RUNS, lock.NAME}
_SEAL_SIZE = len('{"sha256": ""}\n') + 64


class Status(NamedTuple):
    """The progress of a sweep.

    Attributes
    ----------
    total, done, failed : int
        Numbers of cells.
    strangers : list of str
        Files among the cells that do not belong to this sweep.
    """

    total: int
    done: int
    failed: int
    strangers: list[str]

    @property
    def left(self) -> int:
        """Cells that are neither done nor failed."""
        return self.total - self.done - self.failed

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**self._asdict(), "left": self.left}


class Store:
    """A sweep's folder, for reading. :func:`qpsim.sweep.run` writes it.

    Parameters
    ----------
    path : path
        Folder written by a sweep, with this version or another.

    Attributes
    ----------
    path : Path
    sweep : Sweep
    version : str
        Version of the package that began the store.

    Raises
    ------
    FileError
        There is no sweep in the folder, or its specification is damaged.

    Examples
    --------
    >>> import tempfile
    >>> from qpsim.sweep import Sweep, run
    >>> fixed = {"spectrum": "mild", "dim": 4, "n_steps": 3, "n_replicates": 8, "basis": "axis"}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = run(Sweep(fixed, {"noise_std": [0.1, 1.0]}), folder, progress=False).store
    ...     store.status(), [record.diverged for record in store]
    (Status(total=2, done=2, failed=0, strangers=[]), [0, 0])
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.sweep, self.version = manifest.read(self.path / manifest.NAME)

    def __len__(self) -> int:
        return self.status().done

    def __iter__(self) -> Iterator[Record]:
        """All finished cells, in the sweep's order; only one is in memory at a time."""
        for cell in self.sweep:
            if is_regular(self.file(cell)):
                yield self.read(cell)

    def file(self, cell: Cell) -> Path:
        """The path of a cell's file, which may not exist yet."""
        return self.path / CELLS / f"{cell.id}.npz"

    def read(self, cell: Cell) -> Record:
        """A finished cell.

        Raises
        ------
        FileError
            It is not there, or damaged.
        """
        place = self.file(cell)
        return read_cell(read_bytes(place, follow_links=False), place, cell.id)

    def status(self) -> Status:
        """Finished and failed cells, by the names of files only."""
        ids = self.sweep.ids
        there, files = _names(self.path / CELLS), _files(self.path / CELLS)
        known = {name for name in files if _is_cell(name, ids)}
        broken = {name[:-5] for name in _files(self.path / FAILED) if name.endswith(".json")} & ids
        broken -= {name[:-4] for name in known}
        parts = {name for name in there if TEMPORARY.fullmatch(name)}
        strangers = sorted(f"{CELLS}/{name}" for name in there - known - parts)
        return Status(len(ids), len(known), len(broken), strangers)

    def damaged(self) -> list[str]:
        """Names of the files in ``cells`` that are not a complete cell of this sweep; reads all files."""
        ids = self.sweep.ids
        return [
            f"{CELLS}/{name}"
            for name in sorted(_names(self.path / CELLS))
            if not TEMPORARY.fullmatch(name) and not self._is_good(name, ids)
        ]

    def failures(self) -> Iterator[dict[str, Any]]:
        """The id, parameters, error and traceback of every failed cell."""
        for cell in self.sweep:
            place = self.path / FAILED / f"{cell.id}.json"
            if is_regular(place) and not is_regular(self.file(cell)):
                try:
                    found = json.loads(read_bytes(place, follow_links=False))
                except ValueError:
                    found = None
                known = found if isinstance(found, dict) else {"error": f"{place} is damaged"}
                yield {**known, "id": cell.id, "parameters": cell.parameters}

    def rows(self) -> Iterator[dict[str, Any]]:
        """The final loss of every finished cell, in the sweep's order, from the index or from the files.

        The index is used only if it lists exactly the existing files.
        """
        yield from self._index() or self._built()

    def to_rows(self, steps: bool = False) -> Iterator[dict[str, Any]]:
        """Rows in the sweep's order: parameters, then losses.

        Parameters
        ----------
        steps : bool, default False
            False: one row for each finished cell, with the final loss. True: one row for each cell and step.

        Examples
        --------
        >>> import tempfile
        >>> from qpsim.sweep import Sweep, run
        >>> fixed = {"spectrum": "mild", "dim": 4, "basis": "axis"}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = run(Sweep(fixed, {"noise_std": [0.0, 1.0]}), folder, progress=False).store
        ...     found = list(store.to_rows())
        >>> [(row["method"], row["noise_std"], row["diverged"]) for row in found]
        [('sgd', 0.0, 0), ('sgd', 1.0, 0)]
        """
        if steps:
            return table.rows_of_steps(self.sweep, self)
        return table.rows_of_cells(self.sweep, {row["id"]: row["final"] for row in self.rows()})

    def to_xarray(self) -> Any:
        """All cells as an ``xarray.Dataset`` over the grid; see :func:`qpsim.sweep.table.to_xarray`.

        Raises
        ------
        SweepError
            xarray is not installed.
        """
        return table.to_xarray(self.sweep, self)

    def _is_good(self, name: str, ids: Collection[str]) -> bool:
        if not _is_cell(name, ids):
            return False
        try:
            content = read_bytes(self.path / CELLS / name, follow_links=False)
            read_cell(content, name, name[:-4])
        except FileError:
            return False
        return True

    def _index(self) -> list[dict[str, Any]] | None:
        try:
            content = read_bytes(self.path / INDEX, follow_links=False)
            body, seal = content[:-_SEAL_SIZE], content[-_SEAL_SIZE:]
            if seal != _seal(body):
                return None
            rows = [json.loads(line) for line in body.splitlines()]
            listed = {f"{row['id']}.npz": row["bytes"] for row in rows}
            for row in rows:
                row["final"] = {name: float(value) for name, value in row["final"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return rows if rows and listed == _sizes(self.path / CELLS) else None

    def _built(self) -> Iterator[dict[str, Any]]:
        for record in self:
            size = (self.path / CELLS / f"{record.id}.npz").stat().st_size
            final = {name: _plain(value) for name, value in record.final().items()}
            yield {"id": record.id, "bytes": size, "final": final}

    def __repr__(self) -> str:
        return f"<Store {self.path}: {self.sweep!r}>"


class Writer(Store):
    """A store that this process has locked for writing. Made by :func:`opened`."""

    def tidy(self) -> list[str]:
        """Move files that do not belong to the sweep into quarantine. Returns their names."""
        moved = self.damaged()
        failed = _names(self.path / FAILED) - _files(self.path / FAILED)
        moved += sorted(f"{FAILED}/{name}" for name in failed)
        if os.path.lexists(self.path / INDEX) and not is_regular(self.path / INDEX):
            moved.append(INDEX)
        for name in moved:
            _quarantine(self.path / name, self.path / QUARANTINE)
        for name in self.finished() & self.failed():
            (self.path / FAILED / f"{name}.json").unlink(missing_ok=True)
        return moved

    def finished(self) -> set[str]:
        """Ids of the cells whose files are there."""
        return {name[:-4] for name in _names(self.path / CELLS) if name.endswith(".npz")}

    def failed(self) -> set[str]:
        """Ids of the cells that are marked as failed."""
        return {name[:-5] for name in _names(self.path / FAILED) if name.endswith(".json")}

    def keep(self, cell: Cell, content: bytes) -> None:
        """Write a finished cell, and delete its record of failure."""
        write_bytes(self.file(cell), content)
        (self.path / FAILED / f"{cell.id}.json").unlink(missing_ok=True)

    def mark(self, cell: Cell, failure: dict[str, str]) -> None:
        """Record the failure of a cell."""
        known = {"id": cell.id, "parameters": cell.parameters, **failure}
        write_json(self.path / FAILED / f"{cell.id}.json", known)

    def write_index(self) -> None:
        """Rebuild the index from the files, unless it is up to date."""
        if self._index() is None:
            lines = (json.dumps(row, allow_nan=False) + "\n" for row in self._built())
            body = b"".join(line.encode() for line in lines)
            write_bytes(self.path / INDEX, body + _seal(body))


@contextmanager
def opened(sweep: Sweep, path: str | os.PathLike[str]) -> Iterator[tuple[Writer, list[str]]]:
    """Create or open the store of a sweep, lock it, and move files that do not belong to it away.

    The second value has the names of files moved into quarantine.

    Raises
    ------
    FileError
        The folder cannot be written.
    SweepError
        Another process uses it, or it contains another sweep or other files.
    """
    folder = Path(path)
    if folder.is_dir() and not (folder / manifest.NAME).exists():
        _refuse_foreign(folder)
    check_writable(folder)
    with lock.only_one(folder) as locked:
        moved = _agree(folder, sweep)
        for name in (CELLS, FAILED, RUNS):
            check_writable(folder / name)
            if locked:
                # Nobody else writes here now, so that temporary files are left from killed runs.
                sweep_up(folder / name, 0.0)
        if locked:
            sweep_up(folder, 0.0)
        writer = Writer(folder)
        yield writer, moved + writer.tidy()


def _agree(folder: Path, sweep: Sweep) -> list[str]:
    place, moved = folder / manifest.NAME, []
    if os.path.lexists(place):
        try:
            there, version = manifest.read(place)
        except manifest.OtherVersion:
            raise
        except QpsimError:
            # The cells can be identified by their names, so that nothing is lost with the manifest.
            _quarantine(place, folder / QUARANTINE)
            moved.append(manifest.NAME)
        else:
            difference = sweep.difference(there)
            if version != qpsim.__version__:
                raise SweepError(
                    f"The store {folder} was begun by qpsim {version}, and this is "
                    f"{qpsim.__version__}, whose last bits may differ: it can be read, but not gone "
                    "on with; give another store."
                )
            if difference:
                raise SweepError(
                    f"The store {folder} holds another sweep; give another store. They differ in "
                    + "; ".join(difference)
                    + "."
                )
    content = manifest.content(sweep)
    if not place.exists() or read_bytes(place, follow_links=False) != content:
        write_bytes(place, content)
    return moved


def _refuse_foreign(folder: Path) -> None:
    foreign = sorted(n for n in _names(folder) if n not in _OURS and not TEMPORARY.fullmatch(n))
    if foreign:
        raise SweepError(
            f"The folder {folder} holds other things than a sweep ({foreign[0]!r}, for one); "
            "give a new or empty folder as the store."
        )


def _quarantine(path: Path, folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
        for number in range(10_000):
            place = folder / (f"{path.name}.{number}" if number else path.name)
            if not os.path.lexists(place):
                path.rename(place)
                return
    except OSError as error:
        raise FileError(f"Cannot move {path} away: {error.strerror or error}.") from error
    raise FileError(f"Cannot move {path} away: {folder} is full of files of its name.")


def _is_cell(name: str, ids: Collection[str]) -> bool:
    return name.endswith(".npz") and name[:-4] in ids


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))
    except OSError:
        return set()


def _files(folder: Path) -> set[str]:
    """Names of the regular files in a folder, links not followed."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if entry.is_file(follow_symlinks=False)}
    except OSError:
        return set()


def _sizes(folder: Path) -> dict[str, int]:
    try:
        with os.scandir(folder) as entries:
            return {
                entry.name: entry.stat(follow_symlinks=False).st_size
                for entry in entries
                if not TEMPORARY.fullmatch(entry.name)
            }
    except OSError:
        return {}


def _seal(body: bytes) -> bytes:
    """The last line of the index, a checksum, so that damage to the file is noticed."""
    return json.dumps({"sha256": hashlib.sha256(body).hexdigest()}).encode() + b"\n"


def _plain(value: float) -> float | str:
    """JSON has no infinity; it is written as a word that float() can read."""
    return value if math.isfinite(value) else str(value)
