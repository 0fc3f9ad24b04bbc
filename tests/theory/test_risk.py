"""Exact risk against the full covariance recursion, dictionaries of sites, and runs."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qpsim
from qpsim import theory
from qpsim.errors import (
    DivergenceWarning,
    MethodError,
    ProblemError,
    StepSizeError,
    TheoryError,
)
from tests import naive

THETA0 = np.array([1.0, -2.0, 0.5, 3.0])
SCHEDULE = np.repeat([0.3, 0.1, 0.02], 4)


@qpsim.rule(closed_form="linear", offset=lambda m, t, b: b * m / (1.0 - b), equivariant=True)
def corrected_average(gradient, m, t, b=0.8):
    """A user's rule whose coefficients change with t: a bias-corrected moving average."""
    m = b * m + (1.0 - b) * gradient
    return m / (1.0 - b**t), m


def dense(noise_std=0.7):
    return qpsim.random_problem([0.3, 1.0, 2.0, 4.0], noise_std=noise_std, scale=1.0, rng=3)


def diagonal(noise_std=0.7):
    return qpsim.QuadraticProblem([0.3, 1.0, 2.0, 4.0], [0.1, 0.2, 0.0, -1.0], noise_std)


@pytest.mark.parametrize("make", [dense, diagonal])
@pytest.mark.parametrize("steps", [0.2, SCHEDULE])
@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_sgd_and_heavy_ball_are_the_full_covariance_recursion(make, steps, noise):
    p, n = make(noise), 12
    each = np.broadcast_to(steps, n)
    for method, mu in (("sgd", 0.0), (qpsim.method("m-sgd", momentum=0.8), 0.8)):
        exact = theory.expected_excess_loss(p, method, THETA0, steps, n)
        twin = naive.linear_risk(p, (1.0, mu), (1.0, mu), THETA0, each)
        assert np.allclose(exact, twin, rtol=1e-11, atol=0)


def test_a_users_equivariant_rule_has_an_exact_risk():
    p, n, b = dense(), 12, 0.8
    exact = theory.expected_excess_loss(p, corrected_average(), THETA0, 0.3, n)
    # By draws: its direction is no fixed multiple of (g, m), so the twin above does not fit.
    t = iter(range(1, n + 1))

    def direction(g, _, m):
        m = b * m + (1 - b) * g
        return m / (1 - b ** next(t)), m

    runs, _ = naive.run(p, direction, THETA0, [0.3] * n, 40_000, np.random.default_rng(5))
    error = runs.std(axis=0) / np.sqrt(len(runs))
    assert np.all(np.abs(runs.mean(axis=0) - exact) <= 4 * error + 1e-12)
    # At the first step the average is the gradient itself.
    assert exact[1] == pytest.approx(theory.expected_excess_loss(p, "sgd", THETA0, 0.3, 1)[1])


@pytest.mark.parametrize("name", ["sgd", "m-sgd", "ssd"])
def test_risk_is_the_mean_of_runs(name):
    p, n = diagonal() if name == "ssd" else dense(), 15
    direction = {
        "sgd": lambda g, _, r: (g, r),
        "m-sgd": lambda g, _, r: (0.9 * r + g, 0.9 * r + g),
        "ssd": lambda g, _, r: (np.sign(g), r),
    }[name]
    runs, _ = naive.run(p, direction, THETA0, [0.15] * n, 40_000, np.random.default_rng(6))
    exact = theory.expected_excess_loss(p, name, THETA0, 0.15, n)
    error = runs.std(axis=0) / np.sqrt(len(runs))
    assert np.all(np.abs(runs.mean(axis=0) - exact) <= 4 * error + 1e-12)


def test_a_schedule_may_be_a_number_an_array_or_a_function_from_step_1():
    p = dense()
    one = theory.expected_excess_loss(p, "m-sgd", THETA0, [0.1, 0.05, 0.05], 3)
    same = theory.expected_excess_loss(p, "m-sgd", THETA0, lambda t: 0.1 if t == 1 else 0.05, 3)
    assert np.array_equal(one, same) and one.shape == (4,)
    assert one[0] == pytest.approx(p.excess_loss(THETA0), rel=1e-13)
    still = theory.expected_excess_loss(p, "sgd", THETA0, 0.0, 3)
    assert still == pytest.approx([p.excess_loss(THETA0)] * 4)


