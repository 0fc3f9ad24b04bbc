"""Rules rewritten with averages that are not bias-corrected, as most programs store them.

Both are the same while the counter is right. They differ where it is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qpsim.conformance.variant import over
from qpsim.methods.averaged import adam, adam_star, m_svag, svag_ema
from qpsim.methods.modern import adamax, adamw, nadam, radam
from qpsim.rules.scalar import (
    adapted,
    adapted_sign,
    momentum_correction,
    sqrt,
    unbiased_momentum_correction,
)


def _adam(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    return over(m / (1.0 - b1**t), sqrt(v / (1.0 - b2**t)) + eps), m, v


def _adamax(gradient, m, u, t, b1=0.9, b2=0.999, eps=1e-8):
    m = b1 * m + (1.0 - b1) * gradient
    u = max(b2 * u, abs(gradient) + eps)
    return over(m / (1.0 - b1**t), u), m, u


def _nadam(gradient, m, v, product, t, b1=0.9, b2=0.999, eps=1e-8, momentum_decay=0.004):
    mu = b1 * (1.0 - 0.5 * 0.96 ** (momentum_decay * t))
    following = b1 * (1.0 - 0.5 * 0.96 ** (momentum_decay * (t + 1.0)))
    product = product + (1.0 - product) * (1.0 - mu)
    ahead = product + (1.0 - product) * (1.0 - following)
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    forward = following * m / ahead + (1.0 - mu) * gradient / product
    return over(forward, sqrt(v / (1.0 - b2**t)) + eps), m, v, product


def _radam(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8, threshold=5.0):
    m = b1 * m + (1.0 - b1) * gradient
    v = b2 * v + (1.0 - b2) * gradient * gradient
    power = b2**t
    longest = 2.0 / (1.0 - b2) - 1.0
    rho = longest - 2.0 * t * power / (1.0 - power)
    if rho <= threshold:
        return m / (1.0 - b1**t), m, v
    above = (rho - 4.0) * (rho - 2.0) * longest
    factor = sqrt(above / ((longest - 4.0) * (longest - 2.0) * rho))
    return over(factor * m / (1.0 - b1**t), sqrt(v / (1.0 - power)) + eps), m, v


def _averages(gradient, m, v, t, rate):
    m = rate * m + (1.0 - rate) * gradient
    v = rate * v + (1.0 - rate) * gradient * gradient
    mean = m / (1.0 - rate**t)
    return mean, max(v / (1.0 - rate**t) - mean * mean, 0.0), m, v


def _factor(momentum, t, bias_corrected):
    correction = unbiased_momentum_correction if bias_corrected else momentum_correction
    return correction(momentum, t)


def _m_svag(gradient, m, v, t, momentum=0.9, bias_corrected=False):
    mean, spread, m, v = _averages(gradient, m, v, t, momentum)
    return adapted(mean, mean, _factor(momentum, t, bias_corrected) * spread), m, v


def _adam_star(gradient, m, v, t, momentum=0.9, bias_corrected=False):
    mean, spread, m, v = _averages(gradient, m, v, t, momentum)
    return adapted_sign(mean, _factor(momentum, t, bias_corrected) * spread), m, v


def _svag_ema(gradient, m, v, t, decay=0.9):
    mean, spread, m, v = _averages(gradient, m, v, t, decay)
    return adapted(gradient, mean, spread), m, v


WRITTEN_OUT: dict[Callable[..., Any], Callable[..., Any]] = {
    adam.function: _adam,
    adamw.function: _adam,
    adamax.function: _adamax,
    nadam.function: _nadam,
    radam.function: _radam,
    m_svag.function: _m_svag,
    adam_star.function: _adam_star,
    svag_ema.function: _svag_ema,
}
