"""The classes ``Rule``, and ``Method``, a rule with values for its hyper-parameters."""

from __future__ import annotations

import math
import pickle
import sys
import uuid
from dataclasses import dataclass, fields
from numbers import Real
from typing import TYPE_CHECKING, Any

from qpsim import checks
from qpsim.errors import MethodError, nearest
from qpsim.methods.state import State
from qpsim.rules.declaration import Declaration, declarations, new_hyper_class, register

if TYPE_CHECKING:
    import numpy as np


class Rule(Declaration):
    """A scalar update rule and the facts read from its signature. Made by :func:`qpsim.rule`.

    Calling it with hyper-parameters gives a :class:`Method`.
    """

    def __call__(self, **hyper: Any) -> Method:
        """The method with these hyper-parameters; those not given have their defaults."""
        values = self.defaults
        for key, value in hyper.items():
            if key not in values:
                if not values:
                    raise MethodError(f"{self.name} has no hyper-parameters, so no {key!r}.")
                raise MethodError(
                    f"{self.name} has no hyper-parameter {key!r}; {nearest(key, values)}"
                )
            values[key] = self._checked(key, value)
        for low, high in self.ordered:
            if values[low] > values[high]:
                raise MethodError(
                    f"{self.name}: {low} must not be larger than {high}, but {values[low]!r} is "
                    f"larger than {values[high]!r}."
                )
        return Method(self, self.hyper_class(**values))

    def _checked(self, key: str, value: Any) -> float | bool:
        default = self.defaults[key]
        if isinstance(default, bool):
            return checks.flag(f"{self.name}: {key}", value, MethodError)
        if not isinstance(value, Real) or isinstance(value, bool):
            raise MethodError(f"{self.name}: {key} must be a number, not {checks.shown(value)}.")
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        low, high, interval = self.ranges.get(key, (-math.inf, math.inf, "the finite numbers"))
        if not (math.isfinite(number) and low <= number < high):
            raise MethodError(
                f"{self.name}: {key} must lie in {interval}, not {checks.shown(number)}."
            )
        return number

    def __repr__(self) -> str:
        return f"<rule {self.name}({', '.join(f'{k}={v!r}' for k, v in self.defaults.items())})>"

    def __copy__(self) -> Rule:
        return self

    def __deepcopy__(self, memo: Any) -> Rule:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        found = getattr(sys.modules.get(self.module), self.attribute, None)
        if found is self and self.module not in _PROGRAM:
            return _imported, (self.module, self.attribute)
        # Another process cannot import rules that are defined in a notebook, in the program itself or inside a
        # function.
        return _received, _to_be_sent(self)


@dataclass(frozen=True)
class Method:
    """A rule with values for its hyper-parameters, as simulations and trainings take it.

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
    def closed_form(self) -> str | None:
        """Closed form of the direction in the gradient: a name of ``CLOSED_FORMS``, or None."""
        return self.rule.closed_form

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
        return update(self.rule, self.hyper, gradient, state, given)

    def __reduce__(self) -> tuple[Any, ...]:
        # The class of a user's hyper-parameters may have another name in another process.
        return _restored, (self.rule, self.hyper_parameters)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{k}={v!r}' for k, v in self.hyper_parameters.items())})"


def defined_rule(module: str, attribute: str) -> Rule | None:
    """The rule that was last defined in this process under that name in that module.

    If there is none, because the rule has moved between a notebook or program and a module since it was saved, the
    latest rule of that name in any module is taken.
    """
    found = getattr(sys.modules.get(module), attribute, None)
    if isinstance(found, Rule):
        return found
    latest = [one for one in declarations() if one.attribute == attribute and isinstance(one, Rule)]
    exact = [one for one in latest if one.module == module]
    moved = [
        one
        for one in latest
        if not one.is_builtin and (module in _PROGRAM or one.module in _PROGRAM)
    ]
    return next(reversed(exact or moved), None)


def _restored(rule: Rule, hyper: dict[str, Any]) -> Method:
    return rule(**hyper)


def _imported(module: str, attribute: str) -> Rule:
    __import__(module)
    found = getattr(sys.modules[module], attribute, None)
    if not isinstance(found, Rule):
        raise MethodError(f"{module}.{attribute} is not a rule any more.")
    return found


# Names of the main module, which other processes cannot import under the same name.
_PROGRAM = ("__main__", "__mp_main__")
# Rules that were sent to other processes or received from one, by a name that is the same in all of them.
_travellers: dict[str, Rule] = {}
_sent: dict[Rule, tuple[str, bytes]] = {}


def _to_be_sent(rule: Rule) -> tuple[str, bytes]:
    """A name for the rule, and all its parts, with its functions as code."""
    if rule not in _sent:
        from numba import cloudpickle

        parts = {one.name: getattr(rule, one.name) for one in fields(Rule)}
        parts["hyper_class"] = rule.defaults
        try:
            content = cloudpickle.dumps(parts)
        except Exception as error:  # objects that the rule refers to may raise anything
            raise MethodError(
                f"The rule {rule.name!r} cannot be sent to another process ({error}); define it at "
                "the top level of a module that the other process can import."
            ) from error
        _sent[rule] = uuid.uuid4().hex, content
        _travellers[_sent[rule][0]] = rule
    return _sent[rule]


def _received(name: str, content: bytes) -> Rule:
    """The rule of that name; it is made from its parts the first time."""
    if name not in _travellers:
        parts = pickle.loads(content)
        parts["hyper_class"] = new_hyper_class(parts["function"], parts["hyper_class"])
        made = Rule(**parts)
        register(made)
        _travellers[name], _sent[made] = made, (name, content)
    return _travellers[name]
