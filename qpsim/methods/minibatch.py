"""Variance adaptation with a variance estimated from each minibatch: M-SVAG-mb and Adam*-mb (Alg. 3, 5).

The variance estimate is the unbiased one (the text after Eq. 44 prints a biased formula),
``((1/B) sum_k g_k^2 - g^2) / (B - 1)``, of the minibatch mean g. Both rules aggregate the raw sum
r = mu r + g and the variance mu^2 sbar + shat of that sum (Eq. 48). M-SVAG-mb therefore steps
1 / (1 - mu) times as far, in the long run, as M-SVAG, which steps on the moving average: divide its
step sizes by that before comparing them. Adam*-mb's direction does not depend on the scale of r.
"""

from qpsim.methods.rule import rule
from qpsim.rules.scalar import adapted, adapted_sign


def _sum_vanishes(variance_estimate, r, variance, t, momentum):
    return -momentum * r


@rule(name="m-svag-mb", breakpoint=_sum_vanishes)
def m_svag_mb(gradient, variance_estimate, r, variance, t, momentum=0.9):
    """M-SVAG with minibatch variances (Balles & Hennig, 2018, Alg. 3): z = r / (1 + sbar / r^2)."""
    r = momentum * r + gradient
    variance = momentum * momentum * variance + variance_estimate
    return adapted(r, r, variance), r, variance


@rule(name="adam*-mb", breakpoint=_sum_vanishes)
def adam_star_mb(gradient, variance_estimate, r, variance, t, momentum=0.9):
    """Adam* with minibatch variances (Alg. 5): z = sign(r) (1 + sbar / r^2)^(-1/2)."""
    r = momentum * r + gradient
    variance = momentum * momentum * variance + variance_estimate
    return adapted_sign(r, variance), r, variance
