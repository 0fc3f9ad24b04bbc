"""The exact step against brute quadrature and Monte Carlo; every policy's checks."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qpsim
from qpsim.errors import StepSizeError
from qpsim.simulation.stepsize import resolve
from tests import naive

NOISES = (0.01, 0.1, 4.0)


def first_step(problem, method, theta0, policy="optimal", **more):
    """The first step size of each row of theta0: given the state, it is not random."""
    r = qpsim.simulate(
        problem,
        method,
        policy,
        n_steps=1,
        n_replicates=len(theta0),
        theta0=theta0,
        rng=0,
        workers=1,
        **more,
    )
    return r.step_size[:, 0]


def distances(problem, rng=5):
    """Points at several distances from the optimum, from far beyond to within the noise."""
    stream = np.random.Generator(np.random.PCG64(rng))
    return np.array([problem.optimum + c * stream.normal(size=problem.dim) for c in (30, 1, 0.05)])


def largest_correlation(problem):
    r = problem.gradient_correlation()
    return float(np.abs(r - np.eye(problem.dim)).max())


def plain_nodes(r):
    """64 Gauss-Legendre nodes and weights on [0, asin r]."""
    top = np.arcsin(r)[:, None]
    return top * (naive.NODES + 1.0) / 2.0, top * naive.WEIGHTS / 2.0


def graded_nodes(r):
    """64 nodes crowded towards pi/2, where the integrand of a strong correlation changes fast."""
    low, high = np.arccos(np.abs(r))[:, None] ** (1 / 6), (np.pi / 2) ** (1 / 6)
    y = low + (high - low) * (naive.NODES + 1.0) / 2.0
    sign = np.sign(r)[:, None]
    return sign * (np.pi / 2 - y**6), sign * 3.0 * y**5 * (high - low) * naive.WEIGHTS


def sign_form(problem, mean, scale, nodes=plain_nodes):
    """As naive.problem_sign_form, all pairs at once: still 64 nodes for every pair."""
    q, r = problem.hessian, problem.gradient_correlation()
    i, j = np.triu_indices(problem.dim, 1)
    a = mean / problem.gradient_std()
    t, weights = nodes(r[i, j])
    x, y = a[i][:, None], a[j][:, None]
    inside = np.exp(-(x * x + y * y - 2.0 * x * y * np.sin(t)) / (2.0 * np.cos(t) ** 2))
    integral = (inside * weights).sum(axis=1)
    e = np.array([math.erf(v / math.sqrt(2.0)) for v in a])
    pairs = q[i, j] * scale[i] * scale[j] * (e[i] * e[j] + 2.0 / math.pi * integral)
    return float(np.sum(np.diag(q) * scale**2) + 2.0 * pairs.sum()), scale * e


def test_the_vectorised_quadrature_is_the_loop_twin():
    p = qpsim.random_problem("structured", dim=6, noise_std=0.3, rng=2)
    theta = p.optimum + 0.2
    scale = np.linspace(0.5, 2.0, 6)
    slow = naive.problem_sign_form(p, 0.3, p.gradient(theta), scale)
    for nodes in (plain_nodes, graded_nodes):
        fast, _ = sign_form(p, p.gradient(theta), scale, nodes)
        assert fast == pytest.approx(slow, rel=1e-12)


@pytest.mark.parametrize("noise_std", NOISES)
@pytest.mark.parametrize(("spectrum", "dim"), [("mild", 10), ("mild", 100), ("structured", 100)])
@pytest.mark.parametrize("method", ["ssd", "va-ssd"])
def test_the_exact_sign_step_is_that_of_64_nodes(spectrum, dim, noise_std, method):
    p = qpsim.random_problem(spectrum, dim, noise_std=noise_std, rng=7)
    starts = distances(p)
    steps = first_step(p, method, starts)
    for theta, step in zip(starts, steps, strict=True):
        grad = p.gradient(theta)
        eta = p.gradient_std() / grad
        scale = np.ones(dim) if method == "ssd" else 1.0 / np.sqrt(1.0 + eta**2)
        form, mean = sign_form(p, grad, scale)
        assert step == pytest.approx(grad @ mean / form, rel=1e-9)


@pytest.mark.parametrize("noise_std", NOISES)
@pytest.mark.parametrize("dim", [3, 20])
def test_strong_correlations_keep_nine_digits(dim, noise_std):
    values = np.r_[np.full(dim - 1, 0.3), 50.0]
    p = qpsim.random_problem(values, noise_std=noise_std, rng=1)
    assert largest_correlation(p) > 0.9
    starts = distances(p)
    for theta, step in zip(starts, first_step(p, "ssd", starts), strict=True):
        grad = p.gradient(theta)
        form, mean = sign_form(p, grad, np.ones(dim))
        assert step == pytest.approx(grad @ mean / form, rel=1e-9)


def test_the_structured_problem_of_the_paper_is_strongly_correlated():
    assert largest_correlation(qpsim.random_problem("structured", 100, rng=7)) > 0.9


MONTE_CARLO = [
    pytest.param(method, basis, noise, marks=[pytest.mark.long] * (method == "va-ssd-erf"))
    for method in ("sgd", "svag", "ssd", "va-ssd", "va-ssd-erf")
    for basis in ("axis", "haar")
    for noise in (0.1, 4.0)
]


@pytest.mark.parametrize(("method", "basis", "noise_std"), MONTE_CARLO)
def test_the_step_is_within_four_standard_errors_of_monte_carlo(method, basis, noise_std):
    p = qpsim.random_problem("structured", 10, basis, noise_std, scale=1.0, rng=4)
    theta = p.optimum + np.random.Generator(np.random.PCG64(0)).normal(size=10)
    n = 40_000
    stream = np.random.Generator(np.random.PCG64(1))
    draws = p.gradient(theta) - p.matvec(noise_std * stream.normal(size=(n, 10)))
    grad, std = p.gradient(theta), p.gradient_std()
    factors = [naive.adaptation(method, m, s * s) for m, s in zip(grad, std, strict=True)]
    z = np.array(factors) * (np.sign(draws) if method in naive.SIGN_METHODS else draws)
    (step,) = first_step(p, method, theta[None])
    # alpha E[z^T Q z] = grad^T E[z]: the mean of the difference must vanish.
    difference = step * np.sum(z * p.matvec(z), axis=1) - z @ grad
    error = difference.std() / math.sqrt(n)
    assert abs(difference.mean()) <= 4.0 * error + 1e-12 * abs(grad @ z.mean(axis=0))
    assert error < 0.05 * abs(z @ grad).mean()


@pytest.mark.parametrize("basis", ["axis", "haar"])
@pytest.mark.parametrize("method", ["sgd", "ssd", "va-ssd"])
def test_without_noise_the_exact_step_minimises_along_the_direction(method, basis):
    p = qpsim.random_problem("structured", 20, basis, 0.0, rng=4)
    starts = distances(p)
    for theta, step in zip(starts, first_step(p, method, starts), strict=True):
        grad = p.gradient(theta)
        z = grad if method == "sgd" else np.sign(grad)
        assert step == pytest.approx(grad @ z / (z @ p.matvec(z)), rel=1e-13)


@pytest.mark.parametrize("basis", ["axis", "haar"])
def test_small_noise_tends_to_no_noise(basis):
    p = qpsim.random_problem("structured", 20, basis, 0.0, rng=4)
    starts = distances(p)
    exact = first_step(p, "ssd", starts)
    for noise_std in (1e-12, 1e-200, 1e-310):
        # One coordinate of the gradient vanishes beside its noise: the rest decides.
        np.testing.assert_allclose(
            first_step(p.with_noise(noise_std), "ssd", starts), exact, rtol=1e-9
        )


def test_the_bound_is_exact_on_a_diagonal_problem_and_smaller_on_a_dense_one():
    for basis in ("axis", "haar"):
        p = qpsim.random_problem("mild", 30, basis, 0.5, rng=4)
        starts = distances(p)
        optimal, bound = (first_step(p, "ssd", starts, policy) for policy in ("optimal", "bound"))
        if basis == "axis":
            np.testing.assert_array_equal(optimal, bound)
        else:
            assert (bound < optimal).all()


@pytest.mark.parametrize("policy", ["optimal", "bound", "line-search"])
@pytest.mark.parametrize(
    "method",
    ["sgd", "ssd", "svag", "va-ssd", pytest.param("va-ssd-erf", marks=pytest.mark.long), "m-ssd"],
)
@pytest.mark.parametrize("basis", ["axis", "haar"])
@pytest.mark.parametrize("noise_std", [0.0, 0.3])
def test_a_vanishing_gradient_makes_no_nan(basis, method, policy, noise_std):
    p = qpsim.random_problem([1.0, 2.0, 5.0], basis=basis, noise_std=noise_std, rng=0)
    at_optimum = p.optimum
    one_zero = p.optimum + np.linalg.solve(
        np.diag(p.hessian) if p.is_diagonal else p.hessian, [0.0, 1.0, -2.0]
    )
    starts = np.array([at_optimum, one_zero])
    r = qpsim.simulate(
        p, method, policy, n_steps=5, n_replicates=2, theta0=starts, rng=0, workers=1
    )
    assert np.isfinite(r.excess_loss).all() and np.isfinite(r.step_size).all()
    if noise_std == 0.0:
        assert r.excess_loss[0, -1] < 1e-20
        assert r.excess_loss[1, 1] < r.excess_loss[1, 0]


def test_a_schedule_is_called_with_one_to_n_and_kept():
    seen = []

    def schedule(t):
        seen.append(t)
        return 1.0 / t

    policy = resolve(schedule, 4)
    assert seen == [1, 2, 3, 4] and policy.name == "schedule"
    np.testing.assert_array_equal(policy.given, 1.0 / np.arange(1, 5))


@given(st.floats(min_value=0, allow_infinity=False, allow_nan=False), st.integers(1, 5))
@settings(deadline=None)
def test_any_finite_step_is_a_constant(value, n_steps):
    policy = resolve(value, n_steps)
    assert policy.name == "constant" and (policy.given == value).all()
    assert policy.given.shape == (n_steps,)


BAD_STEPS = [
    None,
    True,
    -1.0,
    math.nan,
    math.inf,
    1j,
    np.array(1j),
    "0.1",
    ["0.1", "0.2", "0.3"],
    {"a": 1},
    [[0.1, 0.2, 0.3]],
    [0.1, 0.2],
    [0.1, -0.2, 0.3],
    [],
    b"0.1",
    lambda t: math.nan,
    lambda t: -1.0,
    lambda t: "a",
    lambda t: None,
    lambda t: 1.0 / (t - 2),
    lambda: 1.0,
]


@pytest.mark.parametrize("bad", BAD_STEPS, ids=lambda bad: repr(bad)[:20])
def test_a_step_that_is_none_is_refused_in_one_sentence(bad):
    with pytest.raises(StepSizeError) as error:
        resolve(bad, 3)
    assert "\n" not in str(error.value)


def test_messages_say_what_would_be_right():
    with pytest.raises(StepSizeError, match="did you mean 'optimal'"):
        resolve("optimum", 3)
    with pytest.raises(StepSizeError, match="2 step sizes were given for 3 steps"):
        resolve([0.1, 0.2], 3)
    with pytest.raises(StepSizeError, match="failed at t = 2"):
        resolve(lambda t: 1.0 / (2 - t), 3)


# The structured spectrum at both ends of the noise and the mild one between them; the others are alike.
ALONG = (("mild", 0.1), ("structured", 0.01), ("structured", 4.0))


@pytest.mark.parametrize(
    ("spectrum", "noise_std"),
    [
        pytest.param(*case, marks=pytest.mark.long if case in ALONG else pytest.mark.exhaustive)
        for case in itertools.product(("mild", "structured"), NOISES)
    ],
)
@pytest.mark.parametrize("method", ["ssd", "va-ssd", "va-ssd-erf", "m-ssd", "svag", "m-sgd"])
def test_along_a_run_no_other_multiple_of_the_exact_step_is_better(method, spectrum, noise_std):
    # Eq. 11 minimises the expected loss given the state: with all replicates at one state, the mean
    # loss after one step is a parabola in the step, its minimum at 1 within the standard error.
    p = qpsim.random_problem(spectrum, 30, noise_std=noise_std, scale=2.0, rng=6)
    theta = p.optimum + np.random.Generator(np.random.PCG64(1)).normal(size=30)
    n = 200_000
    (step,) = first_step(p, method, theta[None])
    losses = {}
    for factor in (0.5, 1.0, 1.5):
        r = qpsim.simulate(
            p, method, factor * step, n_steps=1, n_replicates=n, theta0=theta, rng=2, record=()
        )
        losses[factor] = r.excess_loss[:, 1]
    # Central difference of a parabola: its slope at 1.
    slope = losses[1.5] - losses[0.5]
    curvature = (losses[1.5] - 2.0 * losses[1.0] + losses[0.5]).mean()
    assert curvature > 0.0
    assert abs(slope.mean()) <= 4.0 * slope.std() / math.sqrt(n) + 1e-9 * losses[1.0].mean()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("dim", [2, 17, 60])
def test_the_exact_sign_step_keeps_nine_digits_on_many_problems(dim, seed):
    draws = np.random.Generator(np.random.PCG64(seed))
    values = np.exp(draws.uniform(-6.0, 6.0, dim))
    p = qpsim.random_problem(values, basis=float(draws.random()), rng=seed)
    for noise_std in NOISES:
        noisy = p.with_noise(noise_std)
        starts = distances(noisy, seed)
        for theta, step in zip(starts, first_step(noisy, "ssd", starts), strict=True):
            form, mean = sign_form(noisy, noisy.gradient(theta), np.ones(dim), graded_nodes)
            assert step == pytest.approx(noisy.gradient(theta) @ mean / form, rel=1e-9)
