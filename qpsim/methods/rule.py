"""The decorator ``rule``, which makes a method from one scalar function and reads its facts from the signature.

A rule is (gradient, state, t, hyper-parameters) -> (direction, new state). Simulations, exact optimal steps and the
training of networks all apply this one function to each entry of their arrays, so that every update is written once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any

from qpsim import checks
from qpsim.errors import MethodError
from qpsim.methods import registry
from qpsim.methods.method import Rule
from qpsim.rules.declaration import CLOSED_FORMS, new_hyper_class, register
from qpsim.rules.signature import RANGES, check_helper, read_order, read_ranges, read_signature


def rule(
    function: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    closed_form: str | None = None,
    offset: Callable[..., float] | None = None,
    equivariant: bool = False,
    breakpoint: Callable[..., float] | None = None,
    closed_form_at_first_step: str | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    ordered: Iterable[tuple[str, str]] = (),
) -> Any:
    """Declare a method by its scalar update rule.

    The function's arguments are, in this order: ``gradient``; then, if the rule observes it,
    ``relative_variance`` (the exact sigma_i^2 / grad_i^2, known only on a quadratic problem) or
    ``variance_estimate`` (the minibatch estimate of Eq. 44); the names of its state, each
    starting at 0; ``t``, a float that is 1 at the first step; and its hyper-parameters, each
    with a default. It returns the direction, followed by the new state if there is any; the
    optimizer then moves theta by ``-step_size * direction``.

    Parameters
    ----------
    name : str, default: the function's name with "-" for "_"
        Registry name.
    closed_form : {"linear", "sign", "two-valued"} or None
        Closed form of the direction, ``scale * (gradient + offset)`` or
        ``scale * sign(gradient + offset)`` with scale and offset free of the gradient, or one value
        where ``gradient + offset`` is positive and another where it is negative. It makes the exact
        optimal step a closed form; None leaves it to quadrature.
    offset : callable, optional
        Scalar function of the same arguments without ``gradient``; 0 when absent.
    equivariant : bool
        Whether the update commutes with rotations, so that a rotated problem may be simulated in
        its eigenbasis.
    breakpoint : callable, optional
        Scalar function of the same arguments without ``gradient``, for a rule without a closed form: the
        gradient near which the direction jumps, bends or turns sharply. The quadrature of the
        exact step also finds such places without it, but is faster with it, and exact at a jump.
        What the quadrature can miss without it is a peak or gap narrower than an eighth of the
        gradient's standard deviation that does not show in the direction on either side.
    closed_form_at_first_step : {"sign"}, optional
        For a rule without a closed form: at t = 1 the direction is ``scale * sign(gradient)``.
    ranges : mapping of str to (low, high), optional
        Admissible half-open intervals [low, high) of hyper-parameters.
    ordered : iterable of (str, str), optional
        Pairs of hyper-parameters of which the first must not be larger than the second.

    Raises
    ------
    MethodError
        The signature is not of the form above.

    Examples
    --------
    >>> import qpsim
    >>> from qpsim.methods.scalar import sign
    >>> @qpsim.rule
    ... def lion(gradient, m, t, b1=0.9, b2=0.99):
    ...     direction = sign(b1 * m + (1 - b1) * gradient)
    ...     return direction, b2 * m + (1 - b2) * gradient
    >>> lion(b1=0.95)
    lion(b1=0.95, b2=0.99)
    """
    if function is None:
        return lambda f: rule(
            f,
            name=name,
            closed_form=closed_form,
            offset=offset,
            equivariant=equivariant,
            breakpoint=breakpoint,
            closed_form_at_first_step=closed_form_at_first_step,
            ranges=ranges,
            ordered=ordered,
        )
    if not inspect.isfunction(function) or not function.__name__.isidentifier():
        raise MethodError(f"A rule is a function written with def, not {checks.shown(function)}.")
    if name is not None and not (isinstance(name, str) and name):
        raise MethodError(f"A rule's name is a text, not {checks.shown(name)}.")
    title = name or function.__name__.replace("_", "-")
    observes, state_names, defaults = read_signature(title, function)
    if closed_form is not None and not (
        isinstance(closed_form, str) and closed_form in CLOSED_FORMS
    ):
        raise MethodError(
            f"Rule {title!r}: closed_form must be 'linear', 'sign', 'two-valued' or None, not "
            f"{checks.shown(closed_form)}."
        )
    if closed_form_at_first_step not in (None, "sign") or (
        closed_form and closed_form_at_first_step
    ):
        raise MethodError(
            f"Rule {title!r}: closed_form_at_first_step is 'sign' or None, and only where closed_form is None."
        )
    equivariant = checks.flag(f"Rule {title!r}: equivariant", equivariant, MethodError)
    if equivariant and (closed_form != "linear" or observes):
        raise MethodError(
            f"Rule {title!r}: only a rule of closed_form='linear' that observes nothing but the gradient "
            "commutes with rotations; leave equivariant=True out."
        )
    if offset is not None and closed_form is None:
        raise MethodError(
            f"Rule {title!r}: an offset is part of a closed form; say which, or drop it."
        )
    for what, helper in (("offset", offset), ("breakpoint", breakpoint)):
        if helper is not None:
            check_helper(title, function, what, helper)
    known = {**RANGES, **read_ranges(title, defaults, ranges or {})}
    made = Rule(
        name=title,
        function=function,
        state_names=state_names,
        observes=observes,
        hyper_class=new_hyper_class(function, defaults),
        closed_form=closed_form,
        offset=offset,
        equivariant=equivariant,
        breakpoint=breakpoint,
        closed_form_at_first_step=closed_form_at_first_step,
        ranges={key: known[key] for key in defaults if key in known},
        ordered=read_order(title, defaults, ordered),
        module=function.__module__ or "__main__",
        attribute=function.__name__,
    )
    _check_output(made)
    register(made)
    if made.is_builtin:
        registry.add(made)
    return made


def _check_output(made: Rule) -> None:
    """Call the rule once, so that a wrong number of returned values is reported at its definition."""
    n_given = 2 + len(made.state_names) + (made.observes is not None)
    try:
        output = made.function(*[1.0] * n_given, *made.defaults.values())
    except Exception:  # the rule may refuse arguments that are all 1; `try_rule` tests it later
        return
    values = output if isinstance(output, tuple) else (output,)
    expected = 1 + len(made.state_names)
    if isinstance(output, tuple) == (expected == 1) or len(values) != expected:
        wanted = ", ".join(["direction", *made.state_names])
        raise MethodError(
            f"Rule {made.name!r} must return {wanted}; it returned {checks.shown(output)}."
        )
    if not all(isinstance(value, Real) for value in values):
        raise MethodError(
            f"Rule {made.name!r} must return numbers; it returned {checks.shown(output)}."
        )
