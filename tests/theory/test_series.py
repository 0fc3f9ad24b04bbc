"""Moments of rules without a closed form: the plane by brute force, draws, and simulated steps."""

import math
from itertools import pairwise

import numpy as np
import pytest

import qpsim
from qpsim import theory
from qpsim.errors import MethodError
from qpsim.methods.scalar import sign
from tests import naive

# Each compiles for seconds; these are alike enough to Adam to be left to the long tests.
LATER = ("adamw", "nadam", "adamax", "amsgrad", "radam", "adabelief", "yogi")
WITHOUT_FORM = [
    pytest.param(name, marks=[pytest.mark.long] if name in LATER else [])
    for name in qpsim.methods.method_names()
    if qpsim.method(name).closed_form is None
]

# Gradients at which a rule bends besides its breakpoint: where the larger of two changes.
TURNS = {
    "adamax": lambda m, u, t, b1, b2, eps: [b2 * u - eps, eps - b2 * u],
    "amsgrad": lambda m, v, largest, t, b1, b2, *rest: [
        side * math.sqrt(max(largest - b2 * v, 0.0) / (1.0 - b2)) for side in (1.0, -1.0)
    ],
    "yogi": lambda m, v, *rest: [math.sqrt(v), -math.sqrt(v)],
}


@qpsim.rule(breakpoint=lambda m, t, b1, b2: -b1 * m / (1.0 - b1))
def lion(gradient, m, t, b1=0.9, b2=0.99):
    """Jumps at its breakpoint, at every step."""
    return sign(b1 * m + (1.0 - b1) * gradient), b2 * m + (1.0 - b2) * gradient


@qpsim.rule
def clipped(gradient, t, limit=0.7):
    """Bends at two places that nobody declares."""
    return max(-limit, min(limit, gradient))


@qpsim.rule
def fails(gradient, t):
    return math.log(2.0 + gradient)


@qpsim.rule
def grows(gradient, t):
    return math.inf if gradient > 1.0 else gradient


def rotated(angle, low, high, noise_std=1.0):
    c, s = math.cos(angle), math.sin(angle)
    basis = np.array([[c, -s], [s, c]])
    return qpsim.QuadraticProblem(basis @ np.diag([low, high]) @ basis.T, noise_std=noise_std)


def states(method, sharp):
    """Before step 7: of the noise's size, or all but 0, where averages divide by next to nothing."""
    sizes = (1e-4, 1e-9, 0.4) if sharp else (0.8, 0.5, 0.4)
    held = zip(method.state_names, sizes, strict=False)
    return qpsim.State(6, {name: size * np.array([1.0, 0.3]) for name, size in held})


@pytest.mark.parametrize("name", WITHOUT_FORM)
@pytest.mark.parametrize("sharp", [False, True])
@pytest.mark.parametrize("problem", [rotated(0.5, 1.0, 5.0), rotated(-0.8, 0.1, 1.0)], ids=str)
def test_moments_are_those_of_the_plane(name, sharp, problem):
    method, theta = qpsim.method(name), np.array([1.0, -0.6])
    state = states(method, sharp)
    estimate = np.array([0.7, 1.9]) if method.observes else None
    mean, quadratic = theory.direction_moments(
        problem, method, theta, state, variance_estimate=estimate
    )
    exact_mean, exact = naive.moments_in_the_plane(
        problem, method, theta, state, estimate, TURNS.get(name)
    )
    assert quadratic == pytest.approx(exact, rel=1e-8)
    assert np.allclose(mean, exact_mean, rtol=0.0, atol=1e-8 * math.sqrt(exact))


