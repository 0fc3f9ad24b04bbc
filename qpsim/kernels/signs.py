"""E[z^T Q z] for z a vector of scaled signs of correlated Gaussians, exact up to quadrature.

With s_i = sign(a_i + Z_i), corr(Z_i, Z_j) = r_ij and e_i = erf(a_i / sqrt 2), Plackett's identity
gives E[s_i s_j] = e_i e_j + (2/pi) times the integral over t from 0 to asin r_ij of

    exp(-(a_i^2 + a_j^2 - 2 a_i a_j sin t) / (2 cos^2 t)).

Only a changes from step to step. What depends only on the correlations is tabulated once for every pair. The part with
e_i e_j is an ordinary quadratic form; this file computes the integrals.

As a function of s = sin t the integrand is a series (Mehler's formula). With b_n(a) = 2 phi(a) He_{n-1}(a) / sqrt(n!)
it is the sum over n >= 1 of n s^(n-1) b_n(a_i) b_n(a_j), and the integral is the sum of r^n b_n(a_i) b_n(a_j). The
first terms (the head) are computed for all pairs at once as products of matrices. A term of a pair then takes a
twentieth of the time of an exponential. The remainder is integrated by Gauss rules for it
(:mod:`qpsim.kernels.sign_rules`). Most pairs need no node of these rules, and so no exponential. Pairs of a small
problem, and pairs correlated too strongly for a short series, are integrated without a head.
"""

import numpy as np

from qpsim.kernels.elementary import exp2_minus_square, exp2_negative, fma
from qpsim.kernels.forms import (
    LANES,
    TILE_ROWS,
    add_forms,
    add_list_forms,
    fill_terms,
    lane_array,
    padded,
)
from qpsim.kernels.jit import jit_inner, jit_spliced, wide_vectors
from qpsim.kernels.sign_table import GROWTH, HALF_LOG2_E, TWICE_DENSITY_AT_0

# Beyond 40 deviations every integrand is below 1e-300; infinite a (no noise) is clipped to it.
_FARTHEST = 40.0
# A coordinate with |a| above 8 is left out of the head: its integrals are below exp(-a^2 / 2) = 1e-14 of their largest
# value, and its columns would hold subnormal numbers, which are a hundred times slower. The same holds for a scale
# that is this small a part of the largest in its lane.
_SATURATED = 8.0
_NEGLIGIBLE_SCALE = 1e-30
_TINY = float(np.finfo(np.float64).tiny)
# Number of columns computed at once; they stay in the L2 cache.
_TERMS_AT_ONCE = 8


@jit_spliced
def sign_integrals(table, a, scale, out):
    """out[l] = sum over i < j of 2 q_ij s_i s_j (E[sgn_i sgn_j] - e_i e_j), for each lane l.

    ``a`` (d, lanes) holds mean/deviation, infinite where there is no noise; ``scale`` (d, lanes) the factors s; ``out``
    (lanes,) is overwritten. For NaN in ``a`` the result is arbitrary.
    The whole form is then sum_i q_ii s_i^2 + sum_{i != j} q_ij (s_i e_i)(s_j e_j) + out[l].
    """
    wide_vectors()
    d, lanes = a.shape
    near = lane_array(d, lanes)
    for i in range(d):
        for lane in range(lanes):
            near[i, lane] = min(max(a[i, lane], -_FARTHEST), _FARTHEST)
    out[:] = 0.0
    if table.steps.size > 0:
        add_series(table, near, scale, out)
    add_groups(table.pairs_2, table.nodes_2, near, scale, out)
    add_groups(table.pairs_3, table.nodes_3, near, scale, out)


