"""Sign descent with momentum: the joint law beside sign descent without it, sums over two steps, and ensembles."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtr

import qpsim
from qpsim import noise, theory
from qpsim.errors import MethodError, ProblemError, StepSizeError
from qpsim.theory import momentum_lattice

H = np.array([2.0, 0.5, 1.0, 0.0])
THETA0 = np.array([1.0, -2.0, 0.3, 1.0])


def with_momentum(mu, name="m-ssd"):
    return qpsim.method(name, momentum=mu)


def test_without_momentum_it_is_sign_descent():
    p = qpsim.QuadraticProblem(H, noise_std=0.7)
    exact = theory.expected_excess_loss(p, "ssd", THETA0, 0.1, 50, pruning=0.0)
    found = theory.expected_excess_loss(p, with_momentum(0.0), THETA0, 0.1, 50)
    np.testing.assert_allclose(found, exact, rtol=1e-10)


@pytest.mark.parametrize("mu", [0.3, 0.9])
def test_two_steps_are_an_integral_over_the_first_gradient(mu):
    p = qpsim.QuadraticProblem([1.5], noise=noise.white(0.8))
    q, sigma, e, step = 1.5, 0.8, 0.6, 0.25
    found = theory.expected_excess_loss(p, with_momentum(mu), [e], step, 2)

    def after_two(g, down):
        at = e - step if down else e + step
        up = ndtr(-(mu * g + q * at) / sigma)
        density = math.exp(-0.5 * ((g - q * e) / sigma) ** 2) / math.sqrt(2 * math.pi) / sigma
        return density * 0.5 * q * ((1 - up) * (at - step) ** 2 + up * (at + step) ** 2)

    tight = {"epsabs": 1e-13, "epsrel": 1e-13}
    below = quad(after_two, q * e - 12 * sigma, 0.0, (False,), **tight)[0]
    above = quad(after_two, 0.0, q * e + 12 * sigma, (True,), **tight)[0]
    assert found[2] == pytest.approx(below + above, rel=1e-9)


@pytest.mark.parametrize(
    ("mu", "level"), [(0.5, 1.0), (0.9, 0.5), pytest.param(0.95, 3.0, marks=pytest.mark.long)]
)
def test_an_ensemble_agrees_within_four_standard_errors(mu, level):
    # The noise of coordinates may be correlated: each one's walk has a law of its own.
    factor = level * np.array([[1.0], [0.5], [1.0], [0.2]])
    p = qpsim.QuadraticProblem(H, noise=noise.low_rank(factor, level**2 * np.full(4, 0.2)))
    n, method = 4000, with_momentum(mu)
    risk, error = theory.expected_excess_loss(p, method, THETA0, 0.1, 60, return_error_bound=True)
    run = qpsim.simulate(p, method, 0.1, 60, n, THETA0, rng=3, workers=1, record=())
    deviation = run.excess_loss.std(axis=0, ddof=1)[1:] / math.sqrt(n)
    z = (run.excess_loss.mean(axis=0) - risk)[1:] / deviation
    assert np.abs(z[[0, 1, 4, 9, 19, 39, 59]]).max() < 4.0
    assert error.max() < 1e-6 * risk.max()
    # What momentum changes is many standard errors.
    plain = theory.expected_excess_loss(p, "ssd", THETA0, 0.1, 60)[1:]
    assert (np.abs(plain - risk[1:]) / deviation).max() > 15.0


def test_signum_moves_like_it():
    p = qpsim.QuadraticProblem(H, noise_std=0.7)
    same = [
        theory.expected_excess_loss(p, with_momentum(0.8, name), THETA0, 0.1, 20)
        for name in ("m-ssd", "signum")
    ]
    np.testing.assert_array_equal(*same)


def test_a_finer_quadrature_changes_nothing(monkeypatch):
    p = qpsim.QuadraticProblem(H, noise_std=0.7)
    usual = theory.expected_excess_loss(p, with_momentum(0.9), THETA0, 0.1, 40)
    monkeypatch.setattr(momentum_lattice, "_PIECE", 1.0)
    monkeypatch.setattr(momentum_lattice, "_SPACING", 0.1)
    monkeypatch.setattr(momentum_lattice, "_LOST", 1e-12)
    finer = theory.expected_excess_loss(p, with_momentum(0.9), THETA0, 0.1, 40)
    np.testing.assert_allclose(usual, finer, rtol=1e-9)


def test_a_range_that_loses_mass_is_widened(monkeypatch):
    p = qpsim.QuadraticProblem([1.0], noise_std=1.0)
    usual = theory.expected_excess_loss(p, with_momentum(0.9), [1.0], 0.1, 30)
    monkeypatch.setattr(momentum_lattice, "_REACH", 2.0)
    found = theory.expected_excess_loss(p, with_momentum(0.9), [1.0], 0.1, 30)
    np.testing.assert_allclose(found, usual, rtol=1e-6)


def test_without_noise_it_is_the_one_path():
    p = qpsim.QuadraticProblem([2.0, 0.5], noise_std=0.0)
    run = qpsim.simulate(p, with_momentum(0.7), 0.13, 40, 1, [1.0, -2.0], rng=0, workers=1)
    found = theory.expected_excess_loss(p, with_momentum(0.7), [1.0, -2.0], 0.13, 40)
    np.testing.assert_allclose(found, run.excess_loss[0], rtol=1e-12)
    still = theory.expected_excess_loss(p.with_noise(1.0), with_momentum(0.7), [1.0, 1.0], 0.0, 3)
    np.testing.assert_array_equal(still, 1.25)


def test_the_risk_of_an_average_is_refused():
    p = qpsim.QuadraticProblem(H, noise_std=0.7)
    with pytest.raises(MethodError, match="not for m-ssd"):
        theory.expected_excess_loss(p, "m-ssd", THETA0, 0.1, 3, average={"ema": 0.9})


DENSE = qpsim.QuadraticProblem([[2.0, 0.5], [0.5, 1.0]])
TAILS = qpsim.QuadraticProblem([1.0, 2.0], noise=noise.white(1.0, df=3.0))
FAR = qpsim.QuadraticProblem([1.0, 2.0], noise_std=1e-3)


@pytest.mark.parametrize(
    ("p", "step", "error_class", "sentence"),
    [
        (DENSE, 0.1, ProblemError, "m-ssd needs a diagonal Hessian"),
        (DENSE.with_noise(0.0).preconditioned(1.0), 0.1, ProblemError, "diagonal"),
        (TAILS, 0.1, MethodError, "Gaussian noise only"),
        (FAR, 0.1, ProblemError, "too large for its noise"),
        (FAR.with_noise(1.0), [0.1, 0.2], StepSizeError, "one constant step"),
    ],
)
def test_a_bad_question_gets_its_own_sentence(p, step, error_class, sentence):
    with pytest.raises(error_class, match=sentence) as error:
        theory.expected_excess_loss(p, "m-ssd", [1.0, 1.0], step, 2)
    assert "\n" not in str(error.value)
