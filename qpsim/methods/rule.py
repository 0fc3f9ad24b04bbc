"""A method is one scalar rule: (gradient, state, t, hyper-parameters) -> (direction, new state).

``@rule`` reads everything else off the function's signature: the state's names, the
hyper-parameters with their defaults, and whether the rule observes more than the gradient. The
simulation on quadratics, the exact optimal step and the training of networks all map this one
function over their arrays; no update is written twice.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections import namedtuple
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

from qpsim.errors import MethodError, nearest
from qpsim.methods.signature import RANGES, check_helper, read_ranges, read_signature
from qpsim.methods.state import State

if TYPE_CHECKING:
    import numpy as np

FORMS = ("linear", "sign", "two-valued")


@dataclass(frozen=True, eq=False)
class Rule:
    """A scalar update rule with everything its signature says. Made by :func:`rule`.

    Calling it with hyper-parameters gives a :class:`Method`.
    """

    name: str
    function: Callable[..., Any]
    state_names: tuple[str, ...]
    observes: str | None
    hyper_class: type[tuple]
    form: str | None
    offset: Callable[..., float] | None
    equivariant: bool
    breakpoint: Callable[..., float] | None
    form_at_first_step: str | None
    ranges: Mapping[str, tuple[float, float, str]]
    module: str
    attribute: str

    @property
    def defaults(self) -> dict[str, Any]:
        """Hyper-parameters and their defaults, in the order of the signature."""
        return dict(self.hyper_class._field_defaults)  # type: ignore[attr-defined]

    def __call__(self, **hyper: Any) -> Method:
        """The method with these hyper-parameters; what is not named keeps its default."""
        values = self.defaults
        for key, value in hyper.items():
            if key not in values:
                if not values:
                    raise MethodError(f"{self.name} has no hyper-parameters, so no {key!r}.")
                raise MethodError(
                    f"{self.name} has no hyper-parameter {key!r}; {nearest(key, values)}"
                )
            values[key] = self._checked(key, value)
        return Method(self, self.hyper_class(**values))

    def _checked(self, key: str, value: Any) -> float | bool:
        default = self.defaults[key]
        if isinstance(default, bool):
            if not isinstance(value, bool):
                raise MethodError(f"{self.name}: {key} is either true or false, not {value!r}.")
            return value
        if not isinstance(value, Real) or isinstance(value, bool):
            raise MethodError(f"{self.name}: {key} must be a number, not {value!r}.")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        low, high, interval = self.ranges.get(key, (-math.inf, math.inf, "the finite numbers"))
        if not (math.isfinite(number) and low <= number < high):
            raise MethodError(f"{self.name}: {key} must lie in {interval}, not {number!r}.")
        return number

    def __repr__(self) -> str:
        return f"<rule {self.name}({', '.join(f'{k}={v!r}' for k, v in self.defaults.items())})>"

    def __reduce__(self) -> tuple[Any, ...]:
        if defined_rule(self.module, self.attribute) is not self:
            raise MethodError(
                f"The rule {self.name!r} cannot be found as {self.module}.{self.attribute}; define "
                "it at the top level of a module, under its function's name."
            )
        return _find_rule, (self.module, self.attribute)


@dataclass(frozen=True)
class Method:
    """A rule with its hyper-parameters fixed: what a simulation or a training run moves by.

    Examples
    --------
    >>> import qpsim
    >>> qpsim.method("adam", b2=0.99)
    adam(b1=0.9, b2=0.99, eps=1e-08)
    """

    rule: Rule
    hyper: Any

    @property
    def name(self) -> str:
        """Registry name."""
        return self.rule.name

    @property
    def state_names(self) -> tuple[str, ...]:
        """Names of the state's arrays, in the rule's order."""
        return self.rule.state_names

    @property
    def observes(self) -> str | None:
        """What the rule sees besides the gradient: None, "relative_variance" or "variance_estimate"."""
        return self.rule.observes

    @property
    def form(self) -> str | None:
        """Closed form of the direction in the gradient: a name of ``FORMS``, or None."""
        return self.rule.form

    @property
    def equivariant(self) -> bool:
        """Whether the update commutes with rotations of the coordinates."""
        return self.rule.equivariant

    @property
    def hyper_parameters(self) -> dict[str, Any]:
        """Hyper-parameters by name."""
        return dict(self.hyper._asdict())

    def initial_state(self, shape: int | tuple[int, ...], dtype: Any = float) -> State:
        """State before the first step: zeros of ``shape`` under each state name."""
        import numpy as np

        try:
            return State(0, {name: np.zeros(shape, dtype) for name in self.state_names})
        except (TypeError, ValueError):
            raise MethodError(
                f"A state's shape is a whole number or a tuple of them, and its dtype a NumPy type, "
                f"not {shape!r} and {dtype!r}."
            ) from None

    def update(
        self,
        gradient: np.ndarray,
        state: State,
        *,
        relative_variance: Any = None,
        variance_estimate: Any = None,
    ) -> tuple[np.ndarray, State]:
        """One step's direction and the state after it; the step is theta - step_size * direction.

        Parameters
        ----------
        gradient : ndarray, any shape, float64 or float32
            Stochastic gradient; arithmetic is float64, results have the gradient's dtype.
        state : State
            From :meth:`initial_state` or the last update; not modified.
        relative_variance, variance_estimate : array_like of the gradient's shape
            The observed extra, for a rule that asks for it, and only then.

        Returns
        -------
        direction : ndarray of the gradient's shape
        state : State

        Raises
        ------
        MethodError
            A state of other names or shape, or an extra that is missing or not asked for.

        Examples
        --------
        >>> import numpy as np, qpsim
        >>> m = qpsim.method("ssd")
        >>> direction, state = m.update(np.array([0.3, -2.0, 0.0]), m.initial_state(3))
        >>> direction, state.t
        (array([ 1., -1.,  0.]), 1)
        """
        from qpsim.methods.mapping import update

        given = {"relative_variance": relative_variance, "variance_estimate": variance_estimate}
        return update(self, gradient, state, given)

    def __reduce__(self) -> tuple[Any, ...]:
        # A user's class of hyper-parameters has another name in each process.
        return _restored, (self.rule, self.hyper_parameters)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.hyper_parameters.items())})"


_REGISTRY: dict[str, Rule] = {}
_BY_CLASS: dict[type, Rule] = {}


def rule_of(hyper_class: type) -> Rule:
    """The rule that a class of hyper-parameters belongs to."""
    return _BY_CLASS[hyper_class]


def rule(
    function: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    form: str | None = None,
    offset: Callable[..., float] | None = None,
    equivariant: bool = False,
    breakpoint: Callable[..., float] | None = None,
    form_at_first_step: str | None = None,
    ranges: Mapping[str, tuple[float, float]] | None = None,
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
    form : {"linear", "sign", "two-valued"} or None
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
        Scalar function of the same arguments without ``gradient``, for a rule without a form: the
        gradient near which the direction jumps, bends or turns sharply. The quadrature of the
        exact step finds such places itself; told where, it is faster and exact at a jump. Only a
        peak or gap far narrower than the gradient's deviation, with a direction to either side
        that shows no trace of it, may fall between the nodes.
    form_at_first_step : {"sign"}, optional
        For a rule without a form: at t = 1 the direction is ``scale * sign(gradient)``.
    ranges : mapping of str to (low, high), optional
        Admissible half-open intervals [low, high) of hyper-parameters.

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
            form=form,
            offset=offset,
            equivariant=equivariant,
            breakpoint=breakpoint,
            form_at_first_step=form_at_first_step,
            ranges=ranges,
        )
    if not inspect.isfunction(function) or not function.__name__.isidentifier():
        raise MethodError(f"A rule is a function written with def, not {function!r}.")
    if name is not None and not (isinstance(name, str) and name):
        raise MethodError(f"A rule's name is a text, not {name!r}.")
    title = name or function.__name__.replace("_", "-")
    observes, state_names, defaults = read_signature(title, function)
    if form is not None and form not in FORMS:
        raise MethodError(
            f"Rule {title!r}: form must be 'linear', 'sign', 'two-valued' or None, not {form!r}."
        )
    if form_at_first_step not in (None, "sign") or (form and form_at_first_step):
        raise MethodError(
            f"Rule {title!r}: form_at_first_step is 'sign' or None, and only where form is None."
        )
    if not isinstance(equivariant, bool):
        raise MethodError(f"Rule {title!r}: equivariant is True or False, not {equivariant!r}.")
    if equivariant and (form != "linear" or observes):
        raise MethodError(
            f"Rule {title!r}: only a rule of form='linear' that observes nothing but the gradient "
            "commutes with rotations; leave equivariant=True out."
        )
    if offset is not None and form is None:
        raise MethodError(f"Rule {title!r}: an offset is part of a form; say which, or drop it.")
    class_name = "".join(part.capitalize() for part in function.__name__.split("_")) + "Hyper"
    ours = str(function.__module__).startswith("qpsim.")
    if not ours:
        # numba's dispatcher tells named tuples apart by name and fields alone, whatever their
        # module: a rule edited, or called as one of ours, would run the other's machine code.
        class_name += f"_{len(_BY_CLASS)}"
    for what, helper in (("offset", offset), ("breakpoint", breakpoint)):
        if helper is not None:
            check_helper(title, function, what, helper)
    make: Any = namedtuple
    hyper_class: type[tuple] = make(
        class_name, list(defaults), defaults=defaults.values(), module=function.__module__
    )
    if ours:
        # Machine code is cached under the class's importable name, so it must be found there.
        setattr(sys.modules[function.__module__], class_name, hyper_class)
    known = {**RANGES, **read_ranges(title, defaults, ranges or {})}
    made = Rule(
        name=title,
        function=function,
        state_names=state_names,
        observes=observes,
        hyper_class=hyper_class,
        form=form,
        offset=offset,
        equivariant=equivariant,
        breakpoint=breakpoint,
        form_at_first_step=form_at_first_step,
        ranges={key: known[key] for key in defaults if key in known},
        module=function.__module__,
        attribute=function.__name__,
    )
    _check_output(made)
    _BY_CLASS[hyper_class] = made
    if ours:
        _REGISTRY[title] = made
    return made


def method(name: str | Method | Rule, **hyper: Any) -> Method:
    """A method from the registry, with hyper-parameters.

    Parameters
    ----------
    name : str
        Registry name, for instance "sgd", "ssd", "svag" or "adam".
    **hyper
        Hyper-parameters by name; what is not given keeps its default.

    Raises
    ------
    MethodError
        Unknown name or hyper-parameter (the nearest known one is offered), or a value out of range.

    Examples
    --------
    >>> import qpsim
    >>> qpsim.method("adam")
    adam(b1=0.9, b2=0.999, eps=1e-08)
    """
    if isinstance(name, Method):
        if hyper:
            raise MethodError(f"{name!r} has its hyper-parameters already; give a name instead.")
        return name
    if isinstance(name, Rule):
        return name(**hyper)
    if not isinstance(name, str):
        raise MethodError(f"A method is a name or a rule, not {type(name).__name__}.")
    if name not in _REGISTRY:
        raise MethodError(f"Unknown method {name!r}; {nearest(name, _REGISTRY)}")
    return _REGISTRY[name](**hyper)


def method_names() -> tuple[str, ...]:
    """Names of all methods in the registry."""
    return tuple(_REGISTRY)


def _check_output(made: Rule) -> None:
    """Call the rule once, so that a wrong number of values is found where it is written."""
    n_given = 2 + len(made.state_names) + (made.observes is not None)
    try:
        output = made.function(*[1.0] * n_given, *made.defaults.values())
    except Exception:  # 1 may be no fair gradient for it; it is tried properly before it is used
        return
    values = output if isinstance(output, tuple) else (output,)
    expected = 1 + len(made.state_names)
    if isinstance(output, tuple) == (expected == 1) or len(values) != expected:
        wanted = ", ".join(["direction", *made.state_names])
        raise MethodError(f"Rule {made.name!r} must return {wanted}; it returned {output!r}.")
    if not all(isinstance(value, Real) for value in values):
        raise MethodError(f"Rule {made.name!r} must return numbers; it returned {output!r}.")


def defined_rule(module: str, attribute: str) -> Rule | None:
    """The rule of that name in a module this process has imported already, if there is one."""
    found = getattr(sys.modules.get(module), attribute, None)
    return found if isinstance(found, Rule) else None


def _restored(rule: Rule, hyper: dict[str, Any]) -> Method:
    return rule(**hyper)


def _find_rule(module: str, attribute: str) -> Rule:
    __import__(module)
    found = defined_rule(module, attribute)
    if found is None:
        raise MethodError(f"{module}.{attribute} is not a rule any more.")
    return found
