"""The keys of an experiment file, with a check of the value for each."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import Any

from qpsim import checks
from qpsim.errors import SpecError, nearest
from qpsim.simulation.plan import RECORDS

# Takes a key's full name and its value. Returns the checked value, or raises SpecError.
Check = Callable[[str, Any], Any]

# Most bytes of a label in a file name; systems allow 255, including endings such as .checkpoint.
_LONGEST_NAME = 200


def table(path: str, value: Any, known: Mapping[str, Check]) -> dict[str, Any]:
    """A table whose every key is known, with checked values; ``path`` is its name in the file."""
    mapping(path, value)
    prefix = f"{path}." if path else ""
    checked = {}
    for key, item in value.items():
        if key not in known and path and key in TOP:
            # TOML counts what follows a [table] to it.
            raise SpecError(
                f"'{key}' is no key of [{path}]; put it above the file's first [table]."
            )
        if key not in known:
            raise SpecError(f"Unknown key '{prefix}{key}'; {nearest(str(key), known)}")
        checked[key] = known[key](f"{prefix}{key}", item)
    return checked


def mapping(path: str, value: Any) -> Mapping[str, Any]:
    """A table, with any keys."""
    if not isinstance(value, Mapping):
        raise SpecError(f"{path} must be a table of keys and values, not {checks.shown(value)}.")
    return value


def _text(path: str, value: Any) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise SpecError(f"{path} must be a text, not {checks.shown(value)}.")
    return value


def label(path: str, value: Any) -> str:
    """A label, which is shown in tables and names a file."""
    text = _text(path, value)
    if not text.isprintable():
        raise SpecError(f"{path} must be one line of printable text, not {checks.shown(text)}.")
    length = len(os.fsencode(file_name(text)))
    if length > _LONGEST_NAME:
        raise SpecError(
            f"{path} names a file, for which its {length} bytes are too long; at most "
            f"{_LONGEST_NAME} are possible."
        )
    return text


def file_name(label: str) -> str:
    """A label as a file name on any system.

    >>> file_name("adam* (fast)")
    'adam_fast'
    """
    name = re.sub(r"[^\w.-]+", "_", label).strip("._") or "method"
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        # This system's names of files do not hold these letters; each becomes its number.
        name = name.encode("ascii", "backslashreplace").decode().replace("\\", "_")
    return name


def _count(path: str, value: Any) -> int:
    return checks.count(path, value, SpecError)


def _rng(path: str, value: Any) -> int:
    return checks.count(path, value, SpecError, low=0, high=None)


def _number(path: str, value: Any) -> float:
    return checks.number(path, value, SpecError, "[0, inf)")


def _boolean(path: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise SpecError(f"{path} must be true or false, not {checks.shown(value)}.")
    return value


def _basis(path: str, value: Any) -> str | float:
    return value if isinstance(value, str) else _number(path, value)


def _values(path: str, value: Any) -> Any:
    if isinstance(value, str):
        return _text(path, value)
    if isinstance(value, list) and value:
        return value
    raise SpecError(f"{path} must be a text or an array of numbers, not {checks.shown(value)}.")


def _spectrum(path: str, value: Any) -> Any:
    given = _values(path, value)
    return given if isinstance(given, str) else [_number(path, item) for item in given]


def step_size(path: str, value: Any) -> Any:
    """A policy's name, a number, or one number a step; the plan checks the name and the length."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return [_number(path, item) for item in value]
    return _number(path, value)


def _methods(path: str, value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        raise SpecError(f"{path} must be a non-empty array of methods, not {checks.shown(value)}.")
    return value


def _record(path: str, value: Any) -> Any:
    wanted = value if isinstance(value, Mapping) else None
    names = list(value) if isinstance(value, (list, Mapping)) else None
    if names is None or not all(isinstance(name, str) for name in names):
        raise SpecError(f"{path} must be an array of names or a table, not {checks.shown(value)}.")
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
    return table(path, value, PROBLEM)


PROBLEM: dict[str, Check] = {
    "hessian": _values,
    "array": _text,
    "spectrum": _spectrum,
    "condition": _number,
    "dim": _count,
    "basis": _basis,
    "noise_std": _number,
    "noise": mapping,
    "covariance": _values,
    "label_noise_std": _number,
    "data": _values,
    "labels": _values,
    "order": _text,
    "drop_last": _boolean,
    "scale": _number,
    "optimum": _values,
    "theta0": _values,
}
# Keys of a method; all others are hyper-parameters.
METHOD = ("name", "label", "step_size")
TOP: dict[str, Check] = {
    "problem": _any_table,
    "noise": mapping,
    "methods": _methods,
    "step_size": step_size,
    "n_steps": _count,
    "n_replicates": _count,
    "rng": _rng,
    "workers": _count,
    "batch_size": _count,
    "dtype": _text,
    "record": _record,
    "out": _text,
}