def test_a_jump_at_correlations_beyond_the_series_reach():
    # r = 0.9996: both directions jump, and 256 terms leave a tenth of the pair.
    problem, theta = rotated(math.pi / 4, 0.02, 1.0), np.array([0.3, -0.2])
    r = problem.gradient_correlation()[0, 1]
    assert r < -0.999
    state = qpsim.State(4, {"m": np.array([0.02, 0.05])})
    shift = 9.0 * state["m"]
    a, b = (problem.gradient(theta) + shift) / problem.gradient_std()
    pair = theory.sign_product(a, b, r)
    mean, quadratic = theory.direction_moments(problem, lion(), theta, state)
    assert mean == pytest.approx(theory.expected_sign([a, b], 1.0), abs=1e-10)
    trace, q12 = np.trace(problem.hessian), problem.hessian[0, 1]
    assert quadratic == pytest.approx(trace + 2.0 * q12 * pair, rel=1e-8)


@pytest.mark.parametrize("angle", [math.pi / 4, -math.pi / 4])
@pytest.mark.parametrize("low", [1e-2, 1e-4, 1e-6, 1e-9, 0.0])
def test_a_jump_where_gradients_are_all_but_the_same(angle, low):
    """Up to correlation 1 exactly, where the pair of gradients is one."""
    problem, theta = rotated(angle, low, 1.0), np.array([0.3, -0.2])
    state = qpsim.State(4, {"m": np.array([0.02, 0.05])})
    r = problem.gradient_correlation()[0, 1]
    a, b = (problem.gradient(theta) + 9.0 * state["m"]) / problem.gradient_std()
    _, quadratic = theory.direction_moments(problem, lion(), theta, state)
    pair = theory.sign_product(a, b, r)
    trace, q12 = np.trace(problem.hessian), problem.hessian[0, 1]
    assert quadratic == pytest.approx(trace + 2.0 * q12 * pair, rel=1e-8)


@qpsim.rule
def sharp_turn(gradient, t, eps=1e-3):
    """A sharp turn at 0, as Adam's first step has it, that nothing declares."""
    return gradient / (abs(gradient) + eps)


@pytest.mark.parametrize(("r", "eps"), [(1.0, 1e-3), (-1.0, 1e-6)])
def test_one_random_number_behind_both_gradients(r, eps):
    """E[z_1 z_2] as a sum over that number."""
    std = np.array([1.0, 2.0])
    covariance = np.outer(std, std) * [[1.0, r], [r, 1.0]]
    hessian = np.array([[1.0, 0.6], [0.6, 2.0]])
    problem = qpsim.QuadraticProblem(hessian, noise=qpsim.noise.dense(covariance))
    assert problem.gradient_correlation()[0, 1] == r
    theta = np.linalg.solve(hessian, [0.4, 0.5])
    steps = 10.0 ** np.arange(-11, 1.3, 0.25)
    turns = -problem.gradient(theta) / (std * [1.0, r])
    edges = np.concatenate([[c - steps, c + steps] for c in turns], axis=None)
    edges = np.unique(np.clip(np.r_[edges, turns, np.arange(-10, 10.5, 0.5)], -10, 10))
    nodes, weights = np.polynomial.legendre.leggauss(20)
    x = ((edges[1:] + edges[:-1])[:, None] + np.diff(edges)[:, None] * nodes).ravel() / 2
    weight = (np.diff(edges)[:, None] * weights).ravel() / 2 * np.exp(-x * x / 2)
    g = problem.gradient(theta)[:, None] + (std * [1.0, r])[:, None] * x
    z = g / (np.abs(g) + eps)
    exact = np.sum(weight * np.einsum("ik,ij,jk->k", z, hessian, z)) / math.sqrt(2 * math.pi)
    _, quadratic = theory.direction_moments(problem, sharp_turn(eps=eps), theta)
    assert quadratic == pytest.approx(exact, rel=1e-8)


def test_a_plane_and_a_window_agree_where_one_takes_over(monkeypatch):
    problem = rotated(math.pi / 4, 1e-2, 1.0)
    found = []
    for thinnest in (1e-6, 0.5):
        monkeypatch.setattr("qpsim.theory.pair_quadrature._THINNEST", thinnest)
        found.append(theory.direction_moments(problem, sharp_turn(), [0.3, -0.2])[1])
    assert found[0] == pytest.approx(found[1], rel=1e-9)


