"""The exact step of rules without a closed form: quadrature, series and its bound, against brute force and sampling."""

import math

import numpy as np
import pytest
from numpy.polynomial.legendre import leggauss

import qpsim
from qpsim.errors import PrecisionWarning
from qpsim.kernels import hermite
from qpsim.kernels.arguments import Moments, Row, StepInput
from qpsim.kernels.series import Coupling, series_of_direction, series_table
from qpsim.methods import State
from qpsim.methods.scalar import sign
from qpsim.rules import step_policies
from tests import naive

NODES, WEIGHTS = leggauss(20)


@qpsim.rule
def undeclared_lion(gradient, m, t, b1=0.9, b2=0.99):
    return sign(b1 * m + (1 - b1) * gradient), b2 * m + (1 - b2) * gradient


def _lion_offset(m, t, b1, b2):
    return b1 / (1 - b1) * m


@qpsim.rule(closed_form="sign", offset=_lion_offset)
def declared_lion(gradient, m, t, b1=0.9, b2=0.99):
    return sign(b1 * m + (1 - b1) * gradient), b2 * m + (1 - b2) * gradient


CLIPPED, ROUNDED, WAVY, PEAKED, POLYNOMIAL, TENT = range(6)


@qpsim.rule
def shaped(gradient, t, shape=0.0, size=1.0, cubic=0.0):
    """Directions of several shapes in one rule, because each rule takes seconds to compile."""
    if shape == CLIPPED:  # kinks at places that nothing declares
        return min(max(gradient, -0.3), 0.7)
    if shape == ROUNDED:  # a jump at every half multiple of the size
        return size * math.floor(gradient / size + 0.5)
    if shape == WAVY:  # of frequency size
        return gradient + math.sin(size * gradient)
    if shape == PEAKED:  # a narrow peak of width size, which is most of E[z^2]
        return (gradient - 0.3) / (abs(gradient) + size)
    if (
        shape == TENT
    ):  # 1, and a tent of width 0.2 and height 5 at size, whose feet nothing declares
        return 1.0 + 5.0 * max(0.0, 1.0 - 10.0 * abs(gradient - size))
    return cubic * (gradient**3 - size * gradient) + (1.0 - cubic) * (gradient**2 - size)


def graded(cut):
    """Nodes and Gaussian weights on [-10, 10], in panels that shrink towards the cut."""
    steps = 10.0 ** np.arange(-9, 1.4, 0.5)
    edges = np.unique([*np.arange(-10, 10.5, 0.5), cut, *(cut - steps), *(cut + steps)])
    edges = edges[(edges >= -10) & (edges <= 10)]
    middle, radius = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    return (middle[:, None] + radius[:, None] * NODES).ravel(), np.outer(radius, WEIGHTS).ravel()


def brute_force(method, problem, exact, state, t, extra):
    """grad^T E[z] and E[z^T Q z] of two coordinates as a sum over a grid of both Gaussians."""
    std, r, q = problem.gradient_std(), problem.gradient_correlation()[0, 1], problem.hessian
    sides = []
    for i in range(2):
        rest = [*([extra[i]] if method.observes else []), *state[:, i], t, *method.hyper]
        turn = method.rule.breakpoint
        jump = 0.0 if method.closed_form == "two-valued" else 0.3
        z, w = graded(((turn(*rest) if turn else jump) - exact[i]) / std[i])
        out = [method.rule.function(exact[i] + std[i] * x, *rest) for x in z]
        f = np.array([o[0] if method.state_names else o for o in out])
        sides.append((z, w, f))
    (x, u, f), (y, v, h) = sides
    phi = lambda z: np.exp(-z * z / 2) / math.sqrt(2 * math.pi)  # noqa: E731
    free = 1 - r * r
    density = np.exp(-(x[:, None] ** 2 - 2 * r * np.outer(x, y) + y**2) / (2 * free))
    cross = (u * f) @ density @ (v * h) / (2 * math.pi * math.sqrt(free))
    numerator = exact @ [np.sum(u * phi(x) * f), np.sum(v * phi(y) * h)]
    squares = np.sum(u * phi(x) * f * f), np.sum(v * phi(y) * h * h)
    return numerator, q[0, 0] * squares[0] + q[1, 1] * squares[1] + 2 * q[0, 1] * cross


