"""Names of a package that are imported when they are first used, so that its import stays cheap."""

import sys
from collections.abc import Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


def import_completely(module: str) -> ModuleType:
    """Import a module to its end: Ctrl-C takes effect after it.

    An interrupt within the import of NumPy or matplotlib makes them unusable in this process, and these come with our
    modules.

    Examples
    --------
    >>> from qpsim.lazy import import_completely
    >>> import_completely("qpsim.errors").__name__
    'qpsim.errors'
    """
    # Imported here to keep the import of qpsim itself cheap.
    from qpsim.execution.interrupts import deferred

    with deferred():
        return import_module(module)


def public_name(package: str, modules: Mapping[str, str], name: str) -> Any:
    """A public name of a package, for the package's own ``__getattr__``.

    Parameters
    ----------
    package : str
        The package's ``__name__``. The value is stored in the package, so that it is looked up
        once.
    modules : mapping of str to str
        For each public name the module that defines it.
    name : str

    Raises
    ------
    AttributeError
        There is no such name.

    Examples
    --------
    >>> from qpsim.lazy import public_name
    >>> public_name("qpsim", {"QpsimError": "qpsim.errors"}, "QpsimError").__name__
    'QpsimError'
    """
    if name not in modules:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    value = getattr(import_completely(modules[name]), name)
    setattr(sys.modules[package], name, value)
    return value
