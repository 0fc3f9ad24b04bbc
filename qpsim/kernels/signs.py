"""E[z^T Q z] for z a vector of scaled signs of correlated Gaussians, exact up to quadrature.

With s_i = sign(a_i + Z_i), corr(Z_i, Z_j) = r_ij and e_i = erf(a_i / sqrt 2), Plackett's identity
gives E[s_i s_j] = e_i e_j + (2/pi) times the integral over t from 0 to asin r_ij of

    exp(-(a_i^2 + a_j^2 - 2 a_i a_j sin t) / (2 cos^2 t)).

The correlations belong to the problem, only a changes: what can be tabulated of every pair is. The
part with e_i e_j is a plain quadratic form; this room is about the integrals.

In s = sin t an integrand is a series: with b_n(a) = 2 phi(a) He_{n-1}(a) / sqrt(n!), Mehler's formula
has it as the sum over n >= 1 of n s^(n-1) b_n(a_i) b_n(a_j), and the integral as that of r^n b_n b_n.
The first terms of all pairs together are products of matrices, which cost a thirtieth of an
exponential each; Gauss' rules that are told so need not integrate these terms, and most pairs then
take one exponential or none (:mod:`qpsim.kernels.sign_rules`). Pairs of a small problem, and pairs
that are correlated too strongly, are integrated as they stand.
"""

from typing import NamedTuple

import numpy as np
from numpy.polynomial.legendre import leggauss

