"""Gaussian moments of a direction without a closed form: its Hermite coefficients and E[z^2], one row at a time.

Given the state before the step, z_i = f_i(grad_i + sigma_i Z) is a scalar function of one Gaussian. With he_n the
orthonormal Hermite polynomials, a_n = E[f_i he_n(Z)] is a plain integral, a_0 = E[z_i]. It is computed

- by the trapezoidal rule, many lanes at once. Under a Gaussian weight its error falls like exp(-2 pi y / h) for a
  direction that is analytic within y deviations of the real axis (Gauss-Hermite needs more nodes for the same y).
  The midpoints of a rule of spacing h make one of h / 2, and how far the two are apart tells how good that is: lanes
  in doubt get their midpoints too, three times over;
- where the doubt stays (a sign, a kink, a pole close by: the first steps of all moving averages), by Gauss-Legendre
  panels, cut at the rule's declared breakpoint and halved until the direction is resolved on each of them.
"""

import math
from typing import NamedTuple

import numpy as np
from numba.extending import overload
from numpy.polynomial.legendre import leggauss, legvander

from qpsim.kernels import dispatch
from qpsim.kernels.elementary import erf, exp
from qpsim.kernels.jit import OVERLOAD, jit

# Beyond 9 deviations the Gaussian's square root, which bounds he_n(z) phi(z), is below 2e-9.
REACH = 9.0
_SPACING = 0.25
_N_NODES = 73
_HALVINGS = 3
DENSITY_AT_0 = 1.0 / math.sqrt(2.0 * math.pi)
# A rule and its midpoints agreeing to this leave an error of its square for an analytic direction. With a pole or a
# bend within a spacing of the axis they are apart by about the error itself, times the luck of where the nodes are.
_DOUBT = 1e-10

ORDER = 16
PANEL_NODES, PANEL_WEIGHTS = (np.ascontiguousarray(part) for part in leggauss(ORDER))
# The two highest Legendre coefficients of the direction on a panel, as sums over its nodes.
_PROJECTION = legvander(PANEL_NODES, ORDER - 1) * PANEL_WEIGHTS[:, None] * (np.arange(ORDER) + 0.5)
HIGHEST = np.ascontiguousarray(_PROJECTION[:, ORDER - 1])
SECOND_HIGHEST = np.ascontiguousarray(_PROJECTION[:, ORDER - 2])
# The polynomial through the nodes, at the panel's ends: beyond the outermost nodes a jump is seen by nothing else.
AT_RIGHT = _PROJECTION.sum(axis=1)
AT_LEFT = (_PROJECTION * (-1.0) ** np.arange(ORDER)).sum(axis=1)
# Ends are looked at from inside, since the rule's own breakpoint may be one.
INSET = 1.0 - 1e-10
# On a panel this wide the Gaussian times he_n is a polynomial of 16 terms, to 1e-12 at n = 24 and 1e-6 at n = 256.
N_PANELS = 24
HALF_WIDTH = REACH / N_PANELS
_RESOLVED = 1e-10
_NARROWEST = 1e-14
# Thirty halvings or so find a jump that nothing declares: room for thirty of them, as of a direction that is rounded.
_MOST_PIECES = 2048
_DEEPEST = 64
_MOST_SIZES = 8
# Room for the edges of one coordinate's pieces: halving ends at the most, what is pending then is still to come.
MOST_EDGES = _MOST_PIECES + _DEEPEST + N_PANELS + 2

# Between two nodes each, at distances that no frequency has in common. A wave that all nodes meet in the same phase
# looks to them, and to half of them, like a slow one; here it is seen.
PROBES = -1.875 + 0.25 * np.array([0.31, 2.59, 4.83, 7.43, 9.19, 11.71, 14.37])
_SEEN = 1e-7

_INV_SQRT2 = 0.7071067811865476


class QuadratureTable(NamedTuple):
    """Weights (orders, nodes) that turn a direction at the nodes into its Hermite coefficients.

    ``nodes`` of the first rule, ``midpoints`` of its successive halvings; ``panels`` (orders, moments) does so with the
    direction's Legendre moments on each of the panels. ``between`` (probes, nodes) interpolates the direction.
    """

    nodes: np.ndarray
    midpoints: tuple[np.ndarray, ...]
    panels: np.ndarray
    between: np.ndarray


