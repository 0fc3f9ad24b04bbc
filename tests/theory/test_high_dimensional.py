"""The high-dimensional curves: a twin with whole matrices, ensembles, and the limit in d."""

import itertools

import numpy as np
import pytest

import qpsim
from qpsim import noise, theory
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


def rotated(dim, seed=0, df=None):
    """A quadratic problem under white noise, and a start of norm 2."""
    offset = np.random.default_rng(seed).standard_normal(dim) * np.sqrt(4.0 / dim)
    p = qpsim.random_problem("mild", dim=dim, basis="haar", rng=seed).with_noise(
        noise.white(1.0, df=df)
    )
    return p, p.optimum + offset


@pytest.mark.parametrize("df", [None, 3.0])
def test_on_a_quadratic_problem_it_is_the_recursion_of_the_whole_matrix(df):
    p, start = rotated(5, df=df)
    risk = theory.high_dimensional_risk(p, "ssd", start, 0.1, 30)
    scales, shares = p.noise.law.quadrature()
    h, s = p.hessian, np.outer(start - p.optimum, start - p.optimum)
    found = [0.5 * np.trace(h @ s)]
    for _ in range(30):
        q = np.trace(h @ s @ h) / 5
        after = s
        for b, share in zip(scales, shares, strict=True):
            # Signs of independent coordinates, of variance b^2 + q: their linear part, and the rest of variance 1.
            linear = np.sqrt(2.0 / np.pi / (b**2 + q)) * h
            second = linear @ s @ linear + (1.0 - 2.0 / np.pi * q / (b**2 + q)) * np.eye(5)
            after = after + share * (-0.1 * (linear @ s + s @ linear) + 0.01 * second)
        s = after
        found.append(0.5 * np.trace(h @ s))
    np.testing.assert_allclose(risk, found, rtol=1e-9)
    again = theory.expected_excess_loss(p, "ssd", start, 0.1, 30, law="high-dimensional")
    np.testing.assert_array_equal(again, risk)


def test_on_quadratic_problems_the_error_falls_with_the_dimension():
    worst = {8: 0.0, 64: 0.0}
    for dim in worst:
        for seed in (3, 4, 5):
            p, start = rotated(dim, seed)
            risk = theory.high_dimensional_risk(p, "ssd", start, 1.0 / dim, 2 * dim)
            losses = qpsim.simulate(
                p, "ssd", 1.0 / dim, 2 * dim, 512, start, rng=0, record=()
            ).excess_loss
            mean = losses.mean(axis=0)
            error = losses.std(axis=0) / np.sqrt(512) / mean
            gap = np.abs(risk / mean - 1.0)
            worst[dim] += gap.max() / 3.0
            # Beside 4 standard errors: terms of relative size 1/d, of which the theorems leave out some.
            assert (gap < 4.0 * error + 0.5 / dim).all()
    assert worst[64] < 0.7 * worst[8]


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
    with pytest.raises(ProblemError, match="not of DataProblem"):
        data = qpsim.DataProblem(np.eye(3), np.zeros(3))
        theory.high_dimensional_risk(data, "ssd", np.ones(3), 0.1, 3)
    quadratic = qpsim.QuadraticProblem([1.0, 0.0], noise_std=1.0)
    with pytest.raises(MethodError, match=r"not of sgd; see theory\.expected_excess_loss"):
        theory.high_dimensional_risk(quadratic, "sgd", [1.0, 1.0], 0.1, 3)
    with pytest.raises(ProblemError, match="entry 1 has none"):
        theory.high_dimensional_risk(quadratic, "ssd", [1.0, 1.0], 0.1, 3)
    with pytest.raises(ProblemError, match=r"shape \(2,\)"):
        theory.high_dimensional_risk(quadratic, "ssd", [[1.0, 1.0]], 0.1, 3)
    with pytest.raises(ProblemError, match="entry 1 is 0"):
        theory.high_dimensional_risk(qpsim.LeastSquares([1.0, 0.0]), "ssd", [1.0, 1.0], 0.1, 3)
    with pytest.raises(MethodError, match=r"theory\.high_dimensional_risk"):
        theory.expected_excess_loss(p, "ssd", start, 0.1, 3)
