"""Lemma 1 by minimisation, the factors' gap, and the moments of moving averages by draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from qpsim import theory
from qpsim.errors import TheoryError
from tests import naive


@given(st.floats(-5.0, 5.0), st.floats(0.0, 5.0), st.sampled_from(["gradient", "sign"]))
def test_lemma_1_the_factor_minimises_the_distance(mean, std, kind):
    def distance(gamma):
        return theory.expected_squared_distance(gamma, mean, std, kind)

    with np.errstate(over="ignore"):
        ratio = np.inf if mean == 0 else np.float64(std / mean) ** 2
    best = theory.variance_adaptation_factor(ratio, kind)
    for other in (best - 1e-3, best + 1e-3, 0.0, 1.0):
        assert distance(best) <= distance(other) + 1e-12


def test_lemma_1_the_distance_is_that_of_draws():
    rng, n = np.random.default_rng(8), 200_000
    p, sigma, gamma = np.array([1.0, -0.5]), np.array([0.7, 2.0]), np.array([0.6, 0.3])
    estimate = p + sigma * rng.standard_normal((n, 2))
    for kind, moved, target in (
        ("gradient", gamma * estimate, p),
        ("sign", gamma * np.sign(estimate), np.sign(p)),
    ):
        drawn = np.sum((moved - target) ** 2, axis=1)
        exact = theory.expected_squared_distance(gamma, p, sigma, kind)
        assert abs(drawn.mean() - exact) < 4 * drawn.std() / np.sqrt(n)


def test_factors_at_their_limits():
    for kind in ("gradient", "sign", "adam"):
        assert theory.variance_adaptation_factor(0.0, kind) == 1.0
        assert theory.variance_adaptation_factor(np.inf, kind) == 0.0
        assert theory.variance_adaptation_factor(1.7e308, kind) < 1e-150
        assert theory.variance_adaptation_factor(np.ones((2, 3)), kind).shape == (2, 3)
    assert theory.variance_adaptation_factor([0.25, 2.25], "gradient") == pytest.approx(
        [0.8, 4 / 13]
    )


def test_factor_of_the_sign_is_twice_the_success_probability_less_one():
    rho = theory.success_probability(2.0, 3.0)
    assert theory.variance_adaptation_factor(2.25, "sign") == pytest.approx(2 * rho - 1)


def test_gap_has_its_maximum_where_stated():
    def found(sign, low, high):
        return minimize_scalar(
            lambda eta: sign * theory.adaptation_gap(eta**2), bounds=(low, high), method="bounded"
        )

    top, bottom = found(-1, 1.0, 5.0), found(1, 0.1, 1.0)
    assert top.x == pytest.approx(1.913, abs=5e-4) and -top.fun == pytest.approx(0.0644, abs=5e-5)
    assert bottom.x == pytest.approx(0.454, abs=5e-4)
    assert bottom.fun == pytest.approx(-0.0618, abs=5e-5)
    eta = np.geomspace(1e-3, 1e3, 2001)
    assert np.abs(theory.adaptation_gap(eta**2)).max() <= 0.06442


def test_tail_ratio_is_the_square_root_of_half_pi():
    ratio = theory.variance_adaptation_factor(1e8, "adam") / theory.variance_adaptation_factor(
        1e8, "sign"
    )
    assert ratio == pytest.approx(np.sqrt(np.pi / 2), rel=1e-7)


@pytest.mark.parametrize("mu", [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("t", [1, 2, 7, 400])
def test_kappa_is_the_sum_of_squared_weights(mu, t):
    assert theory.momentum_correction(mu, t) == pytest.approx(
        naive.momentum_correction(mu, t), rel=1e-12
    )
    printed = (1 - mu ** (2 * t)) * (1 - mu) ** 2 / ((1 - mu**2) * (1 - mu**t) ** 2)
    assert theory.momentum_correction(mu, t) == pytest.approx(printed, rel=1e-9)
    assert theory.variance_estimate_factor(mu, t) == pytest.approx(
        1 - theory.momentum_correction(mu, t), abs=1e-15
    )


def test_kappa_limits_and_extremes():
    assert theory.momentum_correction(0.9, np.inf) == pytest.approx(0.1 / 1.9)
    assert theory.variance_estimate_factor(0.9, np.inf) == pytest.approx(1.8 / 1.9)
    assert theory.momentum_correction(0.9, 10_000) == pytest.approx(0.1 / 1.9, rel=1e-14)
    assert theory.momentum_correction(0.0, [1, 5, np.inf]).tolist() == [1.0, 1.0, 1.0]
    assert theory.variance_estimate_factor(0.0, [1, 5, np.inf]).tolist() == [0.0, 0.0, 0.0]
    # mu so near 1 that 1 - mu^t cancels: the average of t equal weights has variance 1/t.
    assert theory.momentum_correction(1 - 1e-14, 50) == pytest.approx(1 / 50, rel=1e-10)
    table = theory.momentum_correction(np.array([[0.5], [0.9]]), np.arange(1, 5))
    assert table.shape == (2, 4) and np.all(np.diff(table) < 0)


def test_bias_of_the_moving_variance_by_draws():
    rng, n, mu, t = np.random.default_rng(4), 100_000, 0.7, 4
    g = 2.0 + 1.5 * rng.standard_normal((t, n))
    m = v = np.zeros(n)
    for row in g:
        m, v = mu * m + (1 - mu) * row, mu * v + (1 - mu) * row**2
    m, v = m / (1 - mu**t), v / (1 - mu**t)
    seen = (v - m**2) / 1.5**2
    error = seen.std() / np.sqrt(n)
    assert abs(seen.mean() - theory.variance_estimate_factor(mu, t)) < 4 * error
    assert m.var() / 1.5**2 == pytest.approx(theory.momentum_correction(mu, t), rel=0.02)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: theory.variance_adaptation_factor(-0.1, "adam"), "must not be negative"),
        (lambda: theory.variance_adaptation_factor(np.nan, "adam"), "NaN"),
        (lambda: theory.variance_adaptation_factor(1.0, "adma"), "did you mean 'adam'"),
        (lambda: theory.adaptation_gap([1.0, -1.0]), "must not be negative"),
        (lambda: theory.expected_squared_distance([1.0, 2.0], np.ones(3), 1.0), "do not broadcast"),
        (lambda: theory.expected_squared_distance(1.0, 1.0, -1.0), "must not be negative"),
        (lambda: theory.expected_squared_distance(1.0, 1.0, 1.0, "adam"), "gradient, sign"),
        (lambda: theory.momentum_correction(1.0, 3), r"lie in \[0, 1\)"),
        (lambda: theory.momentum_correction(-0.1, 3), r"lie in \[0, 1\)"),
        (lambda: theory.momentum_correction(0.9, 0), "at least 1"),
        (lambda: theory.momentum_correction(0.9, 2.5), "whole number"),
        (lambda: theory.variance_estimate_factor(0.9, [1, 0]), "at least 1"),
        (lambda: theory.variance_estimate_factor([0.1, 0.2], [1, 2, 3]), "do not broadcast"),
    ],
)
def test_bad_arguments_are_refused(call, sentence):
    with pytest.raises(TheoryError, match=sentence):
        call()


def test_minibatch_variance_is_the_sample_variance_over_the_size():
    g = np.random.default_rng(3).normal(2.0, 3.0, (7, 5, 4))
    np.testing.assert_allclose(theory.minibatch_variance(g), g.var(axis=1, ddof=1) / 5)
    printed = ((g**2).mean(axis=1) - g.mean(axis=1) ** 2) / 4  # Eq. 44 with its factors in place
    np.testing.assert_allclose(theory.minibatch_variance(g), printed)
    # A large mean takes no digits from a small variance, as it does in that form.
    far = theory.minibatch_variance(g + 1e9)
    np.testing.assert_allclose(far, theory.minibatch_variance(g), rtol=1e-6)


@pytest.mark.parametrize("bad", [[1.0, 2.0], [[1.0, 2.0]], [[np.nan, 1.0], [1.0, 1.0]]])
def test_minibatch_variance_refuses(bad):
    with pytest.raises(TheoryError):
        theory.minibatch_variance(bad)
