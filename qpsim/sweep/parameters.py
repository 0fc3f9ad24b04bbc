"""The parameters of a cell: names, defaults, checks, and the canonical form of their values.

A value is converted to its canonical form before it is compared or hashed, so that ``noise_std = 1`` and
``1.0``, or ``basis = "haar"`` and ``1``, are the same cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from qpsim import checks
from qpsim.errors import SpecError, nearest
from qpsim.methods import method as find_method
from qpsim.problem.data import ORDERS
from qpsim.problem.random import BASES, CONDITIONED, DEFAULT_CONDITION, SPECTRA
from qpsim.simulation.stepsize import POLICIES
from qpsim.sweep import given

HYPER = "hyper."
RECORDS = ("summary", "full")

# In the order of the grid's axes, slowest first, so that consecutive cells have the same problem.
DEFAULTS: dict[str, Any] = {
    "spectrum": "structured",
    "condition": None,
    "dim": 100,
    "scale": 10.0,
    "basis": 1.0,
    "rng": 0,
    "noise_std": 0.1,
    "batch_size": 1,
    "n_replicates": 256,
    "n_steps": 100,
    "method": "sgd",
    "step_size": "optimal",
    "record": "summary",
}

# Parameters that a cell has only if they are given, so that they do not change the names of other cells.
OPTIONAL = ("problem", "noise", "df", "covariance", "data", "order")
# Parameters whose values are arrays or files of the user.
ARRAYS = ("covariance", "data")
NOISES = ("data", "hessian", "white")
PROBLEMS = ("quadratic", "least-squares")
LEAST_SQUARES = PROBLEMS[1]
# For some parameters, the others that must not be given with them.
EXCLUDED = {
    "covariance": ("noise_std", "noise", "problem", "data", "order"),
    "data": (
        *("spectrum", "condition", "dim", "scale", "basis"),
        *("noise_std", "noise", "df", "problem"),
    ),
}

Value = Any


def checked(name: Any, value: Any) -> Value:
    """The canonical form of a parameter's value.

    Raises
    ------
    SpecError
        Unknown parameter, or a value of the wrong type or out of range.

    Examples
    --------
    >>> from qpsim.sweep.parameters import checked
    >>> checked("basis", "haar"), checked("noise_std", 1)
    (1.0, 1.0)
    """
    if isinstance(name, str) and name.startswith(HYPER) and len(name) > len(HYPER):
        return value if isinstance(value, bool) else checks.number(name, value, SpecError)
    if name not in _CHECKS:
        raise SpecError(f"Unknown parameter {name!r}; {nearest(str(name), [*_CHECKS, 'hyper.b1'])}")
    return _CHECKS[name](name, value)


def settled(settings: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters of one cell, from the checked ones that were given.

    The method gets all its hyper-parameters; a condition number is added for spectra that have one; an explicit
    spectrum determines the dimension.

    Raises
    ------
    QpsimError
        The parameters do not fit each other.
    """
    cell = {name: settings.get(name, default) for name, default in DEFAULTS.items()}
    cell |= {name: settings[name] for name in OPTIONAL if name in settings}
    _fitting(settings)
    if "data" in settings:
        return {n: v for n, v in _with_method(cell, settings).items() if n not in EXCLUDED["data"]}
    if "covariance" in settings:
        del cell["noise_std"]
    spectrum = cell["spectrum"]
    if isinstance(spectrum, list):
        if settings.get("dim", len(spectrum)) != len(spectrum):
            raise SpecError(
                f"dim = {settings['dim']} contradicts a spectrum of {len(spectrum)} eigenvalues; "
                "leave dim out."
            )
        cell["dim"] = len(spectrum)
    if spectrum in CONDITIONED:
        cell["condition"] = DEFAULT_CONDITION if cell["condition"] is None else cell["condition"]
    elif cell["condition"] is not None:
        raise SpecError(
            f"condition goes with the spectra {' and '.join(map(repr, CONDITIONED))}, "
            f"not with {spectrum!r}."
        )
    return _with_method(cell, settings)


def _fitting(settings: Mapping[str, Any]) -> None:
    """Raise SpecError for parameters that contradict each other."""
    for name, excluded in EXCLUDED.items():
        for other in excluded:
            if name in settings and other in settings:
                raise SpecError(f"{other} means nothing beside {name}; leave it out.")
    if settings.get("problem") == LEAST_SQUARES:
        for other in ("noise", "df"):
            if other in settings:
                raise SpecError(
                    f"{other} means nothing for least squares, whose noise follows from the data; leave it out."
                )
    if "order" in settings and "data" not in settings:
        raise SpecError("order is that of a table of data; give data, or leave it out.")


