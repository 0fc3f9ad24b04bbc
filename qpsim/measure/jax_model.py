"""A JAX loss at given parameters as a point to be measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from qpsim.errors import MeasureError
from qpsim.measure.point import Point, slices
from qpsim.measure.record import missing


def from_jax(loss: Callable[[Any, Any], Any], parameters: Any, batches: Iterable[Any]) -> Point:
    """A loss written in JAX, at given parameters.

    Parameters
    ----------
    loss : callable
        ``loss(parameters, batch)``, the mean over a batch; it is compiled.
    parameters : pytree of arrays
    batches : iterable
        Minibatches of one size, at least 8. The curvature and the loss are those of all of them together.

    Raises
    ------
    MeasureError
        JAX is not installed; there are no parameters or batches; parameters are not real floating-point numbers; or
        the loss is not one number.
    """
    try:
        import jax
        from jax.flatten_util import ravel_pytree
    except ImportError:
        raise missing("jax") from None
    if not isinstance(batches, Iterable):
        raise MeasureError(f"batches must be a list, not {type(batches).__name__}.")
    data = list(batches)
    if not data:
        raise MeasureError("There are no batches.")
    origin, unravel = ravel_pytree(parameters)
    if origin.size == 0:
        raise MeasureError("There are no parameters.")
    if not jax.numpy.issubdtype(origin.dtype, jax.numpy.floating):
        raise MeasureError(
            f"The parameters must be real floating-point numbers, not {origin.dtype}."
        )
    leaves = jax.tree_util.tree_leaves_with_path(parameters)
    parts = slices((jax.tree_util.keystr(path), int(np.size(leaf))) for path, leaf in leaves)

    def value(theta: Any, batch: Any) -> Any:
        found = jax.numpy.asarray(loss(unravel(theta), batch))
        if found.size != 1:
            raise MeasureError(f"loss(parameters, batch) must be one number, not {found.shape}.")
        return found.reshape(())

    run = jax.jit(value)
    slope = jax.jit(jax.grad(value))

    @jax.jit
    def product(theta: Any, v: Any, batch: Any) -> Any:
        return jax.jvp(lambda t: jax.grad(value)(t, batch), (theta,), (v,))[1]

    def gradients() -> Iterator[np.ndarray]:
        for batch in data:
            yield np.asarray(slope(origin, batch))[None]

    def as_array(vector: np.ndarray) -> Any:
        if np.shape(vector) != origin.shape:
            raise MeasureError(f"A vector has shape {origin.shape}, not {np.shape(vector)}.")
        return jax.numpy.asarray(vector, dtype=origin.dtype)

    def hvp(vector: np.ndarray) -> np.ndarray:
        v = as_array(vector)
        return np.asarray(sum(product(origin, v, batch) for batch in data)) / len(data)

    def mean_loss(delta: np.ndarray) -> float:
        theta = origin + as_array(delta)
        return sum(float(run(theta, batch)) for batch in data) / len(data)

    return Point(origin.size, gradients, hvp, mean_loss, parts)
