"""Batch-size laws beside their closed forms, draws, and formulas that take coordinates for independent."""

import json
import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import erf

import qpsim
from qpsim import noise, theory
from qpsim.errors import MethodError, ProblemError, TheoryError

G = np.array([1.0, 3.0, -2.0, 0.5])
H = np.array([1.0, 2.0, 5.0, 0.3])
B = np.array([1.0, 4.0, 49.0, 300.0, 1e5])


def alike(ratio=7.0):
    """A diagonal problem on which all coordinates have one signal-to-noise ratio, and its gradient at 0."""
    return qpsim.QuadraticProblem(H, -G / H, noise=noise.diagonal((ratio * G) ** 2))


def coupled(matrix, covariance):
    """A dense problem with the gradient 1 at 0."""
    return qpsim.LocalModel(np.ones(len(matrix)), matrix, noise.dense(covariance))


def test_sign_descent_at_equal_signal_to_noise():
    law = theory.batch_size_law(alike(), np.zeros(4), batch_sizes=B)
    assert law.sign_noise_scale == pytest.approx(49.0)
    gain = law.improvement[1] / law.limit_improvement[1]
    np.testing.assert_allclose(gain, erf(np.sqrt(B / 98.0)) ** 2, atol=1e-6)
    assert gain[2] == pytest.approx(0.46606, abs=5e-6)
    half = brentq(lambda x: erf(math.sqrt(0.5 * x)) ** 2 - 0.5, 0.5, 2.0, xtol=1e-14)
    assert law.half_batch_size[1] / 49.0 == pytest.approx(half, abs=1e-6)
    assert law.half_batch_size[1] / 49.0 == pytest.approx(1.10627, abs=5e-6)


def test_gradient_descent_has_the_curvature_noise_scale():
    q = np.array([[2.0, 0.5, -0.3], [0.5, 1.0, 0.2], [-0.3, 0.2, 3.0]])
    c = np.array([[1.0, 0.4, -0.2], [0.4, 2.0, 0.3], [-0.2, 0.3, 0.5]])
    p = qpsim.QuadraticProblem(q, [1.0, -2.0, 0.5], noise=noise.dense(c))
    g = q @ -p.optimum
    law = theory.batch_size_law(p, np.zeros(3), ["sgd"], B)
    scale = np.trace(q @ c) / (g @ q @ g)
    assert law.gradient_noise_scale == pytest.approx(np.trace(c) / (g @ g))
    assert law.curvature_noise_scale == pytest.approx(scale)
    assert law.sign_noise_scale == pytest.approx(
        np.sqrt(np.diag(c)).sum() ** 2 / np.abs(g).sum() ** 2
    )
    best = g @ g / (g @ q @ g)
    np.testing.assert_allclose(law.step_size[0], best / (1.0 + scale / B))
    np.testing.assert_allclose(law.improvement[0], 0.5 * best * (g @ g) / (1.0 + scale / B))
    np.testing.assert_allclose(law.step_exponent[0], 1.0 / (1.0 + B / scale), atol=1e-6)
    assert law.limit_step_size[0] == pytest.approx(best)
    assert law.half_batch_size[0] == pytest.approx(scale)


def test_heavy_tails_of_finite_variance_count_with_it():
    p = qpsim.QuadraticProblem([1.0, 2.0], [1.0, 1.0], noise=noise.white(1.0, df=3.0))
    law = theory.batch_size_law(p, np.zeros(2), ["sgd"], [1, 10])
    scale = 3.0 * 3.0 / 9.0
    assert law.curvature_noise_scale == pytest.approx(scale)
    gain = law.improvement[0] / law.limit_improvement[0]
    np.testing.assert_allclose(gain, 1.0 / (1.0 + scale / np.array([1.0, 10.0])), rtol=1e-6)
    assert np.isnan(law.step_exponent).all() and np.isnan(law.half_batch_size).all()


def test_every_method_has_the_theory_of_its_batch_size():
    p, state = alike(), qpsim.State(3, {"m": 0.3 * G, "s": G**2})
    methods = ["svag", "va-ssd", qpsim.method("m-sgd", momentum=0.5), "adam*"]
    law = theory.batch_size_law(p, np.zeros(4), methods, [4, 64], states={"adam*": state})
    for k, m in enumerate(methods):
        for j, batch in enumerate([4, 64]):
            before = state if m == "adam*" else None
            q = p.at_batch(batch)
            step = theory.optimal_step_size(q, m, np.zeros(4), before)
            gain = theory.expected_improvement(q, m, np.zeros(4), before)
            assert (law.step_size[k, j], law.improvement[k, j]) == (step, gain)
    assert law.methods == ("svag", "va-ssd", "m-sgd", "adam*")


