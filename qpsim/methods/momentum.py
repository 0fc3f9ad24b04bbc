"""Momentum of other forms than the paper's: with dampening, Signum and Lion."""

from qpsim.methods.rule import rule
from qpsim.rules.scalar import sign


def _after_damping(buffer, t, momentum, dampening):
    newest = 1.0 if t == 1.0 else 1.0 - dampening
    return momentum * buffer / newest


@rule(
    name="damped-m-sgd",
    closed_form="linear",
    offset=_after_damping,
    equivariant=True,
    ranges={"dampening": (0.0, 1.0)},
)
def damped_m_sgd(gradient, buffer, t, momentum=0.9, dampening=0.5):
    """Heavy-ball momentum with dampening, as PyTorch takes it: r = mu r + (1 - dampening) g, z = r.

    The first gradient enters in full.
    """
    buffer = momentum * buffer + (1.0 if t == 1.0 else 1.0 - dampening) * gradient
    return buffer, buffer


def _averaged(m, t, momentum):
    return momentum / (1.0 - momentum) * m


@rule(closed_form="sign", offset=_averaged)
def signum(gradient, m, t, momentum=0.9):
    """Signum (Bernstein et al., 2018): z = sign(m), m = mu m + (1 - mu) g."""
    m = momentum * m + (1.0 - momentum) * gradient
    return sign(m), m


def _interpolated(m, t, b1, b2):
    return b1 / (1.0 - b1) * m


@rule(closed_form="sign", offset=_interpolated)
def lion(gradient, m, t, b1=0.9, b2=0.99):
    """Lion (Chen et al., 2023): z = sign(b1 m + (1 - b1) g), then m = b2 m + (1 - b2) g."""
    direction = sign(b1 * m + (1.0 - b1) * gradient)
    return direction, b2 * m + (1.0 - b2) * gradient
