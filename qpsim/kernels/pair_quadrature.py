"""E[z_i z_j] of strongly correlated coordinates, by quadrature over both Gaussians of a pair.

The Hermite series of such a pair is of no use where a direction jumps or turns sharply: its terms fall like r^n. Here
the pair's gradients are written as g_i = grad_i + sigma_i x and g_j = grad_j + sigma_j (r x + w v) with x and v
independent and w = sqrt(1 - r^2), so that

    E[z_i z_j] = E[f_i(x) G(x)],    G(x) = E[f_j(r x + w v)].

G is f_j seen through a window of width w. Where the window lies within one piece on which f_j is known to be a
polynomial, a Gauss-Hermite rule is exact; elsewhere it is cut at the edges of the pieces. The outer integral is cut at
the pieces of f_i and where the window meets an edge of f_j, and halved until f_i G is resolved. Nothing here minds how
small w is: r = 1 is the limit in which nothing is blurred.
"""

import math

import numpy as np
from numpy.polynomial.hermite_e import hermegauss

from qpsim.kernels import dispatch
from qpsim.kernels.elementary import exp
from qpsim.kernels.hermite import (
    AT_LEFT,
    AT_RIGHT,
    DENSITY_AT_0,
    HALF_WIDTH,
    HIGHEST,
    INSET,
    MOST_EDGES,
    N_PANELS,
    ORDER,
    PANEL_NODES,
    PANEL_WEIGHTS,
    REACH,
    SECOND_HIGHEST,
    refine,
)
from qpsim.kernels.jit import jit

