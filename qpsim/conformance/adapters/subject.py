"""The interface of an optimizer that the check uses, for every library."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from qpsim import checks
from qpsim.errors import ConformanceError

Values = list[np.ndarray]


class InPlaceSurprise(Exception):
    """An optimizer has changed an input in place; the text says which."""


class Run(ABC):
    """One optimizer at work on some tensors of its own."""

    #: What the optimizer says of itself; None if it says nothing.
    learning_rate: float | None = None

    @abstractmethod
    def step(self, gradients: Sequence[np.ndarray | None]) -> None:
        """One step; a tensor whose gradient is None has none."""

    @abstractmethod
    def values(self) -> Values:
        """The parameters, as copies in float64."""

    def follow(self, gradients: Sequence[Sequence[np.ndarray]]) -> list[Values]:
        """The parameters after each of many steps."""
        out = []
        for row in gradients:
            self.step(row)
            out.append(self.values())
        return out

    def saved(self) -> Any:
        """The state, as it would be written to a file."""
        raise NotImplementedError

    def restored(self, saved: Any) -> Run:
        """A new optimizer with the present parameters and a saved state."""
        raise NotImplementedError

    def originals_are_untouched(self) -> bool:
        """Whether the tensors from which the parameters were copied are as they were."""
        return True


class Subject(ABC):
    """An optimizer that can be started on any parameters."""

    #: What it is, for the report.
    kind: str
    #: Types of numbers that it can work in, the most precise first.
    dtypes: tuple[str, ...] = ("float64", "float32", "float16")
    #: What it can be asked for; names of :mod:`qpsim.conformance.streams`.
    abilities: frozenset[str] = frozenset()
    #: Why it cannot be asked for the rest: a reason for each ability and each type that it lacks.
    reasons: Mapping[str, str] = {}

    @abstractmethod
    def start(
        self,
        values: Sequence[np.ndarray],
        dtype: str,
        layout: str = "plain",
        frozen: Sequence[int] = (),
    ) -> Run:
        """Begin on these parameters.

        ``layout`` is "plain", "layouts" (tensors that are not contiguous), "groups" (each tensor a
        group of its own) or "clone". ``frozen`` are the numbers of the tensors that never have a gradient.
        """


def real(array: Any, what: str) -> np.ndarray:
    """An array in float64; complex numbers are refused."""
    if getattr(getattr(array, "dtype", None), "kind", "") == "c":
        raise ConformanceError(
            f"{what} complex numbers, but a rule is one of real numbers: give real parameters."
        )
    return np.array(checks.numbers("What an optimizer returns", array, ConformanceError))


def plain_number(value: Any) -> float | None:
    """A learning rate as a number, where it is one."""
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        return None
    return number if math.isfinite(number) else None
