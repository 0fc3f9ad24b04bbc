"""Results do not depend on the units, the basis or the form of a problem."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qpsim
from qpsim.methods.rule import rule

DIM = 6
SPECTRUM = np.linspace(0.4, 5.0, DIM)


@rule(closed_form="linear", offset=lambda buffer, t, momentum: momentum * buffer)
def dense_m_sgd(gradient, buffer, t, momentum=0.9):
    """Heavy-ball momentum that does not say it commutes with rotations: it runs in the given coordinates."""
    buffer = momentum * buffer + gradient
    return buffer, buffer


def run(problem, method, step_size="optimal", **more):
    options = {"n_steps": 10, "n_replicates": 70, "rng": 3, "workers": 1, "record": ("theta",)}
    return qpsim.simulate(problem, method, step_size, **{**options, **more})


@pytest.mark.parametrize("policy", ["optimal", "bound", "line-search", 0.1])
def test_gradient_descent_is_the_same_in_the_eigenbasis(policy):
    p = qpsim.random_problem(SPECTRUM, basis="haar", noise_std=0.5, rng=1)
    fast, slow = run(p, "m-sgd", policy), run(p, dense_m_sgd, policy)
    np.testing.assert_allclose(fast.excess_loss, slow.excess_loss, rtol=1e-8)
    np.testing.assert_allclose(fast.theta, slow.theta, rtol=1e-8, atol=1e-9)


def test_a_rotated_problem_moves_as_the_diagonal_one():
    rotated = qpsim.random_problem(SPECTRUM, basis="haar", noise_std=0.5, rng=1)
    v = rotated.eigenvectors
    straight = qpsim.QuadraticProblem(SPECTRUM, v.T @ rotated.optimum, 0.5)
    a, b = run(rotated, "sgd"), run(straight, "sgd")
    np.testing.assert_allclose(a.excess_loss, b.excess_loss, rtol=1e-9)
    np.testing.assert_allclose(a.theta @ v, b.theta, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", ["sgd", "ssd", "svag", "va-ssd", "m-ssd", "adam"])
def test_the_order_of_coordinates_does_not_matter_without_noise(method):
    order = np.random.Generator(np.random.PCG64(0)).permutation(DIM)
    step_size = 0.1 if method == "adam" else "optimal"
    for basis in ("axis", "haar"):
        p = qpsim.random_problem(SPECTRUM, basis=basis, noise_std=0.0, rng=1)
        q = p.hessian[order] if p.is_diagonal else p.hessian[np.ix_(order, order)]
        again = qpsim.QuadraticProblem(q, p.optimum[order], 0.0)
        a = run(p, method, step_size, n_replicates=1, n_steps=4)
        b = run(again, method, step_size, n_replicates=1, n_steps=4)
        np.testing.assert_allclose(a.excess_loss, b.excess_loss, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(a.theta[..., order], b.theta, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", ["sgd", "ssd", "va-ssd"])
@pytest.mark.parametrize("basis", ["axis", "haar"])
def test_the_exact_step_does_not_depend_on_the_order_of_coordinates(basis, method):
    order = np.random.Generator(np.random.PCG64(0)).permutation(DIM)
    p = qpsim.random_problem(SPECTRUM, basis=basis, noise_std=0.7, rng=1)
    q = p.hessian[order] if p.is_diagonal else p.hessian[np.ix_(order, order)]
    again = qpsim.QuadraticProblem(q, p.optimum[order], 0.7)
    one = {"n_steps": 1, "n_replicates": 1, "record": ("step_size",)}
    np.testing.assert_allclose(
        run(p, method, **one).step_size, run(again, method, **one).step_size, rtol=1e-9
    )


@given(st.floats(1e-3, 1e3))
@settings(deadline=None, max_examples=20)
def test_without_noise_the_loss_scales_with_the_square_of_the_initial_error(factor):
    for basis in ("axis", "haar"):
        p = qpsim.random_problem(SPECTRUM, basis=basis, noise_std=0.0, rng=1)
        far = p.with_optimum(factor * p.optimum)
        for method in ("sgd", "ssd", "m-sgd"):
            a = run(p, method, n_replicates=1, n_steps=4, record=("step_size",))
            b = run(far, method, n_replicates=1, n_steps=4, record=("step_size",))
            np.testing.assert_allclose(b.excess_loss, factor**2 * a.excess_loss, rtol=1e-8)
            power = 1.0 if method == "ssd" else 0.0
            np.testing.assert_allclose(b.step_size, factor**power * a.step_size, rtol=1e-7)


@given(st.integers(0, 2**32), st.sampled_from(["ssd", "m-ssd"]))
@settings(deadline=None)
def test_a_sign_does_not_see_positive_scales_of_coordinates(seed, name):
    draws = np.random.Generator(np.random.PCG64(seed))
    scales = np.exp(draws.normal(scale=5.0, size=DIM))
    method = qpsim.method(name)
    plain = scaled = method.initial_state(DIM)
    for _ in range(4):
        g = draws.normal(size=DIM)
        direction, plain = method.update(g, plain)
        again, scaled = method.update(scales * g, scaled)
        np.testing.assert_array_equal(direction, again)


@pytest.mark.parametrize("method", ["sgd", "ssd", "svag", "va-ssd", "m-ssd"])
@pytest.mark.parametrize("basis", ["axis", "haar"])
def test_start_and_optimum_may_move_together(basis, method):
    p = qpsim.random_problem(SPECTRUM, basis=basis, noise_std=0.4, rng=1)
    # Powers of two keep theta0 - optimum free of rounding, so that no sign can flip.
    optimum = np.round(p.optimum * 64) / 64
    shift = 2.0 ** np.arange(DIM)
    a = run(p.with_optimum(optimum), method)
    b = run(p.with_optimum(optimum + shift), method, theta0=shift)
    np.testing.assert_array_equal(a.excess_loss, b.excess_loss)
    np.testing.assert_allclose(a.theta + shift, b.theta, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("method", ["ssd", "svag", "va-ssd"])
def test_noise_and_distance_in_one_unit(method):
    # All lengths times c: optimum, noise and theta; the loss times c^2.
    p = qpsim.random_problem(SPECTRUM, basis="haar", noise_std=0.4, rng=1)
    a = run(p, method, n_replicates=5)
    b = run(p.with_optimum(8.0 * p.optimum).with_noise(8 * 0.4), method, n_replicates=5)
    np.testing.assert_allclose(b.excess_loss, 64.0 * a.excess_loss, rtol=1e-9)


@pytest.mark.parametrize("method", ["sgd", "ssd", "svag"])
def test_a_diagonal_problem_is_the_limit_of_dense_ones(method):
    straight = qpsim.QuadraticProblem(SPECTRUM, np.arange(1.0, DIM + 1), 0.4)
    v = np.eye(DIM)
    c, s = np.cos(1e-12), np.sin(1e-12)
    v[:2, :2] = [[c, -s], [s, c]]
    dense = qpsim.QuadraticProblem.from_eigenbasis(SPECTRUM, v, straight.optimum, 0.4)
    assert not dense.is_diagonal
    a, b = run(straight, method), run(dense, method)
    np.testing.assert_allclose(a.excess_loss, b.excess_loss, rtol=1e-8)
