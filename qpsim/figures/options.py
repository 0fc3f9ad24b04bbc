"""What a figure may be asked for: one frozen dataclass a figure, checked before any work starts.

A figure declares ``class Options(BaseOptions)`` with :func:`option` fields; the names are those of
the command line and of the data file's header.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeVar

from qpsim.errors import FigureError, nearest

# Beyond any memory; it keeps a mistyped number from overflowing where it is first used.
_LARGEST_COUNT = 10**9

T = TypeVar("T", bound="BaseOptions")


def option(default: Any, help: str, *, at_least: float | None = None) -> Any:
    """A field of an Options class: its default also says its type, a tuple one of several numbers."""
    return field(default=default, metadata={"help": help, "at_least": at_least})


@dataclass(frozen=True)
class BaseOptions:
    """Checks every field against the type of its default and its lower limit.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from qpsim.figures.options import BaseOptions, option
    >>> @dataclass(frozen=True)
    ... class Options(BaseOptions):
    ...     steps: int = option(100, "number of steps", at_least=1)
    >>> Options.given("Figure 2", {"stesp": 3})
    Traceback (most recent call last):
    ...
    qpsim.errors.FigureError: Figure 2 has no option 'stesp'; did you mean 'steps'?
    >>> Options(steps=0)
    Traceback (most recent call last):
    ...
    qpsim.errors.FigureError: steps must be a whole number of at least 1, not 0.
    """

    def __post_init__(self) -> None:
        for item in fields(self):
            value = _checked(item.name, getattr(self, item.name), item.default, item.metadata)
            object.__setattr__(self, item.name, value)

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Names of the options."""
        return tuple(item.name for item in fields(cls))

    @classmethod
    def given(cls: type[T], owner: str, values: Mapping[str, Any]) -> T:
        """Options with these values and defaults for the rest.

        Raises
        ------
        FigureError
            An unknown name, a value of the wrong type or below its limit.
        """
        for name in values:
            if name not in cls.names():
                known = nearest(name, cls.names()) if cls.names() else "it has none."
                raise FigureError(f"{owner} has no option {name!r}; {known}")
        return cls(**values)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def _checked(name: str, value: Any, default: Any, metadata: Mapping[str, Any]) -> Any:
    if isinstance(default, tuple):
        if isinstance(value, str) or not hasattr(value, "__iter__") or not list(value):
            raise FigureError(f"{name} must be a list of values, not {value!r}.")
        return tuple(_checked(name, item, default[0], metadata) for item in value)
    at_least = metadata.get("at_least")
    limit = "" if at_least is None else f" of at least {at_least:g}"
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        raise FigureError(f"{name} must be true or false, not {value!r}.")
    if isinstance(default, str):
        if isinstance(value, str):
            return value
        raise FigureError(f"{name} must be a text, not {value!r}.")
    kind = "a whole number" if isinstance(default, int) else "a finite number"
    try:
        number = float("nan") if isinstance(value, (bool, str)) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    fits = math.isfinite(number) and (at_least is None or number >= at_least)
    if not fits or (isinstance(default, int) and number != int(number)):
        raise FigureError(f"{name} must be {kind}{limit}, not {value!r}.")
    if isinstance(default, int) and name != "seed" and number > _LARGEST_COUNT:
        raise FigureError(f"{name} must be at most {_LARGEST_COUNT}, not {value!r}.")
    # A whole number keeps all its digits: a seed may be larger than floats can tell apart.
    return int(value) if isinstance(default, int) else number
