"""A PyTorch model at its present parameters as a point to be measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from qpsim.errors import MeasureError, first_line
from qpsim.measure.point import Point, slices
from qpsim.measure.record import missing


def from_torch(
    model: Any, loss: Callable[[Any, Any], Any], batches: Iterable[tuple[Any, Any]]
) -> Point:
    """A PyTorch model at its present parameters, which are not changed.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode if it has dropout or batch normalisation; the parameters that require a gradient count.
    loss : callable
        ``loss(model(x), y)``, the mean over a batch, such as ``torch.nn.functional.cross_entropy``.
    batches : iterable of (x, y)
        Minibatches of one size, at least 8. The curvature and the loss are those of all of them together.

    Raises
    ------
    MeasureError
        PyTorch is not installed; the model is none, has no parameters, or complex ones or several types of them; there
        are no batches, or not pairs (x, y) of one size; the model or the loss fails, or the loss is not one number.
    """
    try:
        import torch
        from torch.func import functional_call
    except ImportError:
        raise missing("torch") from None
    if not isinstance(model, torch.nn.Module):
        raise MeasureError(f"model must be a torch.nn.Module, not {type(model).__name__}.")
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not named:
        raise MeasureError("The model has no parameters that require a gradient.")
    kinds = {str(p.dtype) for _, p in named}
    if len(kinds) > 1 or not named[0][1].is_floating_point():
        raise MeasureError(
            f"The parameters must be real numbers of one type, not {' and '.join(sorted(kinds))}; "
            "model.float() or model.double() makes them so."
        )
    data = _pairs(batches)
    parts = slices((name, p.numel()) for name, p in named)
    origin = torch.cat([p.detach().reshape(-1) for _, p in named])

    def value(theta: Any, batch: Any) -> Any:
        values = {name: theta[parts[name]].view_as(p) for name, p in named}
        # Copies of buffers, since layers such as batch normalisation write into them.
        values |= {name: buffer.clone() for name, buffer in model.named_buffers()}
        x, y = batch
        try:
            found = loss(functional_call(model, values, (x,)), y)
        except Exception as error:
            raise MeasureError(f"The model or the loss fails: {first_line(error)}.") from error
        if not torch.is_tensor(found) or found.numel() != 1:
            shown = tuple(found.shape) if torch.is_tensor(found) else type(found).__name__
            raise MeasureError(f"loss(model(x), y) must be a tensor of one number, not {shown}.")
        return found.reshape(())

    def trainable_copy() -> Any:
        return origin.clone().requires_grad_(True)

    def gradients() -> Iterator[np.ndarray]:
        for batch in data:
            theta = trainable_copy()
            (found,) = torch.autograd.grad(value(theta, batch), theta)
            yield found.cpu().numpy()[None]

    def as_tensor(vector: np.ndarray) -> Any:
        if np.shape(vector) != (len(origin),):
            raise MeasureError(f"A vector has shape ({len(origin)},), not {np.shape(vector)}.")
        return torch.as_tensor(vector, dtype=origin.dtype, device=origin.device)

    def hvp(vector: np.ndarray) -> np.ndarray:
        v, total = as_tensor(vector), torch.zeros_like(origin)
        for batch in data:
            theta = trainable_copy()
            (slope,) = torch.autograd.grad(value(theta, batch), theta, create_graph=True)
            if slope.requires_grad:
                total += torch.autograd.grad(slope @ v, theta)[0]
        return (total / len(data)).cpu().numpy()

    def mean_loss(delta: np.ndarray) -> float:
        with torch.no_grad():
            theta = origin + as_tensor(delta)
            return sum(float(value(theta, batch)) for batch in data) / len(data)

    return Point(len(origin), gradients, hvp, mean_loss, parts)


def _pairs(batches: Any) -> list[tuple[Any, Any]]:
    """The batches as a list, each a pair (x, y), all of one size."""
    if not isinstance(batches, Iterable):
        raise MeasureError(f"batches must be a list of pairs (x, y), not {type(batches).__name__}.")
    data = list(batches)
    if not data:
        raise MeasureError("There are no batches.")
    sizes: list[int] = []
    for k, batch in enumerate(data):
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            raise MeasureError(f"Batch {k} must be a pair (x, y), not {type(batch).__name__}.")
        if getattr(batch[1], "ndim", 0):
            sizes.append(len(batch[1]))
    if len(set(sizes)) > 1:
        raise MeasureError(
            f"All batches must have one size, not {sizes[0]} and {next(n for n in sizes if n != sizes[0])}: "
            "gradients of other sizes have another noise; leave the last one out."
        )
    return data
