"""Minibatch variances sampled without the minibatch have the law of the unbiased Eq. 44."""

import numpy as np
import pytest
from scipy import stats

import qpsim
from qpsim.errors import MethodError
from qpsim.kernels.noise import seed_lanes
from qpsim.kernels.observed import fill_chi_squares, fill_correlated_estimates


def lanes(count, seed=3):
    return seed_lanes(np.random.SeedSequence(seed), 0, count)


@pytest.mark.parametrize("degrees", [1, 2, 3, 7, 40, 127])
def test_chi_squares(degrees):
    drawn = np.empty((300, 64))
    fill_chi_squares(lanes(64), degrees, drawn)
    assert stats.kstest(drawn.ravel(), stats.chi2(degrees).cdf).pvalue > 1e-3


@pytest.mark.parametrize("batch_size", [2, 4, 30])
def test_correlated_estimates_have_the_law_of_a_minibatch(batch_size):
    p = qpsim.random_problem("structured", 5, "haar", noise_std=1.0, rng=0)
    factor = p.eigenvectors * p.eigenvalues
    drawn = np.empty((5, 20_000))
    mean_factor = np.ascontiguousarray(factor.T) / np.sqrt(batch_size)
    fill_correlated_estimates(lanes(20_000), mean_factor, batch_size, drawn)
    rng = np.random.Generator(np.random.PCG64(1))
    g = rng.standard_normal((20_000, batch_size, 5)) @ factor.T
    twin = ((g**2).mean(axis=1) - g.mean(axis=1) ** 2) / (batch_size - 1)
    for i in range(5):
        assert stats.ks_2samp(drawn[i], twin[:, i]).pvalue > 1e-3
    # The mean of the estimates is the mean's variance: neither the draws' nor that of their sum.
    variance = p.gradient_std() ** 2 / batch_size
    np.testing.assert_allclose(drawn.mean(axis=1) / variance, 1.0, atol=4 * np.sqrt(2 / 20_000))
    np.testing.assert_allclose(np.corrcoef(drawn), np.corrcoef(twin.T), atol=0.06)


@pytest.mark.parametrize("name", ["m-svag-mb", "adam*-mb"])
def test_a_single_draw_has_no_variance(name):
    with pytest.raises(MethodError, match="batch_size of at least 2"):
        qpsim.simulate(qpsim.QuadraticProblem([1.0, 2.0]), name, batch_size=1)
