"""One step and the risk on least squares: draws of x and y, the Student-t identity, and the arcsine forms."""

import numpy as np
import pytest
from scipy import stats

import qpsim
from qpsim import theory

K = np.array([[2.0, 0.5, -0.3], [0.5, 1.0, 0.2], [-0.3, 0.2, 3.0]])
OPTIMUM, THETA, S = np.array([1.0, -2.0, 0.5]), np.array([0.2, 0.4, -0.6]), 0.7


def problem(batch_size=1):
    return qpsim.LeastSquares(K, OPTIMUM, S).at_batch(batch_size)


def drawn(batch_size, n):
    rng = np.random.default_rng(5)
    x = rng.multivariate_normal(np.zeros(3), K, (n, batch_size))
    y = x @ OPTIMUM + S * rng.standard_normal((n, batch_size))
    return np.mean(x * (x @ THETA - y)[..., None], axis=1)


@pytest.mark.parametrize("batch_size", [1, 5])
@pytest.mark.parametrize("method", ["sgd", "ssd"])
def test_moments_are_those_of_draws_of_x_and_y(method, batch_size):
    p, n = problem(batch_size), 100_000
    g = drawn(batch_size, n)
    z = g if method == "sgd" else np.sign(g)
    forms = np.einsum("ki,ij,kj->k", z, K, z)
    mean, quadratic = theory.direction_moments(p, method, THETA)
    assert abs(forms.mean() - quadratic) < 4.0 * forms.std() / n**0.5
    assert (np.abs(z.mean(axis=0) - mean) < 4.0 * z.std(axis=0) / n**0.5).all()
    std = p.gradient_std(THETA)
    np.testing.assert_allclose(std**2, np.diag(p.gradient_covariance(THETA)), rtol=1e-13)
    squares = (g - p.gradient(THETA)) ** 2
    assert (np.abs(squares.mean(axis=0) - std**2) < 4.0 * squares.std(axis=0) / n**0.5).all()


@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
def test_sgds_second_moment_has_its_closed_form(batch_size):
    h, v = K @ (THETA - OPTIMUM), (THETA - OPTIMUM) @ K @ (THETA - OPTIMUM) + S**2
    expected = h @ K @ h + (v * np.trace(K @ K) + h @ K @ h) / batch_size
    mean, quadratic = theory.direction_moments(problem(batch_size), "sgd", THETA)
    np.testing.assert_allclose(mean, h, rtol=1e-10)
    assert quadratic == pytest.approx(expected, rel=1e-10)


def test_one_draw_has_arcsine_forms():
    h, v = K @ (THETA - OPTIMUM), (THETA - OPTIMUM) @ K @ (THETA - OPTIMUM) + S**2
    std = np.sqrt(np.diag(K))
    mean, quadratic = theory.direction_moments(problem(), "ssd", THETA)
    np.testing.assert_allclose(mean, 2 / np.pi * np.arcsin(h / std / v**0.5), rtol=1e-10)
    signs = 2 / np.pi * np.arcsin(np.clip(K / np.outer(std, std), -1.0, 1.0))
    # The arcsine is so steep at 1 that rounding would show.
    np.fill_diagonal(signs, 1.0)
    assert quadratic == pytest.approx(np.sum(K * signs), rel=1e-10)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 64])
def test_signs_are_those_of_student_t_noise_with_as_many_degrees(batch_size):
    h, v = K @ (THETA - OPTIMUM), (THETA - OPTIMUM) @ K @ (THETA - OPTIMUM) + S**2
    tau = np.sqrt(np.diag(K) - h**2 / v)
    mean, quadratic = theory.direction_moments(problem(batch_size), "ssd", THETA)
    a = h / (v**0.5 * tau)
    exact = 2.0 * stats.t.cdf(a * batch_size**0.5, batch_size) - 1.0
    np.testing.assert_allclose(mean, exact, rtol=1e-9)
    # The whole form: sign descent under such a noise with the scale matrix v (K - h h^T / v) / B.
    scale = (v * K - np.outer(h, h)) / batch_size
    local = qpsim.LocalModel(h, K, qpsim.noise.dense(0.5 * (scale + scale.T), df=batch_size))
    form = theory.direction_moments(local, "ssd", np.zeros(3))[1]
    assert quadratic == pytest.approx(form, rel=2e-8)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_sgds_risk_is_the_full_recursion(batch_size):
    p, step = problem(batch_size), 0.1
    risk = theory.expected_excess_loss(p, "sgd", THETA, step, 30)
    e, shrink = THETA - OPTIMUM, np.eye(3) - step * K
    second, expected = np.outer(e, e), []
    for _ in range(31):
        expected.append(0.5 * np.sum(K * second))
        kick = K @ second @ K + np.sum(K * second) * K + S**2 * K
        second = shrink @ second @ shrink + step**2 / batch_size * kick
    np.testing.assert_allclose(risk, expected, rtol=1e-11)


@pytest.mark.parametrize("label_noise_std", [1.0, 0.01, 1e-4])
def test_signs_at_batch_one_are_arcsines_however_small_the_label_noise(label_noise_std):
    k = np.array([[2.0, 0.9], [0.9, 1.5]])
    theta = np.array([10.0, -5.0])
    problem = qpsim.LeastSquares(k, label_noise_std=label_noise_std)
    mean, quadratic = theory.direction_moments(problem, "ssd", theta)
    h = k @ theta
    v = theta @ h + label_noise_std**2
    arcsines = 2.0 / np.pi * np.arcsin(h / np.sqrt(np.diagonal(k) * v))
    np.testing.assert_allclose(mean, arcsines, rtol=0, atol=1e-12)
    both = 2.0 / np.pi * np.arcsin(0.9 / np.sqrt(2.0 * 1.5))
    assert quadratic == pytest.approx(3.5 + 2.0 * 0.9 * both, abs=1e-11)