@jit_spliced
def add_series(table, a, scale, out):
    """Add the head of the series, the sum over n of the form of 2 q_ij (1 - c_n) r_ij^n and b_n,
    and the rest."""
    d, lanes = a.shape
    rows, wide = padded(d, TILE_ROWS), padded(lanes, LANES)
    n_double, n_single = table.double.shape[0] - 1, table.single.ends.shape[0]
    density, slope, last = lane_array(d, wide), lane_array(d, wide), lane_array(d, wide)
    density[:] = 0.0
    slope[:] = 0.0
    last[:] = 0.0
    for i in range(d):
        for lane in range(lanes):
            x = a[i, lane]
            value = TWICE_DENSITY_AT_0 * exp2_negative(-HALF_LOG2_E * x * x)
            value = 0.0 if abs(x) > _SATURATED else value
            density[i, lane] = value * scale[i, lane]
            slope[i, lane] = x * (1.0 / GROWTH)
    add_rest(table.rest_pairs, table.rest_nodes, a, density, scale, out)
    # Columns are divided by the lane's largest scale, so that they fit into single precision for all scales.
    sums = lane_array(np.int64(2), wide)
    sums[:] = 0.0
    largest, total = sums[0], sums[1]
    for i in range(d):
        for lane in range(lanes):
            size = table.root[i] * abs(scale[i, lane])
            largest[lane] = max(largest[lane], size)
    for i in range(d):
        for lane in range(lanes):
            value = density[i, lane] * table.root[i] / max(largest[lane], _TINY)
            density[i, lane] = 0.0 if abs(value) < _NEGLIGIBLE_SCALE else value
    # He_n = a He_{n-1} - (n - 1) He_{n-2}; the scale is in all of them
    this, steps = density, table.steps
    double = lane_array(n_double * rows, wide)
    for n in range(n_double):
        double[n * rows + d : (n + 1) * rows] = 0.0
    fill_terms(steps[:n_double], slope, this, last, double)
    add_forms(table.double[1:], double, total)
    at_once = min(n_single, _TERMS_AT_ONCE)
    single = lane_array(at_once * d, wide // 2).view(np.float32)
    for begin in range(0, n_single, _TERMS_AT_ONCE):
        n_terms = min(n_single - begin, _TERMS_AT_ONCE)
        first = n_double + begin
        some = single[: n_terms * d]
        fill_terms(steps[first : first + n_terms], slope, this, last, some)
        add_list_forms(table.single, begin, some, total)
    for lane in range(lanes):
        out[lane] += total[lane] * largest[lane] * largest[lane]


@jit_inner
def add_rest(pairs, nodes, a, density, scale, out):
    """Add the nodes for the remainder: 2 phi(a_i) times a sum over j, row by row."""
    wide_vectors()
    lanes = a.shape[1]
    row = lane_array(np.int64(1), lanes)[0]
    g = 0
    while g < pairs.shape[0]:
        i = pairs[g, 0]
        row[:] = 0.0
        while g < pairs.shape[0] and pairs[g, 0] == i:
            j = pairs[g, 1]
            p, q, weight = nodes[g, 0], nodes[g, 1], nodes[g, 2]
            for lane in range(lanes):
                value = weight * exp2_minus_square(fma(a[j, lane], p, a[i, lane] * q))
                row[lane] = fma(value, scale[j, lane], row[lane])
            g += 1
        for lane in range(lanes):
            out[lane] += row[lane] * density[i, lane]


@jit_inner
def add_groups(pairs, nodes, a, scale, out):
    """Add the pairs without a head: each row has some nodes of one pair."""
    wide_vectors()
    lanes = a.shape[1]
    work = lane_array(np.int64(3), lanes)
    square, product, total = work[0], work[1], work[2]
    for g in range(pairs.shape[0]):
        i, j, sign = pairs[g, 0], pairs[g, 1], 1.0
        if j < 0:
            j, sign = ~j, -1.0
        for lane in range(lanes):
            x, y = a[i, lane], sign * a[j, lane]
            square[lane] = (x - y) * (x - y)
            product[lane] = x * y
            total[lane] = 0.0
        for k in range(0, nodes.shape[1], 3):
            p, q, weight = nodes[g, k], nodes[g, k + 1], nodes[g, k + 2]
            for lane in range(lanes):
                value = exp2_negative(fma(square[lane], p, product[lane] * q))
                total[lane] = fma(weight, value, total[lane])
        for lane in range(lanes):
            value = total[lane]
            out[lane] += value * (scale[i, lane] * scale[j, lane])
