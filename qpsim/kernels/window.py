"""The convolution of a direction with a Gaussian of standard deviation w (the "window"), at any point.

The direction is a polynomial on each of some pieces (:func:`qpsim.kernels.panels.refine`). Positions
and w are in standard deviations of its gradient. There are three kinds of pieces:

- where the whole window lies within one piece, a Gauss-Hermite rule is exact;
- pieces that are short compared with w, of which there are many around a sharp turn, are joined in advance. On a joined
  piece the Gaussian is nearly a polynomial, so that 16 weights, integrals of the direction, replace its values;
- longer pieces are cut into panels on which Gauss-Legendre rules resolve the Gaussian.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.polynomial.hermite_e import hermegauss

from qpsim.kernels import dispatch
from qpsim.kernels.elementary import exp
from qpsim.kernels.jit import jit_inner
from qpsim.kernels.panels import (
    DENSITY_AT_0,
    ORDER,
    PANEL_NODES,
    PANEL_WEIGHTS,
    PROJECTION,
    REACH,
    add_moments_of_piece,
)

# Eight nodes integrate f_j, a polynomial of degree 15 on a piece, exactly.
_WINDOW_NODES, _WINDOW_WEIGHTS = hermegauss(ORDER // 2)
_WINDOW_WEIGHTS = _WINDOW_WEIGHTS * DENSITY_AT_0
# Width of a panel, in units of w, on which 16 nodes integrate the Gaussian times a polynomial of degree 15 to 1e-13.
_WINDOW_PANEL = 2.5
# Width of a joined piece, in units of w, on which the Gaussian is a polynomial of degree 15 to 3e-14.
JOINED = 1.5
# Joined pieces shorter than this count as one point.
_POINT = 1e-11


class JoinedPieces(NamedTuple):
    """The pieces of one direction, with short ones joined.

    Attributes
    ----------
    edges : array (n + 1,)
        Where pieces begin and end, in standard deviations from the mean, ascending.
    is_joined : array (n,) of uint8
        1 where several short pieces, or a single one, are replaced by weights.
    weights : array (n, ORDER)
        Weights w_k at the Legendre nodes y_k of a joined piece: int f(y) p(y) dy = sum_k w_k p(y_k) for every
        polynomial p of degree ORDER - 1.
    """

    edges: np.ndarray
    is_joined: np.ndarray
    weights: np.ndarray


@jit_inner
def joined_pieces(hyper, row, lane, edges, longest):
    """Join neighbouring pieces (edges) of one direction to pieces of at most the given length."""
    n = edges.size - 1
    found = JoinedPieces(np.empty(n + 1), np.zeros(n, np.uint8), np.empty((n, ORDER)))
    points, z, sums = np.empty(ORDER), np.empty(ORDER), np.empty(ORDER)
    totals, work = np.empty((ORDER, ORDER)), np.empty((4, ORDER))
    found.edges[0] = edges[0]
    count, first = 0, 0
    while first < n:
        last = first + 1
        if edges[last] - edges[first] <= longest:
            while last < n and edges[last + 1] - edges[first] <= longest:
                last += 1
            centre = 0.5 * (edges[first] + edges[last])
            half_width = max(0.5 * (edges[last] - edges[first]), _POINT)
            totals[:] = 0.0
            for piece in range(first, last):
                middle = 0.5 * (edges[piece] + edges[piece + 1])
                radius = 0.5 * (edges[piece + 1] - edges[piece])
                for k in range(ORDER):
                    points[k] = middle + radius * PANEL_NODES[k]
                    g = row.mean[lane] + row.std * points[k]
                    z[k] = dispatch.peek(hyper, g, row.extra[lane], row.states, row.i, lane, row.t)
                add_moments_of_piece(points, z, radius, centre, half_width, totals, work)
            for q in range(ORDER):
                sums[q] = totals[q].sum()
            # w_k = sum_q int f P_q times the Legendre coefficient q of the polynomial that is 1 at node k alone.
            for k in range(ORDER):
                weight = 0.0
                for q in range(ORDER):
                    weight += PROJECTION[k, q] * sums[q]
                found.weights[count, k] = weight
            found.is_joined[count] = 1
        found.edges[count + 1] = edges[last]
        count += 1
        first = last
    return JoinedPieces(found.edges[: count + 1], found.is_joined[:count], found.weights[:count])


@jit_inner
def window_mean(hyper, row, lane, centre, w, pieces, work):
    """G = E[f_j(centre + w v)], v a standard normal; pieces are the :class:`JoinedPieces` of f_j, work (ORDER)."""
    mean, std, extra, states, j, t = (
        row.mean[lane],
        row.std,
        row.extra[lane],
        row.states,
        row.i,
        row.t,
    )
    edges = pieces.edges
    low, high = max(centre - REACH * w, -REACH), min(centre + REACH * w, REACH)
    begin, end = 0, edges.size - 1
    while end - begin > 1:
        half = (begin + end) // 2
        if edges[half] <= low:
            begin = half
        else:
            end = half
    total = 0.0
    # Terms are stored before they are summed, so that the loop over nodes can be vectorised.
    if high <= edges[begin + 1] and not pieces.is_joined[begin]:
        for n in range(ORDER // 2):
            g = mean + std * (centre + w * _WINDOW_NODES[n])
            work[n] = _WINDOW_WEIGHTS[n] * dispatch.peek(hyper, g, extra, states, j, lane, t)
        for n in range(ORDER // 2):
            total += work[n]
        return total
    piece = begin
    while piece < edges.size - 1 and edges[piece] < high:
        if pieces.is_joined[piece]:
            middle = 0.5 * (edges[piece] + edges[piece + 1])
            radius = 0.5 * (edges[piece + 1] - edges[piece])
            for n in range(ORDER):
                v = (middle + radius * PANEL_NODES[n] - centre) / w
                work[n] = pieces.weights[piece, n] * exp(-0.5 * v * v)
            for n in range(ORDER):
                total += work[n]
        else:
            left, right = max(edges[piece], low), min(edges[piece + 1], high)
            panels = max(1, math.ceil((right - left) / (_WINDOW_PANEL * w)))
            radius = 0.5 * (right - left) / panels
            for k in range(panels):
                middle = left + radius * (2 * k + 1)
                for n in range(ORDER):
                    y = middle + radius * PANEL_NODES[n]
                    v = (y - centre) / w
                    z = dispatch.peek(hyper, mean + std * y, extra, states, j, lane, t)
                    work[n] = PANEL_WEIGHTS[n] * z * exp(-0.5 * v * v)
                for n in range(ORDER):
                    total += radius * work[n]
        piece += 1
    return total * DENSITY_AT_0 / w
