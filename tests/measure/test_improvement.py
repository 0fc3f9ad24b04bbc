"""Directions measured on quadratic problems, where the true values are known."""

import numpy as np
import pytest

import qpsim
from qpsim import measure, theory
from qpsim.errors import MeasureError


def black_box(n, rng, dim=20, noise_std=0.5):
    """A problem, a point, n of its gradients and its product."""
    p = qpsim.random_problem("structured", dim=dim, basis="haar", noise_std=noise_std, rng=0)
    theta = p.optimum + np.random.default_rng(99).standard_normal(dim)
    g = p.gradient(theta) + noise_std * rng.standard_normal((n, dim)) @ p.hessian
    return p, theta, g, lambda v: p.hessian @ v


def test_measured_improvements_are_the_exact_ones():
    p, theta, g, hvp = black_box(4000, np.random.default_rng(0))
    found = measure.directions(g[:600], hvp, loss=lambda d: p.excess_loss(theta + d))
    for row in found.rows:
        name = "ssd" if row.method == "adam" else row.method
        exact = theory.expected_improvement(p, name, theta)
        # Three quarters of an interval is at least 3 standard errors from the other end.
        assert row.improvement.low < exact < row.improvement.high
        assert row.predicted == pytest.approx(exact, rel=0.1)
        assert row.realised.low < exact < row.realised.high
    # The bound follows from the mean gradient, which differs from the exact one.
    assert found.improvement_bound == pytest.approx(theory.improvement_bound(p, theta), rel=0.1)


def test_the_interval_of_the_curvature_due_to_noise_covers_the_exact_ratio():
    """tr HC / grad^T H grad: the gradient's error counts, too. 95 % of 60 is 57; 51 is three deviations less."""
    h = np.diag([0.2, 0.7, 1.5, 4.0, 10.0]) + 0.1
    g = np.array([1.0, -0.5, 0.3, 2.0, -0.8])
    exact = 0.16 * np.trace(h @ h @ h) / (g @ h @ g)
    covered = 0
    for seed in range(60):
        drawn = g + 0.4 * np.random.default_rng([2, seed]).standard_normal((100, 5)) @ h
        found = measure.directions(
            drawn, lambda v: h @ v, methods=["sgd"], n_bootstrap=200, rng=seed
        )
        value, low, high = found.noise_curvature_ratio
        assert low < value < high
        covered += low <= exact <= high
    assert covered >= 51


def test_the_curvature_due_to_noise_without_an_interval():
    """Along a direction of negative curvature, or without a gradient, the ratio has a value at most."""
    g = np.array([1.0, 0.0]) + 0.1 * np.random.default_rng(3).standard_normal((50, 2))
    found = measure.directions(g, lambda v: (v.T * [-1.0, 30.0]).T, methods=["sgd"])
    value, low, high = found.noise_curvature_ratio
    assert value < 0.0 and (low, high) == (-np.inf, np.inf)
    flat = measure.directions(g, lambda v: 0.0 * v, methods=["sgd"])
    assert np.isnan(flat.noise_curvature_ratio.value)


def test_own_gradients_are_not_paired():
    """Of gradients without a mean, the naive slope is tr C > 0; the split one is 0."""
    g = np.random.default_rng(1).standard_normal((200, 50))
    found = measure.directions(g, lambda v: v, methods=["sgd", "ssd", "svag"])
    for row in found.rows:
        assert row.slope.low < 0.0 < row.slope.high
        assert row.improvement.low == 0.0


def test_products_instead_of_a_matrix():
    _, _, g, hvp = black_box(200, np.random.default_rng(2))
    dense = measure.directions(g, hvp, methods=["sgd", "ssd"])
    products = measure.directions(g, hvp, methods=["sgd", "ssd"], exact_below=0, n_products=200)
    assert products.matrix is None
    assert np.isnan(products["ssd"].predicted)
    assert products["ssd"].improvement == pytest.approx(dense["ssd"].improvement, rel=1e-9)
    with pytest.raises(MeasureError, match="exact_below"):
        products.problem()


def test_a_users_rule_is_measured():
    @qpsim.rule
    def cubed_root_of_size(gradient, t, power=0.5):
        return gradient / (abs(gradient) + 1.0) ** power

    p, theta, g, hvp = black_box(50, np.random.default_rng(3))

    def loss(delta):
        return p.excess_loss(theta + delta)

    found = measure.directions(g, hvp, methods=[cubed_root_of_size(power=0.0)], loss=loss)
    sgd = measure.directions(g, hvp, methods=["sgd"], loss=loss)
    assert [row.method for row in found.rows] == ["cubed-root-of-size"]
    assert found.rows[0].improvement == pytest.approx(sgd["sgd"].improvement)
    assert found.rows[0].realised == pytest.approx(sgd["sgd"].realised)
    assert found.rows[0].ratio_to_sgd.value == pytest.approx(1.0)


