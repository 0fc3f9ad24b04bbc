"""Moments of directions against draws and the paper's formulas; improvement, bound, table."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qpsim
from qpsim import theory
from qpsim.errors import MethodError, ProblemError, TheoryError
from qpsim.methods.scalar import sign
from tests import naive

Q = np.array([[2.0, 0.8, -0.5], [0.8, 1.5, 0.3], [-0.5, 0.3, 3.0]])
THETA = np.array([1.0, -0.4, 0.2])
BUFFER = qpsim.State(3, {"buffer": np.array([0.5, -2.0, 0.1])})
METHODS = ["sgd", "ssd", "svag", "va-ssd", "va-ssd-erf", "m-sgd", "m-ssd"]


@qpsim.rule(closed_form="linear", offset=lambda m, t, b: b * m / (1.0 - b))
def averaged(gradient, m, t, b=0.8):
    """A user's rule with a scale other than 1."""
    m = b * m + (1.0 - b) * gradient
    return m, m


@qpsim.rule(closed_form="sign", offset=lambda relative_variance, m, t: 0.5 * m / t)
def wary(gradient, relative_variance, m, t):
    """A user's rule that uses everything a closed form may depend on."""
    return sign(gradient + 0.5 * m / t) * t / (2.0 + relative_variance), 0.5 * m + gradient


def problem(noise_std=1.3):
    return qpsim.QuadraticProblem(Q, optimum=[0.1, 0.2, -0.3], noise_std=noise_std)


def state_of(method):
    return qpsim.State(3, {name: np.array([0.5, -2.0, 0.1]) for name in method.state_names})


@pytest.mark.parametrize("chosen", [*METHODS, averaged(), wary()], ids=str)
@pytest.mark.parametrize("diagonal", [False, True])
def test_moments_are_those_of_draws(chosen, diagonal):
    method, state = qpsim.method(chosen), state_of(qpsim.method(chosen))
    p = qpsim.QuadraticProblem([0.5, 1.5, 3.0], noise_std=1.3) if diagonal else problem()
    n = 20_000
    z = naive.drawn_directions(p, method, THETA, state, n, np.random.default_rng(11))
    mean, quadratic = theory.direction_moments(p, method, THETA, state)
    assert np.all(np.abs(z.mean(axis=0) - mean) <= 4.5 * z.std(axis=0) / np.sqrt(n) + 1e-12)
    q = np.sum(z * p.matvec(z), axis=1)
    assert abs(q.mean() - quadratic) <= 4.5 * q.std() / np.sqrt(n) + 1e-12


def test_sgd_is_eq_12():
    p = problem()
    grad = p.gradient(THETA)
    cubes = np.sum(np.linalg.eigvalsh(Q) ** 3)
    expected = 0.5 * (grad @ grad) ** 2 / (grad @ Q @ grad + 1.3**2 * cubes)
    assert theory.expected_improvement(p, "sgd", THETA) == pytest.approx(expected, rel=1e-13)


def test_svag_moments_sum_over_the_covariance():
    p = problem()
    grad, sigma = p.gradient(THETA), p.gradient_std()
    gamma = 1 / (1 + (sigma / grad) ** 2)
    covariance = 1.3**2 * Q @ Q * np.outer(gamma, gamma)
    mean, quadratic = theory.direction_moments(p, "svag", THETA)
    assert np.allclose(mean, gamma * grad, rtol=1e-14)
    expected = (gamma * grad) @ Q @ (gamma * grad) + np.trace(Q @ covariance)
    assert quadratic == pytest.approx(expected, rel=1e-13)


def test_ssd_is_the_quadratic_form_of_the_sign_moments():
    p = qpsim.random_problem("structured", dim=30, noise_std=4.0, rng=2)
    expected = np.sum(p.hessian * theory.sign_second_moment(p, np.zeros(30)))
    assert theory.direction_moments(p, "ssd", np.zeros(30))[1] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_momentum_before_the_first_step_and_silence(name):
    p = problem(0.0)
    mean, quadratic = theory.direction_moments(p, name, THETA)
    grad = p.gradient(THETA)
    expected = np.sign(grad) if "ssd" in name else grad
    assert np.allclose(mean, expected, rtol=1e-14)
    assert quadratic == pytest.approx(expected @ Q @ expected)
    # Without noise the optimal step is that of the exact line search.
    step = theory.optimal_step_size(p, name, THETA)
    assert step == pytest.approx(grad @ expected / (expected @ Q @ expected))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("noise", [0.0, 0.7])
