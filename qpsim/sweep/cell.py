"""One cell of a sweep: a full set of parameters, its name, and its result as the content of one file.

The content depends only on the parameters, not on time, paths, order or worker.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
import traceback
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from qpsim import checks
from qpsim.errors import FileError, QpsimError, SpecError
from qpsim.execution.blas import one_blas_thread
from qpsim.files.archive import pack_arrays, unpack_arrays
from qpsim.methods import method as find_method
from qpsim.problem import noise
from qpsim.problem.data import DataProblem
from qpsim.problem.interface import Problem
from qpsim.problem.least_squares import LeastSquares
from qpsim.problem.noise import Noise
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.problem.random import random_problem
from qpsim.simulation import block as blocks
from qpsim.simulation.plan import Plan, make_plan
from qpsim.sweep.given import unpacked
from qpsim.sweep.parameters import LEAST_SQUARES, OPTIONAL, settled

KIND = "cell"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Losses are clipped to this range before their logarithm is taken.
_LOSS_RANGE = (1e-300, 1e300)


class Cell:
    """One simulation of a sweep.

    Parameters
    ----------
    settings : mapping
        Checked parameters (:func:`qpsim.sweep.parameters.checked`); the rest keep their defaults.

    Raises
    ------
    QpsimError
        The parameters do not fit each other.

    Examples
    --------
    >>> from qpsim.sweep.cell import Cell
    >>> cell = Cell({"spectrum": "mild", "dim": 4, "n_steps": 3, "n_replicates": 8})
    >>> len(cell.id), read_cell(cell.run(), "here").mean_log10_loss.shape
    (32, (4,))
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.parameters = settled(settings)

    @cached_property
    def id(self) -> str:
        """Name of the cell: a hash of its parameters."""
        return identity(self.parameters)

    def check(self) -> str | None:
        """Raise an error for parameters that cannot be simulated, without drawing the problem.

        Returns
        -------
        str or None
            The text of an InfiniteVarianceWarning.

        Raises
        ------
        QpsimError
            The method cannot be simulated, or not with this step size.
        """
        p = self.parameters
        tiny: Problem = _TINY_PROBLEM
        if "data" in p:
            tiny = self.problem()
        elif p.get("problem") == LEAST_SQUARES:
            tiny = LeastSquares([1.0])
        elif "covariance" in p:
            tiny = QuadraticProblem(np.ones(p["dim"]), noise=self._noise())
        else:
            tiny = _TINY_PROBLEM.with_noise(self._noise())
        batch = p["batch_size"]
        plan = make_plan(tiny, self._method, p["step_size"], 1, 1, batch_size=batch, warned=True)
        return tiny.check_simulation(plan.method, plan.policy, batch)

    @property
    def kind(self) -> str:
        """The parameters that :meth:`check` depends on; cells in which they are equal need only one check."""
        p = self.parameters
        # Without noise a method may have an exact step that it does not have with noise.
        quiet = p.get("noise_std") == 0.0
        own = [
            p[name]
            for name in (*OPTIONAL, "dim")
            if name in p and (name != "dim" or "covariance" in p)
        ]
        return repr((p["method"], p["step_size"], quiet, p["batch_size"], own))

    @property
    def _method(self) -> Any:
        return find_method(**self.parameters["method"])

    def problem(self) -> Problem:
        """The cell's problem: of its own data, or drawn from the first child of its seed."""
        p = self.parameters
        if "data" in p:
            rows = unpacked(p["data"])
            if rows.ndim != 2 or rows.shape[1] < 2:
                raise SpecError(
                    f"data is a table of at least two columns, the last of them the labels, not of shape {rows.shape}."
                )
            return DataProblem(rows[:, :-1], rows[:, -1], p.get("order", "replacement"))
        spectrum = p["spectrum"]
        hashable = tuple(spectrum) if isinstance(spectrum, list) else spectrum
        drawn = _draw(hashable, p["condition"], p["dim"], p["scale"], p["basis"], p["rng"])
        if p.get("problem") == LEAST_SQUARES:
            return LeastSquares(drawn.hessian, drawn.optimum, p["noise_std"])
        return drawn.with_noise(self._noise())

    def _noise(self) -> Noise:
        p = self.parameters
        df = None if p.get("df", "inf") == "inf" else p["df"]
        if "covariance" in p:
            return noise.dense(unpacked(p["covariance"]), df=df)
        return getattr(noise, p.get("noise", "data"))(p["noise_std"], df=df)

    def plan(self) -> Plan:
        """The cell's simulation; its noise comes from the second child of its seed.

        Cells that differ only in the method or the noise level have the same random draws, so that their losses can be
        compared replicate by replicate.
        """
        p = self.parameters
        return make_plan(
            self.problem(),
            self._method,
            p["step_size"],
            p["n_steps"],
            p["n_replicates"],
            rng=_seeds(p["rng"])[1],
            batch_size=p["batch_size"],
            record=("step_size",) if p["record"] == "full" else (),
            # The sweep's run warns once; its workers would warn for every cell.
            warned=True,
        )

    def run(self) -> bytes:
        """Simulate the cell in this thread. Returns the content of its file.

        Raises
        ------
        Interrupted
            The sweep was stopped.
        """
        plan = self.plan()
        losses = np.empty((plan.n_steps + 1, plan.n_replicates))
        steps = np.empty((plan.n_steps, plan.n_replicates)) if plan.keep_step_size else None
        try:
            for first, count in plan.blocks():
                block = blocks.run_block(plan, first, count)
                losses[:, first : first + count] = block.losses
                if steps is not None and block.steps is not None:
                    steps[:, first : first + count] = block.steps
        finally:
            blocks.forget(plan.token)
        arrays = summarise(losses)
        if steps is not None:
            arrays.update(excess_loss=losses.T, step_size=steps.T)
        return pack_arrays(KIND, {"id": self.id, "parameters": self.parameters}, arrays)

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.parameters.items())
        return f"<Cell {given}>"


