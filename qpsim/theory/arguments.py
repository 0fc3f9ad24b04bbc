"""Checks of arguments for the formulas of this package.

The formulas themselves have no checks: for arguments that pass here the result is finite, or infinite where that is the
right limit. Intermediate numbers may overflow or be divided by 0; :func:`quiet` suppresses NumPy's warnings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from qpsim import checks
from qpsim.errors import ProblemError, TheoryError
from qpsim.problem.interface import has_additive_noise
from qpsim.problem.matrices import check_coordinates

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from qpsim.problem.quadratic import QuadraticProblem

    Schedule = float | Sequence[float] | NDArray[np.float64] | Callable[[int], float]

    Array = NDArray[np.float64]


P = ParamSpec("P")
T = TypeVar("T")

# Rounding errors by which a computed correlation may exceed 1.
_ROUNDING = 1e-12


def quiet(function: Callable[P, T]) -> Callable[P, T]:
    """Decorator: the function runs with NumPy's floating-point warnings and errors off."""

    @wraps(function)
    def asked(*arguments: P.args, **options: P.kwargs) -> T:
        with np.errstate(all="ignore"):
            return function(*arguments, **options)

    return asked


def real(values: ArrayLike, what: str) -> Array:
    """An array of real numbers without NaN; infinities are allowed."""
    array = np.array(checks.numbers(what, values, TheoryError))
    if np.isnan(array).any():
        raise TheoryError(f"{what} holds NaN; every entry must be a number.")
    return array


def finite(values: ArrayLike, what: str) -> Array:
    """An array of finite real numbers."""
    return checks.finite_numbers(what, values, TheoryError)


def nonnegative(values: ArrayLike, what: str) -> Array:
    """An array of numbers in [0, inf]."""
    array = real(values, what)
    if (array < 0).any():
        raise TheoryError(f"{what} must not be negative; the smallest entry is {array.min():g}.")
    return array


def deviations(values: ArrayLike, what: str = "The standard deviation") -> Array:
    """An array of numbers in [0, inf)."""
    array = nonnegative(values, what)
    if np.isinf(array).any():
        raise TheoryError(f"{what} must be finite.")
    return array


def correlations(values: ArrayLike) -> Array:
    """An array of numbers in [-1, 1]; values beyond by rounding become +-1."""
    array = real(values, "The correlation")
    bad = np.abs(array) > 1.0 + _ROUNDING
    if bad.any():
        raise TheoryError(f"The correlation must lie in [-1, 1], not {array[bad].flat[0]:.15g}.")
    return np.clip(array, -1.0, 1.0)


def momentum(values: ArrayLike) -> Array:
    """Momentum constants in [0, 1)."""
    array = real(values, "The momentum mu")
    if ((array < 0) | (array >= 1)).any():
        worst = array[(array < 0) | (array >= 1)].flat[0]
        raise TheoryError(f"The momentum mu must lie in [0, 1), not {worst:g}.")
    return array


def steps_taken(values: ArrayLike) -> Array:
    """Step numbers t, integers >= 1, or infinity for the limit."""
    array = real(values, "The step t")
    bad = (array < 1) | (np.isfinite(array) & (array != np.floor(array)))
    if bad.any():
        raise TheoryError(
            f"The step t must be a whole number of at least 1 (or inf for the limit), "
            f"not {array[bad].flat[0]:g}."
        )
    return array


def together(**arrays: Array) -> list[Array]:
    """The arrays broadcast against each other."""
    try:
        return list(np.broadcast_arrays(*arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise TheoryError(f"The shapes do not broadcast: {shapes}.") from None


def scalar_or_array(array: Any) -> Any:
    """A float for a 0-dimensional result, the array itself otherwise."""
    return float(array) if np.ndim(array) == 0 else array


def problem(value: Any) -> QuadraticProblem:
    """A QuadraticProblem, or another problem whose noise does not depend on theta."""
    if not has_additive_noise(value):
        raise ProblemError(
            f"The problem must be a qpsim.QuadraticProblem, not {type(value).__name__}; "
            "make one with qpsim.QuadraticProblem(hessian, noise_std=...)."
        )
    return value


def point(p: QuadraticProblem, theta: ArrayLike) -> Array:
    """theta of shape (..., d), finite, with squares that are finite too."""
    array = finite(theta, "theta")
    if array.ndim == 0 or array.shape[-1] != p.dim:
        raise ProblemError(
            f"theta must have {p.dim} entries in its last axis, not shape {array.shape}."
        )
    check_coordinates(array, "theta")
    return array


def amount(value: Any, what: str) -> float:
    """One number in [0, inf)."""
    if isinstance(value, (int, float)) and value < 0:
        raise TheoryError(f"{what} must not be negative, not {value:g}.")
    array = deviations(value, what)
    if array.ndim:
        raise TheoryError(f"{what} must be one number, not an array of shape {array.shape}.")
    return float(array)


def count(value: Any, what: str) -> int:
    """A whole number of at least 1."""
    return checks.count(what, value, TheoryError)


def schedule(step_size: Schedule, n_steps: int) -> Array:
    """Step sizes of steps 1, ..., n_steps: from a number, an array, or a function of t."""
    wanted = (
        "The exact risk needs given step sizes: a finite number >= 0, one such number a step, or a function of "
        "t = 1, 2, ... that gives one"
    )
    return checks.step_sizes(step_size, n_steps, wanted)