def test_improvement_is_the_decrease_at_the_optimal_step(name, noise):
    p = problem(noise)
    method = qpsim.method(name)
    state = state_of(method)
    mean, quadratic = theory.direction_moments(p, method, THETA, state)
    step = theory.optimal_step_size(p, method, THETA, state)
    slope = p.gradient(THETA) @ mean
    loss = [-a * slope + 0.5 * a**2 * quadratic for a in (0.99 * step, step, 1.01 * step)]
    assert theory.expected_improvement(p, method, THETA, state) == pytest.approx(-loss[1])
    assert loss[1] < min(loss[0], loss[2])


@pytest.mark.parametrize("name", METHODS)
def test_leading_axes_are_points(name):
    p, rng = problem(), np.random.default_rng(0)
    theta = rng.standard_normal((2, 5, 3))
    for function in (theory.optimal_step_size, theory.expected_improvement):
        together = function(p, name, theta)
        assert together.shape == (2, 5)
        assert together[1, 3] == pytest.approx(function(p, name, theta[1, 3]), rel=1e-13)
    mean, quadratic = theory.direction_moments(p, name, theta)
    assert mean.shape == (2, 5, 3) and quadratic.shape == (2, 5)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_nothing_improves_at_the_optimum(name, noise):
    p = problem(noise)
    assert theory.expected_improvement(p, name, p.optimum) == 0.0
    assert theory.optimal_step_size(p, name, p.optimum) == 0.0


def test_momentum_uphill_asks_for_a_negative_step():
    p = problem(0.1)
    against = qpsim.State(1, {"buffer": -100.0 * p.gradient(THETA)})
    assert theory.optimal_step_size(p, "m-sgd", THETA, against) < 0


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.0, 5.0), st.integers(1, 6))
def test_bound_is_below_and_its_forms_agree(seed, noise, dim):
    p = qpsim.random_problem("structured", dim=dim, noise_std=noise, rng=seed)
    theta = np.random.default_rng(seed).standard_normal(dim)
    bound = theory.improvement_bound(p, theta)
    assert bound <= theory.expected_improvement(p, "ssd", theta) * (1 + 1e-12)
    assert theory.improvement_bound(p, theta, form="trace") == pytest.approx(bound, rel=1e-12)
    assert theory.bound_tightness(p, theta) >= 1 - 1e-12


def test_bound_is_exact_for_a_diagonal_hessian_only():
    diagonal = qpsim.QuadraticProblem([1.0, 5.0], noise_std=2.0)
    assert theory.bound_tightness(diagonal, [1.0, -1.0]) == pytest.approx(1.0, rel=1e-14)
    assert theory.bound_tightness(problem(), THETA) > 1.01
    assert theory.bound_tightness(problem(), problem().optimum) == 1.0
    haar = qpsim.random_problem("structured", dim=100, noise_std=4.0, rng=0)
    assert 3.0 < theory.bound_tightness(haar, np.zeros(100)) < 4.5


