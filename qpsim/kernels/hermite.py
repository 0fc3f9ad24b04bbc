"""E[z^2] and the Hermite coefficients of a direction without a closed form, for one coordinate.

Given the state before the step, z = f(mean + std Z) is a function of one standard normal variable Z. With he_n the
orthonormal Hermite polynomials its coefficients are the integrals a_n = E[f he_n(Z)]; a_0 is E[z]. They are computed

1. by the trapezoidal rule, with nodes a quarter of a standard deviation apart, in all lanes (replicates) at once. Under
   a Gaussian weight its error falls like exp(-2 pi y / spacing) for a direction that is analytic within y deviations of
   the real axis; Gauss-Hermite needs more nodes for the same y. The even and the odd nodes are two rules of twice the
   spacing. In lanes in which they disagree, the midpoints between the nodes are added, up to three times;
2. in lanes that still disagree, on panels (:mod:`qpsim.kernels.panels`). This happens near a sign change, a kink or a
   pole, as in the first steps of all rules with moving averages.

A user's rule may have a narrow peak between the nodes; `between_nodes` searches for it.
"""

import math
from typing import NamedTuple

import numpy as np
from numba.extending import overload
from numpy.polynomial.legendre import leggauss, legvander

from qpsim.kernels import dispatch
from qpsim.kernels.arguments import Row
from qpsim.kernels.elementary import erf, exp
from qpsim.kernels.jit import OVERLOAD, jit_inner, jit_spliced
from qpsim.kernels.laws import INV_SQRT2
from qpsim.kernels.panels import DENSITY_AT_0, HALF_WIDTH, N_PANELS, ORDER, REACH, refine

_SPACING = 0.25
_N_NODES = 73
_HALVINGS = 3
# If nodes and midpoints agree to this, the error for an analytic direction is about the square of it. With a pole or a
# bend closer than one spacing to the axis, their difference is about as large as the error.
_AGREEMENT = 1e-10
_MOST_SIZES = 8
# Orders and lanes of one matrix product.
TILE_ORDERS, _TILE_LANES = 24, 16

# Points between nodes, at irregular distances. A wave that has the same phase at all nodes looks constant to the nodes
# and to every second node; at these points it shows.
PROBES = -1.875 + 0.25 * np.array([0.31, 2.59, 4.83, 7.43, 9.19, 11.71, 14.37])
_SEEN = 1e-7
# Tolerance for the difference of nodes and midpoints that agree except for rounding.
_HIDDEN = 1e-9


