"""Decides which terms of the integrals of :mod:`qpsim.kernels.signs` come from a series and which from quadrature.

By Mehler's formula the integral of a pair is the sum over n of r^n b_n(a_i) b_n(a_j); the integrand at s in (0, r) has
n s^(n-1) in place of r^n. A rule of weights v_m |r| at nodes s_m = u_m r therefore gives c_n r^n with c_n = sum_m n v_m
u_m^(n-1), whatever r is. The head of the series, n up to h, is summed by matrix products with the coefficients (1 -
c_n) r^n, so that the rule must be accurate only for n > h. With Gauss nodes for the weight u^h it is exact up to n = h
+ 2 nodes. The error is the sum over n > h of |1 - c_n| |r|^n b_n(a_i) b_n(a_j), at most the same sum with B_n = max
b_n^2.

With a long enough head most pairs need no nodes. Every |r| gets the head and the number of nodes of the lowest total
cost. The length of the longest head is found by comparing the total costs.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

# Possible lengths of a head, of the longest head, and largest number of nodes of a pair.
HEADS = tuple(range(3, 33))
LONGEST_HEADS = HEADS[1::4]
MOST_NODES = 6
# Errors are tabulated for |r| = 1 / _BINS, 2 / _BINS, ..., 1.
_BINS = 256
# Last term n of the error sums; later ones are small for every useful rule.
_LAST_TERM = 320
# Largest errors: of one pair, relative to its |q|, and of all pairs, relative to the form at a = 0. The
# first is lowered until the second holds, or to where rounding counts as much.
_PAIR_TOLERANCE = 5e-10
_TOLERANCE = 1.5e-10
_LEAST_PAIR_TOLERANCE = 1e-12
# Rounding of a term in single precision, as a standard deviation relative to the form at a = 0. Rows are rounded
# independently, unless columns are alike, hence as if there were few. A hundred equal numbers in a row, as equal
# correlations give, are rounded alike as they are summed: by a third of the largest error possible, a hundred halves of
# 6e-8.
_SINGLE_ROUNDING = 3e-8
_ROWS_APART = 50
_REPEATED_ROUNDING = 1.2e-6
_SINGLE_TOLERANCE = 4e-11
# Times, in units of the time of one pair in one term of single precision: of a node; of a pair in a term of double
# precision, which has all pairs; of a coordinate in any term.
_NODE_COST = 21.0
_DOUBLE_COST = 1.7
_COORDINATE_COST = 4.0


class Split(NamedTuple):
    """Heads (bins,) and nodes (bins,) of the pairs whose |r| is in the k-th bin.

    Of the terms of all heads the first ``n_double`` are in double precision. Nodes are -1, and the
    head is 0, where pairs are left out.
    """

    n_double: int
    heads: np.ndarray
    nodes: np.ndarray

    @property
    def longest(self) -> int:
        """Terms of the longest head."""
        return int(self.heads.max())

    def factors(self) -> np.ndarray:
        """1 - c_n (n, bins) for n = 0 to the longest head, 0 behind a bin's own head."""
        found = np.zeros((self.longest + 1, _BINS))
        for head, nodes in set(zip(self.heads.tolist(), self.nodes.tolist(), strict=True)):
            if head > 0:
                alike = (self.heads == head) & (self.nodes == nodes)
                found[: head + 1, alike] = head_factors(head)[: head + 1, nodes, None]
        return found


def cheapest_split(
    size: np.ndarray, weight: np.ndarray, dim: int, at_0: float, alone: np.ndarray
) -> Split | None:
    """Choose the heads and the nodes.

    Parameters
    ----------
    size, weight
        |r_ij| and |q_ij| / sqrt(q_ii q_jj) of the pairs, arrays (n_pairs,), which do not depend on the coordinates'
        units.
    dim
        Number of coordinates.
    at_0
        The form of these weights at a = 0: errors are fractions of it.
    alone
        Nodes (bins,) that a pair at the upper end of a bin needs without a head.

    Returns
    -------
    Split or None
        None if quadrature alone is cheapest.
    """
    where = bins_of(size)
    count = np.bincount(where, minlength=_BINS)
    mass = 2.0 * np.bincount(where, weight, minlength=_BINS)
    repeated = np.unique((size * weight).astype(np.float32)).size < size.size / 4
    rounding = _REPEATED_ROUNDING if repeated else _SINGLE_ROUNDING / min(dim, _ROWS_APART) ** 0.5
    best, least = None, _NODE_COST * (count @ alone)
    for longest in LONGEST_HEADS:
        heads, nodes = _heads_and_nodes(longest, mass, at_0, alone)
        n_double = _in_double(longest, mass, at_0, rounding)
        cost = _NODE_COST * (count @ np.where(nodes < 0, alone, nodes))
        cost += count @ np.maximum(heads - n_double, 0) + n_double * _DOUBLE_COST * dim**2 / 2
        cost += longest * _COORDINATE_COST * dim
        if cost < least:
            occupied = np.where(count > 0, heads, 0)
            best, least = Split(min(n_double, int(occupied.max())), occupied, nodes), cost
    return best


