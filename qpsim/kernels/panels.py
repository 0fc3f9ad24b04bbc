"""Adaptive quadrature of a direction: Gauss-Legendre rules on pieces that are halved until they are accurate.

The panels are N_PANELS equal intervals of [-REACH, REACH] standard deviations around the gradient's mean. A panel is
cut at the rule's declared breakpoint, and its pieces are halved until a polynomial of degree ORDER - 1 approximates the
direction on each. Stored for a panel are its Legendre moments, int z(x) P_q((x - centre) / HALF_WIDTH) dx for q <
ORDER, from which every Hermite coefficient follows (:mod:`qpsim.kernels.hermite`).
"""

import math

import numpy as np
from numpy.polynomial.legendre import leggauss, legvander

from qpsim.kernels import dispatch
from qpsim.kernels.elementary import exp
from qpsim.kernels.jit import jit_inner

# Beyond 9 deviations the Gaussian's square root, which bounds he_n(z) phi(z), is below 2e-9.
REACH = 9.0
DENSITY_AT_0 = 1.0 / math.sqrt(2.0 * math.pi)

ORDER = 16
PANEL_NODES, PANEL_WEIGHTS = (np.ascontiguousarray(part) for part in leggauss(ORDER))
# Matrix from values at a piece's nodes to Legendre coefficients, and its two highest orders.
_PROJECTION = legvander(PANEL_NODES, ORDER - 1) * PANEL_WEIGHTS[:, None] * (np.arange(ORDER) + 0.5)
PROJECTION = np.ascontiguousarray(_PROJECTION)
HIGHEST = np.ascontiguousarray(_PROJECTION[:, ORDER - 1])
SECOND_HIGHEST = np.ascontiguousarray(_PROJECTION[:, ORDER - 2])
# Values of the polynomial at the ends of the piece, where a jump beyond the outermost nodes can be seen.
AT_RIGHT = _PROJECTION.sum(axis=1)
AT_LEFT = (_PROJECTION * (-1.0) ** np.arange(ORDER)).sum(axis=1)
# The direction is evaluated just inside the ends, since an end may be the rule's breakpoint.
INSET = 1.0 - 1e-10
# On a panel this wide the Gaussian times he_n is a polynomial of 16 terms, to 1e-12 at n = 24 and 1e-6 at n = 256.
N_PANELS = 24
HALF_WIDTH = REACH / N_PANELS
_RESOLVED = 1e-10
_NARROWEST = 1e-14
# An undeclared jump takes about thirty halvings; there is room for some tens of such jumps.
_MOST_PIECES = 2048
# When this number is reached, pieces are halved only down to this radius, 32 on every panel.
_COARSE = HALF_WIDTH / 31.9
_DEEPEST = 64
# Largest number of edges of one coordinate: halved pieces, pending pieces and coarse ones.
MOST_EDGES = _MOST_PIECES + _DEEPEST + 34 * N_PANELS + 2


