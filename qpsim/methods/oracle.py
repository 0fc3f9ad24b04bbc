"""Idealised variance adaptation: the relative variance eta^2 is known exactly (Section 3).

They run only on problems whose noise is known. The methods of :mod:`qpsim.methods.averaged`
estimate eta^2 by moving averages instead.
"""

from qpsim.methods.rule import rule
from qpsim.rules.scalar import erf, sign, sqrt


@rule(closed_form="linear")
def svag(gradient, relative_variance, t):
    """Variance-adapted gradient (Eq. 16): z = g / (1 + eta^2)."""
    return gradient / (1.0 + relative_variance)


@rule(closed_form="sign")
def va_ssd(gradient, relative_variance, t):
    """Sign with Adam's factor (Eq. 6): z = sign(g) / sqrt(1 + eta^2)."""
    return sign(gradient) / sqrt(1.0 + relative_variance)


@rule(closed_form="sign")
def va_ssd_erf(gradient, relative_variance, t):
    """Sign with the factor of Lemma 1 (Eq. 15): z = sign(g) erf(1 / (sqrt(2) eta))."""
    eta = sqrt(relative_variance)
    # The bound 1e-30 avoids 1 / 0 at eta = 0; for such small eta the factor is 1 in double
    # precision.
    return sign(gradient) * erf(0.7071067811865476 / max(eta, 1e-30))
