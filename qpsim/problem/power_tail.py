"""The end of a quadrature for averages over b^2 where its density is a power, as it is under Student's t.

The trapezoidal rule in log b^2 would have to go on very long for functions that grow like b^2: with k degrees of
freedom the part of E[b^2] beyond b^2 = w is about w^(1 - k / 2). A Gauss rule of few nodes takes the place of all that
follow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_NODES = 4


def with_power_tail(nodes: Array, weights: Array, df: float) -> tuple[Array, Array]:
    """Nodes of log b^2 and weights, and a few more for all nodes that would follow at the same spacing.

    With x = (last b) / b the weights that would follow, times b^2, are proportional to x^(df - 2), and x to powers of
    exp(-spacing / 2): so the moments of x are sums of geometric series. The added nodes are the Gauss rule with these
    moments, exact for b^2 times polynomials in 1 / b up to the seventh degree.
    """
    spacing = float(nodes[1] - nodes[0])
    moments = 1.0 / np.expm1(0.5 * spacing * (df - 2.0 + np.arange(2 * _NODES)))
    places, shares = gauss_rule(moments)
    return (
        np.append(nodes, nodes[-1] - 2.0 * np.log(places)),
        np.append(weights, weights[-1] * shares * places**2),
    )


def gauss_rule(moments: Array) -> tuple[Array, Array]:
    """Places and weights (n,) of the Gauss rule of a measure with these moments (2 n,), as Golub & Welsch (1969)."""
    from scipy.linalg import eigh

    n = moments.size // 2
    index = np.add.outer(np.arange(n), np.arange(n))
    places, vectors = eigh(moments[index + 1] / moments[0], moments[index] / moments[0])
    # Coefficients of polynomials of norm 1, each zero at all places but its own: there it is 1 / sqrt(weight).
    values = np.sum(vectors * np.vander(places, n, increasing=True).T, axis=0)
    return places, moments[0] / values**2
