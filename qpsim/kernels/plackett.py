"""Plackett's integral for E[s_i s_j] on least squares, where the correlation depends on theta."""

import math

from qpsim.kernels.elementary import TWO_OVER_PI, exp
from qpsim.kernels.jit import jit_inline


@jit_inline
def root_of_power(base, count):
    """base^(count / 2) for an integer count, by repeated squaring, which is faster than ``**``."""
    value = math.sqrt(base) if count % 2 else 1.0
    left = count // 2
    while left > 0:
        if left % 2:
            value *= base
        base *= base
        left //= 2
    return value


@jit_inline
def pair_integral(problem, r, a, b, degrees):
    """(2 / pi) int_0^(asin r) phi((a^2 + b^2 - 2 a b sin t) / cos^2 t) dt (Plackett, 1954).

    phi(x) is exp(-x / 2) if degrees is 0, else (1 + x / degrees)^(-degrees / 2) with the batch size as degrees.
    """
    rule = 0
    while rule < problem.legendre_limits.size - 1 and abs(r) > problem.legendre_limits[rule]:
        rule += 1
    angle = math.asin(r)
    total = 0.0
    squares, product = a * a + b * b, 2.0 * a * b
    for n in range(problem.legendre_counts[rule]):
        sine = math.sin(angle * problem.legendre_nodes[rule, n])
        cosine = max(1.0 - sine * sine, 1e-300)
        x = max((squares - product * sine) / cosine, 0.0)
        if degrees == 0.0:
            value = exp(-0.5 * min(x, 1400.0))
        else:
            value = root_of_power(1.0 / (1.0 + x / degrees), problem.batch_size)
        total += problem.legendre_weights[rule, n] * value
    return TWO_OVER_PI * angle * total
