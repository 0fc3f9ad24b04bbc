"""An experiment as a TOML file: a problem, several methods, one command.

Keys at the top are the options of ``qpsim simulate``; keys under ``[problem]`` are the arguments of
:func:`qpsim.random_problem` and :class:`qpsim.QuadraticProblem`; keys of a method are ``name``,
``label``, ``step_size`` and its hyper-parameters. Nothing is guessed: an unknown key is refused.

    steps = 200
    replicates = 256
    methods = ["sgd", {name = "adam", b2 = 0.99, step_size = 0.01}]

    [problem]
    hessian = "hessian.csv"     # or: spectrum = "structured", basis = "haar", dim = 100
    noise_std = 0.5
"""

from __future__ import annotations

import math
import os
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qpsim.errors import FileError, QpsimError, SpecError, nearest
from qpsim.files.archive import check_writable, write_json
from qpsim.files.arrays import read_array
from qpsim.methods import Method
from qpsim.methods import method as find_method
from qpsim.problem.interface import Problem
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.problem.random import random_problem
from qpsim.simulation.checkpoint import Checkpoint
from qpsim.simulation.plan import RECORDS, Plan, make_plan
from qpsim.simulation.result import Result
from qpsim.simulation.run import run_plan

# The comparison of Section 2, if a file names no methods.
_METHODS = ("sgd", "ssd")
# Beyond any memory; it keeps a mistyped number from overflowing where it is first used.
_LARGEST_COUNT = 10**9

Check = Callable[[str, Any], Any]


