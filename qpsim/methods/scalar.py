"""The scalar functions a rule may call besides :mod:`math`: branch-free when jitted.

Rules run twice, as ordinary Python and as machine code over many lanes; these names mean the same
number in both.
"""

import math

__all__ = ["erf", "sign", "sqrt"]

sqrt = math.sqrt


def erf(x: float) -> float:
    """The error function; a function of our own, because numba knows math.erf as a library call.

    >>> erf(0.0), erf(1.0)
    (0.0, 0.8427007929497149)
    """
    return math.erf(x)


def sign(x: float) -> float:
    """Sign of ``x``, with sign(0) = 0 as the paper uses in practice (footnote 3).

    >>> sign(-2.5), sign(0.0), sign(3.0)
    (-1.0, 0.0, 1.0)
    """
    return float(x > 0.0) - float(x < 0.0)
