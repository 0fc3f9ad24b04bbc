"""What a run's numbers depend on, as plain JSON values: settings, arrays, and a user's own code.

A checkpoint or a cached result may be used again only by a run that would give the same numbers. A
name is not enough to tell: a transform may hold an array, a loss may read a constant of its module.
:func:`describe` follows such references. Code of the standard library and of installed packages is
known by its name; everything else by its source text.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import math
import pickle
import sys
import types
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qpsim.errors import TrainingError

__all__ = ["describe", "digest", "source_digest"]

_INSTALLED = ("site-packages", "dist-packages")


def describe(value: Any) -> Any:
    """A value as plain JSON values, equal for values that lead to equal numbers.

    Numbers, texts, lists and tables stay what they are; an array becomes its hash; a function its
    name and a hash of its source, of the global variables and closures that it reads and of the
    functions that it calls; any other object its class and its attributes.

    Raises
    ------
    TrainingError
        An object that cannot be described, such as an open file.

    Examples
    --------
    >>> from qpsim.nn.data import PixelNoise
    >>> describe(PixelNoise(0.5))
    {'kind': 'PixelNoise', 'std': 0.5}
    >>> describe((1, np.float32(0.5), "text"))
    [1, 0.5, 'text']
    """
    return _described(value, ())


def digest(value: Any) -> str:
    """Hash of plain JSON values, 16 hexadecimal digits.

    Examples
    --------
    >>> digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def source_digest(function: types.FunctionType) -> str:
    """Hash of a function's source, and of the user's code and values that it reads.

    Examples
    --------
    >>> import qpsim
    >>> len(source_digest(qpsim.method("adam").rule.function))
    16
    """
    return digest(_used(function, ()))


def _described(value: Any, above: tuple[int, ...]) -> Any:
    """``above`` are the ids of the objects that lead here, so that a cycle ends."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, (np.generic, bytes, complex)):
        plain = value.item() if isinstance(value, np.generic) else value
        return (
            _described(plain, above) if isinstance(plain, (bool, int, float, str)) else repr(plain)
        )
    if id(value) in above:
        return "(contains itself)"
    above = (*above, id(value))
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        content = np.ascontiguousarray(value).tobytes()
        return {"array": list(value.shape), "dtype": str(value.dtype), "hash": _hash(content)}
    if isinstance(value, (list, tuple)):
        return [_described(item, above) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(json.dumps(_described(item, above)) for item in value)
    if isinstance(value, Mapping):
        return {str(key): _described(item, above) for key, item in value.items()}
    if isinstance(value, functools.partial):
        return {
            "function": _described(value.func, above),
            "arguments": [_described(list(value.args), above), _described(value.keywords, above)],
        }
    if isinstance(value, types.MethodType):
        return {"method": value.__name__, "of": _described(value.__self__, above)}
    if isinstance(value, types.ModuleType):
        return value.__name__
    if isinstance(value, type):
        return _class(value, above)
    python = getattr(value, "py_func", value)  # what numba has compiled
    if isinstance(python, types.FunctionType):
        return _function(python, above)
    if isinstance(value, (types.BuiltinFunctionType, np.ufunc)):
        return _name(value)
    return _object(value, above)


def _function(function: types.FunctionType, above: tuple[int, ...]) -> Any:
    # What exec makes without a module has the builtins' name, in which nothing is written in Python.
    if function.__module__ not in (None, "builtins") and _is_library(function.__module__):
        return _name(function)
    return {"function": _name(function), "source": digest(_used(function, above))}


def _used(function: types.FunctionType, above: tuple[int, ...]) -> dict[str, Any]:
    return {
        "source": _source(function),
        "defaults": _described([function.__defaults__, function.__kwdefaults__], above),
        "closure": [_described(_cell(cell), above) for cell in function.__closure__ or ()],
        "globals": {name: _described(item, above) for name, item in sorted(_globals(function))},
    }


def _class(kind: type, above: tuple[int, ...]) -> Any:
    """A class by name, and by source where it is a user's; its methods count as functions do."""
    own = [base for base in kind.__mro__ if not _is_library(base.__module__)]
    if not own:
        return _name(kind)
    parts = [[_source(base), {k: _described(v, above) for k, v in _contents(base)}] for base in own]
    return {"class": _name(kind), "source": digest(parts)}


