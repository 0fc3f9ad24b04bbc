"""Experiments in TOML files: a problem and several methods.

Keys at the top are the options of ``qpsim simulate``; keys under ``[problem]`` are the arguments of
:func:`qpsim.random_problem` and :class:`qpsim.QuadraticProblem`; keys of a method are ``name``,
``label``, ``step_size`` and its hyper-parameters. An unknown key is an error.

    n_steps = 200
    n_replicates = 256
    methods = ["sgd", {name = "adam", b2 = 0.99, step_size = 0.01}]

    [problem]
    hessian = "hessian.csv"     # or: spectrum = "structured", basis = "haar", dim = 100
    noise_std = 0.5

    [noise]                     # or [problem.noise]
    df = 3.0
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qpsim import checks
from qpsim.errors import QpsimError, SpecError, nearest
from qpsim.files.reading import read_toml
from qpsim.files.writing import check_file, check_writable, write_json
from qpsim.methods import Method
from qpsim.methods import method as find_method
from qpsim.problem.interface import Problem
from qpsim.simulation import spec_keys as keys
from qpsim.simulation.checkpoint import Checkpoint
from qpsim.simulation.plan import Plan, make_plan
from qpsim.simulation.result import Result
from qpsim.simulation.run import run_plan
from qpsim.simulation.spec_problem import array, make_problem

# The methods, if a file names none: the comparison of Section 2.
_METHODS = ("sgd", "ssd")


@dataclass(frozen=True, eq=False)
class Experiment:
    """A checked experiment: one plan for each method, all with the same noise.

    Attributes
    ----------
    plans : dict of str to Plan
        By label, ready to run.
    workers : int or None
    out : Path or None
        Folder for ``summary.json`` and one result file for each label.
    """

    plans: dict[str, Plan]
    workers: int | None = None
    out: Path | None = None

    @property
    def problem(self) -> Problem:
        """The problem that all methods run on."""
        return next(iter(self.plans.values())).problem

    def run(
        self, workers: int | Executor | None = None, checkpoint_every: float | None = None
    ) -> dict[str, Result]:
        """Simulate every method. Returns the results by label, and saves them if ``out`` is given.

        Parameters
        ----------
        workers : None, int or concurrent.futures.Executor
        checkpoint_every : float, optional
            Seconds between two writes of checkpoints into ``out``, from which the same call
            continues after an interruption; they are removed when the results are saved.

        Raises
        ------
        FileError
            The folder cannot be written, which is checked before anything is simulated; or it has
            checkpoints of another experiment.
        SpecError
            Checkpoints are asked for, but no folder to keep them in.
        """
        if checkpoint_every is not None and self.out is None:
            raise SpecError("Checkpoints need a folder to be kept in; give 'out'.")
        paths: dict[str, Path] = {}
        if self.out is not None:
            check_writable(self.out)
            paths = {label: self.out / f"{keys.file_name(label)}.npz" for label in self.plans}
            for path in (*paths.values(), self.out / "summary.json"):
                check_file(path)
        checkpoints: dict[str, Checkpoint] = {}
        if checkpoint_every is not None:
            for label, path in paths.items():
                file = check_file(path.with_suffix(".checkpoint"))
                checkpoints[label] = Checkpoint(file, checkpoint_every)
        if workers is None:
            workers = self.workers
        results = {}
        for label, plan in self.plans.items():
            results[label] = run_plan(plan, workers, checkpoints.get(label))
            # Saved immediately, so that an error in a later method does not lose this result.
            if self.out is not None:
                results[label].save(paths[label])
        if self.out is not None:
            write_json(self.out / "summary.json", summary(results))
        for checkpoint in checkpoints.values():
            checkpoint.path.unlink(missing_ok=True)
        return results


def read(path: str | os.PathLike[str], **overrides: Any) -> Experiment:
    """Read an experiment file; "-" is standard input.

    Parameters
    ----------
    path : path of a TOML file
        Paths inside it are relative to its folder.
    **overrides
        Values that replace those of keys at the top of the file; None keeps the file's. A folder
        ``out`` given here is relative to the working directory.

    Raises
    ------
    FileError
        The file, or one that it names, cannot be read.
    SpecError
        Not TOML, an unknown or missing key, a value of the wrong type.
    QpsimError
        What it describes is no problem, method or simulation.
    """
    table = read_toml(path)
    given = {key: value for key, value in overrides.items() if value is not None}
    if "out" in given:
        given["out"] = str(Path(given["out"]).absolute())
    together = {
        **checks.current_names(table, SpecError),
        **checks.current_names(given, SpecError),
    }
    return parse(together, Path() if str(path) == "-" else Path(path).parent)


def parse(table: Mapping[str, Any], folder: Path = Path()) -> Experiment:
    """The experiment that a table of plain values describes.

    Parameters
    ----------
    table : mapping
        As :mod:`tomllib` reads it.
    folder : Path
        Where relative paths in it start.

    Examples
    --------
    >>> from qpsim.simulation import spec
    >>> problem = {"spectrum": "mild", "dim": 5}
    >>> e = spec.parse({"problem": problem, "methods": ["sgd"], "n_steps": 3, "n_replicates": 2})
    >>> e.run(workers=1)["sgd"].excess_loss.shape
    (2, 4)
    >>> spec.parse({"problem": problem, "n_stesp": 3})
    Traceback (most recent call last):
    ...
    qpsim.errors.SpecError: Unknown key 'n_stesp'; did you mean 'n_steps'?
    """
    top = keys.table(
        "", checks.current_names(keys.mapping("The experiment", table), SpecError), keys.TOP
    )
    if "problem" not in top:
        raise SpecError("The experiment has no 'problem'; see qpsim simulate --help.")
    # Separate seeds for the problem and for the noise, so that more replicates do not change the
    # problem.
    seeds = np.random.SeedSequence(top.get("rng", 0)).spawn(2)
    problem = _problem(top, folder, seeds[0])
    theta0 = top["problem"].get("theta0")
    plans: dict[str, Plan] = {}
    for k, entry in enumerate(top.get("methods", _METHODS)):
        label, method, step_size = _method(f"methods[{k}]", entry, top.get("step_size", "optimal"))
        # Some file systems ignore case.
        taken = {keys.file_name(other).casefold() for other in plans}
        if keys.file_name(label).casefold() in taken:
            raise SpecError(
                f"methods[{k}]: the label {label!r} is taken; give each method a label of its own."
            )
        plans[label] = make_plan(
            problem,
            method,
            step_size,
            top.get("n_steps", 100),
            top.get("n_replicates", 256),
            None if theta0 is None else array("problem.theta0", theta0, folder),
            rng=seeds[1],
            batch_size=top.get("batch_size", 1),
            dtype=top.get("dtype", "float64"),
            record=top.get("record", ("step_size",)),
        )
    out = top.get("out")
    return Experiment(plans, top.get("workers"), None if out is None else folder / out)


def _problem(top: Mapping[str, Any], folder: Path, seed: np.random.SeedSequence) -> Problem:
    """The problem with its noise, from a table [noise] or [problem.noise]."""
    given = dict(top["problem"])
    if "noise" not in top:
        return make_problem(given, folder, seed)
    if "noise" in given:
        raise SpecError("The experiment has both [noise] and [problem.noise]; keep one.")
    return make_problem({**given, "noise": top["noise"]}, folder, seed, "noise")


def summary(results: Mapping[str, Result]) -> dict[str, Any]:
    """Quantiles of the final loss by label, and the full specification, as plain JSON values."""
    first = next(iter(results.values()))
    rows = {}
    for label, result in results.items():
        row = result.summary()
        row["initial_loss"] = _finite(row["initial_loss"])
        row["final_loss"] = {key: _finite(value) for key, value in row["final_loss"].items()}
        rows[label] = {**row, "spec": result.spec}
    problem = first.problem
    return {
        "problem": {"kind": problem.kind, **problem.to_dict()},
        "methods": rows,
        "provenance": first.provenance,
    }


def _method(path: str, entry: Any, default: Any) -> tuple[str, Method, Any]:
    if isinstance(entry, str):
        return entry, _found(path, entry, {}), default
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        raise SpecError(
            f"{path} must be a method's name or a table with a 'name', not {checks.shown(entry)}."
        )
    name = entry["name"]
    hyper = {key: value for key, value in entry.items() if key not in keys.METHOD}
    known = [*keys.METHOD, *_found(path, name, {}).hyper_parameters]
    for key in hyper:
        if key not in known:
            raise SpecError(f"Unknown key '{path}.{key}'; {nearest(key, known)}")
    label = keys.label(f"{path}.label", entry.get("label", name))
    step_size = keys.step_size(f"{path}.step_size", entry.get("step_size", default))
    return label, _found(path, name, hyper), step_size


def _found(path: str, name: str, hyper: dict[str, Any]) -> Method:
    try:
        return find_method(name, **hyper)
    except QpsimError as error:
        raise SpecError(f"{path}: {error}") from None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
