"""Cost of the methods, one core: ``pytest -m benchmark tests/benchmarks/test_method_speed.py -s``."""

import statistics
import time

import numpy as np
import pytest

import qpsim
from qpsim.execution.blas import one_blas_thread
from qpsim.kernels.arguments import Moments, StepInput
from qpsim.kernels.series import Coupling, series_of_direction, series_table
from qpsim.rules import step_policies as policy

pytestmark = pytest.mark.benchmark

LANES = 64


def seconds(run):
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def test_constant_steps_on_a_diagonal_problem():
    """Time of each method relative to sign descent: medians of alternating runs."""
    p = qpsim.random_problem("structured", 100, "axis", rng=0)
    names = ["ssd", "m-ssd", "nesterov", "adam", "m-svag", "adam*", "svag-ema"]
    names += ["rmsprop", "adagrad", "adadelta", "rprop"]

    def run(name):
        qpsim.simulate(p, name, 1e-3, n_steps=400, n_replicates=256, rng=0, workers=1)

    for name in names:
        run(name)
    times = {name: [] for name in names}
    for _ in range(9):
        for name in names:
            times[name].append(seconds(lambda name=name: run(name)))
    for name in names:
        ratio = statistics.median(np.array(times[name]) / np.array(times["ssd"]))
        print(f"{name:9s} {min(times[name]) / (256 * 400) * 1e6:6.3f} us  {ratio:5.2f} x ssd")


@pytest.mark.parametrize("spectrum", ["mild", "structured"])
@pytest.mark.parametrize("name", ["m-svag", "adam", "adam*", "adagrad", "rprop"])
def test_exact_step(name, spectrum):
    with one_blas_thread():
        print_exact_step(name, spectrum)


def print_exact_step(name, spectrum):
    """Microseconds of one exact step's moments per replicate, and terms of the series, at several t."""
    p = qpsim.random_problem(spectrum, 100, "haar", noise_std=4.0, rng=0)
    method, rng, q = (
        qpsim.method(name),
        np.random.Generator(np.random.PCG64(0)),
        np.array(p.hessian),
    )
    factor = p.noise_std * p.eigenvectors * p.eigenvalues
    table = series_table(q, p.gradient_correlation(), 1e-9)
    coupling = Coupling(q, q, table, np.array(p.gradient_std()))
    results = Moments(*(np.empty(LANES) for _ in range(3)))
    run = qpsim.simulate(p, name, n_steps=100, n_replicates=1, rng=0, workers=1)
    theta, state = np.zeros((LANES, 100)), method.initial_state((LANES, 100))
    for t in range(1, 101):
        if t in (1, 2, 3, 5, 10, 30, 100):
            states = np.ascontiguousarray(np.stack([state[n].T for n in method.state_names]))
            exact, extra = np.ascontiguousarray(p.gradient(theta).T), np.zeros((100, LANES))
            step = StepInput(exact, exact, extra, states, float(t), np.zeros(1, np.uint8))
            given = (coupling, method.hyper, step, policy.OPTIMAL, results)
            terms = series_of_direction(*given)
            best = min(seconds(lambda a=given: series_of_direction(*a)) for _ in range(5))
            print(
                f"{name:7s} {spectrum:10s} t = {t:3d} {best / LANES * 1e6:7.1f} us {terms:4d} terms"
            )
        g = p.gradient(theta) - rng.standard_normal((LANES, 100)) @ factor.T
        z, state = method.update(g, state)
        theta = theta - run.step_size[0, t - 1] * z