def test_table_answers_in_words_and_numbers():
    p = problem()
    table = theory.compare_directions(p, THETA, states={"m-ssd": BUFFER})
    assert [row.method for row in table.rows] == [
        "sgd", "ssd", "svag", "va-ssd", "va-ssd-erf", "m-ssd"
    ]  # fmt: skip
    for row in table.rows:
        state = BUFFER if row.method == "m-ssd" else None
        gain = theory.expected_improvement(p, row.method, THETA, state)
        assert row.expected_improvement == pytest.approx(gain)
        assert row.ratio_to_sgd == pytest.approx(gain / table.rows[0].expected_improvement)
    assert max(table.rows, key=lambda row: row.expected_improvement).method == table.best
    numbers = json.loads(json.dumps(table.to_dict()))
    assert numbers["rows"][1]["method"] == "ssd"
    assert numbers["improvement_bound"] == theory.improvement_bound(p, THETA)
    text = str(table)
    assert len(text.splitlines()) == 8 and "va-ssd-erf" in text
    at_optimum = theory.compare_directions(p, p.optimum)
    assert {row.ratio_to_sgd for row in at_optimum.rows} == {1.0}


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda p: theory.direction_moments(p, "adam*-mb", THETA), MethodError, "this step's as"),
        (
            lambda p: theory.direction_moments(p, "adam", THETA, variance_estimate=THETA),
            MethodError,
            "adam sees no variance_estimate",
        ),
        (
            lambda p: theory.expected_improvement(p, "m-svag-mb", THETA, variance_estimate=-THETA),
            TheoryError,
            "must not be negative",
        ),
        (
            lambda p: theory.direction_moments(p, "m-svag-mb", THETA, variance_estimate=[1, 2]),
            MethodError,
            "variance_estimate has shape",
        ),
        (lambda p: theory.direction_moments(p, "sggd", THETA), MethodError, "did you mean 'sgd'"),
        (lambda p: theory.direction_moments(p, "sgd", THETA[:2]), ProblemError, "3 entries"),
        (lambda p: theory.direction_moments(p, "sgd", [np.inf, 0, 0]), TheoryError, "infinite"),
        (lambda p: theory.direction_moments(p, "m-sgd", THETA, 3), MethodError, "qpsim.State"),
        (
            lambda p: theory.direction_moments(p, "sgd", THETA, BUFFER),
            MethodError,
            r"holds \[\], not \['buffer'\]",
        ),
        (
            lambda p: theory.direction_moments(
                p, "m-sgd", THETA, qpsim.State(1, {"buffer": np.ones(2)})
            ),
            MethodError,
            "does not fit",
        ),
        (
            lambda p: theory.direction_moments(p, "m-sgd", THETA, qpsim.State(-1, {"buffer": 0.0})),
            MethodError,
            "cannot be -1",
        ),
        (lambda p: theory.improvement_bound(p, THETA, form="trase"), TheoryError, "'trace'"),
        (lambda p: theory.compare_directions(p, [THETA, THETA]), TheoryError, "one theta"),
        (lambda p: theory.compare_directions(p, THETA, methods=[]), TheoryError, "no method"),
        (
            lambda p: theory.compare_directions(p, THETA, ["sgd"], {"m-ssd": BUFFER}),
            TheoryError,
            "'m-ssd', which is not compared",
        ),
    ],
)
def test_bad_arguments_are_refused(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call(problem())


def test_a_closed_form_given_the_minibatch_estimate():
    @qpsim.rule(closed_form="linear")
    def wary_of_variance(gradient, variance_estimate, t):
        return gradient / (1.0 + variance_estimate)

    p, estimate = problem(), np.array([0.5, 2.0, 0.0])
    mean, quadratic = theory.direction_moments(
        p, wary_of_variance(), THETA, variance_estimate=estimate
    )
    factor = 1.0 / (1.0 + estimate)
    assert mean == pytest.approx(factor * p.gradient(THETA), rel=1e-14)
    covariance = np.outer(factor, factor) * p.gradient_covariance()
    assert quadratic == pytest.approx(mean @ Q @ mean + np.sum(Q * covariance), rel=1e-13)


def test_the_table_takes_every_method():
    p = problem()
    names = [name for name in qpsim.methods.method_names() if name != "ssd"]
    table = theory.compare_directions(p, THETA, names, variance_estimate=np.ones(3))
    gains = {row.method: row.expected_improvement for row in table.rows}
    assert list(gains) == names
    # At the first step moving averages are one gradient: Adam* is its sign, M-SVAG itself.
    assert gains["adam*"] == theory.expected_improvement(p, "ssd", THETA)
    assert gains["m-svag"] == pytest.approx(gains["sgd"], rel=1e-9)


@pytest.mark.parametrize("name", ["sgd", "ssd", "svag"])
def test_points_beyond_what_can_be_squared_are_refused(name):
    for function in (theory.expected_improvement, theory.optimal_step_size):
        with pytest.raises(ProblemError, match="take another unit"):
            function(problem(), name, np.full(3, 1e200))


def test_moments_beyond_the_largest_number_are_refused():
    @qpsim.rule(closed_form="linear")
    def enormous(gradient, t):
        return 1e160 * gradient

    for function in (theory.expected_improvement, theory.optimal_step_size):
        with pytest.raises(TheoryError, match=r"moments of .* overflow"):
            function(problem(), enormous(), np.full(3, 1.0))