def _heads_and_nodes(
    longest: int, mass: np.ndarray, at_0: float, alone: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The cheapest heads and nodes (bins,) with errors in bounds."""
    heads = np.array([head for head in HEADS if head <= longest])
    cost = (heads[:, None] + _NODE_COST * np.arange(MOST_NODES + 1)).ravel()
    order = np.argsort(cost, kind="stable")
    left = np.concatenate([_left(head) for head in heads.tolist()])[order]
    tolerance = _PAIR_TOLERANCE
    while True:
        within = left <= tolerance
        first = within.argmax(axis=0)
        taken = within.any(axis=0) & (cost[order[first]] < _NODE_COST * alone)
        error = mass @ np.where(taken, left[first, np.arange(_BINS)], 0.0)
        if error <= _TOLERANCE * at_0 or tolerance < _LEAST_PAIR_TOLERANCE:
            head, nodes = np.divmod(order[first], MOST_NODES + 1)
            return np.where(taken, heads[head], 0), np.where(taken, nodes, -1)
        tolerance *= 0.8


def bins_of(size: np.ndarray) -> np.ndarray:
    """The bin of every |r|; a bin includes its upper end."""
    return np.clip(np.ceil(size * _BINS).astype(np.intp) - 1, 0, _BINS - 1)


def bin_ends() -> np.ndarray:
    """Upper end of every bin."""
    return np.arange(1, _BINS + 1) / _BINS


@cache
def rule(head: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes u (n,) in (0, 1) and weights v (n,) for what follows a head.

    Gauss nodes for the weight u^p with p a little larger than h. This is less exact for the first terms after a long
    head, but two or more nodes then serve a larger |r|.
    """
    power = rule_power(head, n)
    # Jacobi's polynomials on (0, 1) by their recurrence, Gauss' rule by its matrix' eigenvectors
    k = np.arange(1, n)
    middle = np.full(n, (power + 1.0) / (power + 2.0))
    middle[1:] = 0.5 + 0.5 * power**2 / ((2 * k + power) * (2 * k + power + 2))
    beside = k * (k + power) / (2 * k + power) / np.sqrt((2 * k + power) ** 2 - 1.0)
    nodes, vectors = np.linalg.eigh(np.diag(middle) + np.diag(beside, 1) + np.diag(beside, -1))
    return nodes, vectors[0] ** 2 / (power + 1.0) / nodes**power


def rule_power(head: int, n: int) -> float:
    """The power p of which `rule` is the Gauss rule."""
    return head + 0.75 * (n - 1) * max(head / 8.0 - 1.0, 0.0)


@cache
def head_factors(head: int) -> np.ndarray:
    """1 - c_n (n, nodes) for n = 0 to _LAST_TERM and rules of 0 to MOST_NODES nodes."""
    n = np.arange(_LAST_TERM + 1)[:, None]
    factors = np.ones((n.size, MOST_NODES + 1))
    for k in range(1, MOST_NODES + 1):
        u, v = rule(head, k)
        factors[:, k] -= np.sum(n * v * u ** (n - 1.0), axis=1)
    return factors


@cache
def _left(head: int) -> np.ndarray:
    """Bound (nodes, bin) of the error of a pair at the upper end of a bin."""
    later = np.abs(head_factors(head)[head + 1 :]) * _largest_squares()[head + 1 :, None]
    return later.T @ _powers()[head + 1 :]


@cache
def _powers() -> np.ndarray:
    """|r|^n (n, bin) for n = 0 to _LAST_TERM, at the upper end of every bin."""
    return bin_ends() ** np.arange(_LAST_TERM + 1)[:, None]


@cache
def _largest_squares() -> np.ndarray:
    """B_n = max over a of b_n(a)^2, for n = 0 (no term) to _LAST_TERM."""
    a = np.linspace(0.0, 3.0, 601)
    largest = np.zeros(_LAST_TERM + 1)
    b, previous = 2.0 * np.exp(-0.5 * a * a) / np.sqrt(2.0 * np.pi), np.zeros_like(a)
    for n in range(1, _LAST_TERM + 1):
        largest[n] = np.max(b * b)
        b, previous = (a * b - (n - 1) / np.sqrt(n) * previous) / np.sqrt(n + 1.0), b
    return largest


def _in_double(head: int, mass: np.ndarray, at_0: float, rounding: float) -> int:
    """Terms of the head for which single precision would be too coarse."""
    n = np.arange(1, head + 1)
    products = _powers()[n] @ mass * _largest_squares()[n]
    return int(np.sum(rounding * products > _SINGLE_TOLERANCE * at_0))
