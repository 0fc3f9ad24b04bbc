"""Sign descent with a schedule: beside the constant step, all paths of a few steps, and ensembles."""

import itertools
import math

import numpy as np
import pytest
from scipy.special import ndtr

import qpsim
from qpsim import noise, theory
from qpsim.theory.lattice_schedule import common_spacing

H, THETA0 = np.array([2.0, 0.5, 1.0, 0.0]), np.array([1.0, -2.0, 0.3, 1.0])
HALVED = np.repeat([0.2, 0.1, 0.05], 20)


def test_a_step_of_length_0_in_between_leaves_a_constant_step_as_it_is():
    p = qpsim.QuadraticProblem(H, noise_std=0.7)
    constant = theory.expected_excess_loss(p, "ssd", THETA0, 0.1, 30, pruning=0.0)
    steps = np.append(np.full(30, 0.1), 0.0)
    found = theory.expected_excess_loss(p, "ssd", THETA0, steps, 31)
    np.testing.assert_allclose(found, np.append(constant, constant[-1]), rtol=1e-12)


def test_all_paths_of_a_warm_up():
    p = qpsim.QuadraticProblem([1.5, 0.4], noise=noise.white(0.8))
    steps, offset = np.array([0.05, 0.1, 0.15, 0.1]), np.array([0.6, -0.3])
    found = theory.expected_excess_loss(p, "ssd", offset, steps, 4)
    for t in range(5):
        total = 0.0
        for q, e0 in zip(p.hessian, offset, strict=True):
            for signs in itertools.product([-1.0, 1.0], repeat=t):
                e, chance = e0, 1.0
                for sign, step in zip(signs, steps, strict=False):
                    chance *= ndtr(sign * q * e / 0.8)
                    e -= step * sign
                total += 0.5 * q * chance * e**2
        assert found[t] == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("df", [None, 1.5])
def test_an_ensemble_agrees_within_four_standard_errors(df):
    p = qpsim.QuadraticProblem(H, noise=noise.white(0.6, df=df))
    risk = theory.expected_excess_loss(p, "ssd", THETA0, HALVED, 60)
    n = 4000
    run = qpsim.simulate(p, "ssd", HALVED, 60, n, THETA0, rng=5, workers=1, record=())
    error = run.excess_loss.std(axis=0, ddof=1)[1:] / math.sqrt(n)
    z = (run.excess_loss.mean(axis=0) - risk)[1:] / error
    assert np.abs(z[[0, 4, 19, 24, 39, 44, 59]]).max() < 4.0
    # The schedule ends far below what its first step size would.
    first = theory.expected_excess_loss(p, "ssd", THETA0, 0.2, 60)
    assert first[-1] - risk[-1] > 20.0 * error[-1]


def test_without_noise_it_is_the_one_path():
    p = qpsim.QuadraticProblem(H, noise_std=0.0)
    # At an optimum that is hit, rounding would decide.
    start = THETA0 + 0.0123
    run = qpsim.simulate(p, "ssd", HALVED, 60, 1, start, rng=0, workers=1)
    found = theory.expected_excess_loss(p, "ssd", start, HALVED, 60)
    np.testing.assert_allclose(found, run.excess_loss[0], atol=1e-12)


@pytest.mark.parametrize("steps", [[0.1, 0.1 * math.pi], [1e-6, 0.1]])
def test_a_schedule_without_a_lattice_has_none(steps):
    assert common_spacing(np.array(steps)) is None
    spacing, lengths = common_spacing(np.array([0.2, 0.0, 0.3]))
    assert spacing == pytest.approx(0.1) and lengths.tolist() == [2, 0, 3]
