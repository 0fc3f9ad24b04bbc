"""Checkpoints: the states of all blocks of a simulation in one file, from which the run can be continued.

About every tenth of a second a block calls :meth:`Checkpoint.store` with its state (:mod:`qpsim.simulation.block`). At
intervals these states and the finished blocks are written to one file with a checksum, atomically. The continued run
has the same bits as an uninterrupted one, on any workers.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

import qpsim
from qpsim import checks
from qpsim.errors import FileError, SimulationError
from qpsim.files.archive import pack_arrays, unpack_arrays
from qpsim.files.reading import read_bytes
from qpsim.files.writing import check_file, write_bytes
from qpsim.simulation.block import Block, BlockState
from qpsim.simulation.plan import Plan, plan_spec

_KIND = "checkpoint"
_ARRAYS = tuple(field.name for field in fields(BlockState) if field.name != "t")


class Checkpoint:
    """Keeps the states of a plan's blocks in a file.

    Parameters
    ----------
    path : path
        File to write; if it exists, the run continues from it.
    every : float, default 60
        Seconds between two writes; 0 writes between all chunks of steps.

    Raises
    ------
    SimulationError
        ``every`` is not a finite number >= 0.
    """

    def __init__(self, path: str | os.PathLike[str], every: float = 60.0) -> None:
        self.path = checks.path("checkpoint", path, FileError)
        self.every = checks.number("checkpoint_every", every, SimulationError, "[0, inf)")
        self._lock = threading.Lock()
        self._states: dict[int, BlockState] = {}
        self._stored_at: dict[int, float] = {}
        self._written_at = 0.0
        self._n_steps = 0
        self._digest = ""

    def open(self, plan: Plan) -> dict[int, BlockState]:
        """The states in the file, by a block's first replicate; none if there is no file.

        Raises
        ------
        FileError
            The file is damaged, another simulation's, or cannot be written.
        """
        self._n_steps, self._digest = plan.n_steps, digest(plan)
        self._written_at = time.monotonic()
        check_file(self.path)
        self._states = _read(self.path, plan, self._digest) if self.path.exists() else {}
        return {first: state.copy() for first, state in self._states.items()}

    def store(self, first: int, state: BlockState) -> None:
        """Store the state of a block, if it is time to; called by the block's thread."""
        now = time.monotonic()
        finished = state.t == self._n_steps
        if not finished and now - self._stored_at.get(first, self._written_at) < self.every:
            return
        copy = state.copy()
        with self._lock:
            self._states[first], self._stored_at[first] = copy, now
            if now - self._written_at >= self.every:
                self._written_at = now
                self._write()

    def store_finished(self, block: Block) -> None:
        """Store a finished block, which may come from another process."""
        stored = self._states.get(block.first)
        if stored is None or stored.t < self._n_steps:
            lanes, nothing = block.losses.shape[1], np.zeros((0, 0))
            steps = np.zeros((0, lanes)) if block.steps is None else block.steps
            errors = np.zeros((0, lanes)) if block.errors is None else block.errors
            theta = np.zeros((0, 0, lanes)) if block.theta is None else block.theta
            averaged = np.zeros((0, 0)) if block.averaged is None else block.averaged
            state = BlockState(
                self._n_steps,
                *(nothing, nothing, nothing, nothing),
                *(block.losses, steps, errors, theta, nothing, averaged),
            )
            self.store(block.first, state)

    def close(self) -> None:
        """Write the file a last time."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        arrays = {
            f"{first}.{name}": getattr(state, name)
            for first, state in sorted(self._states.items())
            for name in _ARRAYS
        }
        at = {str(first): state.t for first, state in sorted(self._states.items())}
        try:
            write_bytes(
                self.path,
                pack_arrays(
                    _KIND, {"qpsim": qpsim.__version__, "plan": self._digest, "at": at}, arrays
                ),
            )
        except FileError as error:
            # A checkpoint that cannot be written must not end the simulation.
            warnings.warn(f"{error} The simulation goes on.", RuntimeWarning, stacklevel=2)


def digest(plan: Plan) -> str:
    """Hash of everything that the plan's results depend on."""
    found = hashlib.sha256()
    spec = {**plan_spec(plan), "qpsim": qpsim.__version__}
    found.update(json.dumps(spec, sort_keys=True, default=str).encode())
    problem = plan.problem
    arrays = {"theta0": plan.theta0, "given": plan.policy.given, **problem.arrays()}
    for name, array in sorted(arrays.items()):
        content = np.ascontiguousarray(array)
        found.update(f"{name} {content.shape}".encode())
        found.update(content.tobytes())
    return found.hexdigest()


def _read(path: Path, plan: Plan, expected: str) -> dict[int, BlockState]:
    header, arrays = unpack_arrays(read_bytes(path, follow_links=False), path, _KIND)
    version = header.get("qpsim", "0.1")
    if version != qpsim.__version__:
        raise FileError(
            f"The checkpoint {path} was written by qpsim {version}, and this is {qpsim.__version__}: delete it, or "
            "finish the run with that version."
        )
    if header.get("plan") != expected:
        raise FileError(
            f"The checkpoint {path} is of another simulation (another problem, method, seed or size); delete it, or "
            "give another place."
        )
    try:
        states: dict[int, Any] = {}
        for name, t in header["at"].items():
            first = int(name)
            kept: dict[str, Any] = {field: arrays[f"{name}.{field}"] for field in _ARRAYS}
            states[first] = BlockState(int(t), **kept)
            _check(plan, first, states[first])
        return states
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"{path} is no complete checkpoint ({error}).") from None


def _check(plan: Plan, first: int, state: BlockState) -> None:
    """Check the shapes of a loaded state, since kernels do not check them."""
    counts = dict(plan.blocks())
    if first not in counts or not 0 <= state.t <= plan.n_steps:
        raise ValueError(f"block {first} at step {state.t}")
    lanes, dim, n = state.losses.shape[1], plan.problem.dim, plan.n_steps
    shapes: dict[str, tuple[int, ...]] = {"losses": (n + 1, lanes)}
    if plan.theta_steps:
        shapes["theta"] = (len(plan.theta_steps), dim, lanes)
    if plan.keep_step_size or state.t < n:
        shapes["steps"] = (n, lanes)
    if plan.uses_series or state.t < n:
        shapes["errors"] = (n, lanes)
    if plan.average is not None:
        shapes["averaged"] = (n + 1, lanes)
    if state.t < n:
        shapes["average"] = (dim, lanes if plan.average is not None else 0)
        shapes["offset"] = (dim, lanes)
        shapes["states"] = (len(plan.method.state_names), dim, lanes)
        shapes["stream"] = (4, lanes)
        shapes["diverged"] = (lanes,)
    kinds = {"stream": np.dtype(np.uint64), "diverged": np.dtype(np.uint8)}
    if state.t < n:
        kinds |= dict.fromkeys(("offset", "states"), np.dtype(plan.dtype))
    for name, shape in shapes.items():
        array = getattr(state, name)
        if array.shape != shape or array.dtype != kinds.get(name, np.dtype(float)):
            raise ValueError(f"{name} of block {first} has shape {array.shape}")
    if lanes < counts[first]:
        raise ValueError(f"block {first} has {lanes} lanes")