def quadrature_table(n_orders: int) -> QuadratureTable:
    """Tabulate the orders 0, ..., n_orders - 1."""
    spacings = [_SPACING / 2**k for k in range(_HALVINGS)]
    midpoints = tuple(_weights(n_orders, -REACH + h / 2, h, round(2 * REACH / h)) for h in spacings)
    nodes = _weights(n_orders, -REACH, _SPACING, _N_NODES)
    return QuadratureTable(nodes, midpoints, _panel_weights(n_orders), _interpolation())


def _weights(n_orders: int, start: float, spacing: float, count: int) -> np.ndarray:
    return spacing * _weighted_hermite(n_orders, start + spacing * np.arange(count))


def _weighted_hermite(n_orders: int, z: np.ndarray) -> np.ndarray:
    table = np.empty((n_orders, *z.shape))
    before, he = np.zeros(z.shape), np.ones(z.shape)
    for n in range(n_orders):
        table[n] = DENSITY_AT_0 * np.exp(-0.5 * z * z) * he
        before, he = he, (z * he - math.sqrt(n) * before) / math.sqrt(n + 1)
    return table


def _interpolation() -> np.ndarray:
    """Weights (probes, nodes): what a band-limited z phi^(1/2) is at the probes, as a multiple of it in z."""
    x = -REACH + _SPACING * np.arange(_N_NODES)
    return np.sinc((PROBES[:, None] - x) / _SPACING) * np.exp((PROBES[:, None] ** 2 - x**2) / 4)


def _panel_weights(n_orders: int) -> np.ndarray:
    """Legendre coefficients of phi he_n on each panel: sum_q c_q P_q, whose sum with the moments is a_n."""
    x, w = leggauss(3 * ORDER)
    middle = -REACH + HALF_WIDTH * (2 * np.arange(N_PANELS) + 1)
    values = _weighted_hermite(n_orders, middle[:, None] + HALF_WIDTH * x)
    projection = legvander(x, ORDER - 1) * w[:, None] * (np.arange(ORDER) + 0.5)
    return np.ascontiguousarray((values @ projection).reshape(n_orders, -1))


def starts_as_sign(hyper, t):
    """Whether the rule is a scaled sign of the gradient at this step."""


@overload(starts_as_sign, jit_options=OVERLOAD)
def _starts_as_sign(hyper, t):
    if dispatch.rule_of_type(hyper).closed_form_at_first_step == "sign":
        return lambda hyper, t: t == 1.0
    return lambda hyper, t: False


@jit
def row_moments(hyper, mean, std, extra, states, i, t, table, first, second):
    """E[z] and E[z^2] of coordinate i, whose gradient is N(mean, std^2), in every lane."""
    if starts_as_sign(hyper, t):
        for lane in range(mean.size):
            s = dispatch.peek(hyper, 1.0, extra[lane], states, i, lane, t)
            first[lane] = s * erf(mean[lane] / std * _INV_SQRT2)
            second[lane] = s * s
    else:
        row_coefficients(
            hyper,
            mean,
            std,
            extra,
            states,
            i,
            t,
            table,
            0,
            second,
            np.empty(mean.size),
            first.reshape((1, mean.size)),
            True,
        )


