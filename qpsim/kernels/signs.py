"""E[z^T Q z] for z a vector of scaled signs of correlated Gaussians, exact up to quadrature.

With s_i = sign(a_i + Z_i), corr(Z_i, Z_j) = r_ij and e_i = erf(a_i / sqrt 2), Plackett's identity
gives E[s_i s_j] = e_i e_j + (2/pi) times the integral over t from 0 to asin r_ij of

    exp(-(a_i^2 + a_j^2 - 2 a_i a_j sin t) / (2 cos^2 t)).

The correlations belong to the problem, only a changes: the quadrature nodes of every pair are
tabulated once. The part with e_i e_j is a plain quadratic form; this room is about the integrals.

Where most pairs are weakly correlated, their integrals are summed as a series instead, by matrix
products: with b_n(a) = 2 phi(a) He_{n-1}(a) / sqrt(n!), Mehler's formula has the integral of a pair
as sum_n r^n b_n(a_i) b_n(a_j), n from 1. Sixteen exponentials cost as much as a thousand products.
"""

from typing import NamedTuple

import numpy as np
from numpy.polynomial.legendre import leggauss

from qpsim.kernels.elementary import exp2_negative, fma
from qpsim.kernels.jit import jit

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

# The series: below this dimension products are too small to pay, beyond the largest |r| it is too
# long. It ends where a pair's rest is below the tolerance, and may be computed in single precision
# from where a term is so small that its rounding does not count.
_SERIES_FROM_DIM = 32
_SERIES_REACH = np.arange(1, 13) * 0.05
_SERIES_TOLERANCE = 5e-10
_SINGLE_PRECISION_BELOW = 3e-3
# Multiplications of a matrix product that take as long as one node of the quadrature, and as a
# term's share of one coordinate.
_PRODUCTS_PER_NODE = 18.0
_PRODUCTS_PER_COORDINATE = 30.0

# Beyond 40 deviations every integrand is below 1e-300; infinite a (no noise) is clipped to it.
_FARTHEST = 40.0
TWICE_DENSITY_AT_0 = 0.7978845608028654
HALF_LOG2_E = 0.7213475204444817


class SignTable(NamedTuple):
    """Quadrature nodes of the pairs i < j with q_ij != 0, in groups of two and three of one pair.

    ``nodes_n[g]`` holds, for each of the group's n nodes, the factor of (a_i - sign a_j)^2, the
    factor of sign a_i a_j (both give the exponent to base 2), and the weight with 2 q_ij in it.

    ``double`` and ``single`` (terms, d, d) hold q_ij r_ij^n for the pairs that are summed as a
    series, whose nodes are not tabulated; the first term is n = 1, the singles follow the doubles.
    """

    first_2: np.ndarray
    second_2: np.ndarray
    sign_2: np.ndarray
    nodes_2: np.ndarray
    first_3: np.ndarray
    second_3: np.ndarray
    sign_3: np.ndarray
    nodes_3: np.ndarray
    double: np.ndarray
    single: np.ndarray


def pair_table(hessian: np.ndarray, correlation: np.ndarray, *, series: bool = True) -> SignTable:
    """Tabulate the quadrature of a Hessian's sign correlations.

    Parameters
    ----------
    hessian
        Array (d, d), symmetric. Pairs with an entry of exactly 0 are left out.
    correlation
        Array (d, d) of the gradient noise's correlations r_ij; +-1 is allowed.
    series
        Whether weakly correlated pairs may be summed as a series where that is quicker.

    Returns
    -------
    SignTable
        For `sign_integrals`. A pair has 2 to 4 nodes of 24 bytes mostly, a term of the series 8 or
        4 bytes a pair, twice: some 80 MB at d = 1000 either way.
    """
    dim = hessian.shape[0]
    first, second = np.triu_indices(dim, 1)
    entry = hessian[first, second]
    kept = entry != 0.0
    first, second, entry = first[kept], second[kept], entry[kept]
    signed = correlation[first, second]
    sign = np.where(signed < 0.0, -1.0, 1.0)
    size = np.minimum(np.abs(signed), 1.0)
    reach = _series_reach(size, dim) if series else 0.0
    double, single = _series(hessian, correlation, reach)
    groups: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {2: [], 3: []}
    below = reach if reach > 0.0 else -1.0
    for upper, n in NODE_CLASSES:
        pair = np.flatnonzero((size > below) & (size <= upper))
        below = max(below, upper)
        if pair.size:
            nodes = quadrature_nodes(size[pair], n)
            nodes[:, :, 2] *= (2.0 * entry[pair] * sign[pair])[:, None]
            n_pairs_of_nodes = (0, 2, 1)[n % 3]
            cut = 2 * n_pairs_of_nodes
            for length, some in ((2, nodes[:, :cut]), (3, nodes[:, cut:])):
                n_groups = some.shape[1] // length
                groups[length].append((np.repeat(pair, n_groups), some.reshape(-1, 3 * length)))
    arrays = []
    for length in (2, 3):
        owner = np.concatenate([np.empty(0, dtype=np.int64), *(o for o, _ in groups[length])])
        nodes = np.concatenate([np.empty((0, 3 * length)), *(some for _, some in groups[length])])
        order = np.argsort(owner, kind="stable")
        owner = owner[order]
        arrays += [first[owner], second[owner], sign[owner], nodes[order]]
    return SignTable(*arrays, *[double, single])