@jit_inner
def refine(hyper, row, lane, size, moments, edges):
    """Resolve one coordinate's direction in one lane on pieces of every panel.

    row is a :class:`qpsim.kernels.arguments.Row`; size the direction's root mean square, the unit of the tolerance.
    moments (N_PANELS * ORDER) are written: the panels' Legendre moments, one panel after the other. edges are those of
    the pieces in standard deviations from the mean, written in ascending order if there is room for MOST_EDGES of them.

    Returns E[z^2], the number of pieces, and an upper estimate of the error of E[z^2] if the largest number of pieces
    was reached before the direction was resolved.
    """
    mean, std, extra, states, i, t = (
        row.mean[lane],
        row.std,
        row.extra[lane],
        row.states,
        row.i,
        row.t,
    )
    left = np.empty(_DEEPEST)
    right = np.empty(_DEEPEST)
    z = np.empty(ORDER)
    points = np.empty(ORDER)
    totals = np.empty((ORDER, ORDER))
    work = np.empty((4, ORDER))
    cut = (dispatch.breakpoint(hyper, extra, states, i, lane, t) - mean) / std
    square, missed = 0.0, 0.0
    pieces, done = 0, 0
    for panel in range(N_PANELS):
        centre = -REACH + HALF_WIDTH * (2 * panel + 1)
        low, high = centre - HALF_WIDTH, centre + HALF_WIDTH
        depth = 1
        left[0], right[0] = low, high
        if low < cut and cut < high:
            left[0], right[0] = cut, high
            left[1], right[1] = low, cut
            depth = 2
        totals[:] = 0.0
        while depth > 0:
            depth -= 1
            low, high = left[depth], right[depth]
            middle, radius = 0.5 * (low + high), 0.5 * (high - low)
            inset = radius * INSET
            top, below = 0.0, 0.0
            at_left = -dispatch.peek(
                hyper, mean + std * (middle - inset), extra, states, i, lane, t
            )
            at_right = -dispatch.peek(
                hyper, mean + std * (middle + inset), extra, states, i, lane, t
            )
            for k in range(ORDER):
                points[k] = middle + radius * PANEL_NODES[k]
                z[k] = dispatch.peek(hyper, mean + std * points[k], extra, states, i, lane, t)
            own = 0.0
            for k in range(ORDER):
                own += PANEL_WEIGHTS[k] * z[k] * z[k]
                top += HIGHEST[k] * z[k]
                below += SECOND_HIGHEST[k] * z[k]
                at_left += AT_LEFT[k] * z[k]
                at_right += AT_RIGHT[k] * z[k]
            nearest = max(0.0, abs(middle) - radius)
            miss = abs(top) + abs(below) + abs(at_left) + abs(at_right)
            weight = radius * exp(-0.5 * nearest * nearest)
            # The tolerance is relative to the larger of the direction's size and the height on this piece.
            height = max(size, abs(z[0]), abs(z[ORDER // 2]), abs(z[ORDER - 1]))
            error = miss * weight * height
            unit = max(size * size, own * weight)
            pieces += 1
            room = pieces < _MOST_PIECES
            narrowest = _NARROWEST if room else _COARSE
            if error > _RESOLVED * unit and radius > narrowest and depth + 2 < _DEEPEST:
                left[depth], right[depth] = middle, high
                left[depth + 1], right[depth + 1] = low, middle
                depth += 2
            else:
                square += add_moments_of_piece(points, z, radius, centre, HALF_WIDTH, totals, work)
                if not room or depth + 2 >= _DEEPEST:
                    missed += error
                if edges.size > 0:
                    edges[done], edges[done + 1] = low, high
                done += 1
        for q in range(ORDER):
            moments[panel * ORDER + q] = totals[q].sum()
    return square, done, missed


@jit_inner
def add_moments_of_piece(points, z, radius, centre, half_width, totals, work):
    """Add a piece's share of its panel's Legendre moments, and return its share of E[z^2].

    points and z (ORDER) are the piece's nodes in standard deviations and the direction there, radius half its length,
    centre the middle of the panel and half_width half its length. totals (q, node) is added to, one column a node;
    """
    before, legendre, flat, position = work[0], work[1], work[2], work[3]
    square = 0.0
    for k in range(ORDER):
        before[k] = 0.0
        legendre[k] = 1.0
        position[k] = (points[k] - centre) / half_width
        flat[k] = PANEL_WEIGHTS[k] * radius * z[k]
        square += flat[k] * z[k] * (DENSITY_AT_0 * exp(-0.5 * points[k] * points[k]))
    for q in range(ORDER):
        rise = (2.0 * q + 1.0) / (q + 1.0)
        fall = q / (q + 1.0)
        for k in range(ORDER):
            totals[q, k] += flat[k] * legendre[k]
            following = rise * position[k] * legendre[k] - fall * before[k]
            before[k] = legendre[k]
            legendre[k] = following
    return square
