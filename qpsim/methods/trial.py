"""Tests of a user's rule before its first use, so that the error message of a mistake names the rule.

Every rule that is not part of the package takes a few steps from a few gradients, first as ordinary
Python and then as machine code. The exact step relies on what a rule declares (a closed form, or
that it commutes with rotations) and cannot check it. Therefore the declarations are tested here too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from qpsim.errors import MethodError
from qpsim.rules.declaration import Declaration

# Gradients of both signs, and 0, where a rule may compute 0 / 0.
_GRADIENTS = (0.75, -0.5, 0.0)
_OBSERVED = 0.5
# First steps, where bias corrections are large, and late steps, where they are negligible.
_TIMES = (1, 2, 3, 4, 100, 10_000)
# Tolerance of a declared form: rounding, and a small epsilon added to a gradient of size 1.
_ROUNDING = 1e-6

_passed: set[tuple[Declaration, Any]] = set()
# What each rule gave when it was compiled, with which hyper-parameters.
_compiled_as: dict[Declaration, tuple[Any, list[Any]]] = {}


def try_rule(rule: Declaration, hyper: Any) -> None:
    """Test a user's rule with these hyper-parameters; every combination is tested once.

    Raises
    ------
    MethodError
        The rule raises, does not return a direction and one number for each state, returns NaN or
        an infinity for ordinary gradients, does not have the form or the equivariance that it
        declares, cannot be compiled, or has been compiled and gives other values since.
    """
    if rule.is_builtin:
        return
    _try_again(rule)
    if (rule, hyper) in _passed:
        return
    for point in _walk(rule, hyper, rule.function, ""):
        _try_helpers(rule, hyper, *point)
        _try_form(rule, hyper, *point)
        _try_equivariance(rule, hyper, point[2])
    arguments = 1 + (rule.observes is not None) + len(rule.state_names) + 1
    _walk(rule, hyper, _compiled(rule, rule.function, arguments, hyper), " when compiled")
    for helper in (rule.offset, rule.breakpoint):
        if helper is not None:
            _compiled(rule, helper, arguments - 1, hyper)
    _passed.add((rule, hyper))
    _compiled_as.setdefault(rule, (hyper, _answers(rule, hyper)))


def _try_again(rule: Declaration) -> None:
    """Refuse a rule that reads a variable which was changed: its machine code keeps the former value."""
    if rule in _compiled_as:
        hyper, before = _compiled_as[rule]
        if _answers(rule, hyper) != before:
            raise MethodError(
                f"Rule {rule.name!r} gives other values than when it was compiled, so a variable that it reads has "
                "changed; machine code keeps the former value: declare the rule again, or make it a hyper-parameter."
            )


def _answers(rule: Declaration, hyper: Any) -> list[Any]:
    """What the rule and its helpers give at the points of the trial, or the exception that ends them."""
    functions = [f for f in (rule.offset, rule.breakpoint) if f is not None]
    found: list[Any] = []
    try:
        for seen, state, t in _walk(rule, hyper, rule.function, ""):
            rest = (*seen, *state, float(t), *hyper)
            values = [float(function(*rest)) for function in functions]
            found += [_moved(rule, hyper, 0.75, rest), *map(repr, values)]
    except Exception as error:
        found.append(repr(error))
    return found


# What a rule observes besides the gradient, its state, and t.
Point = tuple[list[float], list[float], int]


def _walk(rule: Declaration, hyper: Any, function: Callable[..., Any], how: str) -> list[Point]:
    """Take some steps, and return the points (arguments without the gradient) at which they started."""
    names = ("direction", *rule.state_names)
    seen = [_OBSERVED] if rule.observes else []
    points: list[Point] = []
    for start in _GRADIENTS:
        state = [0.0] * len(rule.state_names)
        for k, t in enumerate(_TIMES):
            points.append((seen, state, t))
            gradient = start * (-2.0) ** (k % 2)
            where = f"gradient = {gradient:g}, {_listed(rule.state_names, state)}t = {t}"
            try:
                out = function(gradient, *seen, *state, float(t), *hyper)
            except Exception as error:
                raise MethodError(
                    f"Rule {rule.name!r} fails{how} at {where}: {type(error).__name__}: {error}."
                ) from error
            values = out if isinstance(out, tuple) else (out,)
            if len(values) != len(names):
                raise MethodError(
                    f"Rule {rule.name!r} returns {_counted(len(values))}, but must return "
                    f"{_counted(len(names))}: {', '.join(names)}."
                )
            for name, value in zip(names, values, strict=True):
                if not _is_finite(value):
                    raise MethodError(
                        f"Rule {rule.name!r} returns {value!r} as its {name}{how} at {where}; "
                        "it must be a finite number there."
                    )
            state = [float(value) for value in values[1:]]
    return points


def _try_helpers(
    rule: Declaration, hyper: Any, seen: list[float], state: list[float], t: int
) -> None:
    for what, helper in (("offset", rule.offset), ("breakpoint", rule.breakpoint)):
        if helper is None:
            continue
        where = f"{_listed(rule.state_names, state)}t = {t}"
        try:
            value = helper(*seen, *state, float(t), *hyper)
        except Exception as error:
            raise MethodError(
                f"Rule {rule.name!r}: its {what} fails at {where}: {type(error).__name__}: {error}."
            ) from error
        # A breakpoint of NaN says that there is none.
        if not (_is_finite(value) or (what == "breakpoint" and isinstance(value, float))):
            raise MethodError(
                f"Rule {rule.name!r}: its {what} is {value!r} at {where}; it must be a number."
            )


def _try_form(rule: Declaration, hyper: Any, seen: list[float], state: list[float], t: int) -> None:
    """Compare the direction with the declared form at a few gradients g, with c the offset.

    "linear" is scale * (g + c) and "sign" is scale * sign(g + c), with one scale for all g.
    "two-valued" is one value for all positive g + c and another one for all negative g + c.
    """
    form = rule.closed_form or (
        rule.closed_form_at_first_step if t == 1 and not any(state) else None
    )
    if form is None:
        return
    rest = (*seen, *state, float(t), *hyper)
    offset = 0.0 if rule.offset is None else float(rule.offset(*rest))
    unit = max(1.0, abs(offset))
    above, below = (_moved(rule, hyper, side * unit - offset, rest)[0] for side in (1.0, -1.0))
    # Small values of g + c, where the sign changes, show a wrong offset, and an epsilon at the first step.
    near = (1e-3, -1e-3) if rule.closed_form else ()
    for multiple in (-1.0, 0.5, -2.0, *near):
        got = _moved(rule, hyper, multiple * unit - offset, rest)[0]
        wanted = {
            "linear": above * multiple,
            "sign": math.copysign(1.0, multiple) * above,
            "two-valued": above if multiple > 0.0 else below,
        }[form]
        if not abs(got - wanted) <= _ROUNDING * max(abs(above), abs(got)):
            declared = "closed_form" if rule.closed_form else "closed_form_at_first_step"
            shape = {
                "linear": "scale * (gradient + offset)",
                "sign": "scale * sign(gradient + offset)",
                "two-valued": "one value on either side of gradient + offset = 0",
            }[form]
            raise MethodError(
                f"Rule {rule.name!r} is declared {declared}={form!r}, but its direction is not "
                f"{shape} at {_listed(rule.state_names, state)}t = {t}: it goes from "
                f"{above:g} to {got:g} as gradient + offset ({offset:g}) goes from {unit:g} to "
                f"{multiple * unit:g}; correct the offset or leave the {declared} out."
            )


def _try_equivariance(rule: Declaration, hyper: Any, t: int) -> None:
    """A rule commutes with rotations only if it is linear in the gradient and the state together."""
    if not rule.equivariant:
        return
    first = [1.0 - 0.3 * k for k in range(1 + len(rule.state_names))]
    second = [-0.7 + 0.45 * k * k for k in range(1 + len(rule.state_names))]
    both = [a - 2.0 * b for a, b in zip(first, second, strict=True)]
    at = [_moved(rule, hyper, x[0], (*x[1:], float(t), *hyper)) for x in (first, second, both)]
    for name, a, b, got in zip(("direction", *rule.state_names), *at, strict=True):
        if not abs(got - (a - 2.0 * b)) <= _ROUNDING * max(abs(a), abs(b), abs(got)):
            raise MethodError(
                f"Rule {rule.name!r} is declared equivariant, but its {name} is not linear in the "
                f"gradient and the state at t = {t}, so that rotations change what it does; leave "
                "equivariant=True out."
            )


def _moved(
    rule: Declaration, hyper: Any, gradient: float, rest: tuple[Any, ...]
) -> tuple[float, ...]:
    try:
        out = rule.function(gradient, *rest)
        return tuple(float(value) for value in (out if isinstance(out, tuple) else (out,)))
    except Exception as error:
        raise MethodError(
            f"Rule {rule.name!r} fails at gradient = {gradient:g}: {type(error).__name__}: {error}."
        ) from error


def _compiled(rule: Declaration, function: Callable[..., Any], n_floats: int, hyper: Any) -> Any:
    import numba

    from qpsim.kernels import dispatch

    kinds = [numba.float64] * n_floats
    kinds += [numba.boolean if isinstance(value, bool) else numba.float64 for value in hyper]
    machine_code = dispatch.scalar_rule(function, rule)
    try:
        machine_code.compile(tuple(kinds))
    except Exception as error:  # numba raises errors of many classes
        raise MethodError(
            f"Rule {rule.name!r} cannot be compiled: {_reason(error)} Use plain arithmetic, math "
            "and qpsim.methods.scalar on the rule's own arguments."
        ) from error
    return machine_code


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    kept = [line for line in lines if line and not line.startswith(("Failed in", "During", "File"))]
    return (kept[0] if kept else type(error).__name__).rstrip(".:") + "."


def _is_finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except TypeError:
        return False


def _listed(names: tuple[str, ...], values: list[float]) -> str:
    return "".join(f"{name} = {value:g}, " for name, value in zip(names, values, strict=True))


def _counted(n: int) -> str:
    return "1 value" if n == 1 else f"{n} values"
