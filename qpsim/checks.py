"""Checks of a user's arguments: counts, numbers, arrays, names and paths.

Every check takes the name of the argument, its value, and the class of error to raise. It returns
the value converted to one standard type, or raises the error with one sentence: what is wrong, and
what would be right. Text, booleans and missing entries are never accepted as numbers.
"""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib import import_module
from numbers import Real
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qpsim.errors import QpsimError, RenamedWarning, StepSizeError, first_line, nearest

# NumPy loads these parts when they are first named; if Ctrl-C is pressed just then, they cannot be loaded any more.
for _part in ("ma", "polynomial", "random"):
    import_module(f"numpy.{_part}")

if TYPE_CHECKING:
    from numpy.typing import NDArray

    ErrorClass = type[QpsimError]

# An upper limit for counts, so that a mistyped number is refused here and not by an overflow later.
LARGEST_COUNT = 10**9
_LONGEST_SHOWN = 60
# Names of version 0.1 in specifications and sweeps, and what they are called now.
RENAMED = {"steps": "n_steps", "replicates": "n_replicates", "seed": "rng"}


def count(
    what: str, value: Any, error: ErrorClass, low: int = 1, high: int | None = LARGEST_COUNT
) -> int:
    """A whole number from ``low`` to ``high``; ``high=None`` sets no limit.

    Examples
    --------
    >>> from qpsim import checks
    >>> from qpsim.errors import SimulationError
    >>> checks.count("n_steps", 3, SimulationError)
    3
    >>> checks.count("n_steps", 3.5, SimulationError)
    Traceback (most recent call last):
    ...
    qpsim.errors.SimulationError: n_steps must be a whole number of at least 1, not 3.5.
    """
    try:
        number = None if isinstance(value, (bool, np.bool_)) else index(value)
    except Exception:  # scalars of other libraries raise errors of their own
        number = None
    if number is None or number < low:
        raise error(f"{what} must be a whole number of at least {low}, not {shown(value)}.")
    if high is not None and number > high:
        raise error(f"{what} must be at most {high}, not {shown(value)}.")
    return number


def number(what: str, value: Any, error: ErrorClass, interval: str = "(-inf, inf)") -> float:
    """A finite real number in an interval, which is written as in mathematics: ``"[0, 1)"``.

    Examples
    --------
    >>> from qpsim import checks
    >>> from qpsim.errors import ProblemError
    >>> checks.number("noise_std", 2, ProblemError, "[0, inf)")
    2.0
    >>> checks.number("noise_std", -2, ProblemError, "[0, inf)")
    Traceback (most recent call last):
    ...
    qpsim.errors.ProblemError: noise_std must be a finite number >= 0, not -2.
    """
    found = as_float(value)
    low, with_low, high, with_high = _ends(interval)
    above = found >= low if with_low else found > low
    below = found <= high if with_high else found < high
    if not (math.isfinite(found) and above and below):
        raise error(f"{what} must be {_wanted(interval)}, not {shown(value)}.")
    # Adding 0 turns -0.0 into 0.0: the two are printed and hashed differently.
    return found + 0.0


def is_number(value: Any) -> bool:
    """Whether a value is one finite real number."""
    return math.isfinite(as_float(value))


def array(what: str, values: Any, error: ErrorClass) -> NDArray[Any]:
    """Real numbers as a NumPy array of the same precision; an array is not copied.

    Accepts lists, NumPy arrays, sparse matrices, data frames and series (also with nullable or Arrow columns), and
    PyTorch tensors. NaN and infinities are allowed; text, booleans, complex numbers and missing entries are not.
    """
    if np.ma.is_masked(values):
        raise error(f"{what} has masked entries; fill them or leave them out.")
    try:
        found = np.asarray(_unwrapped(values))
    except ValueError:
        raise error(f"{what} must be a rectangular array of real numbers.") from None
    except MemoryError:
        raise error(f"{what} is too large to be held as a dense array.") from None
    except Exception as reason:  # arrays of other libraries raise errors of their own
        raise error(f"{what} does not convert to a NumPy array: {first_line(reason)}.") from reason
    if found.dtype.kind == "O":
        found = _from_objects(what, found, error)
    if found.dtype.kind not in "fiu" or _holds_boolean(values):
        kind = (
            "bool"
            if found.dtype.kind in "fiu"
            else "text"
            if found.dtype.kind in "US"
            else found.dtype
        )
        raise error(f"{what} must be an array of real numbers, not of type {kind}.")
    return found


