"""Strongly correlated coordinates: the plane's integral against a plain double sum, up to r = 1."""

import math

import numpy as np
import pytest
from numpy.polynomial.legendre import leggauss

import qpsim
from qpsim.errors import PrecisionWarning
from qpsim.kernels.arguments import Moments, StepInput
from qpsim.kernels.series import Coupling, series_of_direction, series_table
from qpsim.methods import State
from qpsim.methods.scalar import sign
from qpsim.rules import step_policies as policy

NODES, WEIGHTS = leggauss(20)
STEPS = 10.0 ** np.arange(-10, 1.3, 0.5)
HESSIAN = np.array([[1.0, 0.6], [0.6, 2.0]])
STD = np.array([1.0, 2.0])


@qpsim.rule
def undeclared(gradient, m, t, b=0.5):
    """A jump where nothing is declared, a kink beside it, and a value of its own at either side."""
    turned = b * m + gradient
    return (1.0 if turned > 0.0 else -0.3) + max(0.0, turned - 0.2), turned


@qpsim.rule(closed_form="two-valued", offset=lambda m, t, b: b * m)
def lopsided(gradient, m, t, b=0.5):
    turned = b * m + gradient
    return (1.5 if turned > 0.0 else -0.3 * sign(-turned)), turned


def graded(cuts, steps):
    """Nodes and weights on [-9, 9], in panels that shrink towards the cuts."""
    edges = [np.arange(-9, 9.25, 0.5), *(np.r_[c, c - steps, c + steps] for c in cuts)]
    edges = np.unique(np.clip(np.concatenate(edges), -9, 9))
    middle, radius = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    return (middle[:, None] + radius[:, None] * NODES).ravel(), np.outer(radius, WEIGHTS).ravel()


def turn(method, extra, state, t):
    """The gradient at which a coordinate turns."""
    given = [*([extra] if method.observes else []), *state, float(t), *method.hyper]
    rule = method.rule
    if rule is undeclared:
        return -method.hyper.b * state[0]
    if rule.breakpoint is not None:
        return rule.breakpoint(*given)
    return 0.0 if rule.offset is None else -rule.offset(*given)


def direction(method, gradient, extra, state, t):
    arrays = {
        name: np.full(gradient.shape, value)
        for name, value in zip(method.state_names, state, strict=True)
    }
    given = {method.observes: np.full(gradient.shape, extra)} if method.observes else {}
    return method.update(gradient, State(t - 1, arrays), **given)[0]


def double_sum(method, r, mean, extra, state, t):
    """E[z_1 z_2] as a sum over x, and for each x over a grid of v around its own turn."""
    cuts = [(turn(method, extra[i], state[:, i], t) - mean[i]) / STD[i] for i in range(2)]
    w = math.sqrt((1 - r) * (1 + r))
    x, weights = graded([cuts[0], cuts[1] / r], np.r_[STEPS, w * np.arange(0.5, 9.1, 0.5)])
    inner = np.empty_like(x)
    for k, xk in enumerate(x):
        if w == 0.0:
            inner[k] = direction(method, mean[1:] + STD[1] * r * xk, extra[1], state[:, 1], t)[0]
            continue
        at = (cuts[1] - r * xk) / w
        near = abs(at) < 9
        v, u = graded([at] if near else [], np.r_[STEPS, STEPS / w])
        # Beside the turn the distance from it must not be rounded away.
        y = cuts[1] + w * (v - at) if near else r * xk + w * v
        z = direction(method, mean[1] + STD[1] * y, extra[1], state[:, 1], t)
        inner[k] = np.sum(u * np.exp(-v * v / 2) * z)
    outer = direction(method, mean[0] + STD[0] * x, extra[0], state[:, 0], t)
    return np.sum(weights * np.exp(-x * x / 2) * outer * inner) / (
        2 * math.pi if w else math.sqrt(2 * math.pi)
    )


def moments(method, r, mean, extra, state, t, hessian=HESSIAN, tolerance=1e-9, stopped=False):
    """The kernel's E[z^T Q z], its bound and the number of terms, in one lane."""
    correlation = np.array([[1.0, r], [r, 1.0]])
    table = series_table(hessian, correlation, tolerance)
    out = Moments(np.empty(1), np.empty(1), np.empty(1))
    gradient, observed, states = (np.ascontiguousarray(a[..., None]) for a in (mean, extra, state))
    coupling = Coupling(hessian, np.abs(hessian), table, STD.copy())
    stop = np.full(1, stopped, np.uint8)
    step = StepInput(gradient, gradient, observed, states, float(t), stop)
    terms = series_of_direction(coupling, method.hyper, step, policy.OPTIMAL, out)
    return out.denominator[0], out.error[0], terms


def case(method, r, t, rng):
    """A gradient at any ratio to the noise, and a state on the way."""
    mean = STD * 10.0 ** rng.uniform(-2, 0.5, 2) * rng.choice([-1, 1], 2)
    extra = STD**2 * rng.chisquare(3, 2) / 3
    state = method.initial_state(2)
    for _ in range(t - 1):
        x, v = rng.standard_normal(2)
        noise = STD * [x, r * x + math.sqrt((1 - r) * (1 + r)) * v]
        given = {} if method.observes is None else {method.observes: extra}
        _, state = method.update(mean + noise, state, **given)
    arrays = np.array([state[name] for name in method.state_names]).reshape(-1, 2)
    return mean, extra, arrays


