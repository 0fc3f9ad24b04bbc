"""The high-dimensional curves on least squares: a twin with whole matrices, ensembles, and the limit in d."""

import itertools

import numpy as np
import pytest

import qpsim
from qpsim import theory
from qpsim.errors import MethodError, ProblemError


def problem(dim, label_noise_std=0.5, rng=0):
    """Rotated, with eigenvalues of mean 1, and a start of excess loss of about 1/2."""
    generator = np.random.default_rng(rng)
    q, _ = np.linalg.qr(generator.standard_normal((dim, dim)))
    k = np.geomspace(1.0, 10.0, dim)
    k /= k.mean()
    covariance = q * k @ q.T
    start = generator.standard_normal(dim) / dim**0.5
    return qpsim.LeastSquares(
        0.5 * (covariance + covariance.T), label_noise_std=label_noise_std
    ), start


def whole_matrix(p, method, theta0, step, n_steps):
    """The recursion of E[e e^T] as a matrix, with loops and in the given coordinates."""
    k, d = p.covariance, p.dim
    s = np.outer(theta0 - p.optimum, theta0 - p.optimum)
    risk = [0.5 * np.trace(k @ s)]
    for _ in range(n_steps):
        v = np.trace(k @ s) + p.label_noise_std**2
        if method == "sgd":
            keep = np.eye(d) - step * k
            s = keep @ s @ keep + step**2 * v * k
        else:
            drift = np.array([2.0 / np.pi * k[i] / np.sqrt(k[i, i] * v) for i in range(d)])
            second = np.eye(d)
            for i, j in itertools.permutations(range(d), 2):
                second[i, j] = 2.0 / np.pi * np.arcsin(k[i, j] / np.sqrt(k[i, i] * k[j, j]))
            s = s - step * (drift @ s + s @ drift.T) + step**2 * second
        risk.append(0.5 * np.trace(k @ s))
    return np.array(risk)


@pytest.mark.parametrize("method", ["sgd", "ssd"])
def test_the_recursion_in_the_eigenbasis_is_that_of_the_whole_matrix(method):
    p, start = problem(5)
    risk = theory.high_dimensional_risk(p, method, start, 0.1, 30)
    np.testing.assert_allclose(risk, whole_matrix(p, method, start, 0.1, 30), rtol=1e-11)


@pytest.mark.parametrize("method", ["sgd", "ssd"])
def test_an_ensemble_has_this_mean(method):
    p, start = problem(100)
    risk = theory.high_dimensional_risk(p, method, start, 0.005, 300)
    run = qpsim.simulate(
        p, method, step_size=0.005, n_steps=300, n_replicates=400, theta0=start, rng=1
    )
    at = [20, 100, 300]
    losses = run.excess_loss[:, at]
    error = losses.std(axis=0, ddof=1) / 20.0
    # The equations leave out terms of relative size 1/d.
    assert (np.abs(losses.mean(axis=0) - risk[at]) < 4.0 * error + risk[at] / p.dim).all()
    assert (4.0 * error < 0.05 * risk[at]).all()


def test_the_equation_of_sgd_tends_to_its_exact_risk_like_one_over_d():
    gaps = []
    for dim in (20, 80):
        p, start = problem(dim)
        arguments = (p, "sgd", start, 0.5 / dim, 4 * dim)
        exact = theory.expected_excess_loss(*arguments)
        gaps.append(np.max(np.abs(theory.high_dimensional_risk(*arguments) / exact - 1.0)))
    assert 2.5 < gaps[0] / gaps[1] < 6.0


@pytest.mark.parametrize("step", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("label_noise_std", [0.0, 1.0])
def test_the_risk_of_the_sign_is_never_negative(step, label_noise_std):
    p, start = problem(6, label_noise_std)
    assert (theory.high_dimensional_risk(p, "ssd", start, step, 100) >= 0.0).all()


def test_a_divergent_run_is_infinite_from_there_on():
    p, start = problem(6)
    risk = theory.high_dimensional_risk(p, "sgd", start, 1e3, 200)
    assert np.isinf(risk[-1]) and not np.isnan(risk).any()


def test_what_is_not_known_is_refused():
    p, start = problem(6)
    with pytest.raises(MethodError, match="known for sgd and ssd, not for adam"):
        theory.high_dimensional_risk(p, "adam", start, 0.1, 3)
    with pytest.raises(ProblemError, match="batch size 1, not for 4"):
        theory.high_dimensional_risk(p.at_batch(4), "ssd", start, 0.1, 3)
    with pytest.raises(ProblemError, match=r"shape \(6,\), not \(2,\)"):
        theory.high_dimensional_risk(p, "ssd", [1.0, 2.0], 0.1, 3)
    with pytest.raises(ProblemError, match="not of QuadraticProblem"):
        theory.high_dimensional_risk(qpsim.QuadraticProblem([1.0]), "ssd", [1.0], 0.1, 3)
    with pytest.raises(ProblemError, match="entry 1 is 0"):
        theory.high_dimensional_risk(qpsim.LeastSquares([1.0, 0.0]), "ssd", [1.0, 1.0], 0.1, 3)
    with pytest.raises(MethodError, match=r"theory\.high_dimensional_risk"):
        theory.expected_excess_loss(p, "ssd", start, 0.1, 3)
