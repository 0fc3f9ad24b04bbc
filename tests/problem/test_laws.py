"""Laws of a gradient's noise: exact distributions, quadratures and tables against quad, SciPy and draws."""

import math

import numpy as np
import pytest
import scipy
from scipy import special, stats
from scipy.integrate import quad

from qpsim.errors import ProblemError
from qpsim.kernels import jit
from qpsim.kernels.laws import sign_from_cells, sign_from_polynomial
from qpsim.kernels.student_table import mean_sign_polynomial
from qpsim.problem.laws import GAUSSIAN, Law, make_law
from qpsim.problem.scale_of_means import nodes_by_moments

SCIPY = tuple(map(int, scipy.__version__.split(".")[:2]))
PLACES = np.concatenate([[0.0, 1e-12, 1e-5, 0.01], np.geomspace(0.03, 50.0, 40), [1e3, 1e6]])
LAWS = [
    GAUSSIAN,
    Law("student", 0.5),
    Law("student", 1.0),
    Law("student", 3.0),
    Law("student", 50.0),
    Law("laplace"),
]
MEANS = [
    Law("student", 1.0, 3),
    Law("student", 3.0, 2),
    Law("student", 3.0, 64),
    Law("student", 5.0, 16),
    Law("student", 5.0, 32),
    Law("student", 30.0, 8),
    Law("laplace", batch_size=2),
    Law("laplace", batch_size=256),
]


def distribution(law):
    """SciPy's distribution of one coordinate of one draw."""
    return {
        "gaussian": lambda: stats.norm(),
        "student": lambda: stats.t(law.df),
        "laplace": lambda: stats.laplace(scale=math.sqrt(0.5)),
    }[law.name]()


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_one_draw_has_its_exact_distribution(law):
    known = distribution(law)
    a = np.concatenate([-PLACES[::-1], PLACES])
    np.testing.assert_allclose(law.cdf(a), known.cdf(a), rtol=1e-12, atol=0)
    np.testing.assert_allclose(law.mean_sign(a), 1.0 - 2.0 * known.cdf(-a), rtol=1e-9, atol=2e-12)
    # Odd, and exact near 0, where 2 F - 1 would be rounding.
    np.testing.assert_array_equal(law.mean_sign(-PLACES), -law.mean_sign(PLACES))
    assert law.mean_sign(1e-12) == pytest.approx(2e-12 * known.pdf(0.0), rel=1e-9)
    variance = known.var() if law.df > 2.0 else math.inf
    assert law.variance == pytest.approx(variance)


@pytest.mark.parametrize("law", LAWS[1:], ids=str)
def test_the_quadrature_averages_over_the_scale(law):
    scales, weights = law.quadrature()
    assert weights.sum() == pytest.approx(1.0, abs=1e-14) and (weights > 0.0).all()
    averages = special.ndtr(PLACES[:, None] / scales) @ weights
    np.testing.assert_allclose(averages, law.cdf(PLACES), rtol=0, atol=4e-9)
    # A product of two error functions, as in E[s_i s_j] without a correlation.
    if law.name == "laplace":
        density = lambda b: 2.0 * b * math.exp(-b * b)  # noqa: E731
        inside = (0.0, 8.0)
    else:
        half = 0.5 * law.df
        density = lambda u: 2.0 * stats.gamma.pdf(u * u, half, scale=1.0 / half) * u  # noqa: E731
        inside = (0.0, 1.0 + 12.0 / math.sqrt(law.df))
    for a, b in ((0.3, 0.5), (2.0, -1.0)):
        both = special.erf(a / scales / math.sqrt(2.0)) * special.erf(b / scales / math.sqrt(2.0))

        def integrand(s, a=a, b=b):
            scale = s if law.name == "laplace" else 1.0 / s
            product = math.erf(a / scale / math.sqrt(2.0)) * math.erf(b / scale / math.sqrt(2.0))
            return product * density(s)

        exact = quad(integrand, 1e-200, inside[1], epsabs=1e-12, limit=500)[0]
        assert both @ weights == pytest.approx(exact, abs=4e-9)


