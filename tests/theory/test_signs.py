"""Signs of correlated Gaussians against integration (also in 25 digits), closed forms and draws."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

import qpsim
from qpsim import theory
from qpsim.errors import ProblemError, TheoryError
from qpsim.theory import signs
from tests import naive

MEANS = [0.0, 1e-9, -0.3, 0.3, 1.0, -1.01, 2.5, 6.0]
# Both sides of every change of class, and the layer in front of |r| = 1.
CORRELATIONS = [1e-6, 0.1499, 0.15, 0.2999, 0.3, 0.4999, 0.5, 0.6999, 0.7, 0.8999, 0.9,
                0.97, 0.999, 1 - 1e-6, 1 - 1e-10, 1 - 2**-52, 1.0]  # fmt: skip
unit = st.floats(-1.0, 1.0)
wide = st.floats(-8.0, 8.0)


@pytest.mark.parametrize("r", CORRELATIONS)
def test_sign_product_is_exact_to_1e_12(r):
    rng = np.random.default_rng(17)
    for a, b in [*rng.choice(MEANS, (4, 2)), (0.7, 0.7 + 1e-7), (0.0, 0.0)]:
        sign = rng.choice([-1.0, 1.0])
        expected = naive.sign_product_20_digits(a, b, sign * r)
        assert abs(theory.sign_product(a, b, sign * r) - expected) < 1e-12


@pytest.mark.parametrize("r", [0.3, 0.75, -0.92, 1 - 1e-8, -1 + 1e-12])
def test_sign_product_in_25_digits(r):
    a, b = 0.4, -0.4 if r < 0 else 0.4001
    with mp.workdps(25):
        q = mp.sqrt((1 - mp.mpf(r)) * (1 + mp.mpf(r)))

        def integrand(x):
            return mp.sign(a + x) * mp.npdf(x) * mp.erf((b + r * x) / (q * mp.sqrt(2)))

        layer = [-mp.mpf(b) / r + k * q for k in (-9, -3, 0, 3, 9)]
        marks = sorted({mp.mpf(k) for k in (-11, -3, 0, 3, 11)} | {-mp.mpf(a), *layer})
        expected = float(mp.quad(integrand, marks))
    assert abs(theory.sign_product(a, b, r) - expected) < 1e-14


def test_sign_product_of_independent_signs_is_a_product():
    e = theory.expected_sign([0.3, -1.2], 1.0)
    assert theory.sign_product(0.3, -1.2, 0.0) == pytest.approx(e[0] * e[1], rel=1e-15)


@pytest.mark.parametrize("r", [-0.95, -0.4, 0.2, 0.6, 0.93])
def test_sign_product_is_that_of_the_bivariate_normal(r):
    a, b = 0.8, -0.3
    cdf = multivariate_normal([0, 0], [[1, r], [r, 1]]).cdf
    both = cdf([a, b])
    margins = cdf([a, 40.0]), cdf([40.0, b])
    assert theory.sign_product(a, b, r) == pytest.approx(4 * both - 2 * sum(margins) + 1, abs=1e-6)
    # The same sign: both positive or both negative.
    assert theory.sign_agreement(a, b, r) == pytest.approx(
        both + 1 - margins[0] - margins[1] + both, abs=1e-6
    )


@given(wide, wide, unit)
def test_sign_product_symmetries_and_bounds(a, b, r):
    value = theory.sign_product(a, b, r)
    assert -1.0 - 1e-14 <= value <= 1.0 + 1e-14
    assert value == pytest.approx(theory.sign_product(b, a, r), abs=1e-12)
    assert value == pytest.approx(theory.sign_product(-a, -b, r), abs=1e-12)
    assert value == pytest.approx(-theory.sign_product(a, -b, -r), abs=1e-12)


@given(unit)
def test_sign_product_without_mean_is_the_arcsine_law(r):
    assert theory.sign_product(0.0, 0.0, r) == pytest.approx(
        2 / np.pi * np.arcsin(r), rel=1e-11, abs=1e-15
    )


def test_a_correlation_beyond_1_by_rounding_is_1():
    beyond = np.array([1 + 2e-16, 1 + 1e-13, -1 - 4e-16])
    assert np.array_equal(
        theory.sign_product(0.3, 0.8, beyond), theory.sign_product(0.3, 0.8, np.sign(beyond))
    )
    assert theory.sign_agreement(0.3, 0.3, 1 + 2e-16) == 1.0


def test_sign_product_of_certain_signs_is_the_other_sign():
    assert theory.sign_product(np.inf, -np.inf, 0.5) == -1.0
    assert theory.sign_product(np.inf, 0.7, 0.95) == pytest.approx(theory.expected_sign(0.7, 1.0))


def test_success_probability_is_a_frequency():
    rng = np.random.default_rng(3)
    gradient, std = np.array([1.0, -0.2, 3.0]), np.array([0.5, 2.0, 4.0])
    n = 200_000
    draws = gradient + std * rng.standard_normal((n, 3))
    seen = (np.sign(draws) == np.sign(gradient)).mean(axis=0)
    rho = theory.success_probability(gradient, std)
    assert np.all(np.abs(seen - rho) < 4 * np.sqrt(rho * (1 - rho) / n))
    assert np.allclose(theory.expected_sign(gradient, std), (2 * rho - 1) * np.sign(gradient))


def test_success_probability_limits_and_shapes():
    assert theory.success_probability(2.0, 0.0) == 1.0
    assert theory.success_probability(0.0, 0.0) == 0.5
    assert theory.success_probability(0.0, 3.0) == 0.5
    assert isinstance(theory.success_probability(1.0, 1.0), float)
    assert theory.success_probability(np.ones((4, 1)), np.ones(3)).shape == (4, 3)
    assert theory.expected_sign(-2.0, 0.0) == -1.0
    # A ratio beyond the floating-point range is a certain sign, not a warning.
    assert theory.success_probability(1e300, 1e-300) == 1.0


@pytest.mark.parametrize(("spectrum", "noise"), [("mild", 0.1), ("structured", 4.0)])
def test_second_moment_is_pairwise(spectrum, noise):
    p = qpsim.random_problem(spectrum, dim=5, noise_std=noise, rng=5)
    moment = theory.sign_second_moment(p, np.zeros(5))
    a = p.gradient(np.zeros(5)) / p.gradient_std()
    r = p.gradient_correlation()
    assert np.array_equal(np.diagonal(moment), np.ones(5))
    for i in range(5):
        for j in range(i):
            expected = naive.sign_product_20_digits(a[i], a[j], r[i, j])
            assert abs(moment[i, j] - expected) < 1e-12
            assert moment[j, i] == moment[i, j]


def test_second_moment_near_singular_hessian():
    # All correlations beyond 0.999: every pair takes Owen's way.
    p = qpsim.QuadraticProblem(np.ones((3, 3)) + 1e-2 * np.eye(3), noise_std=1.0)
    r = p.gradient_correlation()
    assert r.min() > 0.999
    theta = np.array([0.3, -0.2, 0.1])
    a = p.gradient(theta) / p.gradient_std()
    moment = theory.sign_second_moment(p, theta)
    assert abs(moment[0, 2] - naive.sign_product_20_digits(a[0], a[2], r[0, 2])) < 1e-12


def test_second_moment_over_leading_axes_diagonal_and_noise_free():
    rng = np.random.default_rng(0)
    dense = qpsim.random_problem("mild", dim=4, noise_std=1.0, rng=1)
    theta = rng.standard_normal((2, 3, 4))
    moments = theory.sign_second_moment(dense, theta)
    assert moments.shape == (2, 3, 4, 4)
    assert np.array_equal(moments[1, 2], theory.sign_second_moment(dense, theta[1, 2]))
    diagonal = qpsim.QuadraticProblem([1.0, 2.0], noise_std=1.0)
    e = theory.expected_sign(diagonal.gradient([0.5, -2.0]), diagonal.gradient_std())
    expected = [[1.0, e[0] * e[1]], [e[0] * e[1], 1.0]]
    assert np.allclose(theory.sign_second_moment(diagonal, [0.5, -2.0]), expected)
    silent = dense.with_noise(0.0)
    s = np.sign(silent.gradient(theta[0, 0]))
    assert np.array_equal(theory.sign_second_moment(silent, theta[0, 0]), np.outer(s, s))
    assert not theory.sign_second_moment(silent, silent.optimum).any()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: theory.success_probability([1.0, 2.0], [1.0, 2.0, 3.0]), "do not broadcast"),
        (lambda: theory.success_probability(1.0, -1.0), "must not be negative"),
        (lambda: theory.success_probability(1.0, np.nan), "holds NaN"),
        (lambda: theory.success_probability(np.inf, 1.0), "infinite"),
        (lambda: theory.success_probability("1", 1.0), "real numbers"),
        (lambda: theory.sign_product(0.0, 0.0, 1.5), r"lie in \[-1, 1\]"),
        (lambda: theory.sign_product(0.0, 0.0, 1 + 1e-9), r"\[-1, 1\], not 1.000000001"),
        (lambda: theory.sign_product(np.nan, 0.0, 0.5), "holds NaN"),
        (lambda: theory.sign_agreement([0.0, 1.0], [0.0, 1.0, 2.0], 0.5), "do not broadcast"),
    ],
)
def test_bad_arguments_are_refused(call, sentence):
    with pytest.raises(TheoryError, match=sentence):
        call()


def test_bad_points_are_refused():
    p = qpsim.QuadraticProblem([1.0, 2.0])
    with pytest.raises(ProblemError, match="2 entries in its last axis"):
        theory.sign_second_moment(p, [1.0, 2.0, 3.0])
    with pytest.raises(TheoryError, match="NaN"):
        theory.sign_second_moment(p, [1.0, np.nan])
    with pytest.raises(ProblemError, match="must be a qpsim"):
        theory.sign_second_moment(np.eye(2), [1.0, 0.0])


@pytest.mark.parametrize(("r", "n_nodes"), signs._CLASSES[:-1])
def test_node_counts_hold_for_every_pair_of_means(r, n_nodes):
    grid = np.linspace(-9.0, 9.0, 73)
    a, b = (x.ravel() for x in np.meshgrid(grid, grid))
    for corner in (r, -r):
        r_all = np.full_like(a, corner)
        few, many = (signs._plackett(a, b, r_all, n) for n in (n_nodes, 120))
        assert np.abs(few - many).max() < 3e-13