def test_bends_that_are_not_declared():
    problem, theta = qpsim.QuadraticProblem([1.0, 2.0], noise_std=0.5), np.array([0.4, 1.0])
    mean, quadratic = theory.direction_moments(problem, clipped(), theta)

    def moment(power, gradient, std):
        from scipy.integrate import quad
        from scipy.stats import norm

        def integrand(g):
            return max(-0.7, min(0.7, g)) ** power * norm.pdf(g, gradient, std)

        ends = gradient - 12 * std, -0.7, 0.7, gradient + 12 * std
        pieces = [p for p in pairwise(ends) if p[0] < p[1]]
        return sum(quad(integrand, *p, epsabs=1e-13)[0] for p in pieces)

    gradient, std = problem.gradient(theta), problem.gradient_std()
    assert mean == pytest.approx([moment(1, *x) for x in zip(gradient, std, strict=True)], rel=1e-9)
    second = [moment(2, *x) for x in zip(gradient, std, strict=True)]
    assert quadratic == pytest.approx(second[0] + 2.0 * second[1], rel=1e-9)


@pytest.mark.parametrize(
    ("name", "basis"),
    [
        ("adam", "haar"),
        pytest.param("adam*", "haar", marks=pytest.mark.long),
        pytest.param("m-svag", "axis", marks=pytest.mark.long),
    ],
)
def test_the_recorded_steps_of_a_simulation(name, basis):
    problem = qpsim.random_problem([0.3, 1.0, 2.0, 5.0, 9.0], basis=basis, noise_std=2.0, rng=4)
    method, n_steps, n = qpsim.method(name), 4, 3
    run = qpsim.simulate(
        problem,
        method,
        n_steps=n_steps,
        n_replicates=n,
        rng=8,
        workers=1,
        record=("step_size", "theta"),
    )
    for k in range(n):
        noise = naive.normals(np.random.SeedSequence(8), k, n_steps, 5)
        if not problem.is_diagonal:
            noise = noise @ problem.eigenvectors.T
        state = method.initial_state(5)
        for t in range(n_steps):
            theta = run.theta[k, t]
            step = theory.optimal_step_size(problem, method, theta, state)
            assert run.step_size[k, t] == pytest.approx(step, rel=3e-8), (k, t)
            drawn = problem.gradient(theta) - problem.noise_std * problem.matvec(noise[t])
            _, state = method.update(drawn, state)


def test_without_noise_the_step_is_the_line_search():
    problem, theta = rotated(0.5, 1.0, 5.0, noise_std=0.0), np.array([1.0, -0.6])
    method = qpsim.method("adam")
    state = states(method, sharp=False)
    z, _ = method.update(problem.gradient(theta), state)
    mean, quadratic = theory.direction_moments(problem, method, theta, state)
    assert mean == pytest.approx(z, rel=1e-13)
    assert quadratic == pytest.approx(z @ problem.hessian @ z, rel=1e-13)


def test_leading_axes_are_points_and_states():
    problem, method = rotated(0.5, 1.0, 5.0), qpsim.method("adam*")
    theta = np.random.default_rng(0).standard_normal((2, 3, 2))
    m = np.random.default_rng(1).standard_normal((3, 2))
    together = theory.optimal_step_size(problem, method, theta, qpsim.State(3, {"m": m, "s": m**2}))
    assert together.shape == (2, 3)
    one = qpsim.State(3, {"m": m[1], "s": m[1] ** 2})
    alone = theory.optimal_step_size(problem, method, theta[1, 1], one)
    assert together[1, 1] == pytest.approx(alone, rel=1e-9)


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [(fails, "fails for a gradient within .* math domain"), (grows, "returns inf for gradient = ")],
)
def test_a_rule_that_cannot_answer_is_named(rule, sentence):
    problem = rotated(0.5, 1.0, 5.0)
    with pytest.raises(MethodError, match=sentence):
        theory.direction_moments(problem, rule(), [0.5, 0.5])
