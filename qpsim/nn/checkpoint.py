"""A training run put down in one file, and taken up again to the bit.

Because all randomness is a function of the seed and a count, the file holds three things besides
parameters and optimizer state: the run's description, the step counter, and the history so far.
It is written as a whole or not at all, and nothing in it is executed when it is read.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import DataError, FileError
from qpsim.files.archive import read_arrays, write_arrays

if TYPE_CHECKING:
    from pathlib import Path

    from qpsim.nn.training import Loop

__all__ = ["load", "save"]

_KIND = "training checkpoint"
_LISTS = ("batch_loss", "batch_accuracy", "evaluated", "test_loss", "test_accuracy")


def save(path: str | os.PathLike[str], loop: Loop) -> Path:
    """Write a run as it is between two steps.

    Raises
    ------
    FileError
        The place cannot be written; an older checkpoint there is as it was.
    """
    header = {
        "run": loop.run.record(),
        "data": loop.dataset.name,
        "t": loop.optimizer.t,
        "batches": loop.batches.state(),
        "diverged_at": loop.history.diverged_at,
    }
    arrays = {name: np.array(getattr(loop.history, name)) for name in _LISTS}
    arrays["parameters"] = loop.network.parameters
    for name, state in zip(loop.run.method.state_names, loop.optimizer.states, strict=True):
        arrays[f"state.{name}"] = state[0]
    return write_arrays(path, _KIND, header, arrays)


def load(path: str | os.PathLike[str], loop: Loop) -> None:
    """Bring a fresh loop of the same run to where the checkpoint was written.

    Raises
    ------
    FileError
        The file is missing, damaged, or belongs to another run: its first difference is named.
        Only the number of steps may differ, if no fewer than are taken already.
    """
    header, arrays = read_arrays(path, _KIND)
    try:
        _same_run(path, header["run"], loop.run.record())
        if header["data"] != loop.dataset.name:
            raise FileError(f"{path} was trained on {header['data']}, not on {loop.dataset.name}.")
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
        for name in _LISTS:
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


def _same_run(path: Any, found: Any, asked: Any, where: str = "") -> None:
    if isinstance(found, dict) and isinstance(asked, dict):
        for key in {**found, **asked}:
            below = f"{where}.{key}" if where else key
            # What a listing says of a task decides no number.
            if below not in ("task.n_steps", "task.summary", "task.notes"):
                _same_run(path, found.get(key), asked.get(key), below)
    elif found != asked:
        raise FileError(
            f"{path} belongs to another run: its {where} is {found!r}, the one asked for {asked!r}."
        )
