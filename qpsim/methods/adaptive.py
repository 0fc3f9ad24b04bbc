"""Adam: a sign and a variance adaptation estimated from moving averages (Eq. 3-6)."""

from qpsim.methods.rule import rule
from qpsim.methods.scalar import sqrt


@rule
def adam(gradient, m, v, t, b1=0.9, b2=0.999, eps=1e-8):
    """Adam (Kingma & Ba, 2015; Eq. 3-5), its state held bias-corrected.

    With w = (1 - b) / (1 - b^t) the corrected average obeys m_t = m_{t-1} + w (g - m_{t-1}),
    which is Eq. 3 and 4 without the division of a vanishing average by a vanishing sum.
    """
    m = m + (1.0 - b1) / (1.0 - b1**t) * (gradient - m)
    v = v + (1.0 - b2) / (1.0 - b2**t) * (gradient * gradient - v)
    return m / (sqrt(v) + eps), m, v
