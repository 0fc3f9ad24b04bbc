"""Checkpoints of training runs: one file, from which a run continues with the same bits.

All random numbers are functions of the seed and a counter. Therefore the file contains, besides parameters and
optimizer state, only the run's description, the data's fingerprint, the step counter and the history so far. It is
written atomically, and nothing in it is executed when it is read.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import qpsim
from qpsim.errors import DataError, FileError
from qpsim.files.archive import read_arrays, write_arrays
from qpsim.nn.loop import Loop

__all__ = ["LISTS", "load", "save"]

_KIND = "training checkpoint"
# The fields of a History that are lists of numbers.
LISTS = ("batch_loss", "batch_accuracy", "evaluated", "test_loss", "test_accuracy")
# What may differ when a run continues: the number of steps, and descriptive texts.
_FREE = ("task.n_steps", "task.summary", "task.notes")


def save(path: str | os.PathLike[str], loop: Loop, data: Mapping[str, Any]) -> Path:
    """Write the state of a run between two steps; ``data`` is the result of `Dataset.record`.

    Raises
    ------
    FileError
        The place cannot be written; an older checkpoint there is as it was.
    """
    header = {
        "qpsim": qpsim.__version__,
        "run": loop.run.record(),
        "data": dict(data),
        "t": loop.optimizer.t,
        "batches": loop.batches.state(),
        "diverged_at": loop.history.diverged_at,
    }
    arrays = {name: np.array(getattr(loop.history, name)) for name in LISTS}
    arrays["parameters"] = loop.network.parameters
    for name, state in zip(loop.run.method.state_names, loop.optimizer.states, strict=True):
        arrays[f"state.{name}"] = state[0]
    return write_arrays(path, _KIND, header, arrays)


def load(path: str | os.PathLike[str], loop: Loop, data: Mapping[str, Any]) -> None:
    """Restore the state of a new loop of the same run on the same data.

    Raises
    ------
    FileError
        The file is missing, damaged, another version's, or belongs to another run or other data:
        the first difference is named. Only the number of steps may differ, if no fewer than are taken already.
    """
    header, arrays = read_arrays(path, _KIND)
    try:
        version = header.get("qpsim", "0.1")
        if version != qpsim.__version__:
            raise FileError(
                f"{path} was written by qpsim {version}, and this is {qpsim.__version__}: finish the "
                "run with that version, or give another checkpoint."
            )
        _check_same_run(path, header["run"], loop.run.record())
        _check_same_data(path, header["data"], data)
        step = header["batches"]["step"]
        if step > loop.run.task.n_steps:
            raise FileError(
                f"{path} has taken {step} steps already, more than the {loop.run.task.n_steps} "
                "asked for."
            )
        loop.batches.restore(header["batches"])
        _fill(loop.network.parameters, arrays["parameters"], "parameters")
        for name, state in zip(loop.run.method.state_names, loop.optimizer.states, strict=True):
            _fill(state[0], arrays[f"state.{name}"], name)
        loop.optimizer.t = int(header["t"])
        for name in LISTS:
            getattr(loop.history, name)[:] = arrays[name].tolist()
        diverged = header["diverged_at"]
        loop.history.diverged_at = None if diverged is None else int(diverged)
        if not loop.optimizer.t == step == len(loop.history.batch_loss):
            raise ValueError("its counts disagree")
    except FileError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, DataError) as error:
        raise FileError(f"{path} is no complete checkpoint ({error}).") from None


def _fill(target: np.ndarray, values: np.ndarray, name: str) -> None:
    if values.shape != target.shape or values.dtype != target.dtype:
        raise ValueError(f"{name} has shape {values.shape}, not {target.shape}")
    target[:] = values


def _check_same_data(path: Any, found: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Compare data by content, since different data may have the same name, and equal data different names."""
    if found["fingerprint"] == asked["fingerprint"]:
        if found["shape"] != asked["shape"]:
            shapes = f"{tuple(found['shape'])}, not {tuple(asked['shape'])}"
            raise FileError(f"{path} was trained on examples of another shape: {shapes}.")
        return
    other = " with other examples or labels" if found["name"] == asked["name"] else ""
    raise FileError(
        f"{path} was trained on other data: {found['name']} (fingerprint "
        f"{found['fingerprint'][:8]}), not {asked['name']}{other} ({asked['fingerprint'][:8]})."
    )


def _check_same_run(path: Any, found: Any, asked: Any, where: str = "") -> None:
    if isinstance(found, dict) and isinstance(asked, dict):
        for key in {**found, **asked}:
            below = f"{where}.{key}" if where else key
            if below not in _FREE:
                _check_same_run(path, found.get(key), asked.get(key), below)
    elif found != asked:
        raise FileError(
            f"{path} belongs to another run: its {where} is {found!r}, the one asked for {asked!r}."
        )