class QuadratureTable(NamedTuple):
    """Weights that turn a direction at the nodes into its Hermite coefficients.

    Attributes
    ----------
    nodes : array (orders, nodes)
        Weights of the first rule.
    midpoints : tuple of arrays (orders, midpoints)
        For the midpoints of the first rule, of that with half its spacing, and so on.
    panels : array (orders, N_PANELS * ORDER)
        For the direction's Legendre moments on the panels.
    between : array (probes, nodes)
        Weights that interpolate a direction from the nodes to the probes.
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
    """Weights (probes, nodes) that interpolate a band-limited z phi^(1/2) at the probes, for values of z."""
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


@jit_spliced
def row_moments(hyper, row, table, first, second, missed):
    """E[z] and E[z^2] of one coordinate in every lane, and an error bound of E[z^2].

    row is a :class:`qpsim.kernels.arguments.Row`, table a :class:`QuadratureTable`; first, second and missed (lanes)
    are written. missed, the error bound, is 0 where the direction was resolved.
    """
    if starts_as_sign(hyper, row.t):
        for lane in range(row.mean.size):
            s = dispatch.peek(hyper, 1.0, row.extra[lane], row.states, row.i, lane, row.t)
            first[lane] = s * erf(row.mean[lane] / row.std * INV_SQRT2)
            second[lane] = s * s
            missed[lane] = 0.0
    else:
        row_coefficients(
            hyper, row, table, 0, second, missed, first.reshape((1, row.mean.size)), True
        )


@jit_inner
def row_coefficients(hyper, row, table, first_order, second, missed, coefficients, by_loops):
    """Hermite coefficients of one coordinate's direction in every lane, and its E[z^2].

    row is a :class:`qpsim.kernels.arguments.Row`. Written are coefficients (orders, lanes), those of the orders
    first_order, first_order + 1, ...; second (lanes), which is E[z^2]; and missed (lanes), the error of E[z^2] where
    the direction could not be resolved. ``by_loops`` computes sums by loops instead of BLAS. Returns the number of
    lanes that needed panels.
    """
    orders, lanes = coefficients.shape
    sums = np.empty((3, lanes))
    values = np.empty((_N_NODES, lanes))
    evaluate(hyper, row, -REACH, _SPACING, values)
    # The first rule contains the rule of twice the spacing (every second node) and its midpoints.
    differences = np.zeros((3, lanes))
    sum_up(values, -REACH, _SPACING, sums, differences)
    weigh(table.nodes[first_order : first_order + orders], values, coefficients, by_loops)
    for lane in range(lanes):
        second[lane] = sums[2, lane]
    missed[:] = 0.0
    unresolved = disagreeing_lanes(second, differences)
    hidden = between_nodes(hyper, row, table, values, sums, differences, unresolved, by_loops)
    spacing = _SPACING
    for halving in range(_HALVINGS):
        count = unresolved.size
        if count == 0:
            break
        packed = pack(row, unresolved)
        values = np.empty((round(2.0 * REACH / spacing), count))
        start = -REACH + 0.5 * spacing
        evaluate(hyper, packed, start, spacing, values)
        middle = np.empty((3, count))
        unused = np.zeros((3, count))
        sum_up(values, start, spacing, middle, unused)
        new = np.empty((orders, count))
        weigh(table.midpoints[halving][first_order : first_order + orders], values, new, by_loops)
        differences = np.empty((3, count))
        squares = np.empty(count)
        for c in range(count):
            lane = unresolved[c]
            for k in range(3):
                differences[k, c] = 0.5 * (sums[k, lane] - middle[k, c])
                sums[k, lane] = 0.5 * (sums[k, lane] + middle[k, c])
            squares[c] = sums[2, lane]
            second[lane] = sums[2, lane]
        for n in range(orders):
            for c in range(count):
                coefficients[n, unresolved[c]] = 0.5 * (coefficients[n, unresolved[c]] + new[n, c])
        unresolved = unresolved[disagreeing_lanes(squares, differences)]
        spacing *= 0.5
    unresolved = merged_lanes(unresolved, hidden)
    if unresolved.size == 0:
        return 0
    moments = np.empty((unresolved.size, N_PANELS * ORDER))
    nowhere = np.empty(0)
    for c in range(unresolved.size):
        lane = unresolved[c]
        # A node on a narrow peak makes the size far too large, and so the tolerance too wide; then repeat.
        size, again = math.sqrt(second[lane]), _MOST_SIZES
        while again > 0:
            second[lane], _, missed[lane] = refine(hyper, row, lane, size, moments[c], nowhere)
            too_large = 4.0 * second[lane] < size * size
            size = math.sqrt(second[lane])
            again = again - 1 if too_large else 0
    new = np.empty((orders, unresolved.size))
    weigh(table.panels[first_order : first_order + orders], moments.T.copy(), new, by_loops)
    for n in range(orders):
        for c in range(unresolved.size):
            coefficients[n, unresolved[c]] = new[n, c]
    return unresolved.size


@jit_inner
def weigh(weights, values, out, by_loops):
    """weights (orders, nodes) @ values (nodes, lanes), into out.

    The result of a lane must not depend on the number of lanes, but BLAS rounds products of different sizes
    differently. So the product is made in tiles of one fixed size. ``by_loops`` uses loops instead of BLAS, which is
    faster for a few orders.
    """
    lanes = values.shape[1]
    if not by_loops:
        tile = np.zeros((values.shape[0], _TILE_LANES))
        product = np.empty((TILE_ORDERS, _TILE_LANES))
        for lane in range(0, lanes, _TILE_LANES):
            width = min(_TILE_LANES, lanes - lane)
            for k in range(values.shape[0]):
                for c in range(width):
                    tile[k, c] = values[k, lane + c]
            for n in range(0, weights.shape[0], TILE_ORDERS):
                height = min(TILE_ORDERS, weights.shape[0] - n)
                np.dot(weights[n : n + height], tile, product[:height])
                for k in range(height):
                    for c in range(width):
                        out[n + k, lane + c] = product[k, c]
        return
    for n in range(weights.shape[0]):
        for lane in range(lanes):
            out[n, lane] = 0.0
        for k in range(values.shape[0]):
            weight = weights[n, k]
            for lane in range(lanes):
                out[n, lane] += weight * values[k, lane]


def between_nodes(hyper, row, table, values, sums, differences, unresolved, by_loops):
    """Lanes whose direction has a feature between the nodes, although nodes and midpoints agree."""


@overload(between_nodes, jit_options=OVERLOAD)
def _between_nodes(hyper, row, table, values, sums, differences, unresolved, by_loops):
    if dispatch.rule_of_type(hyper).is_builtin:
        # Rules of the package have only one sharp turn, which the nodes always detect.
        return lambda hyper, row, table, values, sums, differences, unresolved, by_loops: np.empty(
            0, np.int64
        )
    return _look_between


def _look_between(hyper, row, table, values, sums, differences, unresolved, by_loops):
    """Two tests: sums over midpoints against sums over nodes, and the direction at some points against interpolation.

    The first finds features that are at least half a spacing wide; the second finds a wave that is in phase with all
    nodes.
    """
    lanes = row.mean.size
    between = np.empty((_N_NODES - 1, lanes))
    evaluate(hyper, row, -REACH + 0.5 * _SPACING, _SPACING, between)
    middle, unused = np.empty((3, lanes)), np.empty((3, lanes))
    sum_up(between, -REACH + 0.5 * _SPACING, _SPACING, middle, unused)
    expected = np.empty((PROBES.size, lanes))
    weigh(table.between, values, expected, by_loops)
    halved = np.zeros(lanes, np.uint8)
    for c in range(unresolved.size):
        halved[unresolved[c]] = 1
    chosen = np.empty(lanes, np.int64)
    count = 0
    for lane in range(lanes):
        a, b = middle[0, lane] - sums[0, lane], middle[1, lane] - sums[1, lane]
        c = middle[2, lane] - sums[2, lane]
        # Lanes whose nodes disagree get the midpoints anyway.
        limit = _HIDDEN * max(sums[2, lane], middle[2, lane])
        hidden = not halved[lane] and (max(a * a, b * b) > _HIDDEN * limit or abs(c) > limit)
        known = _SEEN * math.sqrt(sums[2, lane]) + 100.0 * abs(differences[0, lane])
        off = 0.0
        for k in range(PROBES.size):
            g = row.mean[lane] + row.std * PROBES[k]
            z = dispatch.peek(hyper, g, row.extra[lane], row.states, row.i, lane, row.t)
            off = max(off, abs(z - expected[k, lane]))
        if hidden or off > known:
            chosen[count] = lane
            count += 1
    return chosen[:count]


@jit_inner
def evaluate(hyper, row, start, spacing, values):
    """The direction (nodes, lanes) at start, start + spacing, ... deviations."""
    for k in range(values.shape[0]):
        shift = row.std * (start + spacing * k)
        for lane in range(row.mean.size):
            g = row.mean[lane] + shift
            values[k, lane] = dispatch.peek(
                hyper, g, row.extra[lane], row.states, row.i, lane, row.t
            )


@jit_inner
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


@jit_inner
def disagreeing_lanes(second, differences):
    """Lanes in which two rules disagree about z, z Z or z^2; diverged lanes (NaN) are left out."""
    chosen = np.empty(second.size, np.int64)
    count = 0
    for lane in range(second.size):
        a, b, c = differences[0, lane], differences[1, lane], differences[2, lane]
        limit = _AGREEMENT * second[lane]
        if max(a * a, b * b) > _AGREEMENT * limit or abs(c) > limit:
            chosen[count] = lane
            count += 1
    return chosen[:count]


@jit_inner
def merged_lanes(first, other):
    """The union of two ascending lists, in ascending order."""
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


@jit_inner
def pack(row, chosen):
    """The row, with the chosen lanes only."""
    mean, extra = np.empty(chosen.size), np.empty(chosen.size)
    states = np.empty((row.states.shape[0], 1, chosen.size))
    for c in range(chosen.size):
        mean[c] = row.mean[chosen[c]]
        extra[c] = row.extra[chosen[c]]
        for k in range(row.states.shape[0]):
            states[k, 0, c] = row.states[k, row.i, chosen[c]]
    return Row(mean, row.std, extra, states, np.int64(0), row.t)  # type: ignore[arg-type]
