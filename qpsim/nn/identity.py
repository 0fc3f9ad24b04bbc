"""Describes everything that a run's numbers depend on as JSON values: settings, arrays, and a user's code.

A checkpoint or a cached result may be used only by a run that would give the same numbers. A name is not enough: a
transform may contain an array, a loss may read a constant of its module. :func:`describe` follows such references. Code
of the standard library and of installed packages is identified by its name and version; all other code by its bytecode,
since its file may have changed after it was loaded. For a function that reads a file or evaluates text the description
is not complete (:func:`is_complete`), and such runs are not cached.
"""

from __future__ import annotations

import dis
import functools
import hashlib
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

__all__ = ["describe", "digest", "is_complete", "source_digest"]

_INSTALLED = ("site-packages", "dist-packages")
# Built-in functions whose results depend on more than their arguments.
_OPEN_ENDED = {"open", "eval", "exec", "input", "__import__", "globals"}
# Largest depth of attributes of packages that are followed, as in package.part.module.constant.
_DEEPEST = 5
_UNKNOWN = "(depends on what is not recorded)"
# Methods that @dataclass generates; they need not be described.
_GENERATED = {
    *(f"__{name}__" for name in ("init", "repr", "eq", "hash", "lt", "le", "gt", "ge")),
    *(f"__{name}__" for name in ("setattr", "delattr", "replace", "getstate", "setstate")),
}


def describe(value: Any) -> Any:
    """A value as JSON values, which are equal for values that give equal numbers.

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


def is_complete(description: Any) -> bool:
    """Whether a description made by :func:`describe` is complete.

    Examples
    --------
    >>> def from_file(x):
    ...     return float(open("number.txt").read()) * x
    >>> is_complete(describe(from_file)), is_complete(describe(is_complete))
    (False, True)
    """
    return _UNKNOWN not in json.dumps(description)


def source_digest(function: types.FunctionType) -> str:
    """Hash of a function's code and of the user's code and values to which it refers.

    Examples
    --------
    >>> import qpsim
    >>> len(source_digest(qpsim.method("adam").rule.function))
    16
    """
    return digest(_used(function, ()))


def _described(value: Any, above: tuple[int, ...]) -> Any:
    """``above`` are the ids of the containing objects, by which cycles are recognised."""
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
    if isinstance(value, (list, tuple, set, frozenset, Mapping)):
        return _container(value, above)
    if isinstance(value, functools.partial):
        return {
            "function": _described(value.func, above),
            "arguments": [_described(list(value.args), above), _described(value.keywords, above)],
        }
    if isinstance(value, types.MethodType):
        return {"method": value.__name__, "of": _described(value.__self__, above)}
    if isinstance(value, types.ModuleType):
        return value.__name__ + _version(value.__name__)
    if isinstance(value, type):
        return _class(value, above)
    python = getattr(value, "py_func", value)  # a function compiled by numba
    if isinstance(value, functools._lru_cache_wrapper):
        python = value.__wrapped__
    if isinstance(python, types.FunctionType):
        return _function(python, above)
    if isinstance(value, (types.BuiltinFunctionType, np.ufunc)):
        return _name(value)
    return _object(value, above)


def _digested(parts: Any) -> dict[str, str]:
    found = {"source": digest(parts)}
    return found if is_complete(parts) else {**found, "reads": _UNKNOWN}


def _container(value: Any, above: tuple[int, ...]) -> Any:
    content: Any
    if isinstance(value, Mapping):
        content = {_key(key): _described(item, above) for key, item in value.items()}
    elif isinstance(value, (set, frozenset)):
        content = sorted(json.dumps(_described(item, above)) for item in value)
    else:
        content = [_described(item, above) for item in value]
    if not getattr(value, "__dict__", None):
        return content
    # A subclass may have attributes besides its items.
    more = {name: _described(item, above) for name, item in vars(value).items()}
    return {"class": _class(type(value), above), "content": content, **more}


def _key(key: Any) -> str:
    return key if isinstance(key, str) else f"({type(key).__name__}) {key!r}"


def _function(function: types.FunctionType, above: tuple[int, ...]) -> Any:
    # A function made by exec may have the module name "builtins", which has no Python functions.
    if function.__module__ not in (None, "builtins") and _is_library(function.__module__):
        return _name(function)
    return {"function": _name(function), **_digested(_used(function, above))}


def _used(function: types.FunctionType, above: tuple[int, ...]) -> dict[str, Any]:
    return {
        "source": _code_text(function.__code__),
        "defaults": _described([function.__defaults__, function.__kwdefaults__], above),
        "closure": [_described(_cell(cell), above) for cell in function.__closure__ or ()],
        "globals": {name: _described(item, above) for name, item in sorted(_globals(function))},
    }


def _class(kind: type, above: tuple[int, ...]) -> Any:
    """A class by its name, and a user's class also by its content."""
    own = [base for base in kind.__mro__ if not _is_library(base.__module__)]
    if not own:
        return _name(kind)
    if id(kind) in above[:-1]:
        return "(contains itself)"
    above = (*above, id(kind))
    parts = [[_name(base), {k: _described(v, above) for k, v in _contents(base)}] for base in own]
    return {"class": _name(kind), **_digested(parts)}