class Record(NamedTuple):
    """The content of a finished cell's file.

    Attributes
    ----------
    id, parameters
        Of the cell.
    quantiles : ndarray, shape (len(QUANTILES), n_steps + 1)
        Quantiles of the excess loss over replicates, at every step.
    mean_log10_loss, std_log10_loss : ndarray, shape (n_steps + 1,)
        Mean and standard deviation over replicates of log10 of the excess loss, clipped to [1e-300, 1e300].
    final_loss : ndarray, shape (n_replicates,)
        Excess loss after the last step; +inf where a replicate diverged.
    excess_loss, step_size : ndarray or None
        The full record, shapes (n_replicates, n_steps + 1) and (n_replicates, n_steps), if kept.
    """

    id: str
    parameters: dict[str, Any]
    quantiles: np.ndarray
    mean_log10_loss: np.ndarray
    std_log10_loss: np.ndarray
    final_loss: np.ndarray
    excess_loss: np.ndarray | None
    step_size: np.ndarray | None

    @property
    def diverged(self) -> int:
        """Number of replicates that diverged."""
        return int(np.isinf(self.final_loss).sum())

    def final(self) -> dict[str, float | int]:
        """The final loss in one row: mean and deviation of its log10, quantiles, diverged."""
        row: dict[str, float | int] = {
            "mean_log10_loss": float(self.mean_log10_loss[-1]),
            "std_log10_loss": float(self.std_log10_loss[-1]),
        }
        for q, value in zip(QUANTILES, self.quantiles[:, -1], strict=True):
            row[f"loss_q{round(100 * q):02d}"] = float(value)
        return {**row, "initial_loss": float(self.quantiles[2, 0]), "diverged": self.diverged}


def summarise(losses: np.ndarray) -> dict[str, np.ndarray]:
    """Summary arrays of losses of shape (n_steps + 1, n_replicates), as in :class:`Record`."""
    logarithm = np.log10(np.clip(losses, *_LOSS_RANGE))
    mean = logarithm.mean(axis=1)
    logarithm -= mean[:, None]
    return {
        "quantiles": _quantiles(losses),
        "mean_log10_loss": mean,
        "std_log10_loss": np.sqrt(np.einsum("ij,ij->i", logarithm, logarithm) / losses.shape[1]),
        "final_loss": losses[-1].copy(),
    }


