"""E[z] and E[z^T Q z] on a dense Hessian for a direction without a closed form: its Hermite series (Mehler's formula).

With a_n (d) the Hermite coefficients of the coordinates' directions (:mod:`qpsim.kernels.hermite`) and R (d, d) the
correlation of their gradients, products and powers elementwise,

    E[z^T Q z] = sum_i q_ii E[z_i^2] + sum_n a_n^T ((Q - diag Q) o R^n) a_n.

The remainder after N + 1 terms is bounded by the Cauchy-Schwarz inequality, with tail_i = E[z_i^2] - sum_{n<=N}
a_n(i)^2 of coordinate i: sum_{i != j} |q_ij| |r_ij|^(N+1) sqrt(tail_i tail_j) <= sum_i b_i tail_i with b_i = sum_j
|q_ij| |r_ij|^(N+1), since 2 sqrt(x y) <= x + y. Terms are added until this is within the tolerance. Pairs for which the
largest number of terms is not enough are integrated instead (:mod:`qpsim.kernels.pair_quadrature`).
"""

import math
from typing import NamedTuple

import numpy as np

from qpsim.kernels.arguments import Row, SeriesRest
from qpsim.kernels.columns import inner
from qpsim.kernels.hermite import TILE_ORDERS, QuadratureTable, quadrature_table, row_coefficients
from qpsim.kernels.jit import jit, jit_inner
from qpsim.kernels.pair_quadrature import integrate_pairs
from qpsim.kernels.sign_table import SignTable, pair_table
from qpsim.rules.step_policies import BOUND

# Number of terms computed at first, and the largest number. Smooth directions need about ten terms for 1e-9; for signs
# of coordinates correlated by more than 0.93 the largest number is not enough.
_FIRST_TERMS = TILE_ORDERS
MOST_TERMS = 256
# Largest number of coefficients of one block.
_MOST_ELEMENTS = 1 << 23
_NEGLIGIBLE = 1e-150
# Rounding error of tail_i, relative to E[z_i^2].
_ROUNDING = 1e-14


class SeriesTable(NamedTuple):
    """What the Hermite series of a problem needs.

    correlation (d, d); off_diagonal (d, d) = Q - diag Q; bounds (terms, d) = the b_i of every N; signs is for rules
    that are a sign in the first step; tolerance relative to E[z^T Q z].
    """

    correlation: np.ndarray
    off_diagonal: np.ndarray
    bounds: np.ndarray
    quadrature: QuadratureTable
    signs: SignTable
    tolerance: float


def series_table(hessian: np.ndarray, correlation: np.ndarray, tolerance: float) -> SeriesTable:
    """Tabulate a Hessian (d, d) and its gradients' correlation (d, d)."""
    off_diagonal = hessian - np.diag(np.diagonal(hessian))
    size = np.abs(correlation)
    power = np.abs(off_diagonal)
    bounds = np.empty((MOST_TERMS, hessian.shape[0]))
    for n in range(MOST_TERMS):
        power *= size
        bounds[n] = power.sum(axis=1)
    return SeriesTable(
        np.array(correlation),
        off_diagonal,
        bounds,
        quadrature_table(MOST_TERMS),
        pair_table(hessian, correlation),
        float(tolerance),
    )


class Coupling(NamedTuple):
    """The fields of a problem that `series_of_direction` reads.

    Attributes
    ----------
    hessian : array (d, d)
    form_matrix : array (d, d)
        |Q|, for the bound of Eq. 12; not read for the exact step.
    table : SeriesTable
    std : array (d,)
        Standard deviations of the coordinates' gradients.
    """

    hessian: np.ndarray
    form_matrix: np.ndarray
    table: SeriesTable
    std: np.ndarray


