"""E[z_i z_j] of strongly correlated coordinates, by quadrature over both Gaussians of a pair.

Where a direction jumps or turns sharply, the terms of the Hermite series of such a pair fall only like r^n. Here
the pair's gradients are written as g_i = grad_i + sigma_i x and g_j = grad_j + sigma_j (r x + w v) with x and v
independent standard normal variables and w = sqrt(1 - r^2), so that

    E[z_i z_j] = E[f_i(x) G(x)],    G(x) = E[f_j(r x + w v)].

G is f_j convolved with a Gaussian of width w (:mod:`qpsim.kernels.window`), and so smooth on the scale w even where f_j
turns sharply. Therefore short pieces of f_i, of which there are many around a sharp turn, are joined in advance, and G
is needed at 16 points of each joined piece. Long pieces are cut where the Gaussian meets an edge of f_j, and halved
until f_i G is resolved.

This works for any w, also for w = 0, where r = 1 and G = f_j.
"""

import math

import numpy as np

from qpsim.kernels import dispatch
from qpsim.kernels.arguments import Row
from qpsim.kernels.elementary import exp
from qpsim.kernels.jit import is_set, jit_inner, jit_spliced
from qpsim.kernels.panels import (
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
from qpsim.kernels.window import JOINED, joined_pieces, window_mean

# Initial cuts of the outer integral around each edge of f_j, in units of w.
_CUTS = np.array([-9.0, -6.0, -4.0, -2.5, -1.25, 0.0, 1.25, 2.5, 4.0, 6.0, 9.0])
_RESOLVED = 1e-12
_NARROWEST = 1e-14
_DEEPEST = 64
_MOST_PIECES = 2000
# Largest number of pairs that are integrated in one lane, those with the largest bound first; they take some tenths
# of a second.
_MOST_PAIRS = 1024


@jit_spliced
def integrate_pairs(problem, hyper, step, left, moments):
    """Replace the series of some pairs by integrals, in lanes whose error is above the tolerance.

    problem and step are those of :func:`qpsim.kernels.series.series_of_direction`, left is a
    :class:`qpsim.kernels.arguments.SeriesRest`; the moments' denominator and error are corrected in these lanes. Lanes
    with equal point and state, as all lanes at the first step, are integrated once.
    """
    d, lanes = step.gradient.shape
    total, doubt = np.zeros(lanes), np.zeros(lanes)
    for lane in range(lanes):
        if left.open_lanes[lane] and not is_set(step.stop):
            twin = equal_lane(step, left, lane)
            if twin < lane:
                total[lane], doubt[lane] = total[twin], doubt[twin]
            else:
                limit = problem.table.tolerance * abs(moments.denominator[lane]) / (d * d)
                total[lane], doubt[lane] = integrate_lane(problem, hyper, step, left, lane, limit)
            moments.denominator[lane] += total[lane]
            moments.error[lane] = doubt[lane] / moments.denominator[lane]


@jit_inner
def equal_lane(step, left, lane):
    """The first open lane with the same gradient, observation and state as the given lane."""
    for other in range(lane):
        equal = left.open_lanes[other] != 0
        for i in range(step.gradient.shape[0]):
            equal = equal and step.gradient[i, other] == step.gradient[i, lane]
            equal = equal and step.extra[i, other] == step.extra[i, lane]
            for k in range(step.states.shape[0]):
                equal = equal and step.states[k, i, other] == step.states[k, i, lane]
            if not equal:
                break
        if equal:
            return other
    return lane


@jit_spliced
def integrate_lane(problem, hyper, step, left, lane, limit):
    """The correction of one lane's denominator by all pairs that may add more than the limit, and its error."""
    d = step.gradient.shape[0]
    table, power = problem.table, left.power
    terms = table.quadrature.panels.shape[0]
    root = np.empty(d)
    for i in range(d):
        root[i] = math.sqrt(left.tail[i, lane])
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
    panels = np.empty(N_PANELS * ORDER)
    for i in range(d):
        k = number[i]
        if k >= 0:
            row = row_of(problem, step, i)
            size = math.sqrt(left.second[i, lane])
            counts[k] = refine(hyper, row, lane, size, panels, edges[k])[1]
            np.dot(table.quadrature.panels, panels, coefficients[k])
            turn = dispatch.breakpoint(hyper, row.extra[lane], step.states, i, lane, step.t)
            cuts[k] = (turn - row.mean[lane]) / row.std
    total, doubt = 0.0, rest
    for i in range(d):
        for j in range(i):
            if abs(power[i, j]) * root[i] * root[j] > limit:
                first, other = number[i], number[j]
                r = min(max(table.correlation[i, j], -1.0), 1.0)
                whole, miss = pair_moment(
                    hyper,
                    row_of(problem, step, i),
                    row_of(problem, step, j),
                    lane,
                    r,
                    edges[first][: counts[first] + 1],
                    edges[other][: counts[other] + 1],
                    cuts[other],
                    math.sqrt(left.second[i, lane] * left.second[j, lane]),
                )
                of_series, factor = 0.0, 1.0
                for n in range(terms):
                    of_series += factor * coefficients[first, n] * coefficients[other, n]
                    factor *= r
                total += 2.0 * problem.hessian[i, j] * (whole - of_series)
                doubt += 2.0 * abs(problem.hessian[i, j]) * miss
    return total, doubt


@jit_inner
def row_of(problem, step, i):
    """Coordinate i as a :class:`qpsim.kernels.arguments.Row`."""
    return Row(step.gradient[i], problem.std[i], step.extra[i], step.states, i, step.t)


@jit_inner
def count_above(power, root, limit):
    """Number of pairs that may add more than the limit, and a bound of what all others add."""
    count, rest = 0, 0.0
    for i in range(root.size):
        for j in range(i):
            bound = abs(power[i, j]) * root[i] * root[j]
            if bound > limit:
                count += 1
            else:
                rest += 2.0 * bound
    return count, rest


@jit_inner
def pair_moment(hyper, row, other, lane, r, edges_i, edges_j, cut_j, size):
    """E[z_i z_j] at correlation r, and an estimate of its error; size is the unit of the tolerance.

    row and other are the :class:`qpsim.kernels.arguments.Row` of i and j; edges (pieces + 1) are those of the pieces on
    which either direction is a polynomial, cut_j the declared breakpoint of the second one, all in standard deviations.
    """
    w = math.sqrt((1.0 - r) * (1.0 + r))
    pieces_j = joined_pieces(hyper, other, lane, edges_j, JOINED * w)
    pieces_i = joined_pieces(hyper, row, lane, edges_i, JOINED * w)
    outer = outer_edges(r, w, pieces_i.edges, edges_j, cut_j)
    left, right = np.empty(_DEEPEST), np.empty(_DEEPEST)
    f = np.empty(ORDER + 2)
    work = np.empty(ORDER)
    total, miss = 0.0, 0.0
    for piece in range(pieces_i.is_joined.size):
        if pieces_i.is_joined[piece]:
            middle = 0.5 * (pieces_i.edges[piece] + pieces_i.edges[piece + 1])
            radius = 0.5 * (pieces_i.edges[piece + 1] - pieces_i.edges[piece])
            weight, top, below = 0.0, 0.0, 0.0
            for n in range(ORDER):
                x = middle + radius * PANEL_NODES[n]
                window = window_mean(hyper, other, lane, r * x, w, pieces_j, work)
                f[n] = window * DENSITY_AT_0 * exp(-0.5 * x * x)
                total += pieces_i.weights[piece, n] * f[n]
                weight += abs(pieces_i.weights[piece, n])
                top += HIGHEST[n] * f[n]
                below += SECOND_HIGHEST[n] * f[n]
            miss += weight * (abs(top) + abs(below))
    pieces, piece = 0, 0
    for k in range(outer.size - 1):
        left[0], right[0] = outer[k], outer[k + 1]
        while piece + 1 < pieces_i.is_joined.size and pieces_i.edges[piece + 1] <= outer[k]:
            piece += 1
        depth = 0 if pieces_i.is_joined[piece] else 1
        while depth > 0:
            depth -= 1
            low, high = left[depth], right[depth]
            middle, radius = 0.5 * (low + high), 0.5 * (high - low)
            for n in range(ORDER + 2):
                node = PANEL_NODES[n] if n < ORDER else (2 * n - 2 * ORDER - 1) * INSET
                x = middle + radius * node
                g = row.mean[lane] + row.std * x
                z = dispatch.peek(hyper, g, row.extra[lane], row.states, row.i, lane, row.t)
                if z != 0.0:
                    z *= window_mean(hyper, other, lane, r * x, w, pieces_j, work)
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


@jit_inner
def outer_edges(r, w, edges_i, edges_j, cut_j):
    """The initial cuts of the outer integral, in ascending order."""
    edges = np.empty(edges_i.size + edges_j.size + _CUTS.size)
    count = edges_i.size
    for k in range(count):
        edges[k] = edges_i[k]
    # Edges between two undivided panels of f_j need no cut; edges closer together than w share their cuts.
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
