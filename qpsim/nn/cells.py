"""A cell is one training run of a tuning. Finished cells are stored on disk and not computed again.

The name of a cell's file is a hash of everything that its numbers depend on: the run, the data, and the source code
that computes it. After a change of a task, rule or layer the name is different, so that old results are not used.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qpsim.errors import FileError
from qpsim.execution.sources import source_fingerprint
from qpsim.files.archive import read_arrays, write_arrays
from qpsim.files.writing import check_writable
from qpsim.nn.checkpoint import LISTS
from qpsim.nn.data import Dataset
from qpsim.nn.identity import is_complete
from qpsim.nn.run import History, Run
from qpsim.nn.training import train
from qpsim.provenance import environment

__all__ = ["Cell", "default_cache", "run_cell"]

_KIND = "training cell"
# The subpackages whose code a cell's numbers depend on.
_ROOMS = ("nn", "kernels", "methods", "rules")


@dataclass(frozen=True, eq=False)
class Cell:
    """A run of a tuning.

    Attributes
    ----------
    run : Run
    dataset : Dataset
    data_key : str
        Identifies the data: their fingerprint and the shape of an example.
    folder : Path or None
        Folder for its history; None stores nothing.
    """

    run: Run
    dataset: Dataset
    data_key: str
    folder: Path | None

    @property
    def key(self) -> str:
        """Hash of everything that the cell's numbers depend on."""
        content = {
            "run": self.run.record(),
            "data": self.data_key,
            "sources": source_fingerprint(*_ROOMS),
            "libraries": environment()["libraries"],
        }
        text = json.dumps(content, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def path(self) -> Path | None:
        """The path of the finished cell; None if its run depends on something that cannot be recorded."""
        if self.folder is None or not is_complete(self.run.record()):
            return None
        return self.folder / f"{self.key}.npz"


def default_cache() -> Path | None:
    """The folder ``training`` in the user's cache folder (or in QPSIM_CACHE_DIR); None if there is none."""
    from qpsim.kernels.machine_code import cache_root

    root = cache_root()
    return None if root is None else root / "training"


def find(cell: Cell) -> History | None:
    """The history of a finished cell; None if it is not there or its file is damaged."""
    path = cell.path
    if path is None or not path.exists():
        return None
    try:
        header, arrays = read_arrays(path, _KIND)
        lists = {name: arrays[name].tolist() for name in LISTS}
        return History(**lists, diverged_at=header["diverged_at"])
    except (FileError, KeyError, TypeError):
        return None


def run_cell(cell: Cell, stop: Callable[[], bool] | None = None) -> History:
    """Compute a cell, or load it if it is finished. A long run writes checkpoints and continues from them.

    Raises
    ------
    KeyboardInterrupt
        ``stop`` has returned True.
    FileError
        The folder cannot be written.
    """
    found = find(cell)
    if found is not None:
        return found
    began = time.perf_counter()
    path = cell.path
    partial = None
    if path is not None:
        check_writable(path.parent)
        partial = path.with_suffix(".part.npz")
    try:
        history = _trained(cell, partial, stop)
    except FileError:
        if partial is None or not partial.exists():
            raise
        # The checkpoint is damaged: start the run again.
        partial.unlink()
        history = _trained(cell, partial, stop)
    if path is not None and partial is not None:
        header = {
            "run": cell.run.record(),
            "data": cell.data_key,
            "diverged_at": history.diverged_at,
            "seconds": round(time.perf_counter() - began, 3),
            "provenance": environment(),
        }
        arrays = {name: np.array(getattr(history, name)) for name in LISTS}
        write_arrays(path, _KIND, header, arrays)
        partial.unlink(missing_ok=True)
    return history


def _trained(cell: Cell, partial: Path | None, stop: Callable[[], bool] | None) -> History:
    # One thread is enough: a tuning runs many cells side by side.
    return train(cell.run, cell.dataset, workers=1, checkpoint=partial, stop=stop).history


def score(history: History, criterion: str) -> float:
    """The score of a run, smaller is better: mean batch loss, or 1 - the best test accuracy.

    >>> score(History([1.0, 0.5], [0.1, 0.9], [0, 2], [1.0, 0.5], [0.1, 0.8]), "training-loss")
    0.75
    """
    if history.diverged_at is not None:
        return math.inf
    if criterion == "training-loss":
        return history.mean_loss
    return 1.0 - max(history.test_accuracy)