@jit
def series_of_direction(problem, hyper, step, policy, moments):
    """Moments of any direction by its Hermite series; returns the largest number of terms of any lane.

    problem is a :class:`Coupling`, or another tuple that has its fields; step a
    :class:`qpsim.kernels.arguments.StepInput`. moments are written.
    """
    hessian, table = problem.hessian, problem.table
    numerator, denominator, error = moments.numerator, moments.denominator, moments.error
    d, lanes = step.gradient.shape
    second = np.empty((d, lanes))
    missed = np.empty((d, lanes))
    terms = 1 if policy == BOUND else _FIRST_TERMS
    # Number of terms computed so far. Not a literal 0, for which numba would compile everything below a second time.
    n_done = np.int64(0)
    power = table.off_diagonal.copy()
    image = np.empty((d, lanes))
    tail = np.empty((d, lanes))
    left = SeriesRest(second, tail, power, np.ones(lanes, np.uint8))
    error[:] = 0.0
    while True:
        coefficients = np.empty((d, terms, lanes))
        n_sharp = 0
        for i in range(d):
            row = Row(step.gradient[i], problem.std[i], step.extra[i], step.states, i, step.t)
            n_sharp += row_coefficients(
                hyper,
                row,
                table.quadrature,
                n_done,
                second[i],
                missed[i],
                coefficients[i],
                False,
            )
        if n_done == 0:
            inner(step.gradient, coefficients[:, 0], numerator)
            if policy == BOUND:
                # |E[z_i z_j]| <= sqrt(E[z_i^2] E[z_j^2]), for a sign method the |s_i s_j| of Eq. 12.
                root = np.sqrt(second)
                inner(root, np.dot(problem.form_matrix, root), denominator)
                return 0
            denominator[:] = 0.0
            for i in range(d):
                for lane in range(lanes):
                    tail[i, lane] = second[i, lane]
                    denominator[lane] += hessian[i, i] * second[i, lane]
        term = np.empty((d, lanes))
        for k in range(terms):
            n = n_done + k
            if n > 0:
                raise_power(power, table.correlation)
            for i in range(d):
                for lane in range(lanes):
                    term[i, lane] = coefficients[i, k, lane]
            np.dot(power, term, image)
            n_open = add_term(term, image, table.bounds[n], table.tolerance, left, moments)
            if n_open == 0:
                add_missed(hessian, second, missed, denominator, error)
                return n + 1
        n_done += terms
        if n_done == MOST_TERMS:
            raise_power(power, table.correlation)
            integrate_pairs(problem, hyper, step, left, moments)
            add_missed(hessian, second, missed, denominator, error)
            return n_done
        # Panels are slow, and coordinates that need them need many terms: then compute all terms in the second pass.
        wanted = MOST_TERMS if 4 * n_sharp > d * lanes else 2 * n_done
        # A multiple of the tile size, so that rounding does not depend on the number of lanes.
        affordable = max(1, _MOST_ELEMENTS // (d * lanes * TILE_ORDERS)) * TILE_ORDERS
        terms = min(wanted, MOST_TERMS - n_done, affordable)


@jit_inner
def raise_power(power, correlation):
    """(Q - diag Q) o R^n for the next n; negligible entries become 0, since subnormal numbers are slow."""
    for i in range(power.shape[0]):
        for j in range(power.shape[1]):
            value = power[i, j] * correlation[i, j]
            power[i, j] = 0.0 if abs(value) < _NEGLIGIBLE else value


@jit_inner
def add_term(term, image, bounds, tolerance, left, moments):
    """Add one term of the series to the lanes that still need it; returns how many need another.

    term (d, lanes) are the coefficients a_n, image (d, lanes) ((Q - diag Q) o R^n) a_n, bounds (d) the b_i after it.
    """
    second, tail, open_lanes = left.second, left.tail, left.open_lanes
    denominator, error = moments.denominator, moments.error
    d, lanes = term.shape
    total = np.zeros(lanes)
    rest = np.zeros(lanes)
    for i in range(d):
        bound = bounds[i]
        for lane in range(lanes):
            a = term[i, lane]
            total[lane] += a * image[i, lane]
            tail[i, lane] = max(tail[i, lane] - a * a, _ROUNDING * second[i, lane])
            rest[lane] += bound * tail[i, lane]
    n_open = 0
    for lane in range(lanes):
        if open_lanes[lane]:
            denominator[lane] += total[lane]
            # Relative to the smallest possible denominator; infinite if the remainder may be larger than the sum so
            # far.
            least = denominator[lane] - rest[lane]
            error[lane] = rest[lane] / (0.0 if least < 0.0 else least)
            # Diverged lanes (NaN) need no more terms.
            open_lanes[lane] = error[lane] > tolerance
            n_open += open_lanes[lane]
    return n_open


@jit_inner
def add_missed(hessian, second, missed, denominator, error):
    """Add the error of unresolved coordinates: that of E[z_i z_j] is at most as large as that of E[z_i^2]."""
    d, lanes = second.shape
    for lane in range(lanes):
        for i in range(d):
            if missed[i, lane] > 0.0:
                share = 2.0 * missed[i, lane] / math.sqrt(second[i, lane]) / denominator[lane]
                for j in range(d):
                    error[lane] += share * abs(hessian[i, j]) * math.sqrt(second[j, lane])