def _contents(kind: type) -> Iterator[tuple[str, Any]]:
    """The content of a class: its methods, and the values of its attributes."""
    for name, item in sorted(vars(kind).items()):
        if isinstance(item, (staticmethod, classmethod)):
            item = item.__func__
        if isinstance(item, property):
            item = [item.fget, item.fset]
        if name.startswith("__") and not isinstance(item, types.FunctionType):
            continue
        if is_dataclass(kind) and name in _GENERATED and _is_generated(item):
            continue
        if not isinstance(item, (types.MemberDescriptorType, types.GetSetDescriptorType)):
            yield name, item


def _object(value: Any, above: tuple[int, ...]) -> Any:
    kind = type(value)
    if is_dataclass(value):
        held = {field.name: getattr(value, field.name) for field in fields(value)}
        held |= getattr(value, "__dict__", {})
    elif hasattr(value, "__dict__") and (_is_ours(kind) or not _is_library(kind.__module__)):
        held = dict(vars(value))
    else:
        held = None
    if held is None:
        try:
            content = _hash(pickle.dumps(value, protocol=4))
            return {"kind": _class(kind, above), "hash": content}
        except Exception:  # objects of other packages may raise anything
            raise TrainingError(
                f"A run cannot depend on {value!r:.60}: objects of type {_name(kind)} cannot be "
                "recorded."
            ) from None
    found = {"kind": kind.__name__ if _is_ours(kind) else _class(kind, above)}
    return {**found, **{str(key): _described(item, above) for key, item in held.items()}}


def _globals(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    """The global variables that a function reads, and attributes of a user's modules among them.

    A module may be a global variable too, or be imported by the function itself.
    """
    names: set[str] = set()
    modules: dict[str, types.ModuleType] = {}
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        names.update(code.co_names)
        codes += [item for item in code.co_consts if isinstance(item, types.CodeType)]
        for step in dis.get_instructions(code):
            if step.opname == "IMPORT_NAME" and step.argval in sys.modules:
                modules[step.argval] = sys.modules[step.argval]
    for name in names & function.__globals__.keys():
        item = function.__globals__[name]
        if isinstance(item, types.ModuleType):
            modules[name] = item
        else:
            yield name, item
    for name in names & _OPEN_ENDED - function.__globals__.keys():
        yield name, _UNKNOWN
    waiting = list(modules.items())
    while waiting:
        path, module = waiting.pop()
        yield path, module
        if _is_library(module.__name__):
            continue
        for attribute in names & vars(module).keys():
            item = vars(module)[attribute]
            if not isinstance(item, types.ModuleType):
                yield f"{path}.{attribute}", item
            elif path.count(".") < _DEEPEST:
                waiting.append((f"{path}.{attribute}", item))


def _cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not assigned yet
        return None


def _name(item: Any) -> str:
    name = getattr(item, "__qualname__", None) or getattr(item, "__name__", repr(item))
    # A ufunc of NumPy 1 has no module; its type has one.
    module = getattr(item, "__module__", None) or type(item).__module__
    return f"{module}.{name}{_version(module)}"


@functools.cache
def _version(module: str) -> str:
    """The version of the installed package that a module belongs to, which identifies its code."""
    root = module.partition(".")[0]
    if root == "qpsim" or root in sys.stdlib_module_names or not _is_library(module):
        return ""
    return f" {getattr(sys.modules.get(root), '__version__', '')}".rstrip()


def _is_generated(item: Any) -> bool:
    return isinstance(item, types.FunctionType) and item.__code__.co_filename == "<string>"


def _code_text(code: types.CodeType) -> str:
    # The order of a set differs between processes.
    constants = [
        _code_text(c)
        if isinstance(c, types.CodeType)
        else repr(sorted(map(repr, c)) if isinstance(c, frozenset) else c)
        for c in code.co_consts
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