# --- rules of thumb --------------------------------------------------------------------------------


def test_where_linear_and_square_root_hold_on_a_diagonal_hessian():
    grid = np.geomspace(49.0 / 1000, 49.0 * 1000, 301)
    law = theory.batch_size_law(alike(), np.zeros(4), batch_sizes=grid)
    linear, root = law.follows("linear"), law.follows("square-root")
    # SGD: 1 / (1 + B / scale) is above 0.9 up to a ninth of the scale, and within 0.1 of 1/2 around it.
    assert grid[linear[0]].max() / 49.0 == pytest.approx(1.0 / 9.0, rel=0.05)
    assert grid[root[0]].min() / 49.0 == pytest.approx(2.0 / 3.0, rel=0.05)
    assert grid[root[0]].max() / 49.0 == pytest.approx(1.5, rel=0.05)
    # The sign: the root, from the smallest batch up to 0.655 times the scale; never linear, never a surge.
    assert root[1, 0] and grid[root[1]].max() / 49.0 == pytest.approx(0.655, rel=0.05)
    assert not linear[1].any() and not law.follows("surge").any()


def test_the_surge_needs_a_coupled_hessian_and_uncorrelated_noise():
    d, noise_std = 8, 5.0
    matrix = 0.5 * np.eye(d) + 0.5
    grid = np.geomspace(0.25, 2500.0, 101)
    law = theory.batch_size_law(
        coupled(matrix, noise_std**2 * np.eye(d)), np.zeros(d), ["ssd"], grid
    )
    # With e = erf(sqrt(B / (2 scale))): d e / (tr H + e^2 S), which is largest at e^2 = tr H / S.
    e = erf(np.sqrt(grid / 2.0) / noise_std)
    off = matrix.sum() - d
    np.testing.assert_allclose(law.step_size[0], d * e / (d + e**2 * off), rtol=1e-7)
    # It is 1.2 times the step without noise there. Where e is 1 to rounding the step does not change at all.
    surge, falls = law.follows("surge")[0], e**2 * off > d
    noisy = e < 1.0 - 1e-4
    np.testing.assert_array_equal(surge[noisy], falls[noisy])
    assert 10 < falls[noisy].sum() < noisy.sum() - 10
    assert law.step_size[0].max() / law.limit_step_size[0] == pytest.approx(1.2026, abs=1e-3)
    # The same variances, but the noise of all coordinates is one number: their signs agree at every batch size.
    one = theory.batch_size_law(
        coupled(matrix, noise_std**2 * (0.9999 * np.ones((d, d)) + 0.0001 * np.eye(d))),
        np.zeros(d),
        ["ssd"],
        grid,
    )
    assert not (one.step_exponent < -1e-3).any()
    # The formula of independent coordinates would have the step up to 4.4 times too large.
    worst = (d * e / (d + e**2 * off)) / one.step_size[0]
    assert worst.max() == pytest.approx(4.4, abs=0.1)


def test_correlated_noise_breaks_the_independent_formula_as_draws_do():
    rng = np.random.default_rng(0)
    matrix = 0.5 * np.eye(4) + 0.5
    correlation = np.full((4, 4), 0.7) + 0.3 * np.eye(4)
    p = coupled(matrix, 9.0 * correlation)
    law = theory.batch_size_law(p, np.zeros(4), ["ssd"], [4])
    n = 200_000
    signs = np.sign(1.0 + 1.5 * rng.multivariate_normal(np.zeros(4), correlation, n))
    quadratic = np.einsum("ki,ij,kj->k", signs, matrix, signs)
    # Its mean is the slope over the best step size.
    e = erf(1.0 / 1.5 / math.sqrt(2.0))
    error = quadratic.std() / math.sqrt(n)
    assert abs(quadratic.mean() - 4.0 * e / law.step_size[0, 0]) < 4.0 * error
    independent = 4.0 + e**2 * (matrix.sum() - 4.0)
    assert quadratic.mean() - independent > 100.0 * error


# --- steps to a loss -------------------------------------------------------------------------------


