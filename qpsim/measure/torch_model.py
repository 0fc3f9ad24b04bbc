"""A PyTorch model at its present parameters as a point to be measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from qpsim.errors import MeasureError
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
        PyTorch is not installed, the model has no parameters, or there are too few batches.
    """
    try:
        import torch
        from torch.func import functional_call
    except ImportError:
        raise missing("torch") from None
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    if not named:
        raise MeasureError("The model has no parameters that require a gradient.")
    data = list(batches)
    if not data:
        raise MeasureError("There are no batches.")
    parts = slices((name, p.numel()) for name, p in named)
    origin = torch.cat([p.detach().reshape(-1) for _, p in named])

    def value(theta: Any, batch: Any) -> Any:
        values = {name: theta[parts[name]].view_as(p) for name, p in named}
        x, y = batch
        return loss(functional_call(model, values, (x,)), y)

    def moving() -> Any:
        return origin.clone().requires_grad_(True)

    def gradients() -> Iterator[np.ndarray]:
        for batch in data:
            theta = moving()
            (found,) = torch.autograd.grad(value(theta, batch), theta)
            yield found.cpu().numpy()[None]

    def as_tensor(vector: np.ndarray) -> Any:
        if np.shape(vector) != (len(origin),):
            raise MeasureError(f"A vector has shape ({len(origin)},), not {np.shape(vector)}.")
        return torch.as_tensor(vector, dtype=origin.dtype, device=origin.device)

    def hvp(vector: np.ndarray) -> np.ndarray:
        v, total = as_tensor(vector), torch.zeros_like(origin)
        for batch in data:
            theta = moving()
            (slope,) = torch.autograd.grad(value(theta, batch), theta, create_graph=True)
            if slope.requires_grad:
                total += torch.autograd.grad(slope @ v, theta)[0]
        return (total / len(data)).cpu().numpy()

    def mean_loss(delta: np.ndarray) -> float:
        with torch.no_grad():
            theta = origin + as_tensor(delta)
            return sum(float(value(theta, batch)) for batch in data) / len(data)

    return Point(len(origin), gradients, hvp, mean_loss, parts)
