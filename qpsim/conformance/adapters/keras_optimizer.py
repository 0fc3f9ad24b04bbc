"""Optimizers of Keras 3, with whichever backend Keras runs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from qpsim.conformance.adapters.subject import (
    InPlaceSurprise,
    Run,
    Subject,
    Values,
    plain_number,
)
from qpsim.conformance.streams import FROZEN, GROUPS, LAYOUTS, NO_GRADIENT, SAVE, SUBNORMALS
from qpsim.errors import ConformanceError, first_line


class Keras(Subject):
    """A Keras optimizer; each run is a new one of the same configuration."""

    kind = "Keras optimizer"
    dtypes = ("float64", "float32", "float16", "bfloat16")
    abilities = frozenset({FROZEN, NO_GRADIENT, SAVE, SUBNORMALS})
    reasons: Mapping[str, str] = {
        GROUPS: "a Keras optimizer has one group of parameters",
        LAYOUTS: "a Keras variable makes a contiguous array of its own",
    }

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    def start(
        self,
        values: Sequence[np.ndarray],
        dtype: str,
        layout: str = "plain",
        frozen: Sequence[int] = (),
    ) -> Run:
        """See :class:`Subject`."""
        import keras

        params = [keras.Variable(np.asarray(value), dtype=dtype) for value in values]
        return _Run(self, params, self._optimizer(params))

    def _optimizer(self, params: list[Any]) -> Any:
        try:
            optimizer = self.make()
            optimizer.build(params)
        except ConformanceError:
            raise
        except (Exception, SystemExit) as error:
            raise ConformanceError(f"The optimizer cannot be made: {first_line(error)}.") from error
        return optimizer


class _Run(Run):
    def __init__(self, subject: Keras, params: list[Any], optimizer: Any) -> None:
        self.subject, self.params, self.optimizer = subject, params, optimizer
        self.learning_rate = plain_number(_array(optimizer.learning_rate))

    def step(self, gradients: Sequence[np.ndarray | None]) -> None:
        from keras import ops

        rows = [
            None
            if gradient is None
            else ops.convert_to_tensor(np.asarray(gradient), dtype=param.dtype)
            for param, gradient in zip(self.params, gradients, strict=True)
        ]
        given = [row for row in rows if row is not None]
        before = [np.array(_array(row)) for row in given]
        try:
            self.optimizer.apply(rows, self.params)
        except (Exception, SystemExit) as error:
            raise ConformanceError(f"The optimizer's step fails: {first_line(error)}.") from error
        if not all(
            np.array_equal(a, _array(b), equal_nan=True) for a, b in zip(before, given, strict=True)
        ):
            raise InPlaceSurprise("changes the gradient in place")

    def values(self) -> Values:
        return [np.array(_array(param), np.float64) for param in self.params]

    def saved(self) -> Any:
        store: dict[str, Any] = {}
        self.optimizer.save_own_variables(store)
        return {key: np.array(value) for key, value in store.items()}

    def restored(self, saved: Any) -> Run:
        import keras

        params = [
            keras.Variable(value, dtype=p.dtype)
            for value, p in zip(self.values(), self.params, strict=True)
        ]
        optimizer = self.subject._optimizer(params)
        optimizer.load_own_variables(copy.deepcopy(saved))
        return _Run(self.subject, params, optimizer)


def _array(tensor: Any) -> np.ndarray:
    from keras import ops

    array = ops.convert_to_numpy(
        ops.cast(tensor, "float64") if "bfloat16" in str(tensor.dtype) else tensor
    )
    return np.asarray(array, np.float64)
