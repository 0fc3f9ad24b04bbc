"""A user's rule is tried before it is used: what is wrong with it is said in its own name, at once.

Every rule outside the package takes two steps as ordinary Python from a few gradients, is compiled,
and takes them again as machine code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from qpsim.errors import MethodError
from qpsim.methods.rule import Method, Rule

# Both signs, and 0: a coordinate without a gradient is where 0/0 comes from.
_GRADIENTS = (0.75, -0.5, 0.0)
_OBSERVED = 0.5
_N_STEPS = 2

_passed: set[tuple[Rule, Any]] = set()


def try_rule(method: Method) -> None:
    """Try a method whose rule is not one of the package's, once for each of its hyper-parameters.

    Raises
    ------
    MethodError
        The rule raises, does not return a direction and one number for each state, returns NaN or
        an infinity for ordinary gradients, or cannot be compiled.
    """
    rule = method.rule
    if rule.module.startswith("qpsim.") or (rule, method.hyper) in _passed:
        return
    _walk(method, rule.function, "")
    arguments = 1 + (rule.observes is not None) + len(rule.state_names) + 1
    _walk(method, _compiled(rule, rule.function, arguments, method.hyper), " when compiled")
    for helper in (rule.offset, rule.breakpoint):
        if helper is not None:
            _compiled(rule, helper, arguments - 1, method.hyper)
    _passed.add((rule, method.hyper))


def _walk(method: Method, function: Callable[..., Any], how: str) -> None:
    rule = method.rule
    names = ("direction", *rule.state_names)
    seen = [_OBSERVED] if rule.observes else []
    for start in _GRADIENTS:
        state = [0.0] * len(rule.state_names)
        for t in range(1, _N_STEPS + 1):
            gradient = start if t == 1 else -2.0 * start
            where = f"gradient = {gradient:g}, {_listed(rule.state_names, state)}t = {t}"
            try:
                out = function(gradient, *seen, *state, float(t), *method.hyper)
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


def _compiled(rule: Rule, function: Callable[..., Any], n_floats: int, hyper: Any) -> Any:
    import numba

    from qpsim.kernels import dispatch

    kinds = [numba.float64] * n_floats
    kinds += [numba.boolean if isinstance(value, bool) else numba.float64 for value in hyper]
    machine_code = dispatch.scalar_rule(function)
    try:
        machine_code.compile(tuple(kinds))
    except Exception as error:  # numba lets the errors of its own code out as they are
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