@dataclass(frozen=True, eq=False)
class Experiment:
    """A checked experiment: one plan a method, all on the same noise.

    Attributes
    ----------
    plans : dict of str to Plan
        By label, ready to run.
    workers : int or None
    out : Path or None
        Folder for one result file a label and ``summary.json``.
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
        """Simulate every method; results by label, saved in ``out`` if the file names a folder.

        Parameters
        ----------
        workers : None, int or concurrent.futures.Executor
        checkpoint_every : float, optional
            Seconds between two writes of checkpoints into ``out``, from which the same call goes on
            if it was ended; they are removed once the results are saved.

        Raises
        ------
        FileError
            The folder cannot be written, which is found out before anything is simulated; or it
            holds the checkpoints of another experiment.
        SpecError
            Checkpoints are asked for, but no folder to keep them in.
        """
        if self.out is not None:
            check_writable(self.out)
        kept: dict[str, Checkpoint] = {}
        if checkpoint_every is not None:
            if self.out is None:
                raise SpecError("Checkpoints need a folder to be kept in; give 'out'.")
            for label in self.plans:
                place = self.out / f"{file_name(label)}.checkpoint"
                kept[label] = Checkpoint(place, checkpoint_every)
        results = {
            label: run_plan(plan, self.workers if workers is None else workers, kept.get(label))
            for label, plan in self.plans.items()
        }
        if self.out is not None:
            for label, result in results.items():
                result.save(self.out / f"{file_name(label)}.npz")
            write_json(self.out / "summary.json", summary(results))
        for checkpoint in kept.values():
            checkpoint.path.unlink(missing_ok=True)
        return results


def read(path: str | os.PathLike[str], **overrides: Any) -> Experiment:
    """Read an experiment file; "-" is standard input.

    Parameters
    ----------
    path : path of a TOML file
        Paths inside it are relative to its folder.
    **overrides
        Values for keys at the top of the file that replace what it says; None keeps it. A folder
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
    source = Path(path)
    try:
        text = sys.stdin.read() if str(path) == "-" else source.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SpecError(f"{path} is not a text file in UTF-8; give a TOML file.") from None
    except OSError as error:
        raise FileError(f"Cannot read {path}: {error.strerror or error}.") from None
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SpecError(f"{path} is not valid TOML: {error}.") from None
    given = {key: value for key, value in overrides.items() if value is not None}
    if "out" in given:
        given["out"] = str(Path(given["out"]).absolute())
    return parse({**table, **given}, Path() if str(path) == "-" else source.parent)


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
    >>> e = spec.parse({"methods": ["sgd"], "problem": {"spectrum": "mild", "dim": 5}, "steps": 3,
    ...                 "replicates": 2})
    >>> e.run(workers=1)["sgd"].excess_loss.shape
    (2, 4)
    >>> spec.parse({"methods": ["sgd"], "problem": {"spectrum": "mild"}, "stesp": 3})
    Traceback (most recent call last):
    ...
    qpsim.errors.SpecError: Unknown key 'stesp'; did you mean 'steps'?
    """
    top = _table("", table, _TOP)
    if "problem" not in top:
        raise SpecError("The experiment has no 'problem'; see qpsim simulate --help.")
    # The problem's draws and the noise come apart: more replicates do not change the problem.
    seeds = np.random.SeedSequence(top.get("seed", 0)).spawn(2)
    problem = _problem(top["problem"], folder, seeds[0])
    theta0 = top["problem"].get("theta0")
    steps, replicates = top.get("steps", 100), top.get("replicates", 256)
    plans: dict[str, Plan] = {}
    for k, entry in enumerate(top.get("methods", _METHODS)):
        label, method, step_size = _method(f"methods[{k}]", entry, top.get("step_size", "optimal"))
        if file_name(label) in map(file_name, plans):
            raise SpecError(
                f"methods[{k}]: the label {label!r} is taken; give each method a label of its own."
            )
        plans[label] = make_plan(
            problem,
            method,
            step_size,
            steps,
            replicates,
            None if theta0 is None else _array("problem.theta0", theta0, folder),
            rng=seeds[1],
            batch_size=top.get("batch_size", 1),
            dtype=top.get("dtype", "float64"),
            record=top.get("record", ("step_size",)),
        )
    out = top.get("out")
    return Experiment(plans, top.get("workers"), None if out is None else folder / out)


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


def file_name(label: str) -> str:
    """A label as a file name on any system.

    >>> file_name("adam* (fast)")
    'adam_fast'
    """
    return re.sub(r"[^\w.-]+", "_", label).strip("._") or "method"


def _problem(given: dict[str, Any], folder: Path, seed: np.random.SeedSequence) -> QuadraticProblem:
    if ("hessian" in given) == ("spectrum" in given):
        raise SpecError("[problem] needs either 'hessian' or 'spectrum', and not both.")
    if "optimum" in given and "scale" in given:
        raise SpecError("[problem] has both 'optimum' and 'scale', which draws one; keep one.")
    # A start that is given means a distance that is given: then the optimum stays at 0.
    scale = given.get("scale", 0.0 if "theta0" in given else 10.0)
    noise_std = given.get("noise_std", 0.1)
    if "spectrum" in given:
        spectrum = given["spectrum"]
        if not isinstance(spectrum, str) and "dim" in given:
            raise SpecError(
                "[problem] has 'dim', but the length of 'spectrum' says it; drop 'dim'."
            )
        problem = random_problem(
            spectrum,
            given.get("dim", 100),
            given.get("basis", "haar"),
            noise_std,
            scale=scale,
            rng=seed,
        )
    else:
        for key in ("dim", "basis"):
            if key in given:
                raise SpecError(f"[problem] has {key!r}, but the 'hessian' says it; drop {key!r}.")
        hessian = _array("problem.hessian", given["hessian"], folder, given.get("array"))
        problem = QuadraticProblem(hessian, None, noise_std)
        generator = np.random.Generator(np.random.PCG64(seed.spawn(1)[0]))
        problem = problem.with_optimum(generator.uniform(-scale, scale, problem.dim))
    if "optimum" in given:
        problem = problem.with_optimum(_array("problem.optimum", given["optimum"], folder))
    return problem


def _method(path: str, entry: Any, default: Any) -> tuple[str, Method, Any]:
    if isinstance(entry, str):
        return entry, _found(path, entry, {}), default
    if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
        raise SpecError(f"{path} must be a method's name or a table with a 'name', not {entry!r}.")
    name = entry["name"]
    hyper = {key: value for key, value in entry.items() if key not in _METHOD}
    known = [*_METHOD, *_found(path, name, {}).hyper_parameters]
    for key in hyper:
        if key not in known:
            raise SpecError(f"Unknown key '{path}.{key}'; {nearest(key, known)}")
    label = _text(f"{path}.label", entry.get("label", name))
    step_size = _step_size(f"{path}.step_size", entry.get("step_size", default))
    return label, _found(path, name, hyper), step_size


def _found(path: str, name: str, hyper: dict[str, Any]) -> Method:
    try:
        return find_method(name, **hyper)
    except QpsimError as error:
        raise SpecError(f"{path}: {error}") from None


def _array(path: str, value: Any, folder: Path, name: str | None = None) -> np.ndarray:
    """Numbers written in the file itself, or in a .npy, .npz or .csv file that it names."""
    if isinstance(value, str):
        return read_array(path, folder / value, name)
    try:
        return np.array(value, dtype=float)
    except (TypeError, ValueError, OverflowError):
        raise SpecError(f"{path} must be a file's name or an array of numbers.") from None


def _table(path: str, value: Any, known: Mapping[str, Check]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise SpecError(f"{path} must be a table of keys and values, not {value!r}.")
    prefix = f"{path}." if path else ""
    checked = {}
    for key, item in value.items():
        if key not in known:
            raise SpecError(f"Unknown key '{prefix}{key}'; {nearest(str(key), known)}")
        checked[key] = known[key](f"{prefix}{key}", item)
    return checked


def _text(path: str, value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise SpecError(f"{path} must be a text, not {value!r}.")
    return value


def _count(path: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST_COUNT:
        raise SpecError(
            f"{path} must be a whole number from 1 to {_LARGEST_COUNT}, not {_shown(value)}."
        )
    return value


def _seed(path: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SpecError(f"{path} must be a whole number of at least 0, not {_shown(value)}.")
    return value


def _number(path: str, value: Any) -> float:
    try:
        number = math.nan if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and number >= 0.0):
        raise SpecError(f"{path} must be a finite number >= 0, not {_shown(value)}.")
    return number


def _basis(path: str, value: Any) -> str | float:
    return value if isinstance(value, str) else _number(path, value)


def _values(path: str, value: Any) -> Any:
    if isinstance(value, str):
        return _text(path, value)
    if isinstance(value, list) and value:
        return value
    raise SpecError(f"{path} must be a text or an array of numbers, not {_shown(value)}.")


def _spectrum(path: str, value: Any) -> Any:
    given = _values(path, value)
    return given if isinstance(given, str) else [_number(path, item) for item in given]


def _step_size(path: str, value: Any) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return [_number(path, item) for item in value]
    return _number(path, value)


def _methods(path: str, value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise SpecError(f"{path} must be a non-empty array of methods, not {_shown(value)}.")
    return value


def _record(path: str, value: Any) -> Any:
    wanted = value if isinstance(value, Mapping) else None
    names = list(value) if isinstance(value, (list, Mapping)) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise SpecError(f"{path} must be an array of names or a table, not {_shown(value)}.")
    for name in names:
        if name not in RECORDS:
            raise SpecError(f"Unknown key '{path}.{name}'; {nearest(name, RECORDS)}")
    if wanted is None:
        return names
    for name, item in wanted.items():
        steps = isinstance(item, list) and all(type(step) is int for step in item)
        if not (isinstance(item, bool) or (name == "theta" and steps)):
            raise SpecError(f"{path}.{name} must be true, false or, for theta, an array of steps.")
    return dict(wanted)


def _any_table(path: str, value: Any) -> dict[str, Any]:
    return _table(path, value, _PROBLEM)


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**40 else "a huge number"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


_PROBLEM: dict[str, Check] = {
    "hessian": _values,
    "array": _text,
    "spectrum": _spectrum,
    "dim": _count,
    "basis": _basis,
    "noise_std": _number,
    "scale": _number,
    "optimum": _values,
    "theta0": _values,
}
_METHOD = ("name", "label", "step_size")
_TOP: dict[str, Check] = {
    "problem": _any_table,
    "methods": _methods,
    "step_size": _step_size,
    "steps": _count,
    "replicates": _count,
    "seed": _seed,
    "workers": _count,
    "batch_size": _count,
    "dtype": _text,
    "record": _record,
    "out": _text,
}
