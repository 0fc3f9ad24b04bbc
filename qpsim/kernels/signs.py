"""E[z^T Q z] for z a vector of scaled signs of correlated Gaussians, exact up to quadrature.

With s_i = sign(a_i + Z_i), corr(Z_i, Z_j) = r_ij and e_i = erf(a_i / sqrt 2), Plackett's identity
gives E[s_i s_j] = e_i e_j + (2/pi) times the integral over t from 0 to asin r_ij of

    exp(-(a_i^2 + a_j^2 - 2 a_i a_j sin t) / (2 cos^2 t)).

Only a changes from step to step. The correlations belong to the problem, so everything that depends on them alone is
tabulated once for every pair. The part with e_i e_j is a plain quadratic form; here the integrals are computed.

As a function of s = sin t the integrand is a series (Mehler's formula). With b_n(a) = 2 phi(a) He_{n-1}(a) / sqrt(n!)
it is the sum over n >= 1 of n s^(n-1) b_n(a_i) b_n(a_j), and the integral is the sum of r^n b_n(a_i) b_n(a_j).
The first terms (the head) are computed for all pairs at once as products of matrices. A term of a pair then costs a
twentieth of an exponential. What the head leaves is integrated by Gauss rules made for it. Most pairs need no
node of these rules, and so no exponential (:mod:`qpsim.kernels.sign_rules`). Pairs of a small problem, and pairs that
are correlated too strongly for a short series, are integrated whole.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.polynomial.legendre import leggauss

from qpsim.kernels.elementary import exp2_minus_square, exp2_negative, fma
from qpsim.kernels.forms import (
    LANES,
    TILE_ROWS,
    Lists,
    add_forms,
    add_list_forms,
    fill_terms,
    lane_array,
    lists,
    padded,
    triangle,
)
from qpsim.kernels.jit import jit, jit_inner, jit_spliced, wide_vectors
from qpsim.kernels.sign_rules import (
    Split,
    bin_ends,
    bins_of,
    cheapest_split,
    rule,
)

# (largest |r|, Gauss-Legendre nodes): each term of E[s_i s_j] is within 1e-9 for all a_i, a_j.
NODE_CLASSES = (
    (0.07, 2),
    (0.23, 3),
    (0.40, 4),
    (0.60, 5),
    (0.72, 6),
    (0.87, 8),
    (0.969, 12),
    (0.992, 16),
    (0.998, 20),
    (0.9996, 24),
    (0.99998, 32),
    (1 - 1e-6, 48),
    (1 - 1e-9, 64),
    (1.0, 96),
)
# From this class on the integrand may change within any small distance of t = pi/2. With pi/2 - t = y^6, uniform nodes
# in y resolve every such distance.
_GRADED_FROM = 5
_GRADING = 6

# Below this dimension matrix products are too small to pay.
_HEAD_FROM_DIM = 32

# Beyond 40 deviations every integrand is below 1e-300; infinite a (no noise) is clipped to it.
_FARTHEST = 40.0
# A coordinate with |a| above 8 is left out of the head: its integrals are below exp(-a^2 / 2) = 1e-14 of their largest
# value, and its columns would hold subnormal numbers, which are a hundred times slower. The same holds for a scale
# that is this small a part of the largest in its lane.
_SATURATED = 8.0
_NEGLIGIBLE_SCALE = 1e-30
_TINY = float(np.finfo(np.float64).tiny)
TWICE_DENSITY_AT_0 = 0.7978845608028654
HALF_LOG2_E = 0.7213475204444817
# Columns are 2 phi(a) He_{n-1}(a) / _GROWTH^(n-1). So scaled, columns and factors stay within the range of single
# precision, and the recurrence needs only a / _GROWTH and one factor for each n.
_GROWTH = 4.0
# Columns made at once stay in the L2 cache.
_TERMS_AT_ONCE = 8


class SignTable(NamedTuple):
    """What is tabulated of the pairs i < j with q_ij != 0.

    Attributes
    ----------
    double : array (1 + terms, size), packed as in :mod:`qpsim.kernels.forms`
        Row 0: 2 q_ij, for the quadratic form of the mean signs. Row n >= 1: 2 q_ij (1 - c_n) r_ij^n, the terms of the
        head in double precision, with q_ij / (root_i root_j) for q_ij.
    single : Lists
        The later terms of the head, in single precision.
    root : array (d,)
        sqrt(q_ii), by which the head's columns are multiplied. So a coordinate's unit cannot take them out of the range
        of single precision.
    steps : array (terms,)
        The factors of the recurrence with which `add_series` makes the columns.
    rest_pairs, rest_nodes : arrays (nodes, 2) and (nodes, 3)
        The nodes for what the head leaves, ordered by i. A pair is i and j. A node is the factors of a_j and of a_i
        (the exponent is the square of the sum of both products) and the weight without 2 phi(a_i).
    pairs_2, pairs_3 : arrays (groups, 2)
        The nodes of a pair that is integrated whole are cut into groups of 2 and of 3. One row for each group: i and j,
        or ~j where the correlation is negative.
    nodes_2, nodes_3 : arrays (groups, 6) and (groups, 9)
        For each node of a group: the factor of (a_i -+ a_j)^2 and that of +-a_i a_j, which together give the exponent
        to base 2, and the weight with 2 q_ij in it.
    """

    double: np.ndarray
    single: Lists
    root: np.ndarray
    steps: np.ndarray
    rest_pairs: np.ndarray
    rest_nodes: np.ndarray
    pairs_2: np.ndarray
    nodes_2: np.ndarray
    pairs_3: np.ndarray
    nodes_3: np.ndarray

    def groups(self) -> list[tuple[np.ndarray, ...]]:
        """i, j, the correlation's sign and the nodes of the groups of two and of three."""
        both = ((self.pairs_2, self.nodes_2), (self.pairs_3, self.nodes_3))
        return [
            (i, np.where(j < 0, ~j, j), np.where(j < 0, -1.0, 1.0), nodes)
            for (i, j), nodes in ((pairs.T, nodes) for pairs, nodes in both)
        ]