def test_a_measured_point_is_simulated():
    p, _, g, hvp = black_box(100, np.random.default_rng(4))
    found = measure.directions(g, hvp, methods=["sgd"])
    problem = found.problem()
    np.testing.assert_allclose(problem.hessian, p.hessian, atol=1e-9)
    np.testing.assert_allclose(problem.gradient(np.zeros(20)), g.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(problem.gradient_std(), g.std(axis=0, ddof=1))
    step = found["sgd"].step_size.value
    run = qpsim.simulate(problem, "sgd", step_size=step, n_steps=1, n_replicates=2000)
    fall = run.excess_loss[:, 0] - run.excess_loss[:, 1]
    # The two know the same gradients and Hessian; the measured slope is without the noise of their mean.
    assert fall.mean() == pytest.approx(found["sgd"].improvement.value, rel=0.05)


def test_an_indefinite_point_is_a_local_model():
    rng = np.random.default_rng(5)
    h = np.array([2.0, -0.5, 1.0])
    g = 1.0 + rng.standard_normal((50, 3))
    found = measure.directions(g, lambda v: (v.T * h).T, methods=["sgd", "ssd"])
    assert isinstance(found.problem(), qpsim.LocalModel)
    assert found.problem(positive_part=True).eigenvalues.min() == pytest.approx(0.0, abs=1e-12)


def test_negative_curvature_has_no_best_step():
    g = 1.0 + np.random.default_rng(6).standard_normal((50, 3))
    found = measure.directions(g, lambda v: -v, methods=["sgd"])
    assert found["sgd"].improvement.value == np.inf
    assert "inf" in str(found)


def test_measurements_are_saved_and_loaded(tmp_path):
    _, _, g, hvp = black_box(30, np.random.default_rng(7))
    found = measure.directions(g, hvp, methods=["sgd", "ssd"])
    again = measure.load(found.save(tmp_path / "m.npz"))
    assert str(again) == str(found)
    np.testing.assert_array_equal(again.problem().hessian, found.problem().hessian)
    assert found.plot().get_ylabel()


def test_wrong_input_is_refused():
    g = 1.0 + np.random.default_rng(8).standard_normal((20, 3))
    rng = np.random.default_rng(0)
    with pytest.raises(MeasureError, match="not deterministic"):
        measure.directions(g, lambda v: v, loss=lambda d: rng.uniform())
    with pytest.raises(MeasureError, match="at least 8"):
        measure.directions(g[:5], lambda v: v)
    with pytest.raises(MeasureError, match="own variance"):
        measure.directions(g, lambda v: v, methods=["m-svag-mb"])
    with pytest.raises(MeasureError, match="once"):
        measure.directions(g, lambda v: v, methods=["sgd", "sgd"])
    with pytest.raises(MeasureError, match="not measured"):
        measure.directions(g, lambda v: v, methods=["sgd"], states={"adam": None})


@pytest.mark.long
def test_intervals_cover_the_exact_numbers():
    """Of 200 repeats, 95 % within 3 points: a binomial's deviation is 1.5 points."""
    covered = []
    for seed in range(200):
        p, theta, g, hvp = black_box(100, np.random.default_rng([1, seed]))
        found = measure.directions(g, hvp, methods=["sgd", "ssd"], rng=seed)
        pairs = [
            (found[name].improvement, theory.expected_improvement(p, name, theta))
            for name in ("sgd", "ssd")
        ]
        covered.append([low <= exact <= high for (_, low, high), exact in pairs])
    shares = np.mean(covered, axis=0)
    assert ((shares >= 0.92) & (shares <= 0.98)).all(), shares


@pytest.mark.long
def test_the_interval_of_c_covers_the_exact_number():
    """64 of 100 random rows. Of 1500 repeats, whose deviation is 0.56 points, 95 % within 1.5 points."""
    problem = qpsim.random_problem("structured", dim=100, basis="haar", rng=0)
    covered = []
    for seed in range(1500):
        found = measure.curvature(
            lambda v: problem.hessian @ v, 100, exact_below=0, n_probes=3, n_rows=64, n_lanczos=3,
            n_eigenvalues=1, rng=seed,
        )  # fmt: skip
        _, low, high = found.diagonal_mass
        covered.append(low <= problem.diagonal_mass <= high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.015)