@pytest.mark.parametrize("law", MEANS, ids=str)
def test_the_mean_of_a_minibatch_is_as_its_draws(law):
    n, batch = 100_000, law.batch_size
    rng = np.random.default_rng(3)
    square = (
        rng.exponential(size=(n, batch))
        if law.name == "laplace"
        else law.df / rng.chisquare(law.df, (n, batch))
    ).mean(axis=1)
    scales, weights = law.quadrature()
    for a in (0.1, 0.5, 1.5, 4.0):
        # Given the scale the coordinate is Gaussian: its probability has a smaller variance than a sign.
        drawn = special.ndtr(a / np.sqrt(square))
        assert abs(drawn.mean() - law.cdf(a)) < 4.0 * drawn.std() / n**0.5
        exponential = np.exp(-a / square)
        value = weights @ np.exp(-a / scales**2)
        assert abs(exponential.mean() - value) < 4.0 * exponential.std() / n**0.5
    assert law.variance == pytest.approx(
        {"laplace": 1.0, "student": law.df / (law.df - 2.0) if law.df > 2.0 else math.inf}[law.name]
    )


def test_a_mean_of_cauchy_draws_with_scales_of_their_own_is_cauchy_again_in_one_coordinate():
    # The mean of B Cauchy variables is Cauchy of the same scale: sqrt(B) in units of scale / sqrt(B).
    for batch in (2, 5, 16, 128, 512):
        mean = Law("student", 1.0, batch)
        exact = stats.cauchy.cdf(PLACES / math.sqrt(batch))
        np.testing.assert_allclose(mean.cdf(PLACES), exact, rtol=0, atol=2e-8)


@pytest.mark.parametrize("df", [2.001, 2.1, 2.5, 3.0, 5.0, 10.0, 100.0, 1000.0, 1e9])
@pytest.mark.parametrize("batch", [1, 2, 32, 128, 4096, 100_000])
def test_minibatches_of_student_t_have_the_mean_scale_of_one_draw(df, batch):
    scales, weights = Law("student", df, batch).quadrature()
    assert scales.size < 110
    assert weights.sum() == pytest.approx(1.0, abs=1e-14)
    assert weights @ scales**2 == pytest.approx(df / (df - 2.0), rel=6e-9)


@pytest.mark.parametrize("df", [2.05, 2.5, 3.0, 4.0, 6.0, 10.0])
def test_moments_of_the_scale_of_one_draw_are_those_of_chi_square(df):
    # E[b^m] = (k / 2)^(m / 2) Gamma((k - m) / 2) / Gamma(k / 2), for every m < k.
    scales, weights = Law("student", df).quadrature()
    for m in (-0.5, 0.5, 1.0, 2.0):
        logs = special.gammaln(0.5 * (df - m)) - special.gammaln(0.5 * df)
        exact = (0.5 * df) ** (0.5 * m) * math.exp(logs)
        assert weights @ scales**m == pytest.approx(exact, rel=6e-9)


@pytest.mark.parametrize(("df", "batch"), [(1.5, 64), (2.5, 256), (3.0, 4096), (8.0, 50)])
def test_the_average_over_a_minibatch_does_not_depend_on_how_it_is_parted(df, batch):
    # The mean of 2 B draws is the mean of two means of B: E[f((x + y) / 2)] over independent x and y.
    half, half_weights = Law("student", df, batch).quadrature()
    whole, weights = Law("student", df, 2 * batch).quadrature()
    both = np.sqrt(0.5 * (half[:, None] ** 2 + half**2))
    shares = half_weights[:, None] * half_weights
    for a in (0.5, 1.5, 4.0):
        parted = np.sum(shares * special.erf(a / both))
        assert weights @ special.erf(a / whole) == pytest.approx(parted, abs=1e-8)


def test_a_mean_of_laplace_draws_is_their_convolution():
    # Two Laplace variables of scale b: the density of the sum is (1 + |x| / b) exp(-|x| / b) / (4 b).
    # One draw has b = sqrt(1/2); in units of the mean's scale each contributes half of sqrt(2) times that.
    b = 0.5
    x = PLACES[:-2]
    exact = 1.0 - 0.25 * (2.0 + x / b) * np.exp(-x / b)
    np.testing.assert_allclose(Law("laplace", batch_size=2).cdf(x), exact, rtol=0, atol=4e-9)