def pair_table(hessian: np.ndarray, correlation: np.ndarray, *, series: bool = True) -> SignTable:
    """Tabulate the quadrature of a Hessian's sign correlations.

    Parameters
    ----------
    hessian
        Array (d, d), symmetric. Pairs with an entry of exactly 0 are left out.
    correlation
        Array (d, d) of the gradient noise's correlations r_ij; +-1 is allowed.
    series
        Whether pairs may be summed as a series and a rest where that is quicker.

    Returns
    -------
    SignTable
        For `sign_integrals`. A node takes 24 to 32 bytes, a pair's term of the head 8: some 40 MB at
        d = 1000, and 60 MB if every pair is summed by quadrature alone.
    """
    dim = hessian.shape[0]
    first, second = np.triu_indices(dim, 1)
    entry = hessian[first, second]
    kept = entry != 0.0
    first, second, entry = first[kept], second[kept], entry[kept]
    pairs = _Pairs(first, second, entry, np.clip(correlation[first, second], -1.0, 1.0))
    root = np.sqrt(np.diagonal(hessian))
    split = None
    if series and dim >= _HEAD_FROM_DIM:
        alone = _nodes_alone(bin_ends())
        weight = entry / root[first] / root[second]
        at_0 = dim + (4.0 / np.pi) * float(weight @ np.arcsin(pairs.correlation))
        size = np.abs(pairs.correlation)
        split = cheapest_split(size, np.abs(weight), dim, at_0, alone)
    rest = np.empty((0, 2), dtype=np.intp), np.empty((0, 3))
    left_out = np.ones(entry.size, dtype=bool)
    coupling = _packed(2.0 * hessian)[None]
    if split is None:
        double, single, steps = coupling, lists(first, second, (), dim), 0
    else:
        bins = bins_of(np.abs(pairs.correlation))
        left_out = split.nodes[bins] < 0
        rest = _nodes_behind_head(split.heads[bins], split.nodes[bins], pairs)
        packed = np.clip(_packed(correlation), -1.0, 1.0)
        weights = _packed(2.0 * hessian / root / root[:, None])
        in_double = _terms(split, 1, split.n_double, weights, packed)
        double = np.stack([coupling[0], *in_double])
        steps = split.longest
        in_single = _terms(split, 1 + split.n_double, steps, 2.0 * weight, pairs.correlation)
        single = lists(first, second, in_single, dim)
    groups = _nodes_without_head(_Pairs(*[array[left_out] for array in pairs]))
    factors = -np.arange(steps) / _GROWTH**2
    return SignTable._make([double, single, root, factors, *rest, *groups])