def series(method, problem, exact, state, t, extra, tolerance=1e-10, chosen=step_policies.OPTIMAL):
    """The kernel's numerator, denominator, relative bound and number of terms for one lane."""
    q = np.array(problem.hessian)
    table = series_table(q, problem.gradient_correlation(), tolerance)
    out = Moments(np.empty(1), np.empty(1), np.empty(1))
    gradient, observed, states = (np.ascontiguousarray(a[..., None]) for a in (exact, extra, state))
    coupling = Coupling(q, np.abs(q), table, np.array(problem.gradient_std()))
    step = StepInput(gradient, gradient, observed, states, float(t), np.zeros(1, np.uint8))
    terms = series_of_direction(coupling, method.hyper, step, chosen, out)
    return out.numerator[0], out.denominator[0], out.error[0], terms


def case(method, t, rng):
    """A problem of two correlated coordinates, a gradient at any ratio to the noise, and a state on the way."""
    angle, top = rng.uniform(0.2, 1.3), rng.uniform(1.5, 3.0)
    basis = [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    problem = qpsim.QuadraticProblem.from_eigenbasis([1.0, top], basis, noise_std=1.0)
    std = problem.gradient_std()
    exact = std * 10.0 ** rng.uniform(-2, 0.7, 2) * rng.choice([-1, 1], 2)
    extra = std**2 * rng.chisquare(3, 2) / 3
    state = method.initial_state(2)
    for _ in range(t - 1):
        given = {} if method.observes is None else {method.observes: extra}
        _, state = method.update(exact + std * rng.standard_normal(2), state, **given)
    arrays = np.array([state[name] for name in method.state_names]).reshape(-1, 2)
    return problem, exact, arrays, extra


# Each of these is compiled for seconds, and differs little from another that is not left for later.
LATER = [
    pytest.param(name, marks=pytest.mark.long)
    for name in (
        "m-svag",
        "rprop",
        "adam*",
        "svag-ema",
        "m-svag-mb",
        "adam*-mb",
        "rmsprop",
        "adagrad",
        "adadelta",
    )
]


@pytest.mark.parametrize("t", [1, 2, 3, 12])
@pytest.mark.parametrize("name", ["adam", *LATER])
def test_the_exact_step_is_that_of_brute_force(name, t):
    method = qpsim.method(name)
    rng = np.random.Generator(np.random.PCG64(t))
    for small in (1.0, 1e-3):
        problem, exact, state, extra = case(method, t, rng)
        if state.size:
            state[0] *= small  # the average near 0: the sharpest turns
        extra *= small
        numerator, denominator = brute_force(method, problem, exact, state, float(t), extra)
        mean, square, bound, terms = series(method, problem, exact, state, t, extra)
        assert mean / square == pytest.approx(numerator / denominator, rel=1e-8)
        assert square == pytest.approx(denominator, rel=1e-8)
        assert bound <= 1e-10
        assert terms < 256


def test_the_bound_is_a_bound():
    method, rng = qpsim.method("adam"), np.random.Generator(np.random.PCG64(5))
    for _ in range(5):
        problem, exact, state, extra = case(method, 3, rng)
        _, best, _, _ = series(method, problem, exact, state, 3, extra, 1e-13)
        for tolerance in (1e-1, 1e-2, 1e-4, 1e-6):
            _, square, bound, _ = series(method, problem, exact, state, 3, extra, tolerance)
            assert abs(square / best - 1) <= bound <= tolerance


def two_coordinates(r, q_12, mean=(0.0, 0.0)):
    """Arguments of the kernel for unit deviations and a correlation r that is not that of Q Q."""
    q, correlation = np.array([[1.0, q_12], [q_12, 1.0]]), np.array([[1.0, r], [r, 1.0]])
    return q, correlation, np.array(mean)[:, None]


def stateless(method, q, correlation, mean, tolerance):
    """The kernel's numerator, denominator and bound for a rule without state, at unit deviations."""
    out = np.empty((3, 1))
    coupling = Coupling(q, np.abs(q), series_table(q, correlation, tolerance), np.ones(2))
    step = StepInput(mean, mean, np.zeros((2, 1)), np.empty((0, 2, 1)), 1.0, np.zeros(1, np.uint8))
    series_of_direction(coupling, method.hyper, step, step_policies.OPTIMAL, Moments(*out))
    return out[:, 0]


@pytest.mark.long  # the series is compiled for the rule of several shapes, 12 s
@pytest.mark.parametrize("r", [0.9, -0.6])
@pytest.mark.parametrize("q_12", [0.95, -0.95])
def test_a_loose_bound_is_a_bound_of_the_error_relative_to_the_whole(r, q_12):
    """What is left out may be most of E[z^T Q z], so that the bound is not relative to what was summed."""
    # For unit Gaussians of correlation r: E[(x^2 - 1)(y^2 - 1)] = 2 r^2 and E[(x^3 - a x)(y^3 - a y)] in he_1, he_3.
    exact = {
        shaped(shape=POLYNOMIAL): 2 + 2 + 2 * q_12 * 2 * r**2,
        shaped(shape=POLYNOMIAL, size=2.5, cubic=1.0): 12.5 + 2 * q_12 * (r / 4 + 6 * r**3),
    }
    for method, whole in exact.items():
        for tolerance in (0.9, 0.5, 0.1, 1e-2, 1e-9):
            _, summed, bound = stateless(method, *two_coordinates(r, q_12), tolerance)
            assert abs(summed / whole - 1) <= bound + 1e-12
            assert bound <= tolerance


def one_row(method, mean):
    """E[z], E[z^2] and the latter's error for a rule without state, at one coordinate of unit noise."""
    first, second, missed = np.empty((3, 1))
    row = Row(np.array([mean]), 1.0, np.zeros(1), np.empty((0, 1, 1)), 0, 1.0)
    table = hermite.quadrature_table(1)
    hermite.row_moments(method.hyper, row, table, first, second, missed)
    return first[0], second[0], missed[0]


def normal_cdf(x):
    return math.erfc(-x / math.sqrt(2)) / 2


@pytest.mark.long
@pytest.mark.parametrize("step", [2.0, 1.0, 0.8])
def test_many_jumps_are_all_resolved(step):
    """Rounding: a sum over its values where r = 0, one over the intervals of the gradient."""
    means = (0.37, -0.21)
    first, second = np.zeros(2), np.zeros(2)
    for i, mean in enumerate(means):
        for k in range(-15, 16):
            edges = (k - 0.5) * step - mean, (k + 0.5) * step - mean
            share = normal_cdf(edges[1]) - normal_cdf(edges[0])
            first[i] += k * step * share
            second[i] += (k * step) ** 2 * share
    numerator, whole, bound = stateless(
        shaped(shape=ROUNDED, size=step), *two_coordinates(0.0, 0.6, means), 1e-9
    )
    assert numerator == pytest.approx(np.dot(means, first), rel=1e-9)
    assert whole == pytest.approx(second.sum() + 1.2 * first.prod(), rel=1e-9)
    assert bound <= 1e-9


@pytest.mark.long
@pytest.mark.parametrize("frequency", [5.0, 20.0, 25.0, 8 * math.pi, 45.0, 60.0, 100.0])
def test_a_wave_that_looks_slow_at_the_nodes_is_seen(frequency):
    """Its nodes are a quarter of a deviation apart; what averages over the wave is left in closed form."""
    means, damped = np.array([0.37, -0.21]), math.exp(-(frequency**2) / 2)
    angle = frequency * means
    first = means + np.sin(angle) * damped
    second = means**2 + 1.5 - 0.5 * np.cos(2 * angle) * damped**4
    second += 2 * damped * (means * np.sin(angle) + frequency * np.cos(angle))
    numerator, whole, _ = stateless(
        shaped(shape=WAVY, size=frequency), *two_coordinates(0.0, 0.6, means), 1e-9
    )
    assert numerator == pytest.approx(means @ first, rel=1e-9)
    assert whole == pytest.approx(second.sum() + 1.2 * first.prod(), rel=1e-9)


@pytest.mark.parametrize("width", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("mean", [0.37, 0.0, 0.125])
def test_a_peak_is_resolved_in_its_square_as_well(width, mean):
    """Also where a node stands right on it, and the first guess of E[z^2] is far too large."""
    first, second, _ = one_row(shaped(shape=PEAKED, size=width), mean)
    panel, weight = graded(-mean)
    z = (mean + panel - 0.3) / (np.abs(mean + panel) + width)
    weight = weight * np.exp(-panel * panel / 2) / math.sqrt(2 * math.pi)
    assert first == pytest.approx(np.sum(weight * z), rel=1e-8)
    assert second == pytest.approx(np.sum(weight * z * z), rel=1e-8)


def test_what_cannot_be_resolved_is_in_the_error():
    """More jumps than there is room for pieces."""
    _, _, missed = one_row(shaped(shape=ROUNDED, size=0.01), 0.37)
    assert missed > 1e-9


@pytest.mark.long
def test_what_cannot_be_resolved_is_in_the_bound():
    _, _, bound = stateless(
        shaped(shape=ROUNDED, size=0.01), *two_coordinates(0.3, 0.6, (0.37, -0.21)), 1e-9
    )
    assert bound > 1e-9


def one_coordinate_steps(method, means):
    """The exact steps and their bounds at unit noise, at each mean gradient."""
    problem = qpsim.QuadraticProblem([1.0], noise_std=1.0)
    theta0 = np.asarray(means, float)[:, None]
    r = qpsim.simulate(problem, method, n_steps=1, n_replicates=len(means), theta0=theta0, rng=0)
    return r.step_size[:, 0], r.moment_error[:, 0]


def test_a_narrow_peak_is_seen_wherever_it_stands_between_the_nodes():
    """The nodes are a quarter of a deviation apart, the peak is narrower."""
    mean, width = 0.3, 0.2
    for at in 0.37 + np.arange(12) * 0.25 / 12:
        feet = np.array([at - width / 2, at, at + width / 2])
        edges = np.r_[np.linspace(-9, feet[0], 40), feet[1:], np.linspace(feet[2], 9, 40)[1:]]
        middle, radius = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
        g = (middle[:, None] + radius[:, None] * NODES).ravel()
        weight = np.outer(radius, WEIGHTS).ravel() * np.exp(-((g - mean) ** 2) / 2)
        z = 1 + 5 * np.maximum(0, 1 - 2 * np.abs(g - at) / width)
        weight /= math.sqrt(2 * math.pi)
        first, second, missed = one_row(shaped(shape=TENT, size=at), mean)
        assert first == pytest.approx(np.sum(weight * z), rel=1e-9)
        assert second == pytest.approx(np.sum(weight * z * z), rel=1e-9)
        assert missed == 0.0


@pytest.mark.long  # a whole run is compiled for the rule
@pytest.mark.parametrize("step", [0.01, 0.1])
def test_on_a_diagonal_hessian_too_what_cannot_be_resolved_is_in_the_error(step):
    """Rounding to a small part of the deviation jumps more often than there is room for."""
    means = [0.37, -1.1, 0.05, 2.0]
    with pytest.warns(PrecisionWarning, match="shaped's exact step is known to"):
        steps, bound = one_coordinate_steps(shaped(shape=ROUNDED, size=step), means)
    for mean, found, error in zip(means, steps, bound, strict=True):
        values = step * np.arange(round(-9 / step), round(9 / step) + 1)
        share = np.diff([normal_cdf(v - step / 2 - mean) for v in [*values, values[-1] + step]])
        exact = mean * np.sum(values * share) / np.sum(values**2 * share)
        assert abs(found / exact - 1) < error < 0.1


@pytest.mark.long  # m-svag is compiled for it
def test_linear_rules_end_after_two_terms():
    method = qpsim.method("m-svag")  # at t = 1 its direction is the gradient
    problem, exact, state, extra = case(method, 1, np.random.Generator(np.random.PCG64(0)))
    numerator, denominator, _, terms = series(method, problem, exact, state, 1, extra)
    assert terms == 2
    noise = problem.noise_std**2 * np.sum(problem.eigenvalues**3)
    assert numerator == pytest.approx(exact @ exact, rel=1e-12)
    assert denominator == pytest.approx(exact @ problem.matvec(exact) + noise, rel=1e-12)


@pytest.mark.long  # the quadrature is compiled for the rule
def test_a_jump_that_nothing_declares_is_found():
    rng = np.random.Generator(np.random.PCG64(3))
    for _ in range(20):
        problem, exact, state, extra = case(undeclared_lion(), 3, rng)
        table = hermite.quadrature_table(1)
        for i in range(2):
            first, second, missed = np.empty((3, 1))
            row = Row(
                np.full(1, exact[i]),
                float(problem.gradient_std()[i]),
                np.full(1, extra[i]),
                state[:, i, None, None].copy(),
                0,
                3.0,
            )
            hermite.row_moments(undeclared_lion().hyper, row, table, first, second, missed)
            assert missed[0] == 0.0
            shifted = exact[i] + _lion_offset(state[0, i], 3.0, 0.9, 0.99)
            assert first[0] == pytest.approx(math.erf(shifted / row.std / math.sqrt(2)), abs=2e-9)
            assert second[0] == pytest.approx(1.0, abs=2e-9)


def test_kinks_that_nothing_declares_are_found():
    method = shaped(shape=CLIPPED)
    _, exact, state, extra = case(method, 1, np.random.Generator(np.random.PCG64(3)))
    exact[:] = [0.5, -0.2]
    x = np.linspace(-9, 9, 2_000_001)
    table = hermite.quadrature_table(1)
    first, second, missed = np.empty((3, 1))
    row = Row(exact[:1], 0.4, extra[:1], state[:, :1, None].copy(), 0, 1.0)
    hermite.row_moments(method.hyper, row, table, first, second, missed)
    f = np.clip(0.5 + 0.4 * x, -0.3, 0.7)
    weight = np.exp(-x * x / 2) / math.sqrt(2 * math.pi) * (x[1] - x[0])
    assert first[0] == pytest.approx(np.sum(weight * f), rel=1e-8)
    assert second[0] == pytest.approx(np.sum(weight * f * f), rel=1e-8)


@pytest.mark.long
def test_a_sign_rule_takes_the_same_step_with_its_form_and_without():
    p = qpsim.random_problem("mild", 6, "haar", noise_std=1.0, rng=0)
    known = qpsim.simulate(p, declared_lion, n_steps=1, n_replicates=8, rng=0, workers=1)
    found = qpsim.simulate(p, undeclared_lion, n_steps=1, n_replicates=8, rng=0, workers=1)
    np.testing.assert_allclose(found.step_size, known.step_size, rtol=1e-8)
    bound = [
        qpsim.simulate(p, m, "bound", 1, 8, rng=0, workers=1)
        for m in (declared_lion, undeclared_lion)
    ]
    np.testing.assert_allclose(bound[0].step_size, bound[1].step_size, rtol=1e-8)


@pytest.mark.parametrize(
    "name", ["adam", *(pytest.param(name, marks=pytest.mark.long) for name in ("m-svag", "adam*"))]
)
@pytest.mark.parametrize("kind", ["diagonal", "dense"])
def test_every_step_of_a_run_is_the_exact_one(name, kind):
    basis = [[0.8, -0.6], [0.6, 0.8]]
    problem = qpsim.QuadraticProblem.from_eigenbasis([1.0, 3.0], basis, [2.0, -1.5], 1.3)
    if kind == "diagonal":
        problem = qpsim.QuadraticProblem([1.0, 3.0], [2.0, -1.5], 1.3)
    r = qpsim.simulate(
        problem, name, n_steps=4, n_replicates=2, rng=9, workers=1, record=("step_size", "theta")
    )
    assert (r.moment_error is None) == problem.is_diagonal
    method, state = qpsim.method(name), qpsim.method(name).initial_state(2)
    normals = naive.normals(np.random.SeedSequence(9), 1, 4, 2)
    vectors = np.eye(2) if problem.is_diagonal else problem.eigenvectors
    for k in range(4):
        exact = problem.gradient(r.theta[1, k])
        arrays = np.array([state[n] for n in method.state_names])
        if problem.is_diagonal:
            # Uncorrelated, so that the cross term is a product: a dense twin with r = 0.
            pieces = [separate(method, problem, exact, arrays, k + 1, i) for i in range(2)]
            alpha = sum(p[0] for p in pieces) / sum(p[1] for p in pieces)
        else:
            numerator, denominator = brute_force(method, problem, exact, arrays, k + 1.0, None)
            alpha = numerator / denominator
        assert r.step_size[1, k] == pytest.approx(alpha, rel=1e-8)
        noise = 1.3 * (vectors * problem.eigenvalues) @ normals[k]
        _, state = method.update(exact - noise, state)


def separate(method, problem, exact, arrays, t, i):
    rest = [*arrays[:, i], float(t), *method.hyper]
    std = problem.gradient_std()[i]
    z, w = graded((method.rule.breakpoint(*rest) - exact[i]) / std)
    f = np.array([method.rule.function(exact[i] + std * x, *rest)[0] for x in z])
    w = w * np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return exact[i] * np.sum(w * f), problem.hessian[i] * np.sum(w * f * f)


@pytest.mark.parametrize(
    ("name", "t", "draws"),
    [
        pytest.param("m-svag", 2, 100_000, marks=pytest.mark.long),
        ("adam", 12, 100_000),
        pytest.param("m-svag", 3, 1_000_000, marks=pytest.mark.long),
        pytest.param("adam", 2, 1_000_000, marks=pytest.mark.long),
        pytest.param("adam*", 40, 1_000_000, marks=pytest.mark.long),
        pytest.param("adam*-mb", 3, 1_000_000, marks=pytest.mark.long),
    ],
)
def test_a_hundred_coordinates_agree_with_sampling(name, t, draws):
    problem = qpsim.random_problem("structured", 100, "haar", noise_std=4.0, rng=1)
    rng, method = np.random.Generator(np.random.PCG64(2)), qpsim.method(name)
    std, factor = (
        problem.gradient_std(),
        problem.noise_std * problem.eigenvectors * problem.eigenvalues,
    )
    exact = problem.gradient(np.zeros(100))
    extra = std**2 * rng.chisquare(7, 100) / 7
    given = {} if method.observes is None else {method.observes: extra}
    state = method.initial_state(100)
    for _ in range(t - 1):
        _, state = method.update(exact + factor @ rng.standard_normal(100), state, **given)
    arrays = np.array([state[n] for n in method.state_names])
    numerator, denominator, _, _ = series(method, problem, exact, arrays, t, extra, 1e-9)
    samples = []
    for _ in range(0, draws, 20_000):
        g = exact + rng.standard_normal((20_000, 100)) @ factor.T
        many = State(t - 1, {n: np.tile(state[n], (20_000, 1)) for n in method.state_names})
        many_given = {key: np.tile(value, (20_000, 1)) for key, value in given.items()}
        z, _ = method.update(g, many, **many_given)
        samples.append([z @ exact, np.einsum("ki,ki->k", z @ problem.hessian, z)])
    for sampled, computed in zip(
        np.concatenate(samples, axis=1), (numerator, denominator), strict=True
    ):
        assert abs(sampled.mean() - computed) < 4 * sampled.std() / math.sqrt(draws)