def _quantiles(losses: np.ndarray) -> np.ndarray:
    """Quantiles over the last axis, interpolated linearly as in NumPy: one sort is faster than its
    many partitions.
    """
    # A large number replaces infinity, since interpolation between two infinities would give NaN.
    ordered = np.sort(np.minimum(losses, 1e5 * _LOSS_RANGE[1]), axis=1)
    place = np.array(QUANTILES) * (losses.shape[1] - 1)
    low = place.astype(int)
    high = np.minimum(low + 1, losses.shape[1] - 1)
    below, above = ordered[:, low], ordered[:, high]
    values = below + (above - below) * (place - low)
    return np.where(values > _LOSS_RANGE[1], np.inf, values).T


def read_cell(
    content: bytes, source: str | os.PathLike[str], expected: str | None = None
) -> Record:
    """A finished cell from the content of its file; the checksum is verified first.

    Raises
    ------
    FileError
        The content is damaged, not that of a cell, or not that of the ``expected`` cell.
    """
    header, arrays = unpack_arrays(content, source, KIND)
    try:
        # Files of version 0.1 have the old names of parameters.
        parameters = checks.current_names(header["parameters"], FileError, warn=False)
        name = header["id"]
        if name != identity(parameters) or name != (expected or name):
            raise FileError(f"{source} holds another cell than its name says.")
        record = Record(
            name,
            parameters,
            arrays["quantiles"],
            arrays["mean_log10_loss"],
            arrays["std_log10_loss"],
            arrays["final_loss"],
            arrays.get("excess_loss"),
            arrays.get("step_size"),
        )
        n, steps = parameters["n_replicates"], parameters["n_steps"] + 1
        shapes = [array.shape for array in record[2:6] if array.dtype == np.float64]
        if shapes != [(len(QUANTILES), steps), (steps,), (steps,), (n,)]:
            raise FileError(f"{source} is no complete cell: its arrays have other shapes.")
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, QpsimError):
            raise
        raise FileError(f"{source} is no complete cell ({error}).") from None
    return record


def identity(parameters: Mapping[str, Any]) -> str:
    """Name of the cell with these parameters.

    The hash uses the parameter names of version 0.1, so that names of cells have not changed.
    """
    names = {now: before for before, now in checks.RENAMED.items()}
    return digest({names.get(name, name): value for name, value in parameters.items()})


def digest(parameters: Mapping[str, Any]) -> str:
    """128 bits of the SHA-256 of plain JSON values; the order of the mapping does not matter."""
    text = json.dumps(parameters, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Outcome(NamedTuple):
    """What a worker returns: the content of the file or the error as text, the host, and the time."""

    content: bytes | None
    failure: dict[str, str] | None
    seconds: float
    worker: str


def work(parameters: dict[str, Any]) -> Outcome:
    """Run one cell in a worker; every error is returned as text."""
    began = time.perf_counter()
    content, failure = None, None
    try:
        content = cell_of(parameters).run()
    except Exception as error:
        failure = {
            "error": f"{type(error).__name__}: {error}",
            "traceback": traceback.format_exc(),
        }
    seconds = time.perf_counter() - began
    return Outcome(content, failure, seconds, f"{socket.gethostname()}:{os.getpid()}")


def cell_of(parameters: Mapping[str, Any]) -> Cell:
    """The cell with these parameters."""
    return Cell({name: value for name, value in parameters.items() if value is not None})


_TINY_PROBLEM = QuadraticProblem([1.0], noise_std=1.0)


def _seeds(seed: int) -> list[np.random.SeedSequence]:
    return np.random.SeedSequence(seed).spawn(2)


@lru_cache(maxsize=4)
def _draw(
    spectrum: Any, condition: float | None, dim: int, scale: float, basis: float, seed: int
) -> QuadraticProblem:
    # With another number of BLAS threads the last bits of the eigenvectors would differ.
    with one_blas_thread():
        return random_problem(
            list(spectrum) if isinstance(spectrum, tuple) else spectrum,
            dim,
            basis,
            0.0,
            scale=scale,
            condition=condition,
            rng=_seeds(seed)[0],
        )
