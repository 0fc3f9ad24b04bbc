"""Optimizers of optax: pairs ``init(params)``, ``update(updates, state, params)`` of JAX arrays.

Several groups of parameters, and parameters that never have a gradient, are given as optax's users do: with
``optax.multi_transform``, which applies the transformation to each group, and ``optax.set_to_zero`` to what is frozen.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from qpsim.conformance.adapters.subject import Run, Subject, Values
from qpsim.conformance.streams import FROZEN, GROUPS, LAYOUTS, NO_GRADIENT, SAVE, SUBNORMALS
from qpsim.errors import ConformanceError, first_line


class GradientTransformation(Subject):
    """A gradient transformation of optax; its update is compiled."""

    kind = "optax transformation"
    dtypes = ("float64", "float32", "float16", "bfloat16")
    reasons: Mapping[str, str] = {
        FROZEN: "optax, whose multi_transform freezes parameters, is not installed",
        GROUPS: "optax, whose multi_transform makes groups, is not installed",
        LAYOUTS: "a JAX array has no strides of its own",
        NO_GRADIENT: "a transformation is given a gradient of each parameter at every step",
        SUBNORMALS: "XLA takes subnormal numbers as 0",
    }

    def __init__(self, transformation: Any) -> None:
        import jax

        self.transformation = transformation
        grouping = {FROZEN, GROUPS} if find_spec("optax") else set()
        self.abilities = frozenset({SAVE, *grouping})

        def move(params: Any, state: Any, gradients: Any) -> tuple[Any, Any]:
            updates, state = transformation.update(gradients, state, params)
            return jax.tree.map(lambda p, u: (p + u).astype(p.dtype), params, updates), state

        def many(params: Any, state: Any, gradients: Any) -> Any:
            def one(carried: Any, row: Any) -> Any:
                params, state = move(carried[0], carried[1], row)
                return (params, state), params

            return jax.lax.scan(one, (params, state), gradients)

        self.move, self.many = jax.jit(move), jax.jit(many)

    def start(
        self,
        values: Sequence[np.ndarray],
        dtype: str,
        layout: str = "plain",
        frozen: Sequence[int] = (),
    ) -> Run:
        """See :class:`Subject`."""
        import jax.numpy as jnp

        if layout == GROUPS or frozen:
            labels = [
                "frozen" if k in frozen else f"group {k}" if layout == GROUPS else "moving"
                for k in range(len(values))
            ]
            return GradientTransformation(_by_label(self.transformation, labels)).start(
                values, dtype
            )
        with _double_precision():
            params = [jnp.asarray(np.asarray(value), dtype=dtype) for value in values]
            try:
                state = self.transformation.init(params)
            except (Exception, SystemExit) as error:
                raise ConformanceError(
                    f"The transformation's init fails: {first_line(error)}."
                ) from error
            return _Run(self, params, state)


def _by_label(transformation: Any, labels: list[str]) -> Any:
    """The transformation for each label by itself, and nothing for what is frozen."""
    import optax

    parts = {
        name: optax.set_to_zero() if name == "frozen" else transformation for name in set(labels)
    }
    return optax.multi_transform(parts, labels)


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
                jnp.zeros_like(param)
                if gradient is None
                else jnp.asarray(np.asarray(gradient), dtype=param.dtype)
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

        def plain(leaf: Any) -> Any:
            if _is_key(leaf):  # of random numbers, which has no array of its own
                return jax.random.key_impl(leaf), np.asarray(jax.random.key_data(leaf))
            return np.asarray(leaf)

        leaves = jax.tree.leaves(self.state)
        return pickle.dumps([plain(leaf) for leaf in leaves])

    def restored(self, saved: Any) -> Run:
        import jax
        import jax.numpy as jnp

        def read(leaf: Any) -> Any:
            if isinstance(leaf, tuple):
                return jax.random.wrap_key_data(jnp.asarray(leaf[1]), impl=leaf[0])
            return jnp.asarray(leaf)

        with _double_precision():
            leaves = [read(leaf) for leaf in pickle.loads(saved)]
            state = jax.tree.unflatten(jax.tree.structure(self.state), leaves)
        return _Run(self.subject, list(self.params), state)


def _is_key(leaf: Any) -> bool:
    import jax

    dtype = getattr(leaf, "dtype", None)
    return dtype is not None and jax.dtypes.issubdtype(dtype, jax.dtypes.prng_key)