@jit
def row_coefficients(
    hyper, mean, std, extra, states, i, t, table, begin, second, missed, coefficients, apart
):
    """Orders begin, begin + 1, ... of coordinate i's coefficients (orders, lanes), and its E[z^2] (lanes).

    missed (lanes) becomes the error of E[z^2] where the direction could not be resolved. ``apart`` sums each lane by
    itself. Returns how many lanes took panels.
    """
    orders, lanes = coefficients.shape
    sums = np.empty((3, lanes))
    values = np.empty((_N_NODES, lanes))
    evaluate(hyper, mean, std, extra, states, i, t, -REACH, _SPACING, values)
    # The first rule is itself a rule of twice the spacing and its midpoints.
    differences = np.zeros((3, lanes))
    sum_up(values, -REACH, _SPACING, sums, differences)
    weigh(table.nodes[begin : begin + orders], values, coefficients, apart)
    for lane in range(lanes):
        second[lane] = sums[2, lane]
    missed[:] = 0.0
    doubtful = in_doubt(second, differences)
    hidden = between_nodes(
        hyper, mean, std, extra, states, i, t, table, values, second, differences
    )
    spacing = _SPACING
    for halving in range(_HALVINGS):
        count = doubtful.size
        if count == 0:
            break
        packed, packed_states = pack(mean, extra, states, i, doubtful)
        values = np.empty((round(2.0 * REACH / spacing), count))
        start = -REACH + 0.5 * spacing
        evaluate(hyper, packed[0], std, packed[1], packed_states, 0, t, start, spacing, values)
        middle = np.empty((3, count))
        unused = np.zeros((3, count))
        sum_up(values, start, spacing, middle, unused)
        new = np.empty((orders, count))
        weigh(table.midpoints[halving][begin : begin + orders], values, new, apart)
        differences = np.empty((3, count))
        squares = np.empty(count)
        for c in range(count):
            lane = doubtful[c]
            for k in range(3):
                differences[k, c] = 0.5 * (sums[k, lane] - middle[k, c])
                sums[k, lane] = 0.5 * (sums[k, lane] + middle[k, c])
            squares[c] = sums[2, lane]
            second[lane] = sums[2, lane]
        for n in range(orders):
            for c in range(count):
                coefficients[n, doubtful[c]] = 0.5 * (coefficients[n, doubtful[c]] + new[n, c])
        doubtful = doubtful[in_doubt(squares, differences)]
        spacing *= 0.5
    doubtful = together(doubtful, hidden)
    if doubtful.size == 0:
        return 0
    moments = np.empty((doubtful.size, N_PANELS * ORDER))
    nowhere = np.empty(0)
    for c in range(doubtful.size):
        lane = doubtful[c]
        # A node on top of a narrow peak gives a size far too large, and with it too wide a tolerance.
        size, again = math.sqrt(second[lane]), _MOST_SIZES
        while again > 0:
            second[lane], _, missed[lane] = refine(
                hyper, mean[lane], std, extra[lane], states, i, lane, t, size, moments[c], nowhere
            )
            too_large = 4.0 * second[lane] < size * size
            size = math.sqrt(second[lane])
            again = again - 1 if too_large else 0
    new = np.empty((orders, doubtful.size))
    if apart:
        weigh(table.panels[begin : begin + orders], moments.T.copy(), new, apart)
    else:
        new[:] = np.dot(table.panels[begin : begin + orders], moments.T)
    for n in range(orders):
        for c in range(doubtful.size):
            coefficients[n, doubtful[c]] = new[n, c]
    return doubtful.size


@jit
def weigh(weights, values, out, apart):
    """weights (orders, nodes) @ values (nodes, lanes), into out.

    ``apart`` sums each lane by itself: the rounding of a product by BLAS depends on how many lanes there are, and so on
    how replicates are cut into blocks.
    """
    if not apart:
        np.dot(weights, values, out)
        return
    for n in range(weights.shape[0]):
        for lane in range(values.shape[1]):
            out[n, lane] = 0.0
        for k in range(values.shape[0]):
            weight = weights[n, k]
            for lane in range(values.shape[1]):
                out[n, lane] += weight * values[k, lane]


def between_nodes(hyper, mean, std, extra, states, i, t, table, values, second, differences):
    """Lanes in which the direction is something else between the nodes than they say, though they agree."""


@overload(between_nodes, jit_options=OVERLOAD)
def _between_nodes(hyper, mean, std, extra, states, i, t, table, values, second, differences):
    if dispatch.rule_of_type(hyper).is_builtin:
        # Whose directions turn once.
        return lambda hyper, mean, std, extra, states, i, t, table, values, second, differences: (
            np.empty(0, np.int64)
        )
    return _probe


def _probe(hyper, mean, std, extra, states, i, t, table, values, second, differences):
    expected = np.dot(table.between, values)
    chosen = np.empty(mean.size, np.int64)
    count = 0
    for lane in range(mean.size):
        known = _SEEN * math.sqrt(second[lane]) + 100.0 * abs(differences[0, lane])
        off = 0.0
        for k in range(PROBES.size):
            g = mean[lane] + std * PROBES[k]
            z = dispatch.peek(hyper, g, extra[lane], states, i, lane, t)
            off = max(off, abs(z - expected[k, lane]))
        if off > known:
            chosen[count] = lane
            count += 1
    return chosen[:count]


