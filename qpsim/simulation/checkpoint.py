"""Checkpoints: the states of all blocks of a simulation in one file, from which the run can be continued.

About every tenth of a second a block calls :meth:`Checkpoint.note` with its state (:mod:`qpsim.simulation.block`). At
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
        self._points: dict[int, BlockState] = {}
        self._noted: dict[int, float] = {}
        self._written = 0.0
        self._n_steps = 0
        self._digest = ""

    def open(self, plan: Plan) -> dict[int, BlockState]:
        """BlockStates of the file, by a block's first replicate; none if there is no file.

        Raises
        ------
        FileError
            The file is damaged, another simulation's, or cannot be written.
        """
        self._n_steps, self._digest = plan.n_steps, digest(plan)
        self._written = time.monotonic()
        check_file(self.path)
        self._points = _read(self.path, plan, self._digest) if self.path.exists() else {}
        return {first: point.copy() for first, point in self._points.items()}

    def note(self, first: int, point: BlockState) -> None:
        """Store the state of a block, if it is time to; called by the block's thread."""
        now = time.monotonic()
        finished = point.t == self._n_steps
        if not finished and now - self._noted.get(first, self._written) < self.every:
            return
        copy = point.copy()
        with self._lock:
            self._points[first], self._noted[first] = copy, now
            if now - self._written >= self.every:
                self._written = now
                self._write()

    def finish(self, block: Block) -> None:
        """Store a finished block, which may come from another process."""
        known = self._points.get(block.first)
        if known is None or known.t < self._n_steps:
            lanes, nothing = block.losses.shape[1], np.zeros((0, 0))
            steps = np.zeros((0, lanes)) if block.steps is None else block.steps
            errors = np.zeros((0, lanes)) if block.errors is None else block.errors
            theta = np.zeros((0, 0, lanes)) if block.theta is None else block.theta
            averaged = np.zeros((0, 0)) if block.averaged is None else block.averaged
            point = BlockState(
                self._n_steps,
                *(nothing, nothing, nothing, nothing),
                *(block.losses, steps, errors, theta, nothing, averaged),
            )
            self.note(block.first, point)

    def close(self) -> None:
        """Write the file a last time."""
        with self._lock:
            self._write()

    def _write(self) -> None:
        arrays = {
            f"{first}.{name}": getattr(point, name)
            for first, point in sorted(self._points.items())
            for name in _ARRAYS
        }
        at = {str(first): point.t for first, point in sorted(self._points.items())}
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
        points: dict[int, Any] = {}
        for name, t in header["at"].items():
            first = int(name)
            kept: dict[str, Any] = {field: arrays[f"{name}.{field}"] for field in _ARRAYS}
            points[first] = BlockState(int(t), **kept)
            _check(plan, first, points[first])
        return points
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise FileError(f"{path} is no complete checkpoint ({error}).") from None


def _check(plan: Plan, first: int, point: BlockState) -> None:
    """Check the shapes of a loaded state, since kernels do not check them."""
    counts = dict(plan.blocks())
    if first not in counts or not 0 <= point.t <= plan.n_steps:
        raise ValueError(f"block {first} at step {point.t}")
    lanes, dim, n = point.losses.shape[1], plan.problem.dim, plan.n_steps
    shapes: dict[str, tuple[int, ...]] = {"losses": (n + 1, lanes)}
    if plan.theta_steps:
        shapes["theta"] = (len(plan.theta_steps), dim, lanes)
    if plan.keep_step_size or point.t < n:
        shapes["steps"] = (n, lanes)
    if plan.uses_series or point.t < n:
        shapes["errors"] = (n, lanes)
    if plan.average is not None:
        shapes["averaged"] = (n + 1, lanes)
    if point.t < n:
        shapes["average"] = (dim, lanes if plan.average is not None else 0)
        shapes["offset"] = (dim, lanes)
        shapes["states"] = (len(plan.method.state_names), dim, lanes)
        shapes["stream"] = (4, lanes)
        shapes["diverged"] = (lanes,)
    kinds = {"stream": np.dtype(np.uint64), "diverged": np.dtype(np.uint8)}
    if point.t < n:
        kinds |= dict.fromkeys(("offset", "states"), np.dtype(plan.dtype))
    for name, shape in shapes.items():
        array = getattr(point, name)
        if array.shape != shape or array.dtype != kinds.get(name, np.dtype(float)):
            raise ValueError(f"{name} of block {first} has shape {array.shape}")
    if lanes < counts[first]:
        raise ValueError(f"block {first} has {lanes} lanes")