@jit.jit
def from_cells(cells, places, out):
    for k in range(places.size):
        out[k] = sign_from_cells(cells, places[k])


@pytest.mark.parametrize("law", [*LAWS[1:], *MEANS], ids=str)
def test_the_table_of_signs_is_within_its_accuracy(law):
    a = np.concatenate([-PLACES, PLACES, np.random.default_rng(0).uniform(0.0, 20.0, 2000)])
    a = np.append(a, [1e12, -1e200, 1e300])
    out = np.empty_like(a)
    from_cells(law.cells(), a, out)
    np.testing.assert_allclose(out, law.mean_sign(a), rtol=0, atol=1e-8)
    assert np.abs(out).max() <= 1.0 + 1e-12
    assert out[PLACES.size] == 0.0


@jit.jit
def from_polynomial(terms, has_root, places, out):
    for k in range(places.size):
        out[k] = sign_from_polynomial(terms, has_root, places[k])


@pytest.mark.parametrize("df", [1.0, 1.5, 2.0, 2.5, 3.0, 3.7, 8.0, 12.5])
def test_the_polynomial_of_signs_is_within_its_accuracy(df):
    a = np.concatenate([-PLACES, PLACES, np.random.default_rng(0).uniform(0.0, 20.0, 2000)])
    a = np.append(a, [1e12, -1e200, 1e300])
    out = np.empty_like(a)
    has_root, terms = mean_sign_polynomial(df)
    from_polynomial(terms, has_root, a / math.sqrt(df), out)
    np.testing.assert_allclose(out, Law("student", df).mean_sign(a), rtol=0, atol=2e-9)
    assert out[PLACES.size] == 0.0
    assert mean_sign_polynomial(0.5) is None


def test_the_average_that_nobody_knows_is_refused_in_one_sentence_that_names_what_is_known():
    with pytest.raises(ProblemError, match="a batch_size of at most 1000000, a Gaussian") as error:
        Law("student", 5.0, 10**9).quadrature()
    assert "\n" not in str(error.value)
    Law("student", 5.0, 10**6).quadrature()
    with pytest.raises(ProblemError, match=r"500 draws of Student.*not known"):
        Law("student", 0.02, 500).quadrature()
    with pytest.raises(ProblemError, match=r"Averages over Student's t with df=0.05 are.* 0.06,"):
        Law("student", 0.05).quadrature()
    Law("student", 0.06).quadrature()


@pytest.mark.parametrize("law", [Law("student", 13.0, 10**5), Law("laplace", batch_size=10**6)])
def test_the_first_moments_of_a_large_minibatch_give_the_averages_of_its_density(law):
    squares, weights = nodes_by_moments(law.df, law.batch_size, 3)
    by_density, density = law.quadrature()
    assert by_density.size > 10
    for z in (0.1, 1.0, 10.0):
        first = weights @ np.exp(-z * np.exp(squares))
        assert first == pytest.approx(density @ np.exp(-z * by_density**2), rel=1e-8)
    # With more draws only the moments are left.
    many = Law(law.name, law.df, 10**8)
    assert many.quadrature()[0].size == 3
    np.testing.assert_allclose(
        many.mean_sign(PLACES), GAUSSIAN.mean_sign(PLACES / math.sqrt(law.variance)), atol=1e-8
    )


def test_degrees_of_freedom_without_end_are_a_gaussian():
    assert make_law(df=math.inf) == make_law(df=1e13) == make_law(law="gaussian") == GAUSSIAN
    assert make_law(df=3).df == 3.0 and make_law(df=np.float32(3.0)).name == "student"
    # SciPy before 1.12 knows Student's t of so many degrees to 1.4e-8 only.
    tolerance = 1e-9 if SCIPY >= (1, 12) else 2e-8
    np.testing.assert_allclose(
        Law("student", 1e9).mean_sign(PLACES), GAUSSIAN.mean_sign(PLACES), rtol=0, atol=tolerance
    )
