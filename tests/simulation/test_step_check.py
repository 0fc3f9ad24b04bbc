"""The test of a user's optimal steps by draws finds what the quadrature has missed."""

import warnings

import numpy as np
import pytest

import qpsim
from qpsim.errors import PrecisionWarning
from qpsim.execution.pool import in_this_thread
from qpsim.simulation import block as blocks
from qpsim.simulation import step_check
from qpsim.simulation.plan import make_plan
from qpsim.simulation.step_check import StepTest


@qpsim.rule
def peaked(gradient, t, at=0.3, width=0.2, height=30.0):
    """The gradient, and somewhere a narrow peak."""
    return gradient + (height if abs(gradient - at) < 0.5 * width else 0.0)


@pytest.mark.parametrize("basis", ["axis", "haar"])
def test_the_mean_over_draws_is_zero_at_the_optimal_step(basis, monkeypatch):
    monkeypatch.setattr(blocks, "is_needed", lambda plan: True)
    problem = qpsim.random_problem("mild", 4, basis, noise_std=1.0, scale=1.0, rng=0)
    plan = make_plan(problem, "adam", "optimal", n_steps=20, n_replicates=256, rng=0)
    with in_this_thread().run(blocks.run_block, [(0, (plan, 0, 256))]) as run:
        (sums,) = [future.result().step_test for _, future in run]
    blocks.forget(plan.token)
    # 5120 terms, each in units of the loss before its step: the standard error is sqrt(sums.squares).
    assert sums.squares > 0.1
    assert abs(sums.total) < 4 * sums.squares**0.5


def test_only_a_clear_excess_on_the_side_of_long_steps_is_warned_of():
    plan = make_plan(qpsim.QuadraticProblem([1.0]), "sgd", 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step_check.warn_of_draws(plan, StepTest())
        step_check.warn_of_draws(plan, StepTest(-5.9, 1.0))
        step_check.warn_of_draws(plan, StepTest(100.0, 1.0))
    with pytest.warns(PrecisionWarning, match="sgd are too long, by 7 standard errors"):
        step_check.warn_of_draws(plan, StepTest(-7.0, 1.0) + StepTest(0.0, 0.0))


@pytest.mark.long
def test_a_peak_that_the_quadrature_misses_is_found_by_the_draws():
    problem = qpsim.QuadraticProblem(np.linspace(0.5, 2.0, 10), noise_std=1.0)

    def run(width):
        start = np.r_[np.full(9, 0.4), 0.7]
        qpsim.simulate(problem, peaked(width=width), n_steps=64, theta0=start, rng=0, workers=1)

    # A fiftieth of the deviation wide, it makes steps several times too long where it stands between the nodes.
    with pytest.warns(PrecisionWarning, match="peaked are too long, by .* standard errors"):
        run(0.02)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(0.2)
