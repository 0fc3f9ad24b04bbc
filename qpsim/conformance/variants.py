"""What implementations get wrong, or do in another way: variants of the methods, each a scalar rule.

A variant has the form of a rule, (gradient, state ..., t, hyper-parameters ...) -> (direction, state
...), and takes the hyper-parameters of its method by name. It is found by planting it: an optimizer
made of it must be diagnosed as this variant (tests/conformance).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Imported because their variants enter the list.
from qpsim.conformance import variants_adam, variants_other  # noqa: F401
from qpsim.conformance.variant import ENTERED, Variant, over
from qpsim.methods.averaged import adam
from qpsim.methods.modern import adamw
from qpsim.rules.scalar import sqrt


def variants(method: str | None = None) -> tuple[Variant, ...]:
    """All variants, or those of one method.

    >>> len(variants("adam")) > 8
    True
    """
    return tuple(one for one in ENTERED if method is None or method in one.methods)


def written_out(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same rule with its averages kept uncorrected, as most programs keep them.

    What a program does whose counter is lost depends on that. A rule that keeps no corrected averages
    is given back as it is.
    """
    return _WRITTEN_OUT.get(function, function)


def _adam_written_out(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    return over(m / (1.0 - b1**t), sqrt(v / (1.0 - b2**t)) + eps), m, v


_WRITTEN_OUT: dict[Callable[..., Any], Callable[..., Any]] = {
    adam.function: _adam_written_out,
    adamw.function: _adam_written_out,
}
