"""Planned schedules of sign descent: brute force in one coordinate, greedy steps, families, and little noise."""

import itertools

import numpy as np
import pytest

import qpsim
from qpsim import noise, theory
from qpsim.errors import MethodError, ProblemError, StepSizeError
from qpsim.theory import families, schedules
from qpsim.theory.sign_law import LawSizeError, SignLaw


@pytest.mark.parametrize("objective", ["final", "averaged"])
@pytest.mark.parametrize("n_steps", [1, 2, 3, 4])
def test_one_coordinate_agrees_with_brute_force(n_steps, objective):
    from scipy.optimize import minimize

    p = qpsim.QuadraticProblem([2.0], noise_std=0.5)
    best = qpsim.best_schedule(p, "ssd", n_steps, [1.5], objective=objective)
    law = SignLaw(p, np.array([1.5]), n_steps, objective == "averaged")
    grid = [0.05, 0.2, 0.4, 0.7, 1.0, 1.4, 1.9]
    every = sorted(
        itertools.product(grid, repeat=n_steps), key=lambda a: law.coarse().value(np.array(a))
    )
    bounds = [(0.0, 4.0)] * n_steps
    ends = [
        minimize(law.value_and_gradient, a, jac=True, method="L-BFGS-B", bounds=bounds).fun
        for a in every[:10]
    ]
    assert best.value == pytest.approx(min(ends), rel=1e-5)
    assert best.value <= min(law.value(np.array(a)) for a in every[:5])


def test_one_step_is_the_greedy_one():
    p = qpsim.QuadraticProblem([2.0, 0.5], noise=noise.white(0.5))
    best = qpsim.best_schedule(p, "ssd", 1, [1.5, -1.0])
    greedy = theory.optimal_step_size(p, "ssd", np.array([1.5, -1.0]))
    assert best.step_size[0] == pytest.approx(greedy, rel=1e-6)


@pytest.mark.parametrize("noise_std", [0.1, 4.0])
def test_no_family_and_no_greedy_schedule_is_better(noise_std):
    p = qpsim.random_problem("structured", 30, "axis", noise_std, rng=0)
    free = qpsim.best_schedule(p, "ssd", 30)
    assert free.value == free.expected_excess_loss[-1] <= free.restarts[0] * (1.0 + 1e-12)
    assert free.grid_error.max() < 1e-4 * free.value and free.standard_error is None
    assert "grid_error" in free.to_dict() and "standard_error" not in free.to_dict()
    for family in ("greedy", *families.NAMES):
        one = qpsim.best_schedule(p, "ssd", 30, family=family)
        assert free.value <= one.value, family


def test_starts_agree_where_there_is_noise():
    p = qpsim.random_problem("structured", 30, "axis", 4.0, rng=0)
    assert qpsim.best_schedule(p, "ssd", 60).disagreement < 1e-6


def test_with_little_noise_the_continuation_ends_below_the_other_starts():
    values = np.exp(np.linspace(-2.0, 2.0, 20))
    p = qpsim.random_problem(values, noise_std=0.1, basis="axis", rng=1)
    best = qpsim.best_schedule(p, "ssd", 30)
    law = SignLaw(p, np.zeros(20), 30, False)
    assert best.value < 0.95 * law.value(law.greedy())
    assert best.disagreement < 0.02


def test_an_ensemble_has_the_planned_loss():
    p = qpsim.QuadraticProblem([2.0, 0.5, 1.0], noise=noise.white(0.6, df=1.5))
    best = qpsim.best_schedule(p, "ssd", 20, [1.0, -2.0, 0.3])
    run = qpsim.simulate(p, "ssd", "planned", 20, 4000, [1.0, -2.0, 0.3], rng=3, workers=1)
    np.testing.assert_array_equal(run.step_size[0], best.step_size)
    error = run.excess_loss.std(axis=0, ddof=1) / np.sqrt(4000)
    apart = np.abs(run.excess_loss.mean(axis=0) - best.expected_excess_loss)
    assert (apart <= 4.0 * error + best.grid_error + 1e-12).all()


def test_at_the_optimum_the_best_step_is_none():
    p = qpsim.QuadraticProblem([2.0, 0.5], noise_std=0.3)
    best = qpsim.best_schedule(p, "ssd", 3)
    assert not best.step_size.any() and not best.expected_excess_loss.any()
    with pytest.raises(StepSizeError, match="Give theta0"):
        qpsim.best_schedule(p.with_noise(0.0), "ssd", 3)


def test_what_has_no_law_is_refused_or_simulated():
    dense = qpsim.random_problem([1.0, 2.0], rng=0)
    with pytest.raises(ProblemError, match="such as 'cosine' is searched"):
        schedules.best_schedule(dense, "ssd", 3, [1.0, 1.0])
    with pytest.raises(MethodError, match="not for adam"):
        schedules.best_schedule(dense, "adam", 3, [1.0, 1.0])
    quiet = qpsim.QuadraticProblem([1.0, 2.0], noise_std=1e-9)
    with pytest.raises(LawSizeError):
        qpsim.best_schedule(quiet, "ssd", 3, [1.0, 0.7])
    one = qpsim.best_schedule(
        quiet, "ssd", 3, [1.0, 0.7], family="constant", n_replicates=4, workers=1
    )
    assert one.standard_error is not None and one.grid_error is None