# Eight nodes integrate a polynomial of degree 15 exactly, which is what f_j is on a piece.
_WINDOW_NODES, _WINDOW_WEIGHTS = hermegauss(ORDER // 2)
_WINDOW_WEIGHTS = _WINDOW_WEIGHTS * DENSITY_AT_0
# The window's Gaussian times a polynomial of degree 15 is resolved by 16 nodes on a panel of so many w, to 1e-13.
_WINDOW_PANEL = 2.5
# Where, in units of w around an edge that its window blurs, the outer integral is cut to begin with.
_CUTS = np.array([-9.0, -6.0, -4.0, -2.5, -1.25, 0.0, 1.25, 2.5, 4.0, 6.0, 9.0])
_RESOLVED = 1e-12
_NARROWEST = 1e-14
_DEEPEST = 64
_MOST_PIECES = 2000
# Pairs of one lane that are integrated at most, those that count most: a fifth of a second's work.
_MOST_PAIRS = 1024


@jit
def add_planes(
    hyper,
    hessian,
    table,
    gradient,
    std,
    extra,
    states,
    t,
    second,
    tail,
    power,
    open_lanes,
    denominator,
    error,
):
    """Put the plane's integral in the place of the series, for the pairs that keep a lane open.

    second and tail (d, lanes) are E[z_i^2] and what the series has left of it, power (d, d) is Q o R^n for the n it
    would go on with. denominator and error (lanes) are mended in the lanes that are open.
    """
    d = gradient.shape[0]
    terms = table.quadrature.panels.shape[0]
    root = np.empty(d)
    for lane in range(gradient.shape[1]):
        if not open_lanes[lane]:
            continue
        for i in range(d):
            root[i] = math.sqrt(tail[i, lane])
        limit = table.tolerance * abs(denominator[lane]) / (d * d)
        chosen, rest = count_above(power, root, limit)
        while chosen > _MOST_PAIRS:
            limit *= 2.0
            chosen, rest = count_above(power, root, limit)
        number = np.full(d, -1)
        n_rows = 0
        for i in range(d):
            for j in range(i):
                if abs(power[i, j]) * root[i] * root[j] > limit:
                    for k in (i, j):
                        if number[k] < 0:
                            number[k] = n_rows
                            n_rows += 1
        coefficients = np.empty((n_rows, terms))
        edges = np.empty((n_rows, MOST_EDGES))
        counts = np.empty(n_rows, np.int64)
        cuts = np.empty(n_rows)
        moments = np.empty(N_PANELS * ORDER)
        for i in range(d):
            row = number[i]
            if row >= 0:
                size = math.sqrt(second[i, lane])
                mean, e = gradient[i, lane], extra[i, lane]
                counts[row] = refine(
                    hyper, mean, std[i], e, states, i, lane, t, size, moments, edges[row]
                )[1]
                np.dot(table.quadrature.panels, moments, coefficients[row])
                cuts[row] = (dispatch.breakpoint(hyper, e, states, i, lane, t) - mean) / std[i]
        total, doubt = 0.0, rest
        for i in range(d):
            for j in range(i):
                if abs(power[i, j]) * root[i] * root[j] > limit:
                    first, other = number[i], number[j]
                    r = min(max(table.correlation[i, j], -1.0), 1.0)
                    size = math.sqrt(second[i, lane] * second[j, lane])
                    whole, miss = pair_moment(
                        hyper,
                        gradient,
                        std,
                        extra,
                        states,
                        i,
                        j,
                        lane,
                        t,
                        r,
                        edges[first][: counts[first] + 1],
                        edges[other][: counts[other] + 1],
                        cuts[other],
                        size,
                    )
                    known, factor = 0.0, 1.0
                    for n in range(terms):
                        known += factor * coefficients[first, n] * coefficients[other, n]
                        factor *= r
                    total += 2.0 * hessian[i, j] * (whole - known)
                    doubt += 2.0 * abs(hessian[i, j]) * miss
        denominator[lane] += total
        error[lane] = doubt / denominator[lane]


@jit
def count_above(power, root, limit):
    """How many pairs may add more than the limit, and the most that all others may add."""
    count, rest = 0, 0.0
    for i in range(root.size):
        for j in range(i):
            bound = abs(power[i, j]) * root[i] * root[j]
            if bound > limit:
                count += 1
            else:
                rest += 2.0 * bound
    return count, rest


@jit
def pair_moment(
    hyper,
    gradient,
    std,
    extra,
    states,
    i,
    j,
    lane,
    t,
    r,
    edges_i,
    edges_j,
    cut_j,
    size,
):
    """E[z_i z_j] at correlation r, and an estimate of its error; size is what that is relative to.

    edges (pieces + 1) are those of the pieces on which either direction is a polynomial, cut_j where the second one is
    declared to turn.
    """
    w = math.sqrt((1.0 - r) * (1.0 + r))
    outer = outer_edges(r, w, edges_i, edges_j, cut_j)
    left, right = np.empty(_DEEPEST), np.empty(_DEEPEST)
    f = np.empty(ORDER + 2)
    work = np.empty(ORDER)
    total, miss = 0.0, 0.0
    pieces = 0
    for k in range(outer.size - 1):
        left[0], right[0] = outer[k], outer[k + 1]
        depth = 1
        while depth > 0:
            depth -= 1
            low, high = left[depth], right[depth]
            middle, radius = 0.5 * (low + high), 0.5 * (high - low)
            for n in range(ORDER + 2):
                node = PANEL_NODES[n] if n < ORDER else (2 * n - 2 * ORDER - 1) * INSET
                x = middle + radius * node
                g = gradient[i, lane] + std[i] * x
                z = dispatch.peek(hyper, g, extra[i, lane], states, i, lane, t)
                if z != 0.0:
                    z *= window_mean(
                        hyper,
                        gradient[j, lane],
                        std[j],
                        extra[j, lane],
                        states,
                        j,
                        lane,
                        t,
                        r * x,
                        w,
                        edges_j,
                        work,
                    )
                f[n] = z * DENSITY_AT_0 * exp(-0.5 * x * x)
            value, top, below = 0.0, 0.0, 0.0
            at_left, at_right = -f[ORDER], -f[ORDER + 1]
            for n in range(ORDER):
                value += PANEL_WEIGHTS[n] * f[n]
                top += HIGHEST[n] * f[n]
                below += SECOND_HIGHEST[n] * f[n]
                at_left += AT_LEFT[n] * f[n]
                at_right += AT_RIGHT[n] * f[n]
            doubt = radius * (abs(top) + abs(below) + abs(at_left) + abs(at_right))
            pieces += 1
            room = pieces < _MOST_PIECES and depth + 2 < _DEEPEST
            if doubt > _RESOLVED * size and radius > _NARROWEST and room:
                left[depth], right[depth] = middle, high
                left[depth + 1], right[depth + 1] = low, middle
                depth += 2
            else:
                total += radius * value
                miss += doubt
    return total, miss


@jit
def outer_edges(r, w, edges_i, edges_j, cut_j):
    """Where the outer integral is cut to begin with, in ascending order."""
    edges = np.empty(edges_i.size + edges_j.size + _CUTS.size)
    count = edges_i.size
    for k in range(count):
        edges[k] = edges_i[k]
    # Two whole panels of f_j meet at no feature of it, and what is narrower than the window is blurred together.
    previous = -math.inf
    for k in range(1, edges_j.size - 1):
        edge = edges_j[k]
        both = max(edge - edges_j[k - 1], edges_j[k + 1] - edge)
        whole = edges_j[k + 1] - edges_j[k - 1] > 3.9 * HALF_WIDTH
        if not whole and both > 0.25 * w and edge - previous > 0.5 * w:
            edges[count] = edge / r
            count += 1
            previous = edge
    if abs(cut_j) < REACH:
        for k in range(_CUTS.size):
            edges[count] = (cut_j + w * _CUTS[k]) / r
            count += 1
    for k in range(edges_i.size, count):
        edge = min(max(edges[k], -REACH), REACH)
        place = k
        while place > 0 and edges[place - 1] > edge:
            edges[place] = edges[place - 1]
            place -= 1
        edges[place] = edge
    return edges[:count]


@jit
def window_mean(hyper, mean, std, extra, states, j, lane, t, centre, w, edges, work):
    """G = E[f_j(centre + w v)], v a standard normal."""
    low, high = max(centre - REACH * w, -REACH), min(centre + REACH * w, REACH)
    begin, end = 0, edges.size - 1
    while end - begin > 1:
        half = (begin + end) // 2
        if edges[half] <= low:
            begin = half
        else:
            end = half
    total = 0.0
    # Terms are stored before they are summed: a sum in order would hold the loop to one node at a time.
    if high <= edges[begin + 1]:
        for n in range(ORDER // 2):
            g = mean + std * (centre + w * _WINDOW_NODES[n])
            work[n] = _WINDOW_WEIGHTS[n] * dispatch.peek(hyper, g, extra, states, j, lane, t)
        for n in range(ORDER // 2):
            total += work[n]
        return total
    piece = begin
    while piece < edges.size - 1 and edges[piece] < high:
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
