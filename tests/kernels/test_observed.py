"""Minibatch variances sampled without the minibatch have the law of the unbiased Eq. 44."""

import numpy as np
import pytest
from scipy import stats

import qpsim
from qpsim.errors import MethodError
from qpsim.kernels.noise import fill_normals, seed_lanes
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


@pytest.mark.parametrize("kind", ["dense", "diagonal"])
@pytest.mark.parametrize("batch_size", [2, 3, 6, 40])
def test_estimates_have_their_own_law_and_are_independent_of_the_gradient(kind, batch_size):
    """In the order in which a step draws them, a few steps on."""
    p = qpsim.random_problem("structured", 6, "haar" if kind == "dense" else "axis", 1.3, rng=2)
    n, degrees, stream = 40_000, batch_size - 1, lanes(40_000, batch_size)
    normals, estimates = np.empty((2, 6, n))
    vectors = np.eye(6) if p.is_diagonal else p.eigenvectors
    factor = p.noise_std / np.sqrt(batch_size) * vectors * p.eigenvalues
    covariance = factor @ factor.T
    for _ in range(3):
        fill_normals(stream, normals)
        if kind == "dense":
            fill_correlated_estimates(stream, np.ascontiguousarray(factor.T), batch_size, estimates)
        else:
            fill_chi_squares(stream, degrees, estimates)
            estimates *= np.diag(covariance)[:, None] / degrees
    g = factor @ normals
    size = np.diag(covariance)[:, None]
    for row in estimates * degrees / size:
        assert stats.kstest(row, stats.chi2(degrees).cdf).pvalue > 1e-3
    # Of a Wishart matrix: cov[shat_i, shat_j] = 2 C_ij^2 / (B - 1), here as a correlation.
    expected = covariance**2 / np.outer(size, size)
    np.testing.assert_allclose(np.corrcoef(estimates), expected, atol=6 * np.sqrt(3 / n))
    for shape in (g, np.abs(g), g * g):
        crossed = np.corrcoef(np.vstack([shape, estimates]))[:6, 6:]
        assert np.abs(crossed).max() < 5 / np.sqrt(n)


@pytest.mark.parametrize("name", ["m-svag-mb", "adam*-mb"])
def test_a_single_draw_has_no_variance(name):
    with pytest.raises(MethodError, match="batch_size of at least 2"):
        qpsim.simulate(qpsim.QuadraticProblem([1.0, 2.0]), name, batch_size=1)
