"""Makes a problem from the ``[problem]`` table of an experiment file: quadratic, least squares, or data."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from qpsim import checks
from qpsim.errors import QpsimError, SpecError, nearest
from qpsim.files.arrays import read_array
from qpsim.problem import noise
from qpsim.problem.data import DataProblem
from qpsim.problem.interface import Problem
from qpsim.problem.least_squares import LeastSquares
from qpsim.problem.noise_families import FAMILIES
from qpsim.problem.quadratic import QuadraticProblem
from qpsim.problem.random import random_problem

# The keys that decide the kind of a problem, each with the further keys that are allowed with it.
KINDS = {
    "spectrum": ("dim", "basis", "condition", "noise_std", "noise", "scale"),
    "hessian": ("array", "noise_std", "noise", "scale"),
    "covariance": ("label_noise_std", "scale"),
    "data": ("labels", "order", "drop_last", "array"),
}
_ALWAYS = ("optimum", "theta0")
# Families of noise that have a function of their own, and the array that need not be given.
_NOISES = ("data", "hessian", "white", "diagonal", "dense", "low_rank")
_MAY_BE_LEFT_OUT = (("low_rank", "diagonal"),)


def make_problem(
    given: dict[str, Any],
    folder: Path,
    seed: np.random.SeedSequence,
    noise_path: str = "problem.noise",
) -> Problem:
    """The problem that a checked ``[problem]`` table describes; files in it are relative to the folder.

    ``noise_path`` is the name of the noise's table in the file, for error messages.

    Raises
    ------
    SpecError
        Keys that contradict each other.
    QpsimError
        What the table describes is no problem, or a file that it names cannot be read.
    """
    kinds = [kind for kind in KINDS if kind in given]
    if len(kinds) != 1:
        raise SpecError(
            f"[problem] needs exactly one of {', '.join(map(repr, KINDS))}; it has "
            f"{' and '.join(map(repr, kinds)) or 'none of them'}."
        )
    kind = kinds[0]
    for key in given:
        if key not in (kind, *KINDS[kind], *_ALWAYS):
            others = [other for other in KINDS if key in KINDS[other]]
            raise SpecError(
                f"[problem] has {key!r}, which goes with {' or '.join(map(repr, others))}, not with {kind!r}; "
                f"drop {key!r}."
            )
    if "optimum" in given and "scale" in given:
        raise SpecError("[problem] has both 'optimum' and 'scale', which draws one; keep one.")
    if kind == "data":
        return _data(given, folder)
    # If theta0 is given, the optimum is 0 by default, so that theta0 is the distance.
    scale = given.get("scale", 0.0 if "theta0" in given else 10.0)
    if kind == "spectrum":
        return _random(given, folder, scale, seed, noise_path)
    matrix = array(f"problem.{kind}", given[kind], folder, given.get("array"))
    generator = np.random.Generator(np.random.PCG64(seed.spawn(1)[0]))
    optimum = generator.uniform(-scale, scale, matrix.shape[0] if matrix.ndim else 1)
    if "optimum" in given:
        optimum = array("problem.optimum", given["optimum"], folder)
    if kind == "covariance":
        return LeastSquares(matrix, optimum, given.get("label_noise_std", 0.1))
    return QuadraticProblem(matrix, optimum, **_noise(given, folder, noise_path))


def _random(
    given: dict[str, Any],
    folder: Path,
    scale: float,
    seed: np.random.SeedSequence,
    noise_path: str,
) -> QuadraticProblem:
    spectrum = given["spectrum"]
    if not isinstance(spectrum, str) and "dim" in given:
        raise SpecError("[problem] has 'dim', but the length of 'spectrum' says it; drop 'dim'.")
    problem = random_problem(
        spectrum,
        given.get("dim", 100),
        given.get("basis", "haar"),
        given.get("noise_std", 0.1),
        scale=scale,
        condition=given.get("condition"),
        rng=seed,
    )
    if "noise" in given:
        problem = problem.with_noise(_noise(given, folder, noise_path)["noise"])
    if "optimum" in given:
        problem = problem.with_optimum(array("problem.optimum", given["optimum"], folder))
    return problem


def _data(given: dict[str, Any], folder: Path) -> DataProblem:
    rows = array("problem.data", given["data"], folder, given.get("array"))
    if "labels" in given:
        labels = array("problem.labels", given["labels"], folder)
    elif rows.ndim == 2 and rows.shape[1] > 1:
        # The labels are the last column of the table, unless they are given separately.
        rows, labels = rows[:, :-1], rows[:, -1]
    else:
        raise SpecError("[problem] has a table of one column and no 'labels'; give both.")
    if "optimum" in given:
        raise SpecError("[problem] has 'optimum', but the data decide it; drop 'optimum'.")
    return DataProblem(
        rows, labels, given.get("order", "replacement"), given.get("drop_last", True)
    )


def _noise(given: dict[str, Any], folder: Path, path: str) -> dict[str, Any]:
    if "noise" not in given:
        return {"noise_std": given.get("noise_std", 0.1)}
    table = dict(given["noise"])
    family = table.pop("family", "data")
    # Besides the package's own, those given to qpsim.noise.register.
    if not isinstance(family, str) or family not in FAMILIES:
        raise SpecError(
            f"Unknown {path}.family {checks.shown(family)}; {nearest(str(family), FAMILIES).rstrip('.')} "
            "(a class of your own is known after qpsim.noise.register, in Python)."
        )
    names = getattr(FAMILIES[family], "names", None) or ("std",)
    for key in table:
        if key not in (*names, "df", "law"):
            raise SpecError(
                f"Unknown key '{path}.{key}'; {nearest(str(key), [*names, 'df', 'law', 'family'])}"
            )
    if names == ("std",):
        if "std" in table and "noise_std" in given:
            raise SpecError(f"problem.noise_std and {path}.std say the same; keep one.")
        arguments = [table.get("std", given.get("noise_std", 0.1))]
    else:
        if "noise_std" in given:
            raise SpecError(
                f"[problem] has 'noise_std', but a noise {family!r} has its own size; drop 'noise_std'."
            )
        for name in names:
            if name not in table and (family, name) not in _MAY_BE_LEFT_OUT:
                raise SpecError(f"{path} needs {name!r} for the family {family!r}.")
        arguments = [
            array(f"{path}.{name}", table[name], folder) for name in names if name in table
        ]
    try:
        own = family in _NOISES
        make = getattr(noise, family) if own else partial(noise.registered, family)
        made = make(*arguments, df=table.get("df"), law=table.get("law"))
    except QpsimError as error:
        raise SpecError(f"{path}: {error}") from None
    return {"noise": made}


def array(path: str, value: Any, folder: Path, name: str | None = None) -> np.ndarray:
    """An array from numbers in the file, or from another file that it names."""
    if isinstance(value, str):
        return read_array(path, folder / value, name)
    return checks.array(f"{path}, if it is no file's name,", value, SpecError)
