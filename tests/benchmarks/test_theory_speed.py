"""Speed of the closed forms, one core: ``pytest -m benchmark tests/benchmarks``."""

import numpy as np
import pytest

import qpsim
from qpsim import theory

pytestmark = pytest.mark.benchmark


@pytest.mark.parametrize("dim", [100, 1000])
@pytest.mark.parametrize("spectrum", ["mild", "structured"])
def test_sign_second_moment(benchmark, dim, spectrum):
    p = qpsim.random_problem(spectrum, dim=dim, noise_std=4.0, rng=0)
    benchmark(theory.sign_second_moment, p, np.zeros(dim))


@pytest.mark.parametrize("name", ["sgd", "m-sgd"])
def test_linear_risk(benchmark, name):
    p = qpsim.random_problem("structured", dim=10_000, basis="axis", noise_std=1.0, rng=0)
    args = (theory.expected_excess_loss, p, name, np.zeros(10_000), 0.01, 10_000)
    benchmark.pedantic(args[0], args[1:], rounds=3)


@pytest.mark.parametrize("step", [0.5, 0.01])
def test_lattice_risk(benchmark, step):
    p = qpsim.random_problem("structured", dim=100, basis="axis", noise_std=4.0, rng=0)
    args = (theory.expected_excess_loss, p, "ssd", np.zeros(100), step, 1000)
    benchmark.pedantic(args[0], args[1:], rounds=3)


@pytest.mark.parametrize("name", ["sgd", "m-sgd", "nesterov"])
def test_planned_schedule(benchmark, name):
    # The target is 1 s.
    p = qpsim.random_problem("structured", dim=100, noise_std=1.0, rng=0)
    benchmark(qpsim.best_schedule, p, name, 200, np.ones(100))


def test_long_planned_schedule(benchmark):
    # The target is a minute on two cores.
    p = qpsim.gallery.noisy_quadratic_model(dim=10_000)
    args = (p, "sgd", 10_000, np.ones(10_000))
    benchmark.pedantic(qpsim.best_schedule, args, rounds=1)
