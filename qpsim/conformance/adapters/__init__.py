"""One interface for optimizers of several libraries. A library is imported only for an object of it.

What can be given: a pair ``(init, update)`` of functions, an optax transformation or one of optax's
functions, a Keras optimizer or its class, a class of torch optimizers, or a factory
``params -> optimizer``. A class or function is called with the method's hyper-parameters under the
names that its signature has for them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from qpsim.conformance.adapters.subject import Subject
from qpsim.errors import ConformanceError, first_line

# Names under which libraries take what is a rule's hyper-parameter; betas are two at once.
_OTHER_NAMES = {
    "b1": ("beta1", "beta_1"),
    "b2": ("beta2", "beta_2"),
    "eps": ("epsilon",),
    "momentum": ("beta", "decay", "beta_1"),
    "decay": ("alpha", "rho", "smoothing_constant"),
}
_RATES = ("lr", "learning_rate")


def subject(
    optimizer: Any, hyper: Mapping[str, Any], asked: Mapping[str, Any], rate: float
) -> Subject:
    """What was given, as something that can be started.

    Parameters
    ----------
    optimizer
    hyper : mapping
        All hyper-parameters of the method, and its weight_decay.
    asked : mapping
        Those that the caller named: a class must have an argument for each.
    rate : float
        Step size for a class or function that is called here.

    Raises
    ------
    ConformanceError
        It is none of the things that can be checked.
    """
    if _is_of(optimizer, "optax") or _looks_like_optax(optimizer):
        from qpsim.conformance.adapters.gradient_transformation import GradientTransformation

        if not _looks_like_optax(optimizer):
            optimizer = _called(optimizer, (), hyper, asked, rate)
        return GradientTransformation(optimizer)
    if _is_pair(optimizer):
        from qpsim.conformance.adapters.pair import Pair

        return Pair(*optimizer)
    if _is_of(optimizer, "keras"):
        from qpsim.conformance.adapters.keras_optimizer import Keras

        if isinstance(optimizer, type):
            made = optimizer
            return Keras(lambda: _called(made, (), hyper, asked, rate))
        return Keras(lambda: type(optimizer).from_config(optimizer.get_config()))
    if hasattr(optimizer, "step") and hasattr(optimizer, "param_groups"):
        raise ConformanceError(
            f"Give the class {type(optimizer).__name__} or a factory, not an optimizer that holds "
            "parameters already: each stream of gradients starts a new one."
        )
    if callable(optimizer):
        from qpsim.conformance.adapters.pytorch import Torch

        if isinstance(optimizer, type):
            return Torch(lambda params: _called(optimizer, (params,), hyper, asked, rate))
        return Torch(optimizer)
    raise ConformanceError(
        "An optimizer is a class or factory of PyTorch, an optax transformation, a Keras optimizer, or "
        f"a pair of functions (init, update), not {type(optimizer).__name__}."
    )


def _is_of(thing: Any, library: str) -> bool:
    """Whether a class, function or object is of this library or derives from what is."""
    kinds = thing.__mro__ if isinstance(thing, type) else (*type(thing).__mro__, thing)
    return any(str(getattr(kind, "__module__", "")).split(".")[0] == library for kind in kinds)


def _looks_like_optax(thing: Any) -> bool:
    """Whether it has the two functions of a transformation; optax has some that are no tuples."""
    if isinstance(thing, type):
        return False
    return callable(getattr(thing, "init", None)) and callable(getattr(thing, "update", None))


def _is_pair(thing: Any) -> bool:
    return isinstance(thing, (tuple, list)) and len(thing) == 2 and all(map(callable, thing))


def _called(
    made: Callable[..., Any],
    first: tuple[Any, ...],
    hyper: Mapping[str, Any],
    asked: Mapping[str, Any],
    rate: float,
) -> Any:
    """A class or function called with the step size and the hyper-parameters that it takes."""
    name = getattr(made, "__name__", "The optimizer")
    try:
        known = set(inspect.signature(made).parameters)
    except (TypeError, ValueError):
        known = set()
    given: dict[str, Any] = {}
    for key in _RATES:
        if key in known:
            given[key] = rate
            break
    left = dict(hyper)
    if "betas" in known and "b1" in left and "b2" in left:
        given["betas"] = (left.pop("b1"), left.pop("b2"))
    for key in list(left):
        for candidate in (key, *_OTHER_NAMES.get(key, ())):
            if candidate in known and candidate not in given:
                given[candidate] = left.pop(key)
                break
    lost = [key for key in left if key in asked]
    if lost:
        raise ConformanceError(
            f"{name} has no argument for {lost[0]}: give a factory that sets it, such as "
            f"lambda params: {name}(params, ...)."
        )
    try:
        return made(*first, **given)
    except (Exception, SystemExit) as error:
        shown = ", ".join([*(["params"] if first else []), *(f"{k}={v}" for k, v in given.items())])
        instead = (
            f"a factory, such as lambda params: {name}(params, ...)"
            if first
            else f"what {name}(...) returns"
        )
        raise ConformanceError(
            f"{name}({shown}) fails: {first_line(error)}; if it needs other arguments, give {instead}."
        ) from error
