"""Variants of the methods, right or wrong, that implementations have; each is a scalar rule.

A variant has the form of a rule, (gradient, state ..., t, hyper-parameters ...) -> (direction, state ...), and takes
the hyper-parameters of its method by name. A test makes an optimizer of each variant, which must be diagnosed as this
variant (tests/conformance).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Imported because their variants enter the list.
from qpsim.conformance import variants_adam, variants_other  # noqa: F401
from qpsim.conformance.variant import ENTERED, Variant
from qpsim.conformance.written import WRITTEN_OUT


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
    return WRITTEN_OUT.get(function, function)