@jit
def evaluate(hyper, mean, std, extra, states, i, t, start, spacing, values):
    """The direction (nodes, lanes) at start, start + spacing, ... deviations."""
    for k in range(values.shape[0]):
        shift = std * (start + spacing * k)
        for lane in range(mean.size):
            g = mean[lane] + shift
            values[k, lane] = dispatch.peek(hyper, g, extra[lane], states, i, lane, t)


@jit
def sum_up(values, start, spacing, sums, differences):
    """Sums for E[z], E[z Z] and E[z^2], and half the difference of those over even and odd nodes."""
    for k in range(3):
        sums[k] = 0.0
        differences[k] = 0.0
    for k in range(values.shape[0]):
        position = start + spacing * k
        weight = spacing * DENSITY_AT_0 * exp(-0.5 * position * position)
        sign = 1.0 if k % 2 == 0 else -1.0
        for lane in range(values.shape[1]):
            z = values[k, lane]
            flat = weight * z
            tilted = flat * position
            square = flat * z
            sums[0, lane] += flat
            sums[1, lane] += tilted
            sums[2, lane] += square
            differences[0, lane] += sign * flat
            differences[1, lane] += sign * tilted
            differences[2, lane] += sign * square


@jit
def in_doubt(second, differences):
    """Lanes in which two rules disagree about z, z Z or z^2; NaN, of a lane that has diverged, is past doubt."""
    chosen = np.empty(second.size, np.int64)
    count = 0
    for lane in range(second.size):
        a, b, c = differences[0, lane], differences[1, lane], differences[2, lane]
        limit = _DOUBT * second[lane]
        if max(a * a, b * b) > _DOUBT * limit or abs(c) > limit:
            chosen[count] = lane
            count += 1
    return chosen[:count]


@jit
def together(first, other):
    """All that are in either of two ascending lists, in ascending order."""
    merged = np.empty(first.size + other.size, np.int64)
    a, b, count = 0, 0, 0
    while a < first.size or b < other.size:
        if b == other.size or (a < first.size and first[a] <= other[b]):
            b += b < other.size and first[a] == other[b]
            merged[count] = first[a]
            a += 1
        else:
            merged[count] = other[b]
            b += 1
        count += 1
    return merged[:count]


@jit
def pack(mean, extra, states, i, chosen):
    """Mean, extra and states of coordinate i in the chosen lanes, side by side."""
    packed = np.empty((2, chosen.size))
    packed_states = np.empty((states.shape[0], 1, chosen.size))
    for c in range(chosen.size):
        packed[0, c] = mean[chosen[c]]
        packed[1, c] = extra[chosen[c]]
        for k in range(states.shape[0]):
            packed_states[k, 0, c] = states[k, i, chosen[c]]
    return packed, packed_states


@jit
def refine(hyper, mean, std, extra, states, i, lane, t, size, moments, edges):
    """Legendre moments of the direction on each panel, halved until it is resolved.

    size is the direction's root mean square, the unit of the tolerance. Returns E[z^2], the number of pieces, whose
    edges are written in ascending order if there is room for any, and what E[z^2] misses where room for pieces ended.
    """
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
            # A peak counts in z^2 what it is too high, and is itself the unit if it is most of z.
            height = max(size, abs(z[0]), abs(z[ORDER // 2]), abs(z[ORDER - 1]))
            error = miss * weight * height
            unit = max(size * size, own * weight)
            pieces += 1
            room = pieces < _MOST_PIECES and depth + 2 < _DEEPEST
            if error > _RESOLVED * unit and radius > _NARROWEST and room:
                left[depth], right[depth] = middle, high
                left[depth + 1], right[depth + 1] = low, middle
                depth += 2
            else:
                square += add_moments_of_piece(points, z, radius, centre, totals, work)
                if not room:
                    missed += error
                if edges.size > 0:
                    edges[done], edges[done + 1] = low, high
                done += 1
        for q in range(ORDER):
            moments[panel * ORDER + q] = totals[q].sum()
    return square, done, missed


@jit
def add_moments_of_piece(points, z, radius, centre, totals, work):
    """Add a piece's integrals of z P_q, its nodes side by side (q, node), and return that of z^2 phi."""
    before, legendre, flat, position = work[0], work[1], work[2], work[3]
    square = 0.0
    for k in range(ORDER):
        before[k] = 0.0
        legendre[k] = 1.0
        position[k] = (points[k] - centre) / HALF_WIDTH
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
