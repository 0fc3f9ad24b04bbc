"""Least squares on Gaussian data: simulated minibatches against draws of x and y, exact steps, bad input."""

import tracemalloc

import numpy as np
import pytest
from scipy.special import stdtr

import qpsim
from qpsim import theory
from qpsim.errors import ProblemError

K = np.array([[2.0, 0.5, -0.3], [0.5, 1.0, 0.2], [-0.3, 0.2, 3.0]])
OPTIMUM, THETA = np.array([1.0, -2.0, 0.5]), np.array([0.2, 0.4, -0.6])


def problem():
    return qpsim.LeastSquares(K, OPTIMUM, 0.7)


@pytest.mark.parametrize("batch_size", [1, 5])
def test_one_simulated_step_has_the_moments_of_draws_of_x_and_y(batch_size):
    n, rng = 20_000, np.random.default_rng(1)
    run = qpsim.simulate(
        problem(),
        "sgd",
        1.0,
        1,
        n,
        THETA,
        rng=0,
        workers=1,
        batch_size=batch_size,
        record=("theta",),
    )
    simulated = THETA - run.theta[:, -1]
    x = rng.multivariate_normal(np.zeros(3), K, (n, batch_size))
    y = x @ OPTIMUM + 0.7 * rng.standard_normal((n, batch_size))
    drawn = np.mean(x * (x @ THETA - y)[..., None], axis=1)
    for of in (
        lambda g: g,
        lambda g: g**2,
        lambda g: g[:, [0]] * g[:, 1:],
        np.sign,
        lambda g: np.abs(g) < 0.3,
    ):
        a, b = np.asarray(of(simulated), float), np.asarray(of(drawn), float)
        error = ((a.var(axis=0) + b.var(axis=0)) / n) ** 0.5
        assert (np.abs(a.mean(axis=0) - b.mean(axis=0)) < 4.0 * error).all()


# The signs' pairs compile for ten seconds; on a diagonal covariance, below, there are none.
@pytest.mark.parametrize(
    "method",
    [
        "sgd",
        pytest.param("ssd", marks=pytest.mark.long),
        pytest.param("va-ssd", marks=pytest.mark.exhaustive),
    ],
)
@pytest.mark.parametrize("batch_size", [1, 2, 7])
def test_the_recorded_optimal_step_is_the_theorys(method, batch_size):
    run = qpsim.simulate(
        problem(),
        method,
        n_steps=1,
        n_replicates=2,
        theta0=THETA,
        rng=0,
        workers=1,
        batch_size=batch_size,
    )
    exact = theory.optimal_step_size(problem().at_batch(batch_size), method, THETA)
    np.testing.assert_allclose(run.step_size, exact, rtol=1e-8)


# Adam's quadrature compiles for seconds.
@pytest.mark.parametrize(
    "method", ["sgd", "ssd", *(pytest.param(m, marks=pytest.mark.long) for m in ("rprop", "adam"))]
)
def test_a_diagonal_covariance_has_the_steps_of_its_matrix(method):
    p, theta0 = qpsim.LeastSquares(np.diag(K), OPTIMUM, 0.7), THETA + 1.0
    for batch_size in (1, 2, 7, 300):
        run = qpsim.simulate(
            p,
            method,
            n_steps=1,
            n_replicates=2,
            theta0=theta0,
            rng=0,
            workers=1,
            batch_size=batch_size,
        )
        exact = theory.optimal_step_size(p.at_batch(batch_size), method, theta0)
        np.testing.assert_allclose(run.step_size, exact, rtol=1e-8)


def test_a_diagonal_covariance_draws_what_its_matrix_draws():
    p, n = qpsim.LeastSquares(np.diag(K), OPTIMUM, 0.7), 20_000
    run = qpsim.simulate(p, "sgd", 0.05, 20, n, THETA, rng=0, workers=1, batch_size=2)
    risk = theory.expected_excess_loss(p.at_batch(2), "sgd", THETA, 0.05, 20)
    error = run.excess_loss.std(axis=0) / n**0.5
    assert (np.abs(run.excess_loss.mean(axis=0) - risk)[1:] < 4.0 * error[1:]).all()


def test_a_diagonal_covariance_never_becomes_a_matrix():
    d = 100_000
    k, optimum = 1.0 / np.arange(1, d + 1), np.random.default_rng(0).normal(size=d)
    p = qpsim.LeastSquares(k, optimum, 0.7)
    tracemalloc.start()
    run = qpsim.simulate(p, "ssd", n_steps=2, n_replicates=2, rng=0, workers=1, batch_size=8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # A (d, d) matrix takes 80 GB; what numba compiles is counted here too.
    assert peak < 300e6
    h, v = -k * optimum, k @ optimum**2 + 0.49
    a = h / np.sqrt(v) / np.sqrt(k - h**2 / v)
    exact = h @ (2.0 * stdtr(8, a * np.sqrt(8)) - 1.0) / k.sum()
    np.testing.assert_allclose(run.step_size[:, 0], exact, rtol=1e-9)
    with pytest.raises(ProblemError, match="is not made a matrix"):
        p.covariance  # noqa: B018 asked for


def test_a_minibatch_of_the_problem_is_one_of_the_run():
    runs = [
        qpsim.simulate(p, "sgd", 0.1, 3, 2, rng=0, workers=1, batch_size=b).excess_loss
        for p, b in ((problem(), 4), (problem().at_batch(2), 2), (problem().at_batch(4), 1))
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    np.testing.assert_array_equal(runs[0], runs[2])


BAD = {
    "not square": (lambda: qpsim.LeastSquares(np.ones((2, 3))), "covariance must be square"),
    "indefinite": (lambda: qpsim.LeastSquares([1.0, -1.0]), "smallest eigenvalue is -1"),
    "not symmetric": (lambda: qpsim.LeastSquares([[1.0, 0.5], [0.0, 1.0]]), "symmetric"),
    "nan": (lambda: qpsim.LeastSquares([1.0, np.nan]), "covariance holds NaN"),
    "optimum": (lambda: qpsim.LeastSquares(K, [1.0]), r"optimum must have shape \(3,\)"),
    "label noise": (lambda: qpsim.LeastSquares(K, label_noise_std=-1.0), "label_noise_std must be"),
    "batch": (lambda: problem().at_batch(0), "batch_size must be a whole number"),
    "theta": (lambda: problem().excess_loss([1.0]), "3 entries"),
    "policy": (
        lambda: qpsim.simulate(problem(), "m-svag-mb", n_steps=1, batch_size=4),
        "no optimal step on least squares.*line-search",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_least_squares_get_their_own_sentence(kind):
    make, sentence = BAD[kind]
    with pytest.raises(ProblemError, match=sentence) as error:
        make()
    assert "\n" not in str(error.value)