def _with_method(cell: dict[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """The cell with its method's hyper-parameters."""
    name = cell["method"]
    hyper = dict(name) if isinstance(name, dict) else {"name": name}
    for key, value in settings.items():
        if key.startswith(HYPER):
            if key[len(HYPER) :] in hyper:
                raise SpecError(f"{key} is given twice: by itself and in the method.")
            hyper[key[len(HYPER) :]] = value
    method = find_method(hyper.pop("name"), **hyper)
    cell["method"] = {"name": method.name, **method.hyper_parameters}
    return cell


def label(name: str, value: Any) -> str | float | int | bool | None:
    """A value as one entry of a table: a number, or text.

    Examples
    --------
    >>> from qpsim.sweep.parameters import label
    >>> label("method", {"name": "adam", "b1": 0.8, "b2": 0.999, "eps": 1e-08})
    'adam(b1=0.8)'
    """
    if name == "method":
        if isinstance(value, str):
            return value
        hyper = {key: item for key, item in value.items() if key != "name"}
        usual = find_method(value["name"]).hyper_parameters
        other = [f"{key}={item!r}" for key, item in hyper.items() if usual.get(key) != item]
        return f"{value['name']}({', '.join(other)})" if other else value["name"]
    if name in ARRAYS:
        return given.text(value)
    if name == "df":
        return float(value)
    if isinstance(value, list):
        return "[" + ", ".join(f"{item:g}" for item in value) + "]"
    return value


def _real(interval: str) -> Callable[[str, Any], float]:
    return lambda name, value: checks.number(name, value, SpecError, interval)


def _whole(low: int, high: int) -> Callable[[str, Any], int]:
    return lambda name, value: checks.count(name, value, SpecError, low, high)


def _choice(known: Iterable[str]) -> Callable[[str, Any], str]:
    return lambda name, value: checks.choice(name, value, known, SpecError)


def _spectrum(name: str, value: Any) -> str | list[float]:
    if isinstance(value, str):
        return _choice(SPECTRA)(name, value)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, (list, tuple)) or not value:
        raise SpecError(f"spectrum is a name or a list of eigenvalues, not {checks.shown(value)}.")
    return [checks.number("An eigenvalue", item, SpecError, "(0, inf)") for item in value]


def _condition(name: str, value: Any) -> float | None:
    return None if value is None else checks.number(name, value, SpecError, "[1, 1e15]")


def _degrees(name: str, value: Any) -> float | str:
    """Degrees of freedom; the text "inf", since JSON has no infinity, stands for a Gaussian."""
    if value is None or value == "inf" or (isinstance(value, float) and value == math.inf):
        return "inf"
    return checks.number(name, value, SpecError, "(0, inf)")


def _basis(name: str, value: Any) -> float:
    if isinstance(value, str):
        return float(BASES.index(_choice(BASES)(name, value)))
    return checks.number(name, value, SpecError, "[0, 1]")


def _method(name: str, value: Any) -> str | dict[str, Any]:
    if isinstance(value, str):
        return find_method(value).name
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        raise SpecError(
            'A method is a name, or a table such as { name = "adam", b1 = 0.8 }; '
            f"not {checks.shown(value)}."
        )
    hyper = {key: item for key, item in value.items() if key != "name"}
    method = find_method(value["name"], **hyper)
    return {"name": method.name, **{key: method.hyper_parameters[key] for key in hyper}}


def _step_size(name: str, value: Any) -> str | float:
    if isinstance(value, str):
        return _choice(POLICIES)(name, value)
    return checks.number(name, value, SpecError, "[0, inf)")


_CHECKS: dict[str, Callable[[str, Any], Value]] = {
    "spectrum": _spectrum,
    "condition": _condition,
    "dim": _whole(1, 1_000_000),
    "scale": _real("[0, inf)"),
    "basis": _basis,
    "rng": _whole(0, 2**63 - 1),
    "noise_std": _real("[0, inf)"),
    "noise": _choice(NOISES),
    "df": _degrees,
    "problem": _choice(PROBLEMS),
    "covariance": given.packed,
    "data": given.packed,
    "order": _choice(ORDERS),
    "batch_size": _whole(1, 2**31),
    "n_replicates": _whole(1, 10_000_000),
    "n_steps": _whole(1, 10_000_000),
    "method": _method,
    "step_size": _step_size,
    "record": _choice(RECORDS),
}
