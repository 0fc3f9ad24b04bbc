"""The interval of a median of grouped values: definition, limits and coverage."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
from scipy.stats import binom

from qpsim.simulation.statistics import median_interval


def accepted(values, groups, m, level=0.95):
    """The test by its definition: sums of the groups' shares below m, over all patterns of signs."""
    shares = [np.mean(values[groups == g] < m) - 0.5 for g in np.unique(groups)]
    sums = [abs(np.dot(signs, shares)) for signs in product((1, -1), repeat=len(shares))]
    return np.mean(np.array(sums) >= abs(sum(shares)) - 1e-12) > 1 - level


@pytest.mark.parametrize("count", [6, 7, 9])
def test_the_interval_holds_what_the_test_accepts(count):
    rng = np.random.default_rng(count)
    groups = np.repeat(np.arange(count), rng.integers(1, 6, count))
    values = np.round(rng.exponential(size=count)[groups] + rng.exponential(size=groups.size), 1)
    median, (low, high) = median_interval(values, groups)
    assert median == np.median(values)
    distinct = np.unique(values)
    between = [0.5 * (a + b) for a, b in pairwise(distinct)]
    inside = [
        m for m in [distinct[0] - 1, *between, distinct[-1] + 1] if accepted(values, groups, m)
    ]
    assert low < min(inside) and max(inside) < high
    assert {low, high} <= set(distinct)


@pytest.mark.parametrize("n", [9, 40, 101])
def test_single_values_give_the_sign_tests_order_statistics(n):
    values = np.random.default_rng(0).permutation(n)
    for groups in (np.arange(n), np.zeros(n, int)):  # a group each, or one that stands for itself
        _, (low, high) = median_interval(values, groups)
        below = int(low)  # so many values are smaller than the lower end
        assert n - 1 - int(high) == below
        missed = 2 * binom.cdf(below, n, 0.5)
        assert (
            missed <= 0.05 + (0.02 if n > 12 else 0.0) and 2 * binom.cdf(below + 1, n, 0.5) > 0.03
        )


def test_fewer_than_six_groups_decide_nothing():
    for count in (2, 5):
        assert median_interval(np.arange(4 * count), np.arange(4 * count) % count)[1] == (
            -math.inf,
            math.inf,
        )
    assert median_interval(np.arange(6), np.arange(6))[1] == (0.0, 5.0)


def test_the_interval_knows_that_a_groups_members_belong_together():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(8), 50)
    values = rng.normal(size=8)[groups] + 0.01 * rng.normal(size=400)
    _, (low, high) = median_interval(values, groups)
    _, (alone_low, alone_high) = median_interval(values, np.zeros(400, int))
    assert high - low > 2 * (alone_high - alone_low)


def test_equal_and_infinite_values():
    assert median_interval(np.ones(16), np.repeat(np.arange(8), 2)) == (1.0, (1.0, 1.0))
    median, (low, high) = median_interval([1.0] * 4 + [math.inf] * 8, np.arange(12))
    assert (median, low, high) == (math.inf, 1.0, math.inf)


def covered(draw, truth, n):
    """How many of n samples have an interval that holds the truth."""
    hits = 0
    for _ in range(n):
        values = draw()
        groups = np.repeat(np.arange(len(values)), values.shape[1])
        _, (low, high) = median_interval(values.ravel(), groups)
        hits += low <= truth <= high
    return hits


@pytest.mark.parametrize("within", [0.1, 1.0])
@pytest.mark.parametrize("count", [8, 20])
def test_skewed_groups_are_covered(count, within):
    rng = np.random.default_rng(3)

    def draw():
        # Each value is some problem's offset, of a skewed law, and its own deviation.
        return rng.exponential(size=(count, 1)) + within * rng.normal(size=(count, 12))

    truth = np.median(rng.exponential(size=10**6) + within * rng.normal(size=10**6))
    # A coverage of 0.95 has the standard error 0.011 over 400 samples.
    assert covered(draw, truth, 400) / 400 > 0.95 - 3 * 0.011


@pytest.mark.long
def test_the_noise_free_mild_case_of_figure_2_is_covered():
    from qpsim import random_problem, simulate

    rng = np.random.default_rng(0)
    n_problems, n_each = 1600, 32
    ratios = np.empty((n_problems, n_each))
    for k in range(n_problems):
        p = random_problem("mild", dim=100, basis="axis", noise_std=0.0, scale=0.0, rng=k)
        start = rng.uniform(-10.0, 10.0, (n_each, 100))
        sign, plain = (
            simulate(p, name, n_steps=100, n_replicates=n_each, theta0=start, rng=0, workers=1)
            for name in ("ssd", "sgd")
        )
        ratios[k] = np.log10(sign.excess_loss[:, -1] / plain.excess_loss[:, -1])
    parts = iter(ratios.reshape(200, 8, n_each))
    # A coverage of 0.95 has the standard error 0.015 over 200 samples.
    assert covered(lambda: next(parts), np.median(ratios), 200) / 200 > 0.95 - 3 * 0.015