def test_steps_are_those_of_the_exact_count():
    p = qpsim.gallery.noisy_quadratic_model(50)
    sizes = [0.01, 0.1, 0.5, 1.0]
    law = theory.batch_size_law(
        p, np.zeros(50), ["sgd", "ssd"], [1, 256], target=0.5, step_sizes=sizes
    )
    for j, batch in enumerate([1, 256]):
        counts = [theory.steps_until(p.at_batch(batch), "sgd", 0.5, a, np.zeros(50)) for a in sizes]
        assert law.n_steps[0, j] == min(counts)
        if math.isfinite(min(counts)):
            assert law.constant_step_size[0, j] == sizes[int(np.argmin(counts))]
    assert np.isfinite(law.n_steps[0, 1]) and np.isnan(law.n_steps[1]).all()
    assert "steps" in str(law) and law.n_steps[0, 0] > law.n_steps[0, 1]


def test_by_default_step_sizes_are_in_units_of_the_curvature():
    p = qpsim.QuadraticProblem([100.0, 10.0], [1.0, 1.0], noise=noise.white(0.1))
    law = theory.batch_size_law(p, np.zeros(2), ["sgd"], [1], target=0.1)
    assert 0.0001 < law.constant_step_size[0, 0] < 0.02 and law.n_steps[0, 0] < 200


# --- ends ------------------------------------------------------------------------------------------


def test_without_noise_or_gradient():
    p = qpsim.QuadraticProblem([1.0, 2.0], noise_std=0.0)
    law = theory.batch_size_law(p, [1.0, 1.0], batch_sizes=[1, 2])
    assert law.curvature_noise_scale == law.sign_noise_scale == 0.0
    np.testing.assert_array_equal(law.half_batch_size, 0.0)
    np.testing.assert_array_equal(law.improvement[:, 0], law.limit_improvement)
    still = theory.batch_size_law(p.with_noise(1.0), [0.0, 0.0], batch_sizes=[1])
    assert still.gradient_noise_scale == math.inf and np.isnan(still.half_batch_size).all()


def test_a_law_is_told_as_json_and_in_short():
    law = theory.batch_size_law(alike(), np.zeros(4), ["sgd"], [1, 2])
    told = json.loads(json.dumps(law.to_dict()))
    assert told["batch_sizes"] == [1.0, 2.0] and told["n_steps"] is None
    assert len(repr(law)) < 120 and len(str(law).splitlines()) == 4


BAD = {
    "point": ((np.zeros((2, 4)),), {}, TheoryError, "must have shape"),
    "text": ((np.zeros(4), "sgd"), {}, TheoryError, "list of methods"),
    "number": ((np.zeros(4), 3), {}, TheoryError, "list of methods"),
    "nothing": ((np.zeros(4), []), {}, TheoryError, "at least one"),
    "unknown": ((np.zeros(4), ["sgdd"]), {}, MethodError, "sgdd"),
    "estimate": ((np.zeros(4), ["adam*-mb"]), {}, MethodError, "variance_estimate"),
    "batch": ((np.zeros(4), ["sgd"], [0.0]), {}, TheoryError, "above 0"),
    "batches": ((np.zeros(4), ["sgd"], []), {}, TheoryError, "batch_sizes"),
    "state": ((np.zeros(4),), {"states": {"adam": None}}, TheoryError, "not asked for"),
    "target": ((np.zeros(4), ["sgd"], [1]), {"target": 0.0}, TheoryError, "above 0"),
    "steps": (
        (np.zeros(4), ["sgd"], [1]),
        {"target": 1.0, "step_sizes": [0.0]},
        TheoryError,
        "above 0",
    ),
    "empty": (
        (np.zeros(4), ["sgd"], [1]),
        {"target": 1.0, "step_sizes": []},
        TheoryError,
        "step_sizes",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_question_gets_its_own_sentence(kind):
    arguments, keywords, error_class, sentence = BAD[kind]
    with pytest.raises(error_class, match=sentence) as error:
        theory.batch_size_law(alike(), *arguments, **keywords)
    assert "\n" not in str(error.value)


def test_fractions_are_for_gaussian_noise_and_steps_for_quadratic_problems():
    tails = qpsim.QuadraticProblem([1.0], noise=noise.white(1.0, df=3.0))
    with pytest.raises(TheoryError, match="whole numbers"):
        theory.batch_size_law(tails, [1.0], ["sgd"], [0.5])
    with pytest.raises(ProblemError, match="no optimum"):
        theory.batch_size_law(coupled(np.eye(2), np.eye(2)), np.zeros(2), ["sgd"], [1], target=1.0)
    with pytest.raises(TheoryError, match="rule"):
        theory.batch_size_law(alike(), np.zeros(4), ["sgd"], [1]).follows("cubic")
