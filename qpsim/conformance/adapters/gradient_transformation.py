"""Optimizers of optax: pairs ``init(params)``, ``update(updates, state, params)`` of JAX arrays.

XLA takes subnormal numbers as 0, so that no stream of them is given.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from qpsim.conformance.adapters.subject import Run, Subject, Values, first_line
from qpsim.conformance.streams import SAVE
from qpsim.errors import ConformanceError


class GradientTransformation(Subject):
    """A gradient transformation of optax; its update is compiled."""

    kind = "optax transformation"
    dtypes = ("float64", "float32", "float16", "bfloat16")
    abilities = frozenset({SAVE})

    def __init__(self, transformation: Any) -> None:
        import jax

        self.transformation = transformation

        def move(params: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
            updates, state = transformation.update(gradients, state, params)
            return jax.tree.map(lambda p, u: (p + u).astype(p.dtype), params, updates), state

        def many(params: Any, state: Any, gradients: Any) -> Any:
            def one(carried: Any, row: Any) -> Any:
                params, state = move(carried[0], carried[1], row)
                return (params, state), params

            return jax.lax.scan(one, (params, state), gradients)

        self.move, self.many = jax.jit(move), jax.jit(many)

    def start(self, values: Sequence[np.ndarray], dtype: str, layout: str = "plain") -> Run:
        """See :class:`Subject`."""
        import jax.numpy as jnp

        with _double_precision():
            params = [jnp.asarray(np.asarray(value), dtype=dtype) for value in values]
            try:
                state = self.transformation.init(params)
            except (Exception, SystemExit) as error:
                raise ConformanceError(
                    f"The transformation's init fails: {first_line(error)}."
                ) from error
            return _Run(self, params, state)


def _double_precision() -> Any:
    """JAX with double precision inside a ``with`` block, whatever the user has set outside."""
    import jax

    place = jax if hasattr(jax, "enable_x64") else import_module("jax.experimental")
    return place.enable_x64(True)


class _Run(Run):
    def __init__(self, subject: GradientTransformation, params: Any, state: Any) -> None:
        self.subject, self.params, self.state = subject, params, state

    def step(self, gradients: Sequence[np.ndarray | None]) -> None:
        import jax.numpy as jnp

        with _double_precision():
            rows = [
                jnp.asarray(np.asarray(gradient), dtype=param.dtype)
                for param, gradient in zip(self.params, gradients, strict=True)
            ]
            self.params, self.state = self._called(self.subject.move, rows)

    def _called(self, function: Any, gradients: Any) -> Any:
        try:
            return function(self.params, self.state, gradients)
        except (Exception, SystemExit) as error:
            raise ConformanceError(
                f"The transformation's update fails for gradients and parameters alone: "
                f"{first_line(error)}."
            ) from error

    def follow(self, gradients: Sequence[Sequence[np.ndarray]]) -> list[Values]:
        import jax.numpy as jnp

        with _double_precision():
            rows = [
                jnp.asarray(np.array([row[k] for row in gradients]), dtype=param.dtype)
                for k, param in enumerate(self.params)
            ]
            (self.params, self.state), path = self._called(self.subject.many, rows)
            tensors = [np.asarray(one).astype(np.float64) for one in path]
        return [[one[k] for one in tensors] for k in range(len(gradients))]

    def values(self) -> Values:
        return [np.asarray(param).astype(np.float64) for param in self.params]

    def saved(self) -> Any:
        import jax

        return pickle.dumps(jax.tree.map(np.asarray, self.state))

    def restored(self, saved: Any) -> Run:
        import jax
        import jax.numpy as jnp

        with _double_precision():
            state = jax.tree.map(jnp.asarray, pickle.loads(saved))
        return _Run(self.subject, list(self.params), state)
