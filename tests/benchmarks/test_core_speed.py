"""Speed of the core beside a plain vectorised NumPy ensemble: ``pytest -m benchmark``.

The setting is that of the paper's structured problem: d = 100, 1024 replicates, 200 steps, exact step
sizes. Every benchmark's ``extra_info`` holds the cost of one replicate-step-coordinate (ns) or
replicate-step (us) on one core, which is wall time x workers / cells.
"""

import numpy as np
import pytest
from scipy.special import erf

import qpsim
from qpsim.execution.blas import one_blas_thread
from tests.naive import leggauss

pytestmark = pytest.mark.benchmark

DIM, REPLICATES, STEPS = 100, 1024, 200
NOISE = 0.1
DIAGONAL = qpsim.random_problem("structured", DIM, "axis", NOISE, rng=0)
HAAR = qpsim.random_problem("structured", DIM, "haar", NOISE, rng=0)


def numpy_diagonal(problem, method, n_replicates, n_steps):
    """All replicates at once; the exact step of SGD or SSD on a diagonal Hessian."""
    stream = np.random.Generator(np.random.SFC64(0))
    q, nu = problem.hessian, problem.noise_std
    std = nu * q
    error = np.tile(-problem.optimum, (n_replicates, 1))
    losses = np.empty((n_steps + 1, n_replicates))
    losses[0] = 0.5 * (q * error**2).sum(axis=1)
    for step in range(n_steps):
        gradient = q * error
        drawn = gradient - std * stream.standard_normal(error.shape)
        if method == "sgd":
            z = drawn
            below = (q * gradient**2).sum(axis=1) + nu**2 * (q**3).sum()
            alpha = (gradient**2).sum(axis=1) / below
        else:
            z = np.sign(drawn)
            alpha = (gradient * erf(gradient / (np.sqrt(2.0) * std))).sum(axis=1) / q.sum()
        error -= alpha[:, None] * z
        losses[step + 1] = 0.5 * (q * error**2).sum(axis=1)
    return losses.T


def numpy_dense(problem, method, n_replicates, n_steps):
    """The same on a dense Hessian; sign pairs by 12 Gauss-Legendre nodes each."""
    stream = np.random.Generator(np.random.SFC64(0))
    q, nu = problem.hessian, problem.noise_std
    std, square = problem.gradient_std(), q @ q
    i, j = np.triu_indices(problem.dim, 1)
    top = np.arcsin(problem.gradient_correlation()[i, j])
    nodes, weights = leggauss(12)
    sine = np.sin(top * (nodes[:, None] + 1.0) / 2.0)
    cosine = 1.0 / (2.0 * (1.0 - sine**2))
    factor = 2.0 * q[i, j] * top / np.pi * weights[:, None]
    trace, cubed = np.trace(q), np.trace(q @ square)
    error = np.tile(-problem.optimum, (n_replicates, 1))
    losses = np.empty((n_steps + 1, n_replicates))
    losses[0] = problem.excess_loss(problem.optimum + error)
    for step in range(n_steps):
        gradient = error @ q
        drawn = gradient - nu * stream.standard_normal(error.shape) @ q
        if method == "sgd":
            z = drawn
            below = ((gradient @ q) * gradient).sum(axis=1) + nu**2 * cubed
            alpha = (gradient**2).sum(axis=1) / below
        else:
            z = np.sign(drawn)
            a = gradient / std
            mean = erf(a / np.sqrt(2.0))
            below = ((mean @ q) * mean).sum(axis=1) + trace - (np.diag(q) * mean**2).sum(axis=1)
            x, y = a[:, i], a[:, j]
            total, product = x * x + y * y, 2.0 * x * y
            for k in range(nodes.size):
                below += np.exp((product * sine[k] - total) * cosine[k]) @ factor[k]
            alpha = (gradient * mean).sum(axis=1) / below
        error -= alpha[:, None] * z
        losses[step + 1] = 0.5 * ((error @ q) * error).sum(axis=1)
    return losses.T


def ours(problem, method, n_replicates, n_steps, workers=1):
    return qpsim.simulate(
        problem,
        method,
        n_steps=n_steps,
        n_replicates=n_replicates,
        rng=0,
        workers=workers,
        record=(),
    ).excess_loss


def timed(benchmark, run, *arguments, workers=1):
    # The peer's matrix products get one core, like ours.
    with one_blas_thread():
        losses = benchmark.pedantic(run, arguments, rounds=5, warmup_rounds=1)
    problem, _, n, steps = arguments[:4]
    seconds = benchmark.stats.stats.median * workers
    benchmark.extra_info["ns per replicate-step-coordinate-core"] = round(
        seconds / (n * steps * problem.dim) * 1e9, 3
    )
    benchmark.extra_info["us per replicate-step-core"] = round(seconds / (n * steps) * 1e6, 3)
    return losses


@pytest.mark.parametrize("run", [ours, numpy_diagonal], ids=["qpsim", "numpy"])
@pytest.mark.parametrize("method", ["sgd", "ssd"])
def test_diagonal(benchmark, method, run):
    benchmark.group = f"diagonal {method}"
    losses = timed(benchmark, run, DIAGONAL, method, REPLICATES, STEPS)
    other = ours if run is numpy_diagonal else numpy_diagonal
    agree(losses, other(DIAGONAL, method, REPLICATES, STEPS))


@pytest.mark.parametrize("method", ["sgd", "ssd"])
def test_diagonal_on_two_cores(benchmark, method):
    benchmark.group = f"diagonal {method}"
    timed(benchmark, ours, DIAGONAL, method, REPLICATES, STEPS, 2, workers=2)


@pytest.mark.parametrize("run", [ours, numpy_dense], ids=["qpsim", "numpy"])
def test_haar_sgd(benchmark, run):
    benchmark.group = "haar sgd"
    timed(benchmark, run, HAAR, "sgd", REPLICATES, STEPS)


def test_haar_exact_ssd(benchmark):
    benchmark.group = "haar ssd"
    timed(benchmark, ours, HAAR, "ssd", REPLICATES, STEPS)


def test_haar_exact_ssd_on_two_cores(benchmark):
    benchmark.group = "haar ssd"
    timed(benchmark, ours, HAAR, "ssd", REPLICATES, STEPS, 2, workers=2)


@pytest.mark.parametrize("run", [ours, numpy_dense], ids=["qpsim", "numpy"])
def test_haar_exact_ssd_of_one_block(benchmark, run):
    # The peer needs seconds for one block of a few steps; costs are per replicate-step.
    benchmark.group = "haar ssd, 64 replicates x 5 steps"
    losses = timed(benchmark, run, HAAR, "ssd", 64, 5)
    other = ours if run is numpy_dense else numpy_dense
    agree(losses, other(HAAR, "ssd", 64, 5))


def agree(a, b):
    """Means of the log loss after the last step within five standard errors: one ensemble."""
    a, b = np.log(a[:, -1]), np.log(b[:, -1])
    error = np.sqrt(a.var() / a.size + b.var() / b.size)
    assert abs(a.mean() - b.mean()) < 5.0 * error
