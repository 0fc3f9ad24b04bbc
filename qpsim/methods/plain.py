"""The stochastic gradient and its sign, with and without momentum: the left column of Table 1."""

from qpsim.methods.rule import rule
from qpsim.rules.scalar import sign


@rule(closed_form="linear", equivariant=True)
def sgd(gradient, t):
    """Stochastic gradient descent (Robbins & Monro, 1951): z = g."""
    return gradient


@rule(closed_form="sign")
def ssd(gradient, t):
    """Stochastic sign descent (Balles & Hennig, 2018, Table 1): z = sign(g)."""
    return sign(gradient)


def _carried(buffer, t, momentum):
    return momentum * buffer


@rule(closed_form="linear", offset=_carried, equivariant=True)
def m_sgd(gradient, buffer, t, momentum=0.9):
    """Heavy-ball momentum (Polyak, 1964) as a momentum sum: r = mu r + g, z = r."""
    buffer = momentum * buffer + gradient
    return buffer, buffer


@rule(closed_form="sign", offset=_carried)
def m_ssd(gradient, buffer, t, momentum=0.9):
    """Sign descent with momentum (Balles & Hennig, 2018, Alg. 1): r = mu r + g, z = sign(r)."""
    buffer = momentum * buffer + gradient
    return sign(buffer), buffer


def _looked_ahead(buffer, t, momentum):
    return momentum * momentum / (1.0 + momentum) * buffer


@rule(closed_form="linear", offset=_looked_ahead, equivariant=True)
def nesterov(gradient, buffer, t, momentum=0.9):
    """Nesterov's momentum as Sutskever et al. (2013) take it: r = mu r + g, z = g + mu r."""
    buffer = momentum * buffer + gradient
    return gradient + momentum * buffer, buffer
