"""The package's own methods by name."""

from __future__ import annotations

from typing import Any

from qpsim.errors import MethodError, nearest
from qpsim.methods.method import Method, Rule

_REGISTRY: dict[str, Rule] = {}


def add(rule: Rule) -> None:
    """Add a rule of the package to the registry."""
    _REGISTRY[rule.name] = rule


def method(name: str | Method | Rule, **hyper: Any) -> Method:
    """A method from the registry, with hyper-parameters.

    Parameters
    ----------
    name : str
        Registry name, for instance "sgd", "ssd", "svag" or "adam".
    **hyper
        Hyper-parameters by name; what is not given keeps its default.

    Raises
    ------
    MethodError
        Unknown name or hyper-parameter (the nearest known one is offered), or a value out of range.

    Examples
    --------
    >>> import qpsim
    >>> qpsim.method("adam")
    adam(b1=0.9, b2=0.999, eps=1e-08)
    """
    if isinstance(name, Method):
        if hyper:
            raise MethodError(f"{name!r} has its hyper-parameters already; give a name instead.")
        return name
    if isinstance(name, Rule):
        return name(**hyper)
    if not isinstance(name, str):
        raise MethodError(f"A method is a name or a rule, not {type(name).__name__}.")
    if name not in _REGISTRY:
        raise MethodError(f"Unknown method {name!r}; {nearest(name, _REGISTRY)}")
    return _REGISTRY[name](**hyper)


def method_names() -> tuple[str, ...]:
    """Names of all methods in the registry."""
    return tuple(_REGISTRY)
