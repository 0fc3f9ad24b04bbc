"""The class ``Variant``: a rule that implementations use in place of a method. Also the list of all variants."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple


class Variant(NamedTuple):
    """A rule that differs from a method: ``text`` says how, after the method's name."""

    methods: tuple[str, ...]
    text: str
    function: Callable[..., Any]

    @property
    def state_names(self) -> list[str]:
        """Names of its state."""
        plain = [p.name for p in self._parameters if p.default is p.empty]
        return plain[1:-1]

    def hyper(self, given: dict[str, Any]) -> dict[str, Any]:
        """Its hyper-parameters: those of the method where it has them, else its own defaults."""
        own = {p.name: p.default for p in self._parameters if p.default is not p.empty}
        return {name: given.get(name, value) for name, value in own.items()}

    @property
    def _parameters(self) -> list[inspect.Parameter]:
        return list(inspect.signature(self.function).parameters.values())


ENTERED: list[Variant] = []


def variant(methods: str, text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a rule as a variant of these methods, whose names stand between spaces."""

    def entered(function: Callable[..., Any]) -> Callable[..., Any]:
        ENTERED.append(Variant(tuple(methods.split()), text, function))
        return function

    return entered


def over(a: float, b: float) -> float:
    """a / b; 0 unless b is above 0."""
    return a / b if b > 0.0 else 0.0
