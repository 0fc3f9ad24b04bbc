"""Comparison of theory and simulation, which do not use each other."""

import numpy as np
import pytest

import qpsim
from qpsim import theory

N = 4096


def problem(basis):
    return qpsim.random_problem([0.3, 1.0, 2.0, 5.0], basis=basis, noise_std=1.0, rng=4)


@pytest.mark.parametrize(
    ("name", "basis"),
    [("sgd", "axis"), ("sgd", "haar"), ("m-sgd", "axis"), ("m-sgd", "haar"), ("ssd", "axis")],
)
def test_exact_risk_is_the_ensemble_s_mean(name, basis):
    p, start, step = problem(basis), np.ones(4), 0.05
    runs = qpsim.simulate(
        p, name, step_size=step, n_steps=60, n_replicates=N, theta0=start, rng=7
    ).excess_loss
    exact = theory.expected_excess_loss(p, name, start, step, 60)
    error = runs.std(axis=0) / np.sqrt(N)
    assert np.all(np.abs(runs.mean(axis=0) - exact) < 4.5 * error + 1e-9)


@pytest.mark.parametrize(
    "name",
    [
        *("sgd", "ssd", "svag", "va-ssd", "m-sgd", "m-ssd"),
        pytest.param("va-ssd-erf", marks=pytest.mark.long),
    ],
)
@pytest.mark.parametrize("basis", ["axis", "haar"])
def test_the_step_and_the_gain_of_a_simulated_step(name, basis):
    # Near the optimum, where signs do go wrong.
    p = problem(basis)
    start = p.optimum + np.array([1.0, -0.5, 0.3, 2.0])
    result = qpsim.simulate(p, name, n_steps=1, n_replicates=N, theta0=start, rng=8)
    step = theory.optimal_step_size(p, name, start)
    assert result.step_size[:, 0] == pytest.approx(np.full(N, step), rel=1e-8)
    gain = result.excess_loss[:, 0] - result.excess_loss[:, 1]
    expected = theory.expected_improvement(p, name, start)
    assert abs(gain.mean() - expected) < 4 * gain.std() / np.sqrt(N) + 1e-9