@pytest.mark.parametrize("noise", [0.05, 0.7, 4.0])
@pytest.mark.parametrize("step", [0.03, 0.5, 2.5])
def test_ssd_is_the_dictionary_of_sites(noise, step):
    p = diagonal(noise)
    twin = naive.sign_descent_risk(p, THETA0, step, 80)
    whole = theory.expected_excess_loss(p, "ssd", THETA0, step, 80, pruning=0.0)
    assert np.allclose(whole, twin, rtol=1e-12, atol=0)
    pruned = theory.expected_excess_loss(p, "ssd", THETA0, step, 80)
    assert np.allclose(pruned, twin, rtol=1e-12, atol=0)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0.02, 3.0),
    st.floats(0.05, 3.0),
    st.integers(1, 150),
    st.sampled_from([1e-12, 1e-6, 1e-3]),
)
def test_pruning_keeps_its_promise(noise, step, n, pruning):
    p = diagonal(noise)
    whole = theory.expected_excess_loss(p, "ssd", THETA0, step, n, pruning=0.0)
    risk, bound = theory.expected_excess_loss(
        p, "ssd", THETA0, step, n, pruning=pruning, return_error_bound=True
    )
    rounding = 1e-13 * whole
    assert np.all(risk <= whole + rounding)
    assert np.all(whole <= risk + bound + rounding)
    assert bound.max() <= pruning * (whole[0] + 0.5 * step**2 * p.hessian.sum()) * (1 + 1e-12)


def test_pruning_does_drop_sites():
    _, bound = theory.expected_excess_loss(
        diagonal(), "ssd", THETA0, 0.1, 400, pruning=1e-6, return_error_bound=True
    )
    assert bound[-1] > 0 and np.all(np.diff(bound) >= 0)
    _, none = theory.expected_excess_loss(
        diagonal(), "sgd", THETA0, 0.1, 4, return_error_bound=True
    )
    assert not none.any()


def test_ssd_far_from_the_optimum_and_far_apart():
    # Coordinates hundreds and thousands of sites away keep windows of their own.
    p = qpsim.QuadraticProblem(np.ones(40), np.linspace(-30.0, 30.0, 40), 0.5)
    whole = theory.expected_excess_loss(p, "ssd", np.zeros(40), 0.01, 200, pruning=0.0)
    pruned = theory.expected_excess_loss(p, "ssd", np.zeros(40), 0.01, 200)
    assert np.allclose(pruned, whole, rtol=1e-12, atol=0)
    # So far out every sign is right.
    far = qpsim.QuadraticProblem([2.0], [1e3], 0.5)
    risk = theory.expected_excess_loss(far, "ssd", [0.0], 0.25, 100)
    assert np.allclose(risk, (1e3 - 0.25 * np.arange(101)) ** 2, rtol=1e-13)


def test_ssd_without_noise_walks_to_the_optimum_and_rests_there():
    p = qpsim.QuadraticProblem([2.0, 4.0], noise_std=0.0)
    risk = theory.expected_excess_loss(p, "ssd", [1.0, -0.5], 0.5, 4)
    assert risk.tolist() == [1.5, 0.25, 0.0, 0.0, 0.0]
    still = theory.expected_excess_loss(p.with_noise(1.0), "ssd", [1.0, -0.5], 0.0, 2)
    assert still.tolist() == [1.5, 1.5, 1.5]


def test_ssd_with_hardly_any_noise_is_ssd_without():
    p = qpsim.QuadraticProblem([2.0, 4.0], noise_std=1e-310)
    risk = theory.expected_excess_loss(p, "ssd", [1.05, -0.55], 0.5, 4)
    silent = theory.expected_excess_loss(p.with_noise(0.0), "ssd", [1.05, -0.55], 0.5, 4)
    assert risk == pytest.approx(silent)


def test_ssd_ignores_the_scale_of_the_hessian():
    p = diagonal()
    scaled = qpsim.QuadraticProblem(7.0 * p.hessian, p.optimum, p.noise_std)
    assert theory.expected_excess_loss(scaled, "ssd", THETA0, 0.1, 30) == pytest.approx(
        7.0 * theory.expected_excess_loss(p, "ssd", THETA0, 0.1, 30)
    )


def test_rotation_does_not_change_the_risk_of_sgd():
    p = dense()
    aligned = qpsim.QuadraticProblem(p.eigenvalues, p.optimum @ p.eigenvectors, p.noise_std)
    for name in ("sgd", "m-sgd"):
        assert theory.expected_excess_loss(
            aligned, name, THETA0 @ p.eigenvectors, 0.1, 20
        ) == pytest.approx(theory.expected_excess_loss(p, name, THETA0, 0.1, 20))