@pytest.mark.parametrize("r", [0.95, -0.997, 0.99999, -(1 - 1e-9), 1.0])
@pytest.mark.parametrize(
    ("name", "t"),
    [
        ("adam", 1),
        ("adam", 2),
        pytest.param("m-svag", 3, marks=pytest.mark.long),
        pytest.param("undeclared", 3, marks=pytest.mark.long),
        pytest.param("adam*", 2, marks=pytest.mark.long),
        pytest.param("adagrad", 1, marks=pytest.mark.long),
    ],
)
def test_a_pair_has_its_moment_at_any_correlation(name, t, r):
    method = undeclared() if name == "undeclared" else qpsim.method(name)
    rng = np.random.default_rng([t, len(name), round(1e3 * abs(r))])
    mean, extra, state = case(method, r, t, rng)
    square, bound, _ = moments(method, r, mean, extra, state, t)
    alone, _, _ = moments(method, r, mean, extra, state, t, np.diag(np.diag(HESSIAN)))
    expected = alone + 2 * HESSIAN[0, 1] * double_sum(method, r, mean, extra, state, t)
    assert square == pytest.approx(expected, rel=2e-9)
    assert bound <= 1e-9


@pytest.mark.long
def test_where_the_series_is_long_enough_the_plane_agrees_with_it():
    method, rng = undeclared(), np.random.default_rng(3)
    for t in (2, 4, 8):
        mean, extra, state = case(method, 0.9, t, rng)
        by_series, bound, terms = moments(method, 0.9, mean, extra, state, t, tolerance=1e-11)
        assert terms < 256 and bound < 1e-11
        by_plane, doubt, terms = moments(method, 0.9, mean, extra, state, t, tolerance=1e-25)
        assert terms == 256 and 1e-25 < doubt < 1e-9
        assert by_plane == pytest.approx(by_series, rel=1e-10)


@pytest.mark.long
@pytest.mark.parametrize("basis", ["haar", "axis"])
@pytest.mark.parametrize("policy_name", ["optimal", "bound"])
def test_two_values_are_a_constant_and_a_sign(basis, policy_name):
    """The closed form against the same rule without its declaration, which is integrated."""

    @qpsim.rule(breakpoint=lambda m, t, b: -b * m)
    def plain(gradient, m, t, b=0.5):
        turned = b * m + gradient
        return (1.5 if turned > 0.0 else -0.3 * sign(-turned)), turned

    p = qpsim.random_problem("structured", 6, basis, noise_std=1.0, scale=1.0, rng=0)
    known, found = (
        qpsim.simulate(p, m, policy_name, n_steps=4, n_replicates=8, rng=0, workers=1)
        for m in (lopsided, plain)
    )
    np.testing.assert_allclose(found.step_size, known.step_size, rtol=1e-8)


@pytest.mark.long
def test_rprop_takes_the_step_of_theory():
    p = qpsim.random_problem("structured", 5, noise_std=0.5, scale=1.0, rng=2)
    r = qpsim.simulate(
        p,
        "rprop",
        n_steps=2,
        n_replicates=4,
        rng=0,
        workers=1,
        record={"step_size": True, "theta": True},
    )
    method = qpsim.method("rprop")
    for k in range(4):
        # The first direction is that of one step; it tells what the state is after it.
        first = (r.theta[k, 0] - r.theta[k, 1]) / r.step_size[k, 0]
        _, state = method.update(first, method.initial_state(5))
        mean, square = qpsim.theory.direction_moments(p, method, r.theta[k, 1], state)
        step = p.gradient(r.theta[k, 1]) @ mean / square
        assert r.step_size[k, 1] == pytest.approx(step, rel=1e-8)


def test_a_step_that_was_stopped_integrates_no_pair():
    """As Ctrl-C does in the middle of a step, which may take minutes; the error says what was left out."""
    method = qpsim.method("adam")
    start = np.zeros((len(method.state_names), 2))
    whole, error, _ = moments(method, 0.999, STD, np.zeros(2), start, 2)
    part, missing, _ = moments(method, 0.999, STD, np.zeros(2), start, 2, stopped=True)
    assert error < 1e-9 < missing and abs(part / whole - 1) < missing


def test_what_cannot_be_known_as_closely_as_asked_is_said():
    p = qpsim.random_problem("structured", 10, noise_std=1.0, scale=1.0, rng=0)
    with pytest.warns(PrecisionWarning, match=r"adam's exact step is known to .* above the toler"):
        r = qpsim.simulate(p, "adam", n_steps=2, n_replicates=4, rng=0, tolerance=1e-20, workers=1)
    assert 1e-20 < r.moment_error.max() < 1e-8


def test_lanes_at_one_point_are_integrated_once_and_alike():
    """At other points they are integrated on their own: the same bits as of runs alone."""
    p = qpsim.random_problem("structured", 6, noise_std=1.0, scale=1.0, rng=0)
    starts = np.random.default_rng(1).standard_normal((3, 6))
    chosen = [0, 0, 1, 0, 2, 1]
    options = {"n_steps": 1, "rng": 0, "workers": 1}
    r = qpsim.simulate(p, "adam", theta0=starts[chosen], n_replicates=6, **options)
    alone = [qpsim.simulate(p, "adam", theta0=s, n_replicates=1, **options) for s in starts]
    expected = np.array([alone[k].step_size[0] for k in chosen])
    np.testing.assert_allclose(r.step_size, expected, rtol=1e-13)
    for k in range(3):
        assert np.unique(r.step_size[np.array(chosen) == k]).size == 1
