"""Runs with optimal steps, predicted: what is exact, how far the closures are off, and what is refused."""

import numpy as np
import pytest

import qpsim
from qpsim import noise, theory
from qpsim.errors import MethodError, ProblemError, StepSizeError
from qpsim.theory import log_loss


@pytest.mark.parametrize("name", ["sgd", "ssd"])
@pytest.mark.parametrize(("basis", "level"), [("haar", 4.0), ("haar", 0.1), ("axis", 4.0)])
def test_the_end_of_a_run_is_near_that_of_an_ensemble(name, basis, level):
    problem = qpsim.random_problem("structured", 40, basis, level, rng=3)
    known = theory.optimal_run(problem, name, 40)
    runs = qpsim.simulate(problem, name, n_steps=40, n_replicates=200, rng=4)
    measured = np.log10(runs.excess_loss[:, -1])
    # A closure: off by a few hundredths, and where one step stands for all runs' on the axes by a tenth.
    allowed = 0.12 if (name, basis) == ("ssd", "axis") else 0.04
    error = measured.std() / np.sqrt(measured.size)
    assert abs(known.final_log10_loss - measured.mean()) < allowed + 4.0 * error
    steps = runs.step_size.mean(axis=0)
    # Sign descent's one step for all runs is longer than the mean of their own ones.
    ratio = np.median(known.step_size / steps)
    assert 0.9 < ratio < (1.15 if name == "sgd" else 1.6)


def test_sgd_without_noise_is_steepest_descent():
    problem = qpsim.random_problem("mild", 12, "haar", 0.0, rng=0)
    known = theory.optimal_run(problem, "sgd", 30)
    run = qpsim.simulate(problem, "sgd", n_steps=30, n_replicates=1, rng=0)
    np.testing.assert_allclose(known.expected_excess_loss, run.excess_loss[0], rtol=1e-9)
    np.testing.assert_allclose(known.step_size, run.step_size[0], rtol=1e-9)
    assert known.final_log10_loss == pytest.approx(np.log10(run.excess_loss[0, -1]), abs=1e-9)


def test_equal_coordinates_walk_alike_on_their_sites():
    # One coordinate's exact law with the steps that were taken: they are whole multiples of a spacing.
    problem = qpsim.QuadraticProblem(np.full(3, 2.0), [1.0, 1.0, 1.0], noise_std=0.7)
    known = theory.optimal_run(problem, "ssd", 3)
    one = qpsim.QuadraticProblem([2.0], [1.0], noise_std=0.7)
    first = float(known.step_size[0])
    exact = theory.expected_excess_loss(one, "ssd", [0.0], first, 1)
    assert known.expected_excess_loss[:2] == pytest.approx(3.0 * exact, rel=1e-12)


def test_a_flat_direction_counts_for_nothing():
    steep = qpsim.QuadraticProblem([1.0, 3.0], [2.0, -1.0], noise_std=0.5)
    flat = qpsim.QuadraticProblem([1.0, 3.0, 0.0], [2.0, -1.0, 5.0], noise_std=0.5)
    for name in ("sgd", "ssd"):
        found = [theory.optimal_run(p, name, 6) for p in (steep, flat)]
        assert found[1].final_log10_loss == pytest.approx(found[0].final_log10_loss, rel=1e-9)
        np.testing.assert_allclose(found[1].step_size, found[0].step_size, rtol=1e-9)


def test_the_mean_logarithm_of_a_gaussian_form_is_that_of_draws():
    rng = np.random.default_rng(0)
    weight, mean, variance = np.array([3.0, 0.5]), np.array([0.2, 1.0]), np.array([0.4, 2.0])
    x = mean + np.sqrt(variance) * rng.standard_normal((200_000, 2))
    draws = np.log10(0.5 * (x * x) @ weight)
    error = draws.std() / np.sqrt(draws.size)
    assert abs(log_loss.of_gaussian(weight, mean, variance) - draws.mean()) < 4.0 * error
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    turned = log_loss.of_dense_gaussian(
        turn @ np.diag(weight) @ turn.T, turn @ mean, turn @ np.diag(variance) @ turn.T
    )
    assert turned == pytest.approx(log_loss.of_gaussian(weight, mean, variance), abs=1e-10)


@pytest.mark.parametrize(
    ("problem", "method", "error", "said"),
    [
        (qpsim.QuadraticProblem([1.0], [1.0]), "adam", MethodError, "sgd and ssd, not for adam"),
        (
            qpsim.QuadraticProblem([1.0], [1.0], noise=noise.data(1.0, df=3)),
            "ssd",
            ProblemError,
            "under Gaussian noise",
        ),
        (
            qpsim.QuadraticProblem([1.0, 2.0], [1.0, 1.0], noise=noise.dense([[1, 0.5], [0.5, 1]])),
            "sgd",
            ProblemError,
            "commutes",
        ),
        (qpsim.QuadraticProblem([1.0]), "sgd", StepSizeError, "starts at the optimum"),
    ],
)
def test_what_is_not_predicted_is_said(problem, method, error, said):
    with pytest.raises(error, match=said):
        theory.optimal_run(problem, method, 3)


def test_as_plain_values():
    known = theory.optimal_run(qpsim.QuadraticProblem([1.0], [1.0], noise_std=0.0), "sgd", 2)
    assert known.to_dict()["final_log10_loss"] is None
    assert known.to_dict()["expected_excess_loss"] == [0.5, 0.0, 0.0]
