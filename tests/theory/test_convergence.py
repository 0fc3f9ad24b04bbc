"""Theorem 1: idealised svag stays below the bound, with G^2 measured and with G^2 known before."""

import numpy as np
import pytest

import qpsim
from qpsim import theory
from qpsim.errors import ProblemError, TheoryError
from tests import naive

THETA0 = np.array([3.0, -2.0, 4.0])


def problem():
    return qpsim.QuadraticProblem(
        [[2.0, 0.5, 0.0], [0.5, 1.5, 0.2], [0.0, 0.2, 1.0]], noise_std=1.0
    )


def runs_of(p, adapted, n_steps, n=4_000):
    variance = p.gradient_std() ** 2

    def direction(g, exact, memory):
        return (g * exact**2 / (exact**2 + variance) if adapted else g), memory

    step = 1.0 / p.eigenvalues.max()
    return naive.run(p, direction, THETA0, [step] * n_steps, n, np.random.default_rng(2))


def test_idealised_svag_stays_below_the_bound_and_sgd_stalls():
    p, n_steps = problem(), 300
    runs, exact = runs_of(p, adapted=True, n_steps=n_steps)
    error = runs.std(axis=0) / np.sqrt(len(runs))
    risk = runs.mean(axis=0)
    before = theory.theorem1(p, THETA0, n_steps)
    # The theorem asks for the total second moment; its proof for the conditional, which is larger.
    total = np.mean(theory.conditional_second_moment(exact, p.gradient_std()), axis=1).max()
    conditional = np.max(theory.conditional_second_moment(exact, p.gradient_std()))
    assert total <= before.second_moment and total < conditional
    for moment in (total, conditional, before.second_moment):
        bound = theory.theorem1(p, THETA0, n_steps, second_moment=moment).bound
        assert np.all(risk <= bound + 4 * error + 1e-12)
    assert np.all(np.arange(n_steps + 1) * risk < 1 / before.rate)
    # At the same step sgd stays at its steady state; svag has left it far below.
    floor = theory.steady_state_excess_loss(p, "sgd", before.step_size)
    plain, _ = runs_of(p, adapted=False, n_steps=n_steps)
    last = plain[:, -1]
    assert abs(last.mean() - floor) < 4 * last.std() / np.sqrt(len(last))
    assert risk[-1] < 0.2 * floor


def test_bound_is_the_paper_s_recursion_at_equality():
    p = problem()
    theorem = theory.theorem1(p, THETA0, 50)
    assert theorem.smoothness * theorem.step_size == 1.0
    e = p.excess_loss(THETA0)
    for t in range(51):
        assert e <= theorem.bound[t] * (1 + 1e-12)
        e = e * (1 - theorem.rate * e)
    assert 1 / theorem.bound == pytest.approx(1 / theorem.bound[0] + theorem.rate * np.arange(51))


def test_second_moments():
    p = problem()
    path = np.random.default_rng(0).standard_normal((4, 6, 3))
    values = [
        np.sum(p.gradient(x) ** 2) + np.sum(p.gradient_std() ** 2) for x in path.reshape(-1, 3)
    ]
    assert theory.largest_second_moment(p, path) == pytest.approx(max(values))
    many = theory.conditional_second_moment(p.gradient(path), p.gradient_std())
    assert many.shape == (4, 6) and many.ravel() == pytest.approx(values)
    assert theory.conditional_second_moment(3.0, 1.0) == 10.0
    n = 100_000
    g = p.gradient(path[0, 0]) + np.random.default_rng(1).multivariate_normal(
        np.zeros(3), p.gradient_covariance(), n
    )
    drawn = np.sum(g**2, axis=1)
    assert abs(drawn.mean() - values[0]) < 4 * drawn.std() / np.sqrt(n)


def test_at_the_optimum_the_bound_is_zero():
    assert not theory.theorem1(problem(), np.zeros(3), 5).bound.any()


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda p: theory.theorem1(p, THETA0, 0), TheoryError, "at least 1"),
        (lambda p: theory.theorem1(p, THETA0, 2.5), TheoryError, "whole number"),
        (lambda p: theory.theorem1(p, THETA0[:2], 5), ProblemError, "3 entries"),
        (lambda p: theory.theorem1(p, [THETA0], 5), TheoryError, "theta0"),
        (lambda p: theory.theorem1(p, THETA0, 5, second_moment=0.0), TheoryError, "positive"),
        (lambda p: theory.theorem1(p.with_noise(0.0), np.zeros(3), 5), TheoryError, "no rate"),
        (lambda p: theory.convergence_rate(p, [1.0, 2.0]), TheoryError, "one number"),
        (lambda p: theory.convergence_bound(-1.0, 1.0, 3), TheoryError, "negative"),
        (
            lambda p: theory.conditional_second_moment([1.0, 2.0], [1.0] * 3),
            TheoryError,
            "broadcast",
        ),
        (lambda p: theory.largest_second_moment(p, np.zeros((0, 3))), TheoryError, "no point"),
    ],
)
def test_bad_arguments_are_refused(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call(problem())