class _Pairs(NamedTuple):
    """i, j, q_ij and r_ij of pairs i < j, in the order of i and j."""

    first: np.ndarray
    second: np.ndarray
    entry: np.ndarray
    correlation: np.ndarray


def _nodes_alone(size: np.ndarray) -> np.ndarray:
    """How many nodes the integral of every |r| takes."""
    nodes = np.array([n for _, n in NODE_CLASSES])
    return nodes[np.searchsorted([upper for upper, _ in NODE_CLASSES], size)]


def _nodes_without_head(pairs: _Pairs) -> list[np.ndarray]:
    """The table's last four arrays."""
    sign = np.where(pairs.correlation < 0.0, -1.0, 1.0)
    n_nodes = _nodes_alone(np.abs(pairs.correlation))
    groups: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {2: [], 3: []}
    for n in np.unique(n_nodes).tolist():
        pair = np.flatnonzero(n_nodes == n)
        nodes = quadrature_nodes(np.abs(pairs.correlation[pair]), n)
        nodes[:, :, 2] *= (2.0 * pairs.entry[pair] * sign[pair])[:, None]
        cut = 2 * (0, 2, 1)[n % 3]
        for length, some in ((2, nodes[:, :cut]), (3, nodes[:, cut:])):
            n_groups = some.shape[1] // length
            groups[length].append((np.repeat(pair, n_groups), some.reshape(-1, 3 * length)))
    arrays = []
    for length in (2, 3):
        owner = np.concatenate([np.empty(0, dtype=np.int64), *(o for o, _ in groups[length])])
        nodes = np.concatenate([np.empty((0, 3 * length)), *(some for _, some in groups[length])])
        order = np.argsort(owner, kind="stable")
        owner = owner[order]
        second = pairs.second[owner]
        second = np.where(sign[owner] < 0.0, ~second, second)
        arrays += [np.stack([pairs.first[owner], second], axis=-1), nodes[order]]
    return arrays


def _nodes_behind_head(
    heads: np.ndarray, n_nodes: np.ndarray, pairs: _Pairs
) -> tuple[np.ndarray, np.ndarray]:
    """The table's ``rest_pairs`` and ``rest_nodes``."""
    owners, some = [np.empty(0, dtype=np.intp)], [np.empty((0, 3))]
    for head, n in set(zip(heads.tolist(), n_nodes.tolist(), strict=True)):
        if n > 0:
            pair = np.flatnonzero((heads == head) & (n_nodes == n))
            owners.append(np.repeat(pair, n))
            some.append(_rest_nodes(*rule(head, n), pairs.entry[pair], pairs.correlation[pair]))
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    owner = owner[order]
    both = np.stack([pairs.first[owner], pairs.second[owner]], axis=-1)
    return both, np.concatenate(some)[order]


