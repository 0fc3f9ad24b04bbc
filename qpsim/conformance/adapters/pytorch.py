"""Optimizers of PyTorch: classes, and factories ``params -> optimizer``."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Sequence
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


class Torch(Subject):
    """A factory of optimizers of torch parameters."""

    kind = "PyTorch optimizer"
    dtypes = ("float64", "float32", "float16", "bfloat16")
    abilities = frozenset({FROZEN, GROUPS, LAYOUTS, NO_GRADIENT, SAVE, SUBNORMALS})

    def __init__(self, factory: Callable[..., Any]) -> None:
        self.factory = factory

    def start(
        self,
        values: Sequence[np.ndarray],
        dtype: str,
        layout: str = "plain",
        frozen: Sequence[int] = (),
    ) -> Run:
        """See :class:`Subject`."""
        import torch

        kind = getattr(torch, dtype)
        originals = [torch.tensor(value, dtype=torch.float64).to(kind) for value in values]
        if layout == "layouts":
            params = [_not_contiguous(one, k) for k, one in enumerate(originals)]
        else:
            params = [one.clone().detach() for one in originals]
        params = [param.requires_grad_(True) for param in params]
        given: Any = [{"params": [one]} for one in params] if layout == "groups" else params
        run = _TorchRun(self.factory, params, _made(self.factory, given))
        run.originals = [(one, one.clone()) for one in originals]
        return run


def _not_contiguous(tensor: Any, k: int) -> Any:
    """The same numbers as a view: a transpose of a matrix, every second of a vector."""
    import torch

    if tensor.ndim == 2:
        return tensor.t().contiguous().t().detach()
    wide = torch.zeros(2 * tensor.numel(), dtype=tensor.dtype)
    wide[::2] = tensor
    return wide[::2].detach()


def _made(factory: Callable[..., Any], params: Any) -> Any:
    import torch

    try:
        optimizer = factory(params)
    except ConformanceError:
        raise
    except (Exception, SystemExit) as error:
        raise ConformanceError(f"The factory fails: {first_line(error)}.") from error
    if not (hasattr(optimizer, "step") and hasattr(optimizer, "param_groups")):
        raise ConformanceError(
            "A factory takes a list of torch parameters and returns an optimizer, "
            f"not {type(optimizer).__name__}."
        )
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ConformanceError(
            f"{type(optimizer).__name__} needs a closure: it asks for gradients at points of its own, "
            "so that no fixed stream of gradients can be given to it."
        )
    held = [param for group in optimizer.param_groups for param in group["params"]]
    if any(param.is_complex() for param in held):
        raise ConformanceError(
            "The optimizer holds complex parameters, but a rule is one of real numbers: give real ones."
        )
    wanted = (
        [group["params"][0] for group in params]
        if params and isinstance(params[0], dict)
        else params
    )
    if {id(one) for one in held} != {id(one) for one in wanted}:
        raise ConformanceError(
            "The factory's optimizer does not hold the parameters that it was given."
        )
    return optimizer


class _TorchRun(Run):
    def __init__(self, factory: Callable[..., Any], params: list[Any], optimizer: Any) -> None:
        self.factory, self.params, self.optimizer = factory, params, optimizer
        self.originals: list[tuple[Any, Any]] = []
        self.learning_rate = plain_number(optimizer.param_groups[0].get("lr"))

    def step(self, gradients: Sequence[np.ndarray | None]) -> None:
        self._step(gradients, look=True)

    def _step(self, gradients: Sequence[np.ndarray | None], look: bool) -> None:
        import torch

        kept = []
        for param, gradient in zip(self.params, gradients, strict=True):
            if gradient is None:
                param.grad = None
                continue
            tensor = torch.tensor(gradient, dtype=torch.float64).to(param.dtype)
            if not param.is_contiguous():
                # As automatic differentiation gives it: with the strides of the parameter.
                laid = torch.empty_like(param)
                laid.copy_(tensor)
                tensor = laid.detach()
            param.grad = tensor
            if look:
                kept.append((param, tensor.clone()))
        try:
            self.optimizer.step()
        except TypeError as error:
            if "closure" not in str(error):
                raise ConformanceError(
                    f"The optimizer's step fails: {first_line(error)}."
                ) from error
            raise ConformanceError(
                f"{type(self.optimizer).__name__} needs a closure: it asks for gradients at points of "
                "its own, so that no fixed stream of gradients can be given to it."
            ) from None
        except (Exception, SystemExit) as error:
            raise ConformanceError(f"The optimizer's step fails: {first_line(error)}.") from error
        for param, before in kept:
            if param.grad is not None and not torch.equal(
                torch.nan_to_num(param.grad), torch.nan_to_num(before)
            ):
                raise InPlaceSurprise("changes the gradient in place")

    def follow(self, gradients: Sequence[Sequence[np.ndarray]]) -> list[Values]:
        out = []
        for k, row in enumerate(gradients):
            self._step(row, look=k < 100)
            out.append(self.values())
        return out

    def values(self) -> Values:
        return [param.detach().double().numpy().copy() for param in self.params]

    def saved(self) -> Any:
        import torch

        file = io.BytesIO()
        torch.save(self.optimizer.state_dict(), file)
        return file.getvalue()

    def restored(self, saved: Any) -> Run:
        import torch

        params = [copy.deepcopy(param.detach()).requires_grad_(True) for param in self.params]
        optimizer = _made(self.factory, params)
        try:
            optimizer.load_state_dict(torch.load(io.BytesIO(saved), weights_only=False))
        except (Exception, SystemExit) as error:
            raise ConformanceError(
                f"The optimizer's saved state cannot be loaded: {first_line(error)}."
            ) from error
        return _TorchRun(self.factory, params, optimizer)

    def originals_are_untouched(self) -> bool:
        return all(bool((a == b).all()) for a, b in self.originals)
