"""Schedules searched by simulation: against brute force and exact laws, under noise of their own."""

import itertools

import numpy as np
import pytest

import qpsim
from qpsim import theory
from qpsim.errors import MethodError, StepSizeError
from qpsim.theory import families
from qpsim.theory import schedules as exact
from qpsim.tuning import schedules

# Sign descent, which as such is planned by its law.
SIGN = qpsim.method("m-ssd", momentum=0.0)


def problem():
    return qpsim.QuadraticProblem([2.0], [1.5], noise_std=0.5)


def test_linear_methods_are_planned_exactly():
    p = qpsim.QuadraticProblem([1.0, 10.0], noise_std=0.3)
    here = qpsim.best_schedule(p, "sgd", 4, [3.0, 1.0], batch_size=2)
    there = exact.best_schedule(p.at_batch(2), "sgd", 4, [3.0, 1.0])
    assert here.to_dict() == there.to_dict() and here.standard_error is None


@pytest.mark.parametrize("n_steps", [1, 2, 3])
def test_sign_descent_in_one_coordinate_agrees_with_brute_force(n_steps):
    p = problem()
    found = qpsim.best_schedule(
        p, SIGN, n_steps, family="piecewise", n_pieces=n_steps, n_replicates=512, workers=1
    )
    assert found.step_size.shape == (n_steps,)
    # Multiples of one number have an exact law.
    grid = 0.1 * np.arange(1, 17)
    lowest = min(
        theory.expected_excess_loss(p, "ssd", [0.0], steps, n_steps)[-1]
        for steps in itertools.product(grid, repeat=n_steps)
    )
    error = found.standard_error[-1]
    # Steps that are the best under 512 draws are not quite those of the law.
    assert lowest - 4.0 * error - 0.02 < found.value < 1.15 * lowest + 4.0 * error


def test_the_loss_is_that_of_fresh_noise_with_its_standard_error():
    p = problem()
    found = qpsim.best_schedule(p, SIGN, 6, family="linear", n_replicates=128, workers=1)
    run = qpsim.simulate(p, "ssd", found.step_size, 6, 4000, rng=9, workers=1).excess_loss
    error = np.hypot(run.std(axis=0, ddof=1) / np.sqrt(4000), found.standard_error)
    assert (np.abs(run.mean(axis=0) - found.expected_excess_loss) <= 4.0 * error + 1e-12).all()
    assert "standard_error" in found.to_dict()


@pytest.mark.parametrize("family", ["constant", "cosine", "piecewise"])
def test_no_constant_step_of_the_grid_is_better(family):
    p = problem()
    more = {"n_replicates": 256, "rng": 3, "workers": 1}
    found = qpsim.best_schedule(p, SIGN, 8, family=family, n_pieces=2, **more)
    search = qpsim.best_constant_step(p, SIGN, 8, 256, rng=3, workers=1)
    constant = theory.expected_excess_loss(p, "ssd", [0.0], search.best, 8)[-1]
    assert found.value < constant + 4.0 * found.standard_error[-1]


def test_other_problems_and_the_mean_loss_over_the_steps():
    p = qpsim.LeastSquares([1.0, 3.0], [1.0, -0.6], label_noise_std=0.2)
    found = qpsim.best_schedule(
        p, "ssd", 6, family="linear", objective="averaged", n_replicates=32, workers=1
    )
    assert found.value == pytest.approx(found.expected_excess_loss[1:].mean(), rel=1e-12)
    assert found.expected_excess_loss[-1] < found.expected_excess_loss[0]


def test_families_searched_together_are_those_searched_alone():
    p = problem()
    more = {"n_pieces": 2, "n_replicates": 16, "rng": 3, "workers": 1}
    names = ("piecewise", "linear", "inverse-time")
    together = schedules.simulated_schedules(
        p, SIGN, 5, None, names, objective="final", batch_size=1, **more
    )
    for name, one in zip(names, together, strict=True):
        alone = qpsim.best_schedule(p, SIGN, 5, family=name, **more)
        assert one.to_dict() == alone.to_dict()


def test_families_searched_together_share_the_search_for_a_constant_step(monkeypatch):
    asked = []

    def counted(*arguments, **options):
        asked.append(arguments)
        return qpsim.best_constant_step(*arguments, **options)

    monkeypatch.setattr(schedules, "best_constant_step", counted)
    options = {"n_pieces": 2, "n_replicates": 8, "rng": 0, "workers": 1}
    schedules.simulated_schedules(
        problem(), SIGN, 4, None, families.NAMES, objective="final", batch_size=1, **options
    )
    assert len(asked) == 1


def test_a_piece_begins_with_its_mean_step():
    means = schedules._piece_means(np.array([1.0, 3.0, 5.0, 7.0, 9.0]), 2)
    np.testing.assert_allclose(means, [3.0, 8.0])


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        ({}, MethodError, "linear in the gradient"),
        ({"family": "greedy"}, MethodError, "a family such as 'cosine'"),
        ({"family": "quadratic"}, StepSizeError, "Unknown family 'quadratic'"),
        ({"family": "linear", "objective": "best"}, StepSizeError, "Unknown objective"),
        ({"family": "linear", "n_pieces": 0}, StepSizeError, "n_pieces must be a whole number"),
    ],
)
def test_what_cannot_be_searched_is_said(more, error, said):
    with pytest.raises(error, match=said):
        qpsim.best_schedule(problem(), SIGN, 3, **more)
