"""Variance adaptation from moving averages: Adam, Adam*, M-SVAG and SVAG (Section 3.3, Alg. 2, 4).

All averages are held bias-corrected. With w = (1 - mu) / (1 - mu^t) and delta = g - m,

    m <- m + w delta,    s <- (1 - w) (s + w delta^2)

give exactly the m_t and v_t - m_t^2 of the paper, without subtracting two nearly equal numbers:
s is never negative, so nothing is clipped and no epsilon is added.
"""

from qpsim.methods.rule import rule
from qpsim.rules.scalar import (
    adapted,
    adapted_sign,
    averaging_weight,
    momentum_correction,
    sqrt,
    unbiased_momentum_correction,
)


def _mean_vanishes(m, s, t, momentum, bias_corrected):
    w = averaging_weight(momentum, t)
    return -m * (1.0 - w) / w


def _decayed_mean_vanishes(m, s, t, decay):
    w = averaging_weight(decay, t)
    return -m * (1.0 - w) / w


def _gradient_vanishes(m, v, t, b1, b2, eps):
    return 0.0


@rule(breakpoint=_gradient_vanishes)
def adam(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    """Adam (Kingma & Ba, 2015; Eq. 3-5), its state held bias-corrected.

    With eps = 0 a coordinate whose gradients have all been 0 does not move.
    """
    # Not m + w (g - m): with w = 1 that differs from g by the rounding error of m.
    w1, w2 = averaging_weight(b1, t), averaging_weight(b2, t)
    m = (1.0 - w1) * m + w1 * gradient
    v = (1.0 - w2) * v + w2 * gradient * gradient
    length = sqrt(v) + eps
    return m / (length if length > 0.0 else 1.0), m, v


@rule(name="m-svag", breakpoint=_mean_vanishes)
def m_svag(gradient, m, s, t, momentum=0.9, bias_corrected=False):
    """SVAG with momentum (Balles & Hennig, 2018, Alg. 2): z = m gamma, gamma = m^2/(m^2 + kappa s).

    With ``bias_corrected`` the variance is s / (1 - kappa), whose expectation is sigma^2 for iid
    gradients (the published version). Without, it is s, whose expectation is (1 - kappa) sigma^2
    (Alg. 2). At t = 1 gamma is 1 in both.
    """
    w = averaging_weight(momentum, t)
    delta = gradient - m
    m = m + w * delta
    s = (1.0 - w) * (s + w * delta * delta)
    kappa = momentum_correction(momentum, t)
    corrected = unbiased_momentum_correction(momentum, t)
    factor = corrected if bias_corrected else kappa
    return adapted(m, m, factor * s), m, s


@rule(name="adam*", breakpoint=_mean_vanishes, closed_form_at_first_step="sign")
def adam_star(gradient, m, s, t, momentum=0.9, bias_corrected=False):
    """Adam with the momentum correction kappa (Balles & Hennig, 2018, Alg. 4).

    z = sign(m) (1 + kappa s / m^2)^(-1/2), at t = 1 the sign of the gradient. ``bias_corrected`` as
    in :func:`m_svag`.
    """
    w = averaging_weight(momentum, t)
    delta = gradient - m
    m = m + w * delta
    s = (1.0 - w) * (s + w * delta * delta)
    kappa = momentum_correction(momentum, t)
    corrected = unbiased_momentum_correction(momentum, t)
    factor = corrected if bias_corrected else kappa
    return adapted_sign(m, factor * s), m, s


@rule(breakpoint=_decayed_mean_vanishes)
def svag_ema(gradient, m, s, t, decay=0.9):
    """SVAG without momentum, its variance from moving averages: z = g m^2 / (m^2 + s) (Eq. 16)."""
    w = averaging_weight(decay, t)
    delta = gradient - m
    m = m + w * delta
    s = (1.0 - w) * (s + w * delta * delta)
    return adapted(gradient, m, s), m, s