@pytest.mark.parametrize("mu", [0.0, 0.5, 0.95])
def test_steady_state_is_the_limit_of_the_recursion(mu):
    p, method = dense(), qpsim.method("m-sgd", momentum=mu)
    for step in (0.02, 0.3, 0.97 * theory.largest_stable_step_size(p, method)):
        risk = theory.expected_excess_loss(p, method, THETA0, step, 10_000)
        assert theory.steady_state_excess_loss(p, method, step) == pytest.approx(risk[-1], rel=1e-9)
    if mu == 0:
        assert theory.steady_state_excess_loss(p, "sgd", 0.3) == pytest.approx(
            theory.steady_state_excess_loss(p, method, 0.3)
        )


@pytest.mark.parametrize("mu", [0.0, 0.5, 0.95])
def test_stability_is_a_spectral_radius_below_1(mu):
    p, method = dense(), qpsim.method("m-sgd", momentum=mu)
    limit = theory.largest_stable_step_size(p, method)

    def radius(step):
        return max(
            np.abs(np.linalg.eigvals([[1 - step * v, -step * mu], [v, mu]])).max()
            for v in p.eigenvalues
        )

    assert radius(0.999 * limit) < 1 - 1e-6
    assert radius(limit) == pytest.approx(1.0, abs=1e-7)
    assert radius(1.001 * limit) > 1 + 1e-6
    assert theory.largest_stable_step_size(p, "sgd") == pytest.approx(0.5)


def test_at_the_limit_of_stability_the_risk_grows_by_a_constant():
    p = qpsim.QuadraticProblem([2.0], noise_std=1.0)
    with pytest.warns(DivergenceWarning, match="not below the largest stable 1"):
        risk = theory.expected_excess_loss(p, "sgd", [0.0], 1.0, 50)
    assert np.diff(risk) == pytest.approx(np.full(50, 4.0))
    assert theory.steady_state_excess_loss(p, "sgd", [0.5, 1.0, 2.0])[1:].tolist() == [np.inf] * 2


@pytest.mark.parametrize("name", ["sgd", "m-sgd"])
def test_divergence_reaches_infinity_without_nan(name):
    with pytest.warns(DivergenceWarning, match="leaves the floating-point range at step"):
        risk = theory.expected_excess_loss(dense(), name, THETA0, 40.0, 400)
    assert np.isinf(risk[-1]) and not np.isnan(risk).any()
    first = np.flatnonzero(np.isinf(risk))[0]
    assert first > 1 and np.isinf(risk[first:]).all()


def test_a_diverging_schedule_is_noted_only_when_it_overflows():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        theory.expected_excess_loss(dense(), "sgd", THETA0, [3.0, 0.1, 0.1], 3)
    with pytest.warns(DivergenceWarning):
        theory.expected_excess_loss(dense(), "sgd", THETA0, np.r_[np.full(500, 40.0), 0.1], 501)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: theory.expected_excess_loss(dense(), "ssd", THETA0, 0.1, 5), ProblemError,
         "use law=.* or qpsim.simulate"),
        (lambda: theory.expected_excess_loss(dense(), "svag", THETA0, 0.1, 5), MethodError,
         "simulate it instead"),
        (lambda: theory.expected_excess_loss(dense(), "sgd", THETA0[:3], 0.1, 5), ProblemError,
         "4 entries"),
        (lambda: theory.expected_excess_loss(dense(), "sgd", [THETA0], 0.1, 5), ProblemError,
         "theta0 must have shape"),
        (lambda: theory.expected_excess_loss(dense(), "sgd", THETA0, -0.1, 5), StepSizeError,
         "finite number >= 0"),
        (lambda: theory.expected_excess_loss(dense(), "sgd", THETA0, np.nan, 5), StepSizeError,
         "finite number >= 0"),
        (lambda: theory.expected_excess_loss(dense(), "sgd", THETA0, "optimal", 5), StepSizeError,
         "given step sizes"),
        (lambda: theory.expected_excess_loss(dense(), "sgd", THETA0, [0.1] * 4, 5), StepSizeError,
         "4 step sizes were given for 5 steps"),
        (lambda: theory.expected_excess_loss(dense(), "sgd", THETA0, 0.1, 0), TheoryError,
         "at least 1"),
        (lambda: theory.expected_excess_loss(diagonal(), "ssd", THETA0, 0.1, 5, pruning=-1.0),
         TheoryError, "must not be negative"),
        (lambda: theory.expected_excess_loss(diagonal(), "ssd", THETA0, 1e200, 5), StepSizeError,
         "take a smaller one"),
        (lambda: theory.steady_state_excess_loss(dense(), "ssd", 0.1), MethodError, "not for ssd"),
        (lambda: theory.steady_state_excess_loss(dense(), "sgd", 0.0), StepSizeError, "above 0"),
        (lambda: theory.largest_stable_step_size(dense(), "adam"), MethodError, "not for adam"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()
