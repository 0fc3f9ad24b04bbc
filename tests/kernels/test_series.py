"""The series for weakly correlated pairs of signs, against the quadrature of every pair."""

import math

import numpy as np
import pytest
from scipy.special import erf

import qpsim
from qpsim.kernels import signs


def forms(spectrum, dim, a, scale=None):
    """E[z^T Q z] with and without the series, (lanes,) each, and the table of the first."""
    problem = qpsim.random_problem(spectrum, dim=dim, basis="haar", rng=dim)
    q, r = np.array(problem.hessian), problem.gradient_correlation()
    s = np.ones_like(a) if scale is None else scale
    mean = s * erf(a / math.sqrt(2))
    rest = np.diag(q) @ (s * s - mean * mean) + np.sum(mean * (q @ mean), axis=0)
    tables = [signs.pair_table(q, r, series=series) for series in (True, False)]
    values = []
    for table in tables:
        out = np.full(a.shape[1], np.nan)
        signs.sign_integrals(table, a, scale, out)
        values.append(rest + out)
    return values, tables[0]


@pytest.mark.parametrize("spectrum", ["mild", "structured"])
@pytest.mark.parametrize("size", [0.0, 0.3, 1.5, 20.0])
def test_the_form_is_the_same_to_1e_9(spectrum, size):
    rng = np.random.default_rng(1)
    a = size * rng.standard_normal((100, 16))
    (with_series, without), table = forms(spectrum, 100, a, rng.uniform(0.2, 1, a.shape))
    assert table.double.shape[0] > 1 and table.single.shape[0] > 1
    np.testing.assert_allclose(with_series, without, rtol=1e-9)


def test_means_without_noise_end_the_series():
    a = np.where(np.random.default_rng(0).standard_normal((40, 16)) > 0, np.inf, -np.inf)
    (with_series, without), _ = forms("mild", 40, a)
    assert np.array_equal(with_series, without)


def test_a_small_problem_has_no_series():
    _, table = forms("mild", 8, np.ones((8, 3)))
    assert table.double.size == table.single.size == 0


@pytest.mark.parametrize("reach", [0.05, 0.3, 0.6])
def test_the_rest_of_a_pair_is_below_its_bound(reach):
    """The largest of all rests is that of a_i = a_j: reach^(n+1) times the squares left over."""
    terms, n_double = signs._series_terms(reach)
    assert 1 <= n_double <= terms
    x = np.linspace(0, 10, 1001)
    left = 1 - erf(x / math.sqrt(2)) ** 2
    current, previous = 2 * np.exp(-x * x / 2) / math.sqrt(2 * math.pi), np.zeros_like(x)
    for n in range(1, terms + 1):
        b = current / math.sqrt(n)
        left -= b * b
        assert left.max() <= 0.52 / math.sqrt(n)
        current, previous = x * b - math.sqrt((n - 1) / n) * previous, current
    assert reach ** (terms + 1) * left.max() < 1e-9


def test_replicates_do_not_depend_on_how_many_there_are():
    problem = qpsim.random_problem("mild", dim=48, basis="haar", noise_std=0.5, rng=0)
    many = qpsim.simulate(problem, "ssd", n_steps=4, n_replicates=70, rng=3, workers=2)
    for n in (1, 5, 9, 17, 33):
        few = qpsim.simulate(problem, "ssd", n_steps=4, n_replicates=n, rng=3, workers=1)
        assert np.array_equal(few.excess_loss, many.excess_loss[:n])
