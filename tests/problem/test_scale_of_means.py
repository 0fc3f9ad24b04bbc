"""Density of the mean squared scale: both integrals against each other, closed forms, and nodes by moments."""

import math

import numpy as np
import pytest
from scipy import special, stats

from qpsim.problem.power_tail import gauss_rule
from qpsim.problem.scale_of_means import (
    along_lines,
    along_the_cut,
    density_of_mean,
    nodes_by_moments,
    nodes_of_mean,
    peak_of_mean,
)


@pytest.mark.parametrize("df", [0.5, 1.5, 3.0, 5.0, 20.0])
def test_the_density_of_one_draw_is_the_inverse_gamma(df):
    half = 0.5 * df
    peak = peak_of_mean(half, 1, 1e-11)
    w = np.geomspace(peak.least, 100.0 * peak.place, 60)
    known = stats.invgamma.pdf(w, half, scale=half)
    made = density_of_mean(w, half, 1, peak)
    np.testing.assert_allclose(made * peak.width, known * peak.width, rtol=0, atol=2e-12)
    # Far out the density is a small number, and known as such.
    w = peak.place * np.geomspace(1e3, 1e9, 7)
    np.testing.assert_allclose(
        along_the_cut(w, half, 1), stats.invgamma.pdf(w, half, scale=half), rtol=1e-6
    )


def test_one_degree_of_freedom_gives_a_stable_law_at_every_batch_size():
    # 1 / chi^2_1 is Levy's stable law: the mean of n is n times one.
    w = np.geomspace(0.03, 1e12, 80)
    for n in (2, 100, 100_000):
        peak = peak_of_mean(0.5, n, 1e-11)
        made = n * density_of_mean(n * w, 0.5, n, peak)
        np.testing.assert_allclose(made, stats.levy.pdf(w), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("df", "n"), [(1.5, 8), (2.5, 128), (3.0, 16), (4.0, 512), (5.0, 64), (10.0, 8), (20.0, 4)]
)
def test_both_integrals_agree_where_both_are_good(df, n):
    half = 0.5 * df
    peak = peak_of_mean(half, n, 1e-11)
    w = peak.place + peak.width * np.linspace(0.0, 25.0, 80)
    cut, lines = along_the_cut(w, half, n), along_lines(w, half, n, peak)
    both = np.isfinite(cut) & np.isfinite(lines)
    assert both.sum() > 10
    np.testing.assert_allclose(cut[both] * peak.width, lines[both] * peak.width, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("df", "n"), [(100.0, 20), (100.0, 512), (250.0, 16)])
def test_moments_are_enough_for_a_narrow_law(df, n):
    at, weights = nodes_by_moments(df, n)
    known, shares, missed = nodes_of_mean(df, n, 1e-13)
    assert missed < 1e-9
    for a in (0.3, 1.0, 3.0):
        exact = special.erf(a * np.exp(-0.5 * known)) @ shares / shares.sum()
        assert special.erf(a * np.exp(-0.5 * at)) @ weights == pytest.approx(exact, abs=2e-10)
    assert weights @ np.exp(at) == pytest.approx(df / (df - 2.0), rel=1e-13)
    # The variance of the mean of n numbers k / chi^2_k.
    mean = df / (df - 2.0)
    variance = 2.0 * mean**2 / (df - 4.0) / n
    assert weights @ (np.exp(at) - mean) ** 2 == pytest.approx(variance, rel=1e-8)


def test_the_gauss_rule_of_known_moments():
    # Of the uniform law on (0, 1), and of the standard normal.
    places, weights = gauss_rule(1.0 / np.arange(1.0, 9.0))
    known, shares = np.polynomial.legendre.leggauss(4)
    np.testing.assert_allclose(places, 0.5 + 0.5 * known, rtol=1e-10)
    np.testing.assert_allclose(weights, 0.5 * shares, rtol=1e-10)
    places, weights = gauss_rule(np.array([1.0, 0.0, 1.0, 0.0, 3.0, 0.0, 15.0, 0.0]))
    known, shares = np.polynomial.hermite_e.hermegauss(4)
    np.testing.assert_allclose(places, known, atol=1e-12)
    np.testing.assert_allclose(weights, shares / math.sqrt(2.0 * math.pi), rtol=1e-12)
