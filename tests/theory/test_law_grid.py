"""Adam-like rules on a grid: limits that are known exactly, ensembles, and an error that falls with the spacing."""

from itertools import pairwise

import numpy as np
import pytest

import qpsim
from qpsim import noise, theory
from qpsim.errors import MethodError, PrecisionWarning, ProblemError
from qpsim.theory import law_grid

P = qpsim.QuadraticProblem([0.4, 2.0], optimum=[0.3, -1.0], noise_std=0.5)
THETA0 = [2.3, -1.4]


def risk(method, step, n_steps, problem=P, theta0=THETA0):
    return theory.expected_excess_loss(
        problem, method, theta0, step, n_steps, return_error_bound=True
    )


def test_without_memory_it_is_sign_descent():
    exact = theory.expected_excess_loss(P, "ssd", THETA0, 0.1, 15)
    found, error = risk(qpsim.method("rmsprop", decay=0.0, eps=0.0), 0.1, 15)
    np.testing.assert_allclose(found, exact, rtol=1e-3)
    # Its law sits on a lattice, and its state jumps: what smoothness would give is not to be had.
    assert (np.abs(found - exact) <= 3.0 * error + 1e-6 * exact).all()


@pytest.mark.parametrize("name", ["rmsprop", pytest.param("adam", marks=pytest.mark.long)])
def test_with_a_large_epsilon_it_is_linear(name):
    # z is the gradient, or its average, over epsilon.
    large = {"rmsprop": {"decay": 0.9}, "adam": {"b1": 0.0, "b2": 0.9}}[name]
    found, error = risk(qpsim.method(name, eps=1e7, **large), 0.3e7, 15)
    exact = theory.expected_excess_loss(P, "sgd", THETA0, 0.3, 15)
    np.testing.assert_allclose(found, exact, rtol=1e-6)
    assert (error < 1e-6 * exact).all()


def within(method, step, n_steps, n_replicates=4000, problem=P):
    """|mean of an ensemble - risk| over what it may be: 4 standard errors and the grid's error."""
    found, error = risk(method, step, n_steps, problem)
    losses = qpsim.simulate(
        problem, method, step, n_steps, n_replicates, THETA0, rng=5, record=()
    ).excess_loss
    # What less than one replicate in the ensemble does, its standard error does not know.
    allowed = 4.0 * losses.std(axis=0) / np.sqrt(n_replicates) + error + 1e-4 * found
    assert (error < 0.12 * found).all()
    assert (allowed[1:] < 0.17 * found[1:]).all()
    return np.max(np.abs(losses.mean(axis=0) - found) / allowed)


def test_an_ensemble_of_rmsprop_agrees():
    assert within("rmsprop", 0.05, 40) < 1.0


