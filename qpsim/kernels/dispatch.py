"""How one kernel serves every rule: numba finds the rule by the type of the hyper-parameters.

Each public function below has no body. When a kernel calls it with a rule's hyper-parameters,
:func:`numba.extending.overload` makes a body for that rule: it loads the state from its arrays, calls the rule's scalar
function and stores the new state. A closure over the rule would do the same, but closures cannot be cached on disk.

Arrays are (coordinate, lane); state arrays are (name, coordinate, lane).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
from numba.extending import overload

from qpsim.kernels import elementary
from qpsim.kernels.jit import OVERLOAD_INLINE
from qpsim.rules import scalar
from qpsim.rules.declaration import Declaration, declaration_of


@overload(scalar.sign, jit_options=OVERLOAD_INLINE)
def _sign(x):
    return lambda x: (1.0 if x > 0.0 else 0.0) - (1.0 if x < 0.0 else 0.0)


@overload(scalar.erf, jit_options=OVERLOAD_INLINE)
def _erf(x):
    return lambda x: elementary.erf(x)


@overload(scalar.adapted_sign, jit_options=OVERLOAD_INLINE, strict=False)
def _adapted_sign(x, variance):
    return scalar.adapted_sign


@overload(scalar.adapted, jit_options=OVERLOAD_INLINE, strict=False)
def _adapted(z, x, variance):
    return scalar.adapted


@overload(scalar.averaging_weight, jit_options=OVERLOAD_INLINE, strict=False)
def _averaging_weight(decay, t):
    return scalar.averaging_weight


@overload(scalar.momentum_correction, jit_options=OVERLOAD_INLINE, strict=False)
def _momentum_correction(mu, t):
    return scalar.momentum_correction


@overload(scalar.unbiased_momentum_correction, jit_options=OVERLOAD_INLINE, strict=False)
def _unbiased_momentum_correction(mu, t):
    return scalar.unbiased_momentum_correction


def move(hyper, gradient, extra, states, i, lane, t):
    """Direction of one coordinate in one lane; its state is replaced by the new one."""


def peek(hyper, gradient, extra, states, i, lane, t):
    """Direction that a gradient would give; the state stays as it is."""


def breakpoint(hyper, extra, states, i, lane, t):
    """The rule's breakpoint: the gradient near which the direction changes sharply; NaN if it declares none."""


def offset(hyper, extra, states, i, lane, t):
    """The offset that the rule's closed form adds to the gradient."""


def scale(hyper, extra, states, i, lane, t):
    """The factor of the rule's closed form; the state stays as it is."""


@overload(move, jit_options=OVERLOAD_INLINE)
def _move(hyper, gradient, extra, states, i, lane, t):
    rule = rule_of_type(hyper)
    arguments = _arguments(rule, ["gradient"], "extra")
    n = len(rule.state_names)
    body = [f"    out = rule({arguments})"]
    body += [f"    states[{k}, i, lane] = out[{k + 1}]" for k in range(n)]
    body += ["    return out[0]" if n else "    return out"]
    return _compiled(_move, body, rule=scalar_rule(rule.function, rule))


@overload(peek, jit_options=OVERLOAD_INLINE)
def _peek(hyper, gradient, extra, states, i, lane, t):
    rule = rule_of_type(hyper)
    arguments = _arguments(rule, ["gradient"], "extra")
    body = [f"    return rule({arguments}){'[0]' if rule.state_names else ''}"]
    return _compiled(_peek, body, rule=scalar_rule(rule.function, rule))


@overload(breakpoint, jit_options=OVERLOAD_INLINE)
def _breakpoint(hyper, extra, states, i, lane, t):
    rule = rule_of_type(hyper)
    if rule.breakpoint is None:
        return lambda hyper, extra, states, i, lane, t: math.nan
    body = [f"    return rule({_arguments(rule, [], 'extra')})"]
    return _compiled(_breakpoint, body, rule=scalar_rule(rule.breakpoint, rule))


@overload(offset, jit_options=OVERLOAD_INLINE)
def _offset(hyper, extra, states, i, lane, t):
    rule = rule_of_type(hyper)
    if rule.offset is None:
        return lambda hyper, extra, states, i, lane, t: 0.0
    body = [f"    return rule({_arguments(rule, [], 'extra')})"]
    return _compiled(_offset, body, rule=scalar_rule(rule.offset, rule))


@overload(scale, jit_options=OVERLOAD_INLINE)
def _scale(hyper, extra, states, i, lane, t):
    rule = rule_of_type(hyper)
    # At g = probe - offset both forms give scale times a known number, from which scale follows.
    body = ["    shift = 0.0"]
    if rule.offset is not None:
        body = [f"    shift = offset({_arguments(rule, [], 'extra')})"]
    body += ["    probe = max(1.0, abs(shift))"]
    body += [f"    out = rule({_arguments(rule, ['probe - shift'], 'extra')})"]
    body += [f"    value = {'out[0]' if rule.state_names else 'out'}"]
    body += ["    return value" if rule.closed_form == "sign" else "    return value / probe"]
    functions = {"rule": scalar_rule(rule.function, rule)}
    if rule.offset is not None:
        functions["offset"] = scalar_rule(rule.offset, rule)
    return _compiled(_scale, body, **functions)


def rule_of_type(hyper: Any) -> Declaration:
    """The rule behind numba's type of a rule's hyper-parameters."""
    return declaration_of(hyper.instance_class)


def is_linear_type(hyper: Any) -> bool:
    """Whether the rule behind numba's type of its hyper-parameters has the closed form of a linear one."""
    return rule_of_type(hyper).closed_form == "linear"


def field_class(kind: Any, name: str) -> type:
    """The class of a named tuple that is a field of another one, from numba's type of the outer tuple."""
    return kind[kind.fields.index(name)].instance_class


def _arguments(rule: Declaration, first: list[str], extra: str) -> str:
    observed = [extra] if rule.observes else []
    # Arithmetic is float64 for arrays of any precision.
    states = [f"float(states[{k}, i, lane])" for k in range(len(rule.state_names))]
    hyper = [f"hyper.{name}" for name in rule.defaults]
    return ", ".join([*first, *observed, *states, "t", *hyper])


def scalar_rule(function: Callable[..., Any], rule: Declaration) -> Any:
    """A rule's scalar function for use inside kernels, compiled once in each process.

    Machine code keeps the values of the global variables that a function reads. So a user's function that is declared
    again is compiled again; ours may be shared by several rules.
    """
    return _machine_code(function, None if rule.is_builtin else rule)


@cache
def _machine_code(function: Callable[..., Any], rule: Declaration | None) -> Any:
    return numba.njit(**OVERLOAD_INLINE)(function)


def _compiled(stub: Callable[..., Any], body: list[str], **names: Any) -> Callable[..., Any]:
    """A function with the arguments of the stub and this body, as source text that numba can read."""
    header = f"def implementation({', '.join(inspect.signature(stub).parameters)}):"
    namespace = dict(names)
    exec("\n".join([header, *body]), namespace)
    return namespace["implementation"]
