"""Expectations by weighted points, against closed forms that neither theory nor statements use."""

import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from qpsim.verdicts.theory import exact, setting


def test_moments_and_jumps_on_the_line():
    points, weights = exact.line(0.4, 1.5)
    assert weights.sum() == pytest.approx(1.0, abs=1e-13)
    assert weights @ points == pytest.approx(0.4, abs=1e-13)
    assert weights @ points**2 == pytest.approx(0.4**2 + 1.5**2, rel=1e-13)
    assert weights @ (points > 0) == pytest.approx(0.5 * math.erfc(-0.4 / 1.5 / math.sqrt(2)))


@pytest.mark.parametrize("r", [0.0, 0.6, -0.95])
def test_moments_and_quadrants_of_the_plane(r):
    mean, covariance = np.array([0.4, -1.0]), np.array([[2.25, 1.5 * r], [1.5 * r, 1.0]])
    points, weights = exact.plane(mean, covariance)
    assert weights @ points == pytest.approx(mean, abs=1e-12)
    second = np.einsum("n,ni,nj->ij", weights, points, points)
    assert second == pytest.approx(covariance + np.outer(mean, mean), abs=1e-12)
    below = multivariate_normal(mean, covariance).cdf([0.0, 0.0])
    assert weights @ (points < 0).all(axis=1) == pytest.approx(below, abs=1e-6)


def test_without_a_mean_signs_follow_the_arcsine_law():
    for r in (0.3, -0.8):
        points, weights = exact.plane(np.zeros(2), np.array([[1.0, r], [r, 1.0]]))
        assert weights @ np.sign(points).prod(axis=1) == pytest.approx(2 / math.pi * math.asin(r))


def test_what_is_carried_moves_the_jump():
    problem = setting.pair()
    carried = np.array([0.7, -0.4])
    g, weights = exact.gradients(problem, setting.point(problem), carried)
    mean = setting.gradient(problem, setting.point(problem)) + carried
    right = np.array([math.erf(x) for x in mean / setting.std(problem) / math.sqrt(2)])
    assert weights @ np.sign(g + carried) == pytest.approx(right, abs=1e-12)


def test_all_paths_have_the_law_of_the_first_two_steps():
    problem, start, alpha = setting.pair(), setting.point(setting.pair()), 0.3
    losses = exact.expected_paths(problem, lambda t, theta, g: theta - alpha * g, start, 2)
    q, error = setting.matrix(problem), start - problem.optimum
    kept = np.eye(2) - alpha * q
    noise = alpha**2 * problem.noise_std**2 * q @ q
    covariance = kept @ noise @ kept + noise
    mean = kept @ kept @ error
    assert losses[0] == pytest.approx(0.5 * error @ q @ error)
    assert losses[2] == pytest.approx(0.5 * mean @ q @ mean + 0.5 * np.trace(q @ covariance))


def test_sign_paths_of_one_step():
    problem, start = setting.diagonal_pair(), setting.point(setting.diagonal_pair())
    losses = exact.expected_sign_paths(problem, start, np.array([0.2]))
    expected = 0.0
    for curvature, error in zip(problem.hessian, start - problem.optimum, strict=True):
        right = 0.5 * math.erfc(-error / problem.noise_std / math.sqrt(2))
        moved = right * (error - 0.2) ** 2 + (1 - right) * (error + 0.2) ** 2
        expected += 0.5 * curvature * moved
    assert losses[1] == pytest.approx(expected)


def test_vertex_of_a_parabola():
    assert exact.vertex(lambda x: 3.0 - 2.0 * (x - 0.7) ** 2, 0.4) == pytest.approx((0.7, 3.0))
