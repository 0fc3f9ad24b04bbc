"""The scalar functions a rule may call besides :mod:`math`: branch-free when jitted.

Rules run as ordinary Python and as machine code; these functions give the same numbers in both.
"""

import math

__all__ = [
    "adapted",
    "adapted_sign",
    "averaging_weight",
    "erf",
    "momentum_correction",
    "sign",
    "sqrt",
    "unbiased_momentum_correction",
]

sqrt = math.sqrt
# Squares of numbers below _TINY may underflow. Such numbers are multiplied by _LARGE_UNIT before
# squaring.
_TINY, _LARGE_UNIT = 1e-140, 1e150
# Replaces a denominator of 0, where the numerator is 0 too. It is the smallest normal number: division by a subnormal
# number is many times slower.
_SMALLEST = 2.2250738585072014e-308


def erf(x: float) -> float:
    """The error function. It has its own function since numba compiles math.erf to a library call, which is slow.

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


def adapted_sign(x: float, variance: float) -> float:
    """sign(x) (1 + variance / x^2)^(-1/2), and 0 at x = 0: Adam's factor (Eq. 6).

    This is x / sqrt(x^2 + variance), with small x scaled so that x^2 does not underflow: the sign is right down to |x|
    = 1e-303.

    >>> adapted_sign(-3.0, 16.0), adapted_sign(-3e-200, 0.0), adapted_sign(0.0, 0.0)
    (-0.6, -1.0, 0.0)
    """
    unit = _LARGE_UNIT if abs(x) < _TINY else 1.0
    x = x * unit
    return x / sqrt(max(x * x + variance * (unit * unit), _SMALLEST))


def adapted(z: float, x: float, variance: float) -> float:
    """z / (1 + variance / x^2), and 0 at x = 0: the factor of SVAG (Eq. 16).

    >>> adapted(4.0, -3.0, 16.0), adapted(5e-200, 3e-200, 0.0), adapted(0.0, 0.0, 0.0)
    (1.44, 5e-200, 0.0)
    """
    unit = _LARGE_UNIT if abs(x) < _TINY else 1.0
    x = x * unit
    return z * (x * x / max(x * x + variance * (unit * unit), _SMALLEST))


def averaging_weight(decay: float, t: float) -> float:
    """(1 - b) / (1 - b^t): the newest value's weight in a bias-corrected moving average.

    With it m_t = m_{t-1} + w (g - m_{t-1}) is what Eq. 3 gives after the division by 1 - b^t.

    >>> averaging_weight(0.9, 1.0)
    1.0
    """
    return (1.0 - decay) / (1.0 - decay**t)


def momentum_correction(mu: float, t: float) -> float:
    """kappa(mu, t) of Eq. 19: the variance of a moving average relative to one gradient's.

    >>> momentum_correction(0.9, 1.0), round(momentum_correction(0.9, 1e5), 12)
    (1.0, 0.052631578947)
    """
    power = mu**t
    # At t = 1 power is mu, so that numerator and denominator are equal bit for bit.
    return (1.0 - mu) * (1.0 + power) / ((1.0 + mu) * (1.0 - power))


def unbiased_momentum_correction(mu: float, t: float) -> float:
    """kappa / (1 - kappa): the factor that makes s = v - m^2 an unbiased variance of m.

    0 where kappa is 1 (at t = 1, or without momentum): s is 0 there too.

    >>> unbiased_momentum_correction(0.9, 1.0)
    0.0
    """
    power = mu**t
    # 1 - kappa = 2 (mu - mu^t) / ((1 + mu) (1 - mu^t))
    room = 2.0 * (mu - power)
    return (1.0 - mu) * (1.0 + power) / (room if room > 0.0 else math.inf)
