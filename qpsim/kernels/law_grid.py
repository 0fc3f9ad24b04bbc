"""One step of a distribution on a grid of (offset, states): where each node moves, and the new masses.

An image of a node is the point to which it moves under one value of the gradient. Its mass goes to the four nodes
around it along every axis, with the weights of cubic interpolation, which keep the mean of every polynomial of degree
3. So masses may be negative.
"""

import math

import numpy as np

from qpsim.kernels import dispatch
from qpsim.kernels.elementary import exp
from qpsim.kernels.jit import jit, jit_inline

# Images with less mass than this are left out.
_NEGLIGIBLE = 1e-13
# Range of the gradient, in standard deviations around its mean.
_REACH = 6.5
# Number of gradients at which mean squares are compared, their distance in standard deviations, and the largest ratio
# of mean squares for which the Gauss-Hermite rule is used.
_PROBES, _PROBE_SPACING, _STEEP = 5, 1.5, 2.0
# A turn is sharp if the directions so many deviations before and after it differ by this fraction of their sizes.
_BESIDE, _SHARP = 0.5, 0.5


@jit
def images(
    hyper, squares, points, masses, curvature, std, step, t, smooth, rule, panels, at, weights
):
    """Write all nodes' images and their masses, one after the other; returns how many there are.

    Parameters
    ----------
    hyper : NamedTuple
        The method's hyper-parameters; their type selects the rule.
    squares : array (states,) of bool
        Which states are mean squares v; a point contains asinh(sqrt(v) / std) for them.
    points : array (n, 1 + states)
    masses : array (n,)
    curvature, std, step, t : float
        A gradient is curvature * offset + std * N(0, 1).
    smooth : array (2, order)
        Gauss-Hermite nodes, in standard deviations, and weights; for grid nodes whose mean squares hardly depend on the
        gradient.
    rule : array (2, order)
        Gauss-Legendre nodes and weights on [-1, 1]; for all other grid nodes.
    panels : int
        Number of panels of the Gauss-Legendre rule within _REACH standard deviations; the panel with the rule's
        breakpoint is cut in two.
    at : array (n * (panels + 1) * order, 1 + states), weights : array (n * (panels + 1) * order,)
        Written.
    """
    n_states = points.shape[1] - 1
    states, before = np.empty((n_states, 1, 1)), np.empty(n_states)
    order = rule.shape[1]
    width = 2.0 * _REACH / panels
    most = (panels + 1) * order
    place, share = np.empty(most), np.empty(most)
    count = 0
    for n in range(points.shape[0]):
        mean = curvature * points[n, 0]
        for s in range(n_states):
            value = points[n, s + 1]
            if squares[s]:
                root = std * math.sinh(value)
                value = root * root
            before[s] = value
            states[s, 0, 0] = value
        turn = (dispatch.breakpoint(hyper, 0.0, states, 0, 0, t) - mean) / std
        # Mean squares after a few gradients, and their ratios.
        steep = False
        for s in range(n_states):
            last = 0.0
            for probe in range(_PROBES if squares[s] else 0):
                for other in range(n_states):
                    states[other, 0, 0] = before[other]
                gradient = mean + std * _PROBE_SPACING * (probe - _PROBES // 2)
                dispatch.move(hyper, gradient, 0.0, states, 0, 0, t)
                value = states[s, 0, 0]
                steep = steep or (probe > 0 and max(value, last) > _STEEP * min(value, last))
                last = value
        # A direction may turn sharply where no square changes: signs, and averages that vanish.
        last = 0.0
        for side in range(2 if abs(turn) < _REACH else 0):
            for other in range(n_states):
                states[other, 0, 0] = before[other]
            gradient = mean + std * (turn + _BESIDE * (2 * side - 1))
            z = dispatch.move(hyper, gradient, 0.0, states, 0, 0, t)
            steep = steep or (side == 1 and abs(z - last) > _SHARP * (abs(z) + abs(last)))
            last = z
        size = 0
        if steep:
            for panel in range(panels):
                left = -_REACH + panel * width
                inside = left < turn < left + width
                for part in range(2 if inside else 1):
                    low = turn if part == 1 else left
                    high = turn if inside and part == 0 else left + width
                    for k in range(order):
                        x = 0.5 * (low + high) + 0.5 * (high - low) * rule[0, k]
                        place[size] = x
                        share[size] = 0.5 * (high - low) * rule[1, k] * exp(-0.5 * x * x)
                        size += 1
        else:
            size = smooth.shape[1]
            for k in range(size):
                place[k], share[k] = smooth[0, k], smooth[1, k]
        total = 0.0
        for k in range(size):
            total += share[k]
        for k in range(size):
            mass = share[k] / total * masses[n]
            if abs(mass) > _NEGLIGIBLE:
                for s in range(n_states):
                    states[s, 0, 0] = before[s]
                z = dispatch.move(hyper, mean + std * place[k], 0.0, states, 0, 0, t)
                at[count, 0] = points[n, 0] - step * z
                for s in range(n_states):
                    value = states[s, 0, 0]
                    if squares[s]:
                        value = math.asinh(math.sqrt(max(value, 0.0)) / std)
                    at[count, s + 1] = value
                weights[count] = mass
                count += 1
    return count


@jit
def ranges(at, weights, tail, bins, bounds):
    """Write bounds (axes, 2): on every axis an interval outside of which images have a mass below ``tail``."""
    held = np.empty(bins)
    for axis in range(at.shape[1]):
        low, high = at[0, axis], at[0, axis]
        for n in range(at.shape[0]):
            low, high = min(low, at[n, axis]), max(high, at[n, axis])
        bounds[axis, 0], bounds[axis, 1] = low, high
        if high <= low:
            continue
        held[:] = 0.0
        for n in range(at.shape[0]):
            k = min(int((at[n, axis] - low) / (high - low) * bins), bins - 1)
            held[k] += abs(weights[n])
        cell = (high - low) / bins
        total, k = held[0], 0
        while k < bins - 1 and total < tail:
            bounds[axis, 0] = low + (k + 1) * cell
            k += 1
            total += held[k]
        total, k = held[bins - 1], bins - 1
        while k > 0 and total < tail:
            bounds[axis, 1] = low + k * cell
            k -= 1
            total += held[k]


@jit_inline
def cubic_weights(x, count, weights):
    """Write the weights (4,) of the nodes around x, in units of cells; returns the index of the first node."""
    if count == 1:
        weights[:] = 0.0
        weights[0] = 1.0
        return 0
    first = min(max(math.floor(x) - 1, 0), count - 4)
    u = x - first
    weights[0] = -(u - 1.0) * (u - 2.0) * (u - 3.0) / 6.0
    weights[1] = u * (u - 2.0) * (u - 3.0) / 2.0
    weights[2] = -u * (u - 1.0) * (u - 3.0) / 2.0
    weights[3] = u * (u - 1.0) * (u - 2.0) / 6.0
    return first


@jit
def spread_masses(at, weights, origin, spacing, grid):
    """Add the masses ``weights`` (n,) at (n, 3) to a grid; points outside go to its edge. Returns E[offset^2]."""
    a, b, c = np.empty(4), np.empty(4), np.empty(4)
    shape = grid.shape
    deep, wide = 4 if shape[1] > 1 else 1, 4 if shape[2] > 1 else 1
    moved = 0.0
    for n in range(at.shape[0]):
        x = (at[n, 0] - origin[0]) / spacing[0]
        y = (at[n, 1] - origin[1]) / spacing[1]
        z = (at[n, 2] - origin[2]) / spacing[2]
        u = min(max(x, 0.0), shape[0] - 1.0)
        v = min(max(y, 0.0), shape[1] - 1.0)
        w = min(max(z, 0.0), shape[2] - 1.0)
        if u != x or (deep > 1 and v != y) or (wide > 1 and w != z):
            moved += abs(weights[n]) * at[n, 0] * at[n, 0]
        i = cubic_weights(u, shape[0], a)
        j = cubic_weights(v, shape[1], b)
        k = cubic_weights(w, shape[2], c)
        for p in range(4):
            for q in range(deep):
                mass = weights[n] * a[p] * b[q]
                for r in range(wide):
                    grid[i + p, j + q, k + r] += mass * c[r]
    return moved
