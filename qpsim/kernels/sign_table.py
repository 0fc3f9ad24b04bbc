"""Tables for the exact step of sign rules: the pairs of coordinates of a problem and their quadrature nodes.

:mod:`qpsim.kernels.signs` has the formulas, :mod:`qpsim.kernels.sign_rules` how a pair's integral is divided between a
series (the head) and Gauss rules. The tables depend only on Hessian and correlation and are made once for a problem.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.polynomial.legendre import leggauss

from qpsim.kernels.forms import Lists, lists, triangle
from qpsim.kernels.sign_rules import Split, bin_ends, bins_of, cheapest_split, rule

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
# From this class on the integrand may change within a very small distance of t = pi/2. Nodes in y with pi/2 - t = y^6
# resolve all such distances.
_GRADED_FROM = 5
_GRADING = 6

# Below this dimension matrix products are too small to be faster.
_HEAD_FROM_DIM = 32

TWICE_DENSITY_AT_0 = 0.7978845608028654
HALF_LOG2_E = 0.7213475204444817
# Columns are 2 phi(a) He_{n-1}(a) / GROWTH^(n-1). So scaled, columns and factors stay within the range of single
# precision, and the recurrence needs only a / GROWTH and one factor for each n.
GROWTH = 4.0


class SignTable(NamedTuple):
    """Tables for the pairs i < j with q_ij != 0.

    Attributes
    ----------
    double : array (1 + terms, size), packed as in :mod:`qpsim.kernels.forms`
        Row 0: 2 q_ij, for the quadratic form of the mean signs. Row n >= 1: 2 q_ij (1 - c_n) r_ij^n, the terms of the
        head in double precision, with q_ij / (root_i root_j) for q_ij.
    single : Lists
        The later terms of the head, in single precision.
    root : array (d,)
        sqrt(q_ii), by which the head's columns are multiplied. So they stay in the range of single precision for any
        unit of a coordinate.
    steps : array (terms,)
        The factors of the recurrence with which `add_series` makes the columns.
    rest_pairs, rest_nodes : arrays (nodes, 2) and (nodes, 3)
        The nodes for the remainder after the head, ordered by i. A pair is i and j. A node is the factors of a_j and of
        a_i (the exponent is the square of the sum of both products) and the weight without 2 phi(a_i).
    pairs_2, pairs_3 : arrays (groups, 2)
        The nodes of a pair without a head are divided into groups of 2 and of 3. One row for each group: i and j,
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
        Whether pairs may be computed as a series and a remainder where that is faster.

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
    factors = -np.arange(steps) / GROWTH**2
    return SignTable._make([double, single, root, factors, *rest, *groups])


class _Pairs(NamedTuple):
    """i, j, q_ij and r_ij of pairs i < j, in the order of i and j."""

    first: np.ndarray
    second: np.ndarray
    entry: np.ndarray
    correlation: np.ndarray


def _nodes_alone(size: np.ndarray) -> np.ndarray:
    """Number of nodes that the integral needs for every |r|."""
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
    """2 q_ij (1 - c_n) r_ij^n for n = first to last, and for the columns of `GROWTH`."""
    bins, factors = bins_of(np.abs(r)), split.factors()
    power = coupling * r ** (first - 1)
    for n in range(first, last + 1):
        power = power * r
        yield power * (factors[n] * (GROWTH ** (2 * n - 2) / math.factorial(n)))[bins]


def _packed(matrix: np.ndarray) -> np.ndarray:
    """The lower triangle of a matrix, packed for `qpsim.kernels.forms.add_forms`."""
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