def _series_reach(size: np.ndarray, dim: int) -> float:
    """The largest |r| worth a series: the cheapest split of these pairs, 0 if none pays."""
    if dim < _SERIES_FROM_DIM:
        return 0.0
    ordered = np.sort(size)
    nodes = np.array([n for _, n in NODE_CLASSES])
    # nodes_beyond[k]: of all pairs from the k-th smallest |r| on
    each = nodes[np.searchsorted([upper for upper, _ in NODE_CLASSES], ordered)]
    nodes_beyond = np.append(np.cumsum(each[::-1])[::-1], 0)
    best, reach = nodes_beyond[0] * _PRODUCTS_PER_NODE, 0.0
    for candidate in _SERIES_REACH:
        terms, n_double = _series_terms(candidate)
        left = nodes_beyond[np.searchsorted(ordered, candidate, side="right")]
        cost = left * _PRODUCTS_PER_NODE + terms * _PRODUCTS_PER_COORDINATE * dim
        cost += 0.5 * (terms + n_double) * dim**2
        if cost < best:
            best, reach = cost, float(candidate)
    return reach


def _series_terms(reach: float) -> tuple[int, int]:
    """Terms that a series of |r| <= reach needs, and how many of them in double precision.

    The rest after n terms is at most |r|^{n+1} sum_{m>n} b_m^2, and that sum at most 0.52 / sqrt(n).
    """
    terms = n_double = 1
    while reach ** (terms + 1) * 0.52 / terms**0.5 > _SERIES_TOLERANCE:
        terms += 1
    while n_double < terms and reach ** (n_double + 1) > _SINGLE_PRECISION_BELOW:
        n_double += 1
    return terms, n_double


def _series(
    hessian: np.ndarray, correlation: np.ndarray, reach: float
) -> tuple[np.ndarray, np.ndarray]:
    """q_ij r_ij^n of the pairs with |r_ij| <= reach, for n = 1, 2, ..."""
    dim = hessian.shape[0]
    if reach == 0.0:
        return np.empty((0, dim, dim)), np.empty((0, dim, dim), dtype=np.float32)
    terms, n_double = _series_terms(reach)
    double = np.empty((n_double, dim, dim))
    single = np.empty((terms - n_double, dim, dim), dtype=np.float32)
    power = np.where(np.abs(correlation) <= reach, hessian, 0.0)
    np.fill_diagonal(power, 0.0)
    for n in range(terms):
        power = power * correlation
        if n < n_double:
            double[n] = power
        else:
            single[n - n_double] = power
    return double, single


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
    if table.double.shape[0] > 0:
        add_series(table.double, table.single, near, scale, out)
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
def add_series(double, single, a, scale, out):
    """Add the pairs that are summed as a series: sum_n b_n^T (Q o R^n) b_n, for each lane."""
    d, lanes = a.shape
    # b_n sqrt(n) and its forerunner, by the recurrence of the orthonormal Hermite polynomials
    current = np.empty((d, lanes))
    previous = np.zeros((d, lanes))
    for i in range(d):
        for lane in range(lanes):
            x = a[i, lane]
            weight = TWICE_DENSITY_AT_0 * exp2_negative(-HALF_LOG2_E * x * x)
            current[i, lane] = weight if scale is None else weight * scale[i, lane]
    add_terms(double, 0, a, current, previous, out)
    add_terms(single, double.shape[0], a, current, previous, out)


@jit
def add_terms(matrices, before, a, current, previous, out):
    """Add the terms from before + 1 on, in the precision of their matrices."""
    d, lanes = a.shape
    term = np.empty((d, lanes), matrices.dtype)
    image = np.empty((d, lanes), matrices.dtype)
    for k in range(matrices.shape[0]):
        n = float(before + k + 1)
        inverse_root = 1.0 / np.sqrt(n)
        ratio = np.sqrt(n - 1.0) * inverse_root
        for i in range(d):
            for lane in range(lanes):
                b = current[i, lane] * inverse_root
                term[i, lane] = b
                following = a[i, lane] * b - ratio * previous[i, lane]
                previous[i, lane] = current[i, lane]
                current[i, lane] = following
        np.dot(matrices[k], term, image)
        for i in range(d):
            for lane in range(lanes):
                out[lane] += term[i, lane] * image[i, lane]