def _contents(kind: type) -> Iterator[tuple[str, Any]]:
    """What a class defines that its source text alone may not tell: methods, and values."""
    for name, item in sorted(vars(kind).items()):
        if isinstance(item, (staticmethod, classmethod)):
            item = item.__func__
        if isinstance(item, property):
            item = [item.fget, item.fset]
        if name.startswith("__") and not isinstance(item, types.FunctionType):
            continue
        if isinstance(item, types.FunctionType) and not _has_source(item):
            continue  # made by @dataclass and the like, from what is seen already
        if not isinstance(item, (types.MemberDescriptorType, types.GetSetDescriptorType)):
            yield name, item


def _object(value: Any, above: tuple[int, ...]) -> Any:
    kind = type(value)
    if is_dataclass(value):
        held = {field.name: getattr(value, field.name) for field in fields(value)}
    elif hasattr(value, "__dict__") and (_is_ours(kind) or not _is_library(kind.__module__)):
        held = dict(vars(value))
    else:
        held = None
    if held is None:
        try:
            return {"kind": _name(kind), "hash": _hash(pickle.dumps(value, protocol=4))}
        except Exception:  # whatever a foreign object raises
            raise TrainingError(
                f"A run cannot depend on {value!r:.60}: objects of type {_name(kind)} cannot be "
                "recorded."
            ) from None
    found = {"kind": kind.__name__ if _is_ours(kind) else _class(kind, above)}
    return {**found, **{str(key): _described(item, above) for key, item in held.items()}}


def _globals(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """The global variables that a function reads, and attributes of a user's modules among them."""
    names: set[str] = set()
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [item for item in code.co_consts if isinstance(item, types.CodeType)]
    for name in names & function.__globals__.keys():
        item = function.__globals__[name]
        if isinstance(item, types.ModuleType) and not _is_library(item.__name__):
            for attribute in names & vars(item).keys():
                yield f"{name}.{attribute}", vars(item)[attribute]
        yield name, item


def _cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _name(item: Any) -> str:
    name = getattr(item, "__qualname__", None) or getattr(item, "__name__", repr(item))
    return f"{getattr(item, '__module__', None) or 'builtins'}.{name}"


def _source(item: Any) -> str:
    code = getattr(item, "__code__", None)
    try:
        text = inspect.getsource(item)
    except (OSError, TypeError):  # typed at a prompt: the compiled code tells as much
        return "" if code is None else _code_text(code)
    # The source of a lambda is its whole line, on which there may be others.
    is_lambda = code is not None and item.__name__ == "<lambda>"
    return text + _code_text(code) if is_lambda and code is not None else text


def _has_source(function: types.FunctionType) -> bool:
    return Path(
        function.__code__.co_filename
    ).exists() or not function.__code__.co_filename.startswith("<string")


def _code_text(code: types.CodeType) -> str:
    constants = [
        _code_text(c) if isinstance(c, types.CodeType) else repr(c) for c in code.co_consts
    ]
    return repr((code.co_code, code.co_names, code.co_varnames, constants))


def _is_ours(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "qpsim"


def _hash(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


@functools.cache
def _is_library(module: str | None) -> bool:
    """Whether a module belongs to Python, to an installed package or to qpsim."""
    root = (module or "builtins").partition(".")[0]
    if root in ("__main__", "__mp_main__"):
        return False
    if root in sys.stdlib_module_names or root == "qpsim":
        return True
    file = getattr(sys.modules.get(module or ""), "__file__", None)
    return file is not None and any(part in _INSTALLED for part in Path(file).parts)