def _rest_nodes(
    u: np.ndarray, v: np.ndarray, entry: np.ndarray, correlation: np.ndarray
) -> np.ndarray:
    """Rows (pairs * n, 3) of ``rest_nodes`` by a rule of n nodes."""
    r = correlation[:, None]
    s = u * r
    cosine = np.sqrt((1.0 - s) * (1.0 + s))
    # (a^2 + b^2 - 2 a b s) / (2 cos^2) = a^2 / 2 + (b - s a)^2 / (2 cos^2)
    factor = np.sqrt(HALF_LOG2_E) / cosine
    weight = (2.0 / np.pi / TWICE_DENSITY_AT_0) * v * 2.0 * entry[:, None] * r / cosine
    return np.stack([factor, -s * factor, weight], axis=-1).reshape(-1, 3)


def _terms(
    split: Split, first: int, last: int, coupling: np.ndarray, r: np.ndarray
) -> Iterator[np.ndarray]:
    """2 q_ij (1 - c_n) r_ij^n for n = first to last, and for the columns of `_GROWTH`."""
    bins, factors = bins_of(np.abs(r)), split.factors()
    power = coupling * r ** (first - 1)
    for n in range(first, last + 1):
        power = power * r
        yield power * (factors[n] * (_GROWTH ** (2 * n - 2) / math.factorial(n)))[bins]


def _packed(matrix: np.ndarray) -> np.ndarray:
    """What is below a matrix' diagonal, as `qpsim.kernels.forms.add_forms` wants it."""
    entries = triangle(matrix.shape[0])
    return np.where(entries == 0, 0.0, matrix.ravel()[entries])


def quadrature_nodes(size: np.ndarray, n: int) -> np.ndarray:
    """Nodes (pair, n, 3) of |r| = size, for the exponent written without cancellation.

    (a^2 + b^2 - 2 a b sin t) / (2 cos^2 t) = (a - b)^2 / (2 cos^2 t) + a b / (1 + sin t).
    """
    power = _GRADING if n >= _GRADED_FROM else 1
    nodes, weights = leggauss(n)
    # x = pi/2 - t = y^power runs from acos |r| to pi/2
    low = np.arccos(size)[:, None] ** (1.0 / power)
    high = (np.pi / 2) ** (1.0 / power)
    y = low + (high - low) * (nodes + 1.0) / 2.0
    x = y**power
    log2_e = np.log2(np.e)
    table = np.empty((size.size, n, 3))
    table[:, :, 0] = -log2_e / (2.0 * np.sin(x) ** 2)
    table[:, :, 1] = -log2_e / (1.0 + np.cos(x))
    table[:, :, 2] = (2.0 / np.pi) * power * y ** (power - 1) * (high - low) / 2.0 * weights
    return table


@jit
def sign_integrals(table, a, scale, out):
    """out[l] = sum over i < j of 2 q_ij s_i s_j (E[sgn_i sgn_j] - e_i e_j), for each lane l.

    ``a`` (d, lanes) holds mean/deviation, infinite where there is no noise; ``scale`` (d, lanes)
    the factors s, or None if all are 1 (compiled apart, at no cost); ``out`` (lanes,) is
    overwritten. A nan in ``a`` gives any number.
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
            density[i, lane] = value if scale is None else value * scale[i, lane]
            slope[i, lane] = x * (1.0 / _GROWTH)
    add_rest(table.rest_pairs, table.rest_nodes, a, density, scale, out)
    # Columns in multiples of a lane's largest scale fit into single precision whatever the scales are.
    sums = lane_array(np.int64(2), wide)
    sums[:] = 0.0
    largest, total = sums[0], sums[1]
    for i in range(d):
        for lane in range(lanes):
            size = table.root[i] if scale is None else table.root[i] * abs(scale[i, lane])
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
    """Add the nodes behind the head: 2 phi(a_i) times a sum over j, row by row."""
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
                if scale is None:
                    row[lane] += value
                else:
                    row[lane] = fma(value, scale[j, lane], row[lane])
            g += 1
        for lane in range(lanes):
            out[lane] += row[lane] * density[i, lane]


@jit_inner
def add_groups(pairs, nodes, a, scale, out):
    """Add the pairs that are integrated as they stand: so many nodes of one pair in a row."""
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
            out[lane] += value if scale is None else value * (scale[i, lane] * scale[j, lane])
