"""One step of a method on arrays of any shape, outside a simulation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qpsim.errors import MethodError
from qpsim.methods.state import State
from qpsim.methods.trial import try_rule
from qpsim.rules.declaration import Declaration


def update(
    rule: Declaration, hyper: Any, gradient: Any, state: State, given: Mapping[str, Any]
) -> tuple[np.ndarray, State]:
    """See :meth:`qpsim.methods.method.Method.update`."""
    from qpsim.kernels.elementwise import move_all

    try_rule(rule, hyper)
    g = _numbers(gradient, "The gradient")
    if not isinstance(state, State):
        raise MethodError(
            f"The state must be a qpsim.State, not {type(state).__name__}; "
            "start from method.initial_state(shape)."
        )
    if tuple(state.arrays) != rule.state_names:
        raise MethodError(
            f"{rule.name} keeps {_listed(rule.state_names)}, but the state has "
            f"{_listed(tuple(state.arrays))}; start from method.initial_state(shape)."
        )
    for name, array in state.arrays.items():
        if array.shape != g.shape:
            raise MethodError(
                f"The state's {name} has shape {array.shape}, but the gradient {g.shape}; "
                "both must agree."
            )
    extra = _observed(rule, g, given)
    states = np.empty((len(rule.state_names), g.size, 1), g.dtype)
    for k, name in enumerate(rule.state_names):
        states[k, :, 0] = state.arrays[name].ravel()
    direction = np.empty(g.size, g.dtype)
    move_all(hyper, g.reshape(-1), extra, states, float(state.t + 1), direction)
    arrays = {name: states[k, :, 0].reshape(g.shape) for k, name in enumerate(rule.state_names)}
    return direction.reshape(g.shape), State(state.t + 1, arrays)


def _observed(rule: Declaration, g: np.ndarray, given: Mapping[str, Any]) -> np.ndarray:
    for name, value in given.items():
        if (value is not None) != (name == rule.observes):
            need = f"needs {rule.observes}" if rule.observes else "observes nothing else"
            raise MethodError(
                f"{rule.name} {need}; {name} must {'' if value is None else 'not '}be given."
            )
    if rule.observes is None:
        return np.zeros(1, g.dtype)
    extra = _numbers(given[rule.observes], rule.observes).astype(g.dtype)
    if extra.shape != g.shape:
        raise MethodError(
            f"{rule.observes} has shape {extra.shape}, but the gradient {g.shape}; both must agree."
        )
    return np.ascontiguousarray(extra.reshape(-1))


def _numbers(values: Any, what: str) -> np.ndarray:
    """Contiguous floats of single or double precision."""
    try:
        array = np.asarray(values, order="C")
    except ValueError:
        raise MethodError(f"{what} must be a rectangular array of real numbers.") from None
    if array.dtype.kind not in "fiu":
        raise MethodError(f"{what} must be an array of real numbers, not of type {array.dtype}.")
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names) if names else "no state"
