"""Reads a rule's signature: its state, what it observes, its hyper-parameters and their ranges.

A signature of another form is refused with an error that names the rule.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from qpsim.errors import MethodError, nearest

OBSERVED = ("relative_variance", "variance_estimate")

_UNIT = (0.0, 1.0, "[0, 1)")
_NONNEGATIVE = (0.0, math.inf, "[0, inf)")
# Admissible ranges [low, high) of the hyper-parameters that several rules share.
RANGES = {
    "momentum": _UNIT,
    "b1": _UNIT,
    "b2": _UNIT,
    "decay": _UNIT,
    "eps": _NONNEGATIVE,
}


def read_signature(
    title: str, function: Callable[..., Any]
) -> tuple[str | None, tuple[str, ...], dict[str, Any]]:
    """What a rule observes besides the gradient, its state's names, and its hyper-parameters' defaults."""
    parameters = list(inspect.signature(function).parameters.values())
    private = [p.name for p in parameters if p.name.startswith("_")]
    if private:
        raise MethodError(f"Rule {title!r}: an argument may not be called {private[0]!r}.")
    if any(
        p.kind not in (p.POSITIONAL_OR_KEYWORD, p.POSITIONAL_ONLY) for p in parameters
    ) or not all(
        isinstance(p.default, (int, float)) for p in parameters if p.default is not p.empty
    ):
        raise MethodError(
            f"Rule {title!r}: arguments must be plain names, and defaults numbers or booleans."
        )
    plain = [p.name for p in parameters if p.default is p.empty]
    if not plain or plain[0] != "gradient" or plain[-1] != "t" or "t" in plain[:-1]:
        raise MethodError(
            f"Rule {title!r}: arguments must be gradient, state names, t, then hyper-parameters "
            f"with defaults; got ({', '.join(p.name for p in parameters)})."
        )
    middle = plain[1:-1]
    observes = middle.pop(0) if middle and middle[0] in OBSERVED else None
    defaults = {
        p.name: p.default if isinstance(p.default, bool) else _float(p.default)
        for p in parameters
        if p.default is not p.empty
    }
    wrong = [name for name, value in defaults.items() if not math.isfinite(value)]
    if wrong:
        raise MethodError(f"Rule {title!r}: the default of {wrong[0]} must be a finite number.")
    return observes, tuple(middle), defaults


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf


def read_ranges(
    title: str, defaults: Mapping[str, Any], ranges: Mapping[str, tuple[float, float]]
) -> dict[str, tuple[float, float, str]]:
    """A rule's own ranges of its hyper-parameters, checked."""
    read = {}
    try:
        for key, (low, high) in dict(ranges).items():
            if key not in defaults:
                raise MethodError(
                    f"Rule {title!r} has no hyper-parameter {key!r} to give a range; "
                    f"{nearest(str(key), defaults)}"
                )
            read[key] = float(low), float(high), f"[{low:g}, {high:g})"
            if not low <= defaults[key] < high:
                raise MethodError(
                    f"Rule {title!r}: the default {defaults[key]!r} of {key} is not in its range "
                    f"{read[key][2]}."
                )
    except (TypeError, ValueError) as error:
        if isinstance(error, MethodError):
            raise
        raise MethodError(
            f"Rule {title!r}: ranges map names of hyper-parameters to (low, high), not {ranges!r}."
        ) from None
    return read


def read_order(
    title: str, defaults: Mapping[str, Any], ordered: Iterable[tuple[str, str]]
) -> tuple[tuple[str, str], ...]:
    """Pairs of hyper-parameters of which the first must not be the larger, checked against the defaults."""
    try:
        pairs = tuple((low, high) for low, high in ordered)
        in_order = all(defaults[low] <= defaults[high] for low, high in pairs)
    except (KeyError, TypeError, ValueError):
        raise MethodError(
            f"Rule {title!r}: ordered lists pairs of names of its hyper-parameters, not {ordered!r}."
        ) from None
    if not in_order:
        raise MethodError(f"Rule {title!r}: the defaults are not in the order {ordered!r}.")
    return pairs


def check_helper(
    title: str, function: Callable[..., Any], what: str, helper: Callable[..., Any]
) -> None:
    """Refuse an offset or breakpoint that does not take what the rule takes."""
    if not inspect.isfunction(helper):
        raise MethodError(
            f"Rule {title!r}: {what} is a function written with def or lambda, not {helper!r}."
        )
    expected = list(inspect.signature(function).parameters)[1:]
    given = list(inspect.signature(helper).parameters)
    if given != expected:
        raise MethodError(
            f"Rule {title!r}: {what} must take ({', '.join(expected)}) like the rule, "
            f"not ({', '.join(given)})."
        )