def numbers(what: str, values: Any, error: ErrorClass) -> NDArray[np.float64]:
    """As :func:`array`, in double precision."""
    found = array(what, values, error)
    if found.dtype == np.float64:
        return found
    # An entry too large for double precision becomes infinite, also if NumPy is set to raise errors.
    with np.errstate(all="ignore"):
        return found.astype(np.float64)


def finite_numbers(what: str, values: Any, error: ErrorClass) -> NDArray[np.float64]:
    """As :func:`numbers`, without NaN and infinities, and always a copy.

    Examples
    --------
    >>> from qpsim import checks
    >>> from qpsim.errors import SimulationError
    >>> checks.finite_numbers("theta0", [1, 2], SimulationError)
    array([1., 2.])
    >>> checks.finite_numbers("theta0", [1, True], SimulationError)
    Traceback (most recent call last):
    ...
    qpsim.errors.SimulationError: theta0 must be an array of real numbers, not of type bool.
    """
    found = np.array(numbers(what, values, error))
    if not np.isfinite(found).all():
        raise error(f"{what} holds NaN or infinite entries; all must be finite.")
    return found


def step_sizes(value: Any, n_steps: int, wanted: str) -> NDArray[np.float64]:
    """Step sizes (n_steps,), from a finite number >= 0, one such number for each step, or a function of t = 1, 2, ...

    Raises
    ------
    StepSizeError
        Anything else; ``wanted`` is then the beginning of the message. Or another number of them, or a function that
        fails.

    Examples
    --------
    >>> from qpsim import checks
    >>> checks.step_sizes(lambda t: 1 / t, 2, "A step size is a number")
    array([1. , 0.5])
    """
    if callable(value):
        return np.array([_step_size_at(value, t) for t in range(1, n_steps + 1)])
    try:
        found = finite_numbers("step_size", value, StepSizeError)
    except StepSizeError:
        found = np.array(-1.0)
    if found.ndim > 1 or not (found >= 0).all():
        raise StepSizeError(f"{wanted}; not {shown(value)}.")
    if found.ndim == 1 and found.size != n_steps:
        raise StepSizeError(
            f"{found.size} step sizes were given for {n_steps} steps; give one for each."
        )
    return np.array(np.broadcast_to(found, n_steps))


def _step_size_at(schedule: Callable[[int], float], t: int) -> float:
    try:
        value = schedule(t)
    except Exception as error:
        raise StepSizeError(
            f"The step-size schedule failed at t = {t} ({error}); it must give a number for every t."
        ) from error
    if not (is_number(value) and value >= 0):
        raise StepSizeError(
            f"The step-size schedule gave {shown(value)} at t = {t}; it must give finite numbers >= 0."
        )
    return float(value)


def flag(what: str, value: Any, error: ErrorClass) -> bool:
    """True or False; numbers and text are refused, also those that Python takes for one of the two.

    Examples
    --------
    >>> from qpsim import checks
    >>> from qpsim.errors import ProblemError
    >>> checks.flag("drop_last", "no", ProblemError)
    Traceback (most recent call last):
    ...
    qpsim.errors.ProblemError: drop_last must be True or False, not 'no'.
    """
    if not isinstance(value, (bool, np.bool_)):
        raise error(f"{what} must be True or False, not {shown(value)}.")
    return bool(value)


def choice(what: str, value: Any, known: Iterable[str], error: ErrorClass) -> str:
    """One of the known names.

    Examples
    --------
    >>> from qpsim import checks
    >>> from qpsim.errors import SpecError
    >>> checks.choice("basis", "har", ["axis", "haar"], SpecError)
    Traceback (most recent call last):
    ...
    qpsim.errors.SpecError: Unknown basis 'har'; did you mean 'haar'?
    """
    names = list(known)
    if not isinstance(value, str):
        raise error(f"{what} must be one of {', '.join(names)}, not {shown(value)}.")
    if value not in names:
        raise error(f"Unknown {what} {shown(value)}; {nearest(value, names)}")
    return value


def instance(what: str, value: Any, kind: type, error: ErrorClass, such_as: str) -> Any:
    """An object of one class; ``such_as`` is how to make one.

    Examples
    --------
    >>> from fractions import Fraction
    >>> from qpsim import checks
    >>> from qpsim.errors import TrainingError
    >>> checks.instance("share", "1/3", Fraction, TrainingError, "Fraction(1, 3)")
    Traceback (most recent call last):
    ...
    qpsim.errors.TrainingError: share must be a Fraction, such as Fraction(1, 3), not '1/3'.
    """
    if not isinstance(value, kind):
        raise error(f"{what} must be a {kind.__name__}, such as {such_as}, not {shown(value)}.")
    return value


