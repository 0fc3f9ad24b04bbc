"""The facts of an update rule, and how they are found from the class of its hyper-parameters.

A kernel is compiled for one type of hyper-parameters, a NamedTuple class of its own for each rule.
From this class :func:`declaration_of` finds the rule's facts.
"""

from __future__ import annotations

import sys
from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

CLOSED_FORMS = ("linear", "sign", "two-valued")


@dataclass(frozen=True, eq=False)
class Declaration:
    """What the ``@rule`` decorator reads off a scalar update rule.

    Attributes
    ----------
    name : str
        Registry name.
    function : callable
        The scalar update rule, as plain Python.
    state_names : tuple of str
        Names of the state's arrays, in the order of the signature.
    observes : None, "relative_variance" or "variance_estimate"
        What the rule sees besides the gradient.
    hyper_class : NamedTuple class
        One field for each hyper-parameter, with its default.
    closed_form, offset, equivariant, breakpoint, closed_form_at_first_step
        See :func:`qpsim.rule`.
    ranges : mapping of str to (low, high, text)
        Admissible half-open intervals of the hyper-parameters.
    ordered : tuple of (str, str)
        Pairs of hyper-parameters of which the first must not be larger than the second.
    module, attribute : str
        Where the rule can be imported from.
    """

    name: str
    function: Callable[..., Any]
    state_names: tuple[str, ...]
    observes: str | None
    hyper_class: type[tuple]
    closed_form: str | None
    offset: Callable[..., float] | None
    equivariant: bool
    breakpoint: Callable[..., float] | None
    closed_form_at_first_step: str | None
    ranges: Mapping[str, tuple[float, float, str]]
    ordered: tuple[tuple[str, str], ...]
    module: str
    attribute: str

    @property
    def defaults(self) -> dict[str, Any]:
        """Hyper-parameters and their defaults, in the order of the signature."""
        return dict(self.hyper_class._field_defaults)  # type: ignore[attr-defined]

    @property
    def is_builtin(self) -> bool:
        """Whether the rule is part of the package, so that it need not be tested before its first use."""
        return self.module.startswith("qpsim.")


_BY_CLASS: dict[type, Declaration] = {}


def register(declaration: Declaration) -> None:
    """Make the declaration known under its class of hyper-parameters."""
    _BY_CLASS[declaration.hyper_class] = declaration


def declaration_of(hyper_class: type) -> Declaration:
    """The declaration that a class of hyper-parameters belongs to."""
    return _BY_CLASS[hyper_class]


def declarations() -> list[Declaration]:
    """All rules that are known to this process, the latest last."""
    return list(_BY_CLASS.values())


def new_hyper_class(function: Callable[..., Any], defaults: Mapping[str, Any]) -> type[tuple]:
    """A new NamedTuple class for the hyper-parameters of one rule; its name is unique."""
    name = "".join(part.capitalize() for part in function.__name__.split("_")) + "Hyper"
    module = str(function.__module__)
    ours = module.startswith("qpsim.")
    if not ours:
        # numba distinguishes named tuples only by their names and fields, not by their modules. Without a unique name,
        # a rule that was edited, or that has the name of a rule of the package, would run the machine code of the other
        # one.
        name += f"_{len(_BY_CLASS)}"
    make: Any = namedtuple
    made: type[tuple] = make(name, list(defaults), defaults=defaults.values(), module=module)
    if ours:
        # Machine code is cached under the class's importable name, so it must be found there.
        setattr(sys.modules[module], name, made)
    return made
