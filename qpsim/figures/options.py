"""Options of figures: one frozen dataclass for each figure, checked before any work starts.

A figure declares ``class Options(BaseOptions)`` with :func:`option` fields; their names are those of
the command line and of the data file's header.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from numbers import Integral
from typing import Any, TypeVar

from qpsim import checks
from qpsim.errors import FigureError, RenamedWarning, nearest

# Names of earlier versions. "problems" was a number and is now a list in some figures.
_FORMER = {
    **checks.RENAMED,
    "problems": "n_draws",
    "noise": "noise_std",
    "batch": "batch_size",
}

T = TypeVar("T", bound="BaseOptions")


def option(
    default: Any,
    help: str,
    *,
    at_least: float | None = None,
    text: Callable[[Any], str] | None = None,
) -> Any:
    """A field of an Options class.

    Parameters
    ----------
    default : bool, int, float, str or a tuple of these
        Also says the type. For a tuple the option is a list of such values. A single value stands
        for a list of one, and the other way round.
    help : str
    at_least : float, optional
        Lower limit of a number.
    text : callable, optional
        For a list that may also hold objects of Python, as problems and methods: how one is named
        in the data file.
    """
    return field(default=default, metadata={"help": help, "at_least": at_least, "text": text})


@dataclass(frozen=True)
class BaseOptions:
    """Checks every field against the type of its default and its lower limit.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> from qpsim.figures.options import BaseOptions, option
    >>> @dataclass(frozen=True)
    ... class Options(BaseOptions):
    ...     n_steps: int = option(100, "number of steps", at_least=1)
    >>> Options.given("Figure 2", {"n_stesp": 3})
    Traceback (most recent call last):
    ...
    qpsim.errors.FigureError: Figure 2 has no option 'n_stesp'; did you mean 'n_steps'?
    >>> Options(n_steps=0)
    Traceback (most recent call last):
    ...
    qpsim.errors.FigureError: n_steps must be a whole number of at least 1, not 0.
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
    def given(cls: type[T], owner: str, values: Mapping[str, Any], *, stored: bool = False) -> T:
        """Options with these values and defaults for the rest.

        Names of earlier versions are understood. A warning says what they are called now, unless
        the values are ``stored``: read from a file.

        Raises
        ------
        FigureError
            An unknown name, a value of the wrong type or below its limit.
        """
        known = cls.names()
        found = {}
        for name, value in values.items():
            now = _present_name(name, value, known)
            if now not in known:
                others = nearest(name, known) if known else "it has none."
                raise FigureError(f"{owner} has no option {name!r}; {others}")
            if now != name and not stored:
                warnings.warn(f"{name} is called {now} now.", RenamedWarning, stacklevel=3)
            found[now] = value
        return cls(**found)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {item.name: _plain(getattr(self, item.name), item.metadata) for item in fields(self)}


def _present_name(name: str, value: Any, known: tuple[str, ...]) -> str:
    now = _FORMER.get(name, name)
    is_former = name not in known or (name == "problems" and isinstance(value, Integral))
    return now if now in known and is_former else name


def _plain(value: Any, metadata: Mapping[str, Any]) -> Any:
    if isinstance(value, tuple):
        return [_plain(item, metadata) for item in value]
    text = metadata.get("text")
    return value if text is None else text(value)


def _checked(name: str, value: Any, default: Any, metadata: Mapping[str, Any]) -> Any:
    if isinstance(default, tuple):
        objects = metadata.get("text") is not None
        items = _items(name, value, objects)
        if objects:
            return items
        return tuple(_checked(name, item, default[0], metadata) for item in items)
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    at_least = metadata.get("at_least")
    if isinstance(default, bool):
        return checks.flag(name, value, FigureError)
    if isinstance(default, str):
        if isinstance(value, str):
            return value
        raise FigureError(f"{name} must be a text, not {checks.shown(value)}.")
    if isinstance(default, int):
        # A seed has no upper limit.
        high = None if name in ("rng", "seed") else checks.LARGEST_COUNT
        low = 0 if at_least is None else int(at_least)
        return checks.count(name, value, FigureError, low, high)
    interval = "(-inf, inf)" if at_least is None else f"[{at_least!r}, inf)"
    return checks.number(name, value, FigureError, interval)


def _items(name: str, value: Any, objects: bool) -> tuple[Any, ...]:
    """The values of a list, or of one value that stands for itself; an array can be an object."""
    alone = isinstance(value, (str, Mapping)) or not hasattr(value, "__iter__")
    alone = alone or (objects and hasattr(value, "shape"))
    items = (value,) if alone else tuple(value)
    if not items:
        raise FigureError(f"{name} must not be an empty list.")
    return items