from qpsim.kernels.elementary import exp2_minus_square, exp2_negative, fma
from qpsim.kernels.forms import LANES, TILE_ROWS, add_forms, padded, triangle
from qpsim.kernels.jit import jit
from qpsim.kernels.sign_rules import (
    Split,
    bin_ends,
    bins_of,
    cheapest_split,
    head_factors,
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
# From here on the integrand may change over any small distance from t = pi/2: with pi/2 - t = y^6,
# uniform nodes in y find it at every scale.
_GRADED_FROM = 5
_GRADING = 6

# Below this dimension matrix products are too small to pay.
_HEAD_FROM_DIM = 32

# Beyond 40 deviations every integrand is below 1e-300; infinite a (no noise) is clipped to it.
_FARTHEST = 40.0
_NEGLIGIBLE = 1e-35
TWICE_DENSITY_AT_0 = 0.7978845608028654
HALF_LOG2_E = 0.7213475204444817
# Terms made at once: the recurrence's rows stay in the L1 cache, the terms in L2.
_TERMS_AT_ONCE = 4


class SignTable(NamedTuple):
    """What is tabulated of the pairs i < j with q_ij != 0, by two ways of summing them.

    Quadrature alone, in groups of two and three nodes of one pair: ``nodes_n[g]`` holds, for each
    of the group's n nodes, the factor of (a_i - sign a_j)^2, the factor of sign a_i a_j (both give
    the exponent to base 2), and the weight with 2 q_ij in it.

    A head of the series and quadrature of the rest: ``double`` and ``single`` (terms, size) hold
    2 q_ij (1 - c_n) r_ij^n, packed as :mod:`qpsim.kernels.forms` wants it, the first term n = 1,
    the singles following the doubles. The nodes of row i are row_start[i] to row_start[i + 1],
    ``partner`` their j, ``nodes`` (n, 3) the factors of a_j and a_i, whose sum's square is the
    exponent, and the weight.

    ``coupling`` (1, size) holds 2 q_ij, packed alike, for the form of the mean signs.
    """

    first_2: np.ndarray
    second_2: np.ndarray
    sign_2: np.ndarray
    nodes_2: np.ndarray
    first_3: np.ndarray
    second_3: np.ndarray
    sign_3: np.ndarray
    nodes_3: np.ndarray
    row_start: np.ndarray
    partner: np.ndarray
    nodes: np.ndarray
    double: np.ndarray
    single: np.ndarray
    coupling: np.ndarray


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
        For `sign_integrals`. A node takes 24 to 32 bytes, a term of the head 4 or 8 a pair: some
        40 MB at d = 1000, and 60 MB if every pair is summed by quadrature alone.
    """
    dim = hessian.shape[0]
    first, second = np.triu_indices(dim, 1)
    entry = hessian[first, second]
    kept = entry != 0.0
    first, second, entry = first[kept], second[kept], entry[kept]
    pairs = _Pairs(first, second, entry, np.clip(correlation[first, second], -1.0, 1.0))
    split = None
    if series and dim >= _HEAD_FROM_DIM:
        at_0 = (2.0 / np.pi) * np.sum(hessian * np.arcsin(np.clip(correlation, -1.0, 1.0)))
        alone = _nodes_alone(bin_ends())
        split = cheapest_split(np.abs(pairs.correlation), np.abs(entry), dim, float(at_0), alone)
    if split is None:
        left_out = np.ones(entry.size, dtype=bool)
        head = [np.zeros(dim + 1, dtype=np.intp), np.empty(0, dtype=np.intp), np.empty((0, 3))]
        head += [np.empty((0, 0)), np.empty((0, 0), dtype=np.float32)]
    else:
        n_nodes = split.nodes[bins_of(np.abs(pairs.correlation))]
        left_out = n_nodes < 0
        head = _nodes_behind_head(split.head, n_nodes, pairs, dim)
        head += _head_terms(split, hessian, correlation)
    without = _nodes_without_head(_Pairs(*[array[left_out] for array in pairs]))
    return SignTable._make([*without, *head, _packed(2.0 * hessian)[None]])


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
    """The table's first eight arrays."""
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
        arrays += [pairs.first[owner], pairs.second[owner], sign[owner], nodes[order]]
    return arrays


def _nodes_behind_head(head: int, n_nodes: np.ndarray, pairs: _Pairs, dim: int) -> list[np.ndarray]:
    """The table's ``row_start``, ``partner`` and ``nodes``."""
    owners, some = [np.empty(0, dtype=np.intp)], [np.empty((0, 3))]
    for n in range(1, n_nodes.max(initial=0) + 1):
        pair = np.flatnonzero(n_nodes == n)
        u, v = rule(head, n)
        r = pairs.correlation[pair, None]
        s = u * r
        cosine = np.sqrt((1.0 - s) * (1.0 + s))
        # (a^2 + b^2 - 2 a b s) / (2 cos^2) = a^2 / 2 + (b - s a)^2 / (2 cos^2)
        factor = np.sqrt(HALF_LOG2_E) / cosine
        weight = (2.0 / np.pi) * v * 2.0 * pairs.entry[pair, None] * r / cosine
        owners.append(np.repeat(pair, n))
        some.append(np.stack([factor, -s * factor, weight], axis=-1).reshape(-1, 3))
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    owner = owner[order]
    row_start = np.searchsorted(pairs.first[owner], np.arange(dim + 1))
    return [row_start, pairs.second[owner], np.concatenate(some)[order]]


def _head_terms(split: Split, hessian: np.ndarray, correlation: np.ndarray) -> list[np.ndarray]:
    """The table's ``double`` and ``single``."""
    r, power = np.clip(_packed(correlation), -1.0, 1.0), _packed(2.0 * hessian)
    n_nodes = split.nodes[bins_of(np.abs(r))]
    factors = head_factors(split.head)
    double = np.empty((split.n_double, power.size))
    single = np.empty((split.head - split.n_double, power.size), dtype=np.float32)
    for n in range(1, split.head + 1):
        power *= r
        term = double[n - 1] if n <= split.n_double else single[n - 1 - split.n_double]
        # what single precision holds as a subnormal number, which is slow, is 0
        term[:] = np.where(np.abs(power) < _NEGLIGIBLE, 0.0, power) * factors[n, n_nodes]
    return [double, single]


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
    d, lanes = a.shape
    near = np.empty((d, lanes))
    for i in range(d):
        for lane in range(lanes):
            near[i, lane] = min(max(a[i, lane], -_FARTHEST), _FARTHEST)
    out[:] = 0.0
    if table.double.shape[0] + table.single.shape[0] > 0:
        add_head(table.double, table.single, near, scale, out)
        add_rest(table.row_start, table.partner, table.nodes, near, scale, out)
    for g in range(table.first_2.size):
        i, j, sign = table.first_2[g], table.second_2[g], table.sign_2[g]
        nodes = table.nodes_2[g]
        p0, q0, w0 = nodes[0], nodes[1], nodes[2]
        p1, q1, w1 = nodes[3], nodes[4], nodes[5]
        for lane in range(lanes):
            x, y = near[i, lane], sign * near[j, lane]
            square = (x - y) * (x - y)
            product = x * y
            value = w0 * exp2_negative(fma(square, p0, product * q0))
            value = fma(w1, exp2_negative(fma(square, p1, product * q1)), value)
            if scale is not None:
                value *= scale[i, lane] * scale[j, lane]
            out[lane] += value
    for g in range(table.first_3.size):
        i, j, sign = table.first_3[g], table.second_3[g], table.sign_3[g]
        nodes = table.nodes_3[g]
        p0, q0, w0 = nodes[0], nodes[1], nodes[2]
        p1, q1, w1 = nodes[3], nodes[4], nodes[5]
        p2, q2, w2 = nodes[6], nodes[7], nodes[8]
        for lane in range(lanes):
            x, y = near[i, lane], sign * near[j, lane]
            square = (x - y) * (x - y)
            product = x * y
            value = w0 * exp2_negative(fma(square, p0, product * q0))
            value = fma(w1, exp2_negative(fma(square, p1, product * q1)), value)
            value = fma(w2, exp2_negative(fma(square, p2, product * q2)), value)
            if scale is not None:
                value *= scale[i, lane] * scale[j, lane]
            out[lane] += value


@jit
def add_head(double, single, a, scale, out):
    """Add the head of the series: sum over n of the form of 2 q_ij (1 - c_n) r_ij^n and b_n."""
    d, lanes = a.shape
    # b_n and b_{n-1}, with the scale in them
    b = np.empty((d, lanes))
    previous = np.zeros((d, lanes))
    for i in range(d):
        for lane in range(lanes):
            x = a[i, lane]
            density = TWICE_DENSITY_AT_0 * exp2_negative(-HALF_LOG2_E * x * x)
            b[i, lane] = density if scale is None else density * scale[i, lane]
    total = np.zeros(padded(lanes, LANES))
    add_terms(double, 0, a, b, previous, total)
    add_terms(single, double.shape[0], a, b, previous, total)
    for lane in range(lanes):
        out[lane] += total[lane]


@jit
def add_terms(packed, before, a, b, previous, total):
    """Add the terms from before + 1 on, in the precision of their matrices."""
    d, lanes = a.shape
    rows = padded(d, TILE_ROWS)
    terms = np.zeros((_TERMS_AT_ONCE, rows, total.size), packed.dtype)
    inverse, ratio = np.empty(_TERMS_AT_ONCE), np.empty(_TERMS_AT_ONCE)
    for begin in range(0, packed.shape[0], _TERMS_AT_ONCE):
        count = min(_TERMS_AT_ONCE, packed.shape[0] - begin)
        for k in range(_TERMS_AT_ONCE):
            # of the Hermite polynomials: b_{n+1} = (a b_n - (n-1)/sqrt(n) b_{n-1}) / sqrt(n+1)
            n = float(before + begin + k + 1)
            inverse[k] = 1.0 / np.sqrt(n + 1.0)
            ratio[k] = (1.0 - n) / np.sqrt(n) * inverse[k]
        for i in range(d):
            for k in range(0, count, 2):
                p, q, next_p, next_q = inverse[k], ratio[k], inverse[k + 1], ratio[k + 1]
                both = k + 1 < count
                for lane in range(lanes):
                    x, this = a[i, lane], b[i, lane]
                    after = fma(x * p, this, q * previous[i, lane])
                    terms[k, i, lane] = this
                    terms[k + 1, i, lane] = after
                    b[i, lane] = fma(x * next_p, after, next_q * this) if both else after
                    previous[i, lane] = after if both else this
        add_forms(packed[begin : begin + count], terms[:count], total)


@jit
def add_rest(row_start, partner, nodes, a, scale, out):
    """Add the nodes behind the head: exp(-a_i^2 / 2) times a sum over j, row by row."""
    d, lanes = a.shape
    row = np.empty(lanes)
    for i in range(d):
        row[:] = 0.0
        for g in range(row_start[i], row_start[i + 1]):
            j = partner[g]
            p, q, weight = nodes[g, 0], nodes[g, 1], nodes[g, 2]
            for lane in range(lanes):
                value = weight * exp2_minus_square(fma(a[j, lane], p, a[i, lane] * q))
                if scale is None:
                    row[lane] += value
                else:
                    row[lane] = fma(value, scale[j, lane], row[lane])
        for lane in range(lanes):
            x = a[i, lane]
            value = row[lane] * exp2_negative(-HALF_LOG2_E * x * x)
            out[lane] += value if scale is None else value * scale[i, lane]