def current_names(given: Mapping[Any, Any], error: ErrorClass, warn: bool = True) -> dict[Any, Any]:
    """A copy of a table in which old keys (:data:`RENAMED`) have their new names.

    Each old key gives a :class:`~qpsim.errors.RenamedWarning`, unless ``warn`` is False, as for tables that the package
    itself has written.

    Examples
    --------
    >>> from qpsim import checks
    >>> from qpsim.errors import SpecError
    >>> checks.current_names({"n_steps": 3}, SpecError)
    {'n_steps': 3}
    """
    table = {}
    for name, value in given.items():
        now = RENAMED.get(name, name) if isinstance(name, str) else name
        if now != name:
            if now in given:
                raise error(f"{name} and {now} are the same; keep {now}.")
            if warn:
                warnings.warn(f"{name} is called {now} now.", RenamedWarning, stacklevel=3)
        table[now] = value
    return table


def path(what: str, value: Any, error: ErrorClass) -> Path:
    """A path that names something.

    Examples
    --------
    >>> from qpsim import checks
    >>> from qpsim.errors import FileError
    >>> checks.path("out", "", FileError)
    Traceback (most recent call last):
    ...
    qpsim.errors.FileError: out must be a path, not ''.
    """
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else ""
    if not isinstance(text, str) or not text or "\0" in text:
        raise error(f"{what} must be a path, not {shown(value)}.")
    return Path(text)


def shown(value: Any) -> str:
    """A value as text for an error message: one short line.

    >>> shown([0] * 100)
    '[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,...'
    """
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a huge number"
    try:
        text = " ".join(repr(value).split())
    except (
        Exception
    ):  # repr may fail: a number of thousands of digits, or an error of the value's class
        text = f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


def as_float(value: Any) -> float:
    """A real number as a float; NaN for everything else."""
    scalar = isinstance(value, (np.generic, np.ndarray)) and np.ndim(value) == 0
    real = isinstance(value, Real) or (scalar and value.dtype.kind in "fiu")
    try:
        return float(value) if real and not isinstance(value, bool) else math.nan
    except (OverflowError, ValueError):
        return math.nan


@cache
def _ends(interval: str) -> tuple[float, bool, float, bool]:
    low, high = interval[1:-1].split(",")
    return float(low), interval[0] == "[", float(high), interval[-1] == "]"


def _wanted(interval: str) -> str:
    low, with_low, high, _ = _ends(interval)
    if low < -1e15:
        return "a finite number" + ("" if math.isinf(high) else f" (of size at most {high:g})")
    if high > 1e15:
        limit = "" if math.isinf(high) else f" (and at most {high:g})"
        return f"a finite number {'>=' if with_low else '>'} {low:g}{limit}"
    return f"a number in {interval}"


def _unwrapped(values: Any) -> Any:
    """Arrays of other libraries, turned into something that NumPy can convert."""
    if "scipy.sparse" in sys.modules and sys.modules["scipy.sparse"].issparse(values):
        return values.toarray()
    if hasattr(values, "detach") and hasattr(values, "cpu"):
        plain = values.detach().cpu()
        if getattr(plain, "layout", None) is not None and "strided" not in str(plain.layout):
            plain = plain.to_dense()
        # NumPy has no number format of 16 bits with an exponent of 8.
        return plain.float() if str(getattr(plain, "dtype", "")) == "torch.bfloat16" else plain
    return values


def _from_objects(what: str, values: NDArray[Any], error: ErrorClass) -> NDArray[Any]:
    """Numbers that NumPy holds as Python objects: nullable columns, fractions, large integers."""
    flat = values.ravel().tolist()
    for item in flat:
        if not isinstance(item, Real) or isinstance(item, bool):
            if values.ndim and (item is None or type(item).__name__ in ("NAType", "NaTType")):
                raise error(f"{what} has missing entries; fill them or leave them out.")
            raise error(
                f"{what} must be an array of real numbers, not of type {type(item).__name__}."
            )
    try:
        return np.array([float(item) for item in flat]).reshape(values.shape)
    except OverflowError:
        raise error(f"{what} has an entry that is too large for a floating-point number.") from None


def _holds_boolean(values: Any) -> bool:
    """Whether a list has True or False among its numbers, which NumPy would turn into 1 and 0."""
    if isinstance(values, (list, tuple)):
        return any(map(_holds_boolean, values))
    return isinstance(values, (bool, np.bool_))