@pytest.mark.long
def test_an_ensemble_of_adam_agrees():
    assert within("adam", 0.1, 14, problem=P.with_noise(0.3)) < 1.0


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::qpsim.errors.PrecisionWarning")
@pytest.mark.parametrize("noise_std", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("name", sorted(law_grid.STATES))
def test_ensembles_of_all_agree(name, noise_std):
    step = {"adagrad": 0.5, "m-svag": 0.3, "svag-ema": 0.3}.get(name, 0.1)
    assert within(name, step, 60, 20_000, P.with_noise(noise_std)) < 1.0


def all_gradients(method, curvature, std, offset, step, n_steps):
    """Expected losses after each step of one coordinate: a quadrature over every gradient, cut where it vanishes."""
    nodes, weights = np.polynomial.legendre.leggauss(10)
    points, losses = [((offset, *(0.0 for _ in method.state_names)), 1.0)], []
    for t in range(1, n_steps + 1):
        after = []
        for (e, *state), mass in points:
            zero = -curvature * e / std
            edges = np.unique(np.clip([-7.0, -3.0, -1.0, 1.0, 3.0, 7.0, zero], -7.0, 7.0))
            for low, high in pairwise(edges):
                half = 0.5 * (high - low)
                for x, w in zip(0.5 * (low + high) + half * nodes, half * weights, strict=True):
                    share = w * np.exp(-0.5 * x * x) / np.sqrt(2.0 * np.pi)
                    gradient = curvature * e + std * x
                    z, *new = method.rule.function(gradient, *state, float(t), *method.hyper)
                    after.append(((e - step * z, *new), mass * share))
        points = after
        losses.append(sum(0.5 * curvature * e**2 * mass for (e, *_), mass in points))
    return np.array(losses)


@pytest.mark.parametrize(
    "name",
    [
        *("adam", "adam*", "rmsprop"),
        *(pytest.param(name, marks=pytest.mark.long) for name in ("adabelief", "m-svag")),
    ],
)
def test_the_first_steps_agree_with_a_quadrature_over_all_gradients(name):
    # The gradient's mean is 4 standard deviations from 0: one run in 30 000 sets out the other way, which an ensemble
    # of less has not, with no standard error to say so. It makes 5e-5 of the loss.
    method = qpsim.method(name)
    exact = all_gradients(method, 2.0, 0.2, 0.4, 0.1, 2)
    found, error = law_grid.grid_risk(
        qpsim.QuadraticProblem([2.0], noise_std=0.1), method, np.array([0.4]), np.full(2, 0.1)
    )
    assert found[1] == pytest.approx(exact[0], rel=1e-7)
    assert abs(found[2] - exact[1]) <= error[2] + 1e-5 * exact[1]


def test_the_first_sign_of_adam_star_is_that_of_the_gradient():
    # Its squares are all 0 after one step, whatever the gradient: that it turns shows in its direction alone.
    star = law_grid.grid_risk(P, qpsim.method("adam*"), np.array([2.0, -0.4]), np.full(1, 0.2))[0]
    signs = theory.expected_excess_loss(P, "ssd", THETA0, 0.2, 1)
    np.testing.assert_allclose(star, signs, rtol=1e-9)


@pytest.mark.long
def test_an_ensemble_with_a_schedule_agrees():
    steps = 0.2 / np.sqrt(np.arange(1.0, 31.0))
    assert within(qpsim.method("adam", b1=0.8, b2=0.95, eps=0.1), steps, 30, 20_000) < 1.0


def test_the_error_falls_with_the_spacing():
    at = law_grid._Coordinate(1.0, 1.0, 1.5)
    steps = np.full(30, 0.1)
    method = qpsim.method("rmsprop")
    fine, twice, often = (
        law_grid._followed(at, method, steps, part)[0] for part in (0.4, 0.8, 1.6)
    )
    assert np.abs(twice - fine).max() < 0.25 * np.abs(often - fine).max()


def test_without_noise_it_is_the_one_path():
    still = P.with_noise(0.0)
    steps = np.array([0.3, 0.1, 0.05])
    run = qpsim.simulate(still, "rmsprop", steps, 3, 1, THETA0, rng=0)
    np.testing.assert_allclose(risk("rmsprop", steps, 3, still)[0], run.excess_loss[0], rtol=1e-12)


def test_steps_of_0_and_directions_without_curvature_move_nothing():
    flat = qpsim.QuadraticProblem([1.0, 0.0, 1.0], noise=noise.white(1.0))
    found, _ = risk("rmsprop", 0.0, 3, flat, [1.0, 5.0, -1.0])
    np.testing.assert_allclose(found, 1.0, rtol=1e-9)
    moving, _ = risk("rmsprop", 0.1, 3, flat, [1.0, 5.0, -1.0])
    alone = risk("rmsprop", 0.1, 3, qpsim.QuadraticProblem([1.0], noise_std=1.0), [1.0])[0]
    np.testing.assert_allclose(moving, 2.0 * alone, rtol=1e-12)


def test_a_grid_that_is_too_coarse_says_so(monkeypatch):
    monkeypatch.setattr(law_grid, "_PART", 6.0)
    monkeypatch.setattr(law_grid, "_LONGEST", 6.0)
    with pytest.warns(PrecisionWarning, match="The risk of rmsprop is known to some"):
        risk("rmsprop", 0.1, 30)


def test_what_is_not_known_is_refused(monkeypatch):
    dense = qpsim.QuadraticProblem([[2.0, 1.0], [1.0, 3.0]], noise_std=1.0)
    with pytest.raises(ProblemError, match=r"risk of adam needs a diagonal Hessian.*simulate"):
        risk("adam", 0.1, 3, dense)
    heavy = qpsim.QuadraticProblem([1.0, 2.0], noise=noise.white(1.0, df=3.0))
    with pytest.raises(MethodError, match="Gaussian noise only"):
        risk("adam", 0.1, 3, heavy)
    monkeypatch.setattr(law_grid, "_MOST_IMAGES", 1000)
    with pytest.raises(ProblemError, match=r"law of rmsprop would take .* use qpsim\.simulate"):
        risk("rmsprop", 0.1, 5)
