"""A plain pair of functions: ``init(params) -> state``, ``update(gradient, state, params)``."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from qpsim.conformance.adapters.subject import (
    InPlaceSurprise,
    Run,
    Subject,
    Values,
    real,
)
from qpsim.conformance.streams import FROZEN, GROUPS, LAYOUTS, NO_GRADIENT, SAVE, SUBNORMALS
from qpsim.errors import ConformanceError, first_line


class Pair(Subject):
    """Two functions; every tensor has a state of its own."""

    kind = "pair of functions"
    abilities = frozenset({LAYOUTS, SAVE, SUBNORMALS})
    reasons: Mapping[str, str] = {
        "bfloat16": "NumPy has no bfloat16",
        GROUPS: "a pair of functions is given one tensor at a time, so that there are no groups",
        NO_GRADIENT: "a pair of functions is called only with a gradient",
        FROZEN: "a pair of functions is called only with a gradient",
    }

    def __init__(self, init: Callable[..., Any], update: Callable[..., Any]) -> None:
        self.init, self.update = init, update

    def start(
        self,
        values: Sequence[np.ndarray],
        dtype: str,
        layout: str = "plain",
        frozen: Sequence[int] = (),
    ) -> Run:
        """See :class:`Subject`."""
        originals = [np.array(value, dtype) for value in values]
        params = [_strided(array) if layout == LAYOUTS else array.copy() for array in originals]
        states = [_called(self.init, "init", array) for array in params]
        run = _PairRun(self.update, params, states)
        run.originals = [(a, a.copy()) for a in originals]
        return run


def _strided(array: np.ndarray) -> np.ndarray:
    """The same numbers as a view that is not contiguous: every second of a larger array."""
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return wide[..., ::2]


class _PairRun(Run):
    originals: list[tuple[np.ndarray, np.ndarray]]

    def __init__(self, update: Callable[..., Any], params: list[Any], states: list[Any]) -> None:
        self.update, self.params, self.states = update, params, states
        self.originals = []

    def step(self, gradients: Sequence[np.ndarray | None]) -> None:
        for k, gradient in enumerate(gradients):
            assert gradient is not None
            param = self.params[k]
            given = np.empty_like(param)
            given[...] = gradient
            kept = given.copy()
            answer = _called(self.update, "update", given, self.states[k], param)
            if not (isinstance(answer, (tuple, list)) and len(answer) == 2):
                raise ConformanceError(
                    "update(gradient, state, params) must return (params, state), "
                    f"not {type(answer).__name__}."
                )
            self.params[k], self.states[k] = answer
            after = real(self.params[k], "update returned")
            if after.shape != kept.shape:
                raise ConformanceError(
                    f"update(gradient, state, params) must return parameters of shape {kept.shape} "
                    f"first, not {after.shape}."
                )
            if not np.array_equal(given, kept, equal_nan=True):
                raise InPlaceSurprise("changes the gradient in place")

    def values(self) -> Values:
        return [real(param, "update returned") for param in self.params]

    def saved(self) -> Any:
        try:
            return pickle.dumps(self.states)
        except Exception:  # a state may hold what cannot be pickled; it can still be copied
            return copy.deepcopy(self.states)

    def restored(self, saved: Any) -> Run:
        states = pickle.loads(saved) if isinstance(saved, bytes) else saved
        return _PairRun(self.update, [np.array(param) for param in self.params], states)

    def originals_are_untouched(self) -> bool:
        return all(np.array_equal(a, b) for a, b in self.originals)


def _called(function: Callable[..., Any], name: str, *arguments: Any) -> Any:
    try:
        with np.errstate(all="ignore"):
            return function(*arguments)
    except ConformanceError:
        raise
    except (Exception, SystemExit) as error:
        raise ConformanceError(f"{name} of the pair fails: {first_line(error)}.") from error
