"""Local models: Eq. 10 and 11 for a Hessian of any kind, and "unbounded" where there is no best step."""

import math
import pickle

import numpy as np
import pytest

import qpsim
from qpsim import noise, theory
from qpsim.errors import ProblemError

HESSIAN = np.array([[2.0, 0.5, -0.3], [0.5, -1.0, 0.2], [-0.3, 0.2, 3.0]])
SLOPE = np.array([1.0, 0.5, -2.0])
C = np.array([[1.0, 0.4, -0.2], [0.4, 2.0, 0.3], [-0.2, 0.3, 0.5]])
HERE = np.zeros(3)


def test_on_a_positive_definite_hessian_it_is_the_quadratic_problem():
    hessian = HESSIAN + 2.0 * np.eye(3)
    theta = np.array([0.2, -0.4, 1.0])
    for law in ({}, {"df": 3.0}, {"law": "laplace"}):
        p = qpsim.QuadraticProblem(hessian, noise=noise.dense(C, **law))
        local = qpsim.LocalModel(p.gradient(theta), hessian, noise.dense(C, **law))
        for method in ("sgd", "ssd", "svag", "va-ssd"):
            gain = theory.expected_improvement(p, method, theta)
            assert theory.expected_improvement(local, method, HERE) == pytest.approx(
                gain, rel=1e-12
            )
    delta = np.array([[0.1, 0.2, 0.3], [-1.0, 0.0, 2.0]])
    change = p.excess_loss(theta + delta) - p.excess_loss(theta)
    np.testing.assert_allclose(local.excess_loss(delta), change, rtol=1e-12)
    np.testing.assert_allclose(local.gradient(delta), p.gradient(theta + delta), rtol=1e-12)


@pytest.mark.parametrize("method", ["sgd", "ssd"])
def test_moments_on_an_indefinite_hessian_are_those_of_draws(method):
    local = qpsim.LocalModel(SLOPE, HESSIAN, noise.dense(C))
    n = 200_000
    drawn = SLOPE + np.random.default_rng(0).multivariate_normal(np.zeros(3), C, n)
    z = drawn if method == "sgd" else np.sign(drawn)
    forms = np.einsum("ki,ij,kj->k", z, HESSIAN, z)
    mean, quadratic = theory.direction_moments(local, method, HERE)
    assert abs(forms.mean() - quadratic) < 4.0 * forms.std() / n**0.5
    assert (np.abs(z.mean(axis=0) - mean) < 4.0 * z.std(axis=0) / n**0.5).all()


@pytest.mark.parametrize(
    ("slope", "hessian"),
    [
        ([1.0, 2.0], [2.0, -1.0]),
        ([1.0, 0.0], [[0.0, 1.0], [1.0, 0.0]]),
        ([0.0, 0.0], [-1.0, -1.0]),
    ],
)
def test_the_loss_may_be_unbounded_along_a_direction(slope, hessian):
    # The middle one: z^T H z = 0 on average, with a slope.
    local = qpsim.LocalModel(slope, hessian, noise.white(0.01))
    assert theory.direction_moments(local, "sgd", [0.0, 0.0])[1] <= 0.0
    assert theory.optimal_step_size(local, "sgd", [0.0, 0.0]) == math.inf
    assert theory.expected_improvement(local, "sgd", [0.0, 0.0]) == math.inf
    table = theory.compare_directions(local, [0.0, 0.0], methods=["sgd", "ssd"])
    assert table.rows[0].expected_improvement == math.inf and "unbounded" in str(table)


def test_where_nothing_moves_nothing_is_unbounded():
    local = qpsim.LocalModel([0.0, 0.0], [2.0, -1.0], noise.white(0.0))
    assert theory.optimal_step_size(local, "sgd", [0.0, 0.0]) == 0.0
    assert theory.expected_improvement(local, "ssd", [0.0, 0.0]) == 0.0


def test_it_keeps_its_gradient_through_copies_and_batches():
    local = qpsim.LocalModel(SLOPE, HESSIAN, noise.dense(C, df=3.0))
    again = pickle.loads(pickle.dumps(local))
    np.testing.assert_array_equal(again.gradient(HERE), SLOPE)
    mean = local.at_batch(4)
    assert mean.noise.law.batch_size == 4
    np.testing.assert_allclose(mean.gradient_covariance(), C / 4.0, rtol=1e-14)
    np.testing.assert_array_equal(mean.gradient(HERE), SLOPE)
    assert "[-1.1, 3.08]" in repr(local)
    assert local.diagonal_mass == pytest.approx(6.0 / 8.0)


BAD = {
    "simulation": (
        lambda m: qpsim.simulate(m, "sgd", n_steps=1),
        "one step only and cannot be simulated",
    ),
    "optimum": (lambda m: m.optimum, "has no optimum"),
    "another optimum": (lambda m: m.with_optimum([1.0, 2.0, 3.0]), "has no optimum"),
    "gradient": (lambda m: qpsim.LocalModel([1.0], HESSIAN, noise.white(1.0)), r"shape \(3,\)"),
    "gradient nan": (
        lambda m: qpsim.LocalModel([1.0, np.nan, 1.0], HESSIAN, noise.white(1.0)),
        "gradient holds NaN",
    ),
    "no noise": (lambda m: qpsim.LocalModel(SLOPE, HESSIAN, 0.1), "one of qpsim.noise"),
    "noise of another dimension": (
        lambda m: qpsim.LocalModel(SLOPE, HESSIAN, noise.diagonal([1.0])),
        "1 coordinates, but the problem has 3",
    ),
    "hessian noise": (
        lambda m: qpsim.LocalModel(SLOPE, HESSIAN, noise.hessian(1.0)),
        "positive semi-definite one, but the smallest eigenvalue is -1",
    ),
    "not symmetric": (
        lambda m: qpsim.LocalModel([1.0, 2.0], [[1.0, 0.5], [0.0, 1.0]], noise.white(1.0)),
        "symmetric",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_a_local_model_cannot_do_is_one_sentence(kind):
    make, sentence = BAD[kind]
    with pytest.raises(ProblemError, match=sentence) as error:
        make(qpsim.LocalModel(SLOPE, HESSIAN, noise.dense(C)))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("dense", [True, False])
def test_an_infinite_variance_has_the_sign_of_the_curvature_that_the_noise_meets(dense):
    def model(curvatures, variances):
        hessian, matrix = np.diag(curvatures), np.diag(variances)
        if dense:
            basis = np.array([[0.6, -0.8], [0.8, 0.6]])
            hessian, matrix = basis @ hessian @ basis.T, basis @ matrix @ basis.T
        return qpsim.LocalModel([1.0, 1.0], hessian, noise.dense(matrix, df=1.5))

    at = [0.0, 0.0]
    for curvatures, variances, step in (
        ([1.0, 2.0], [1.0, 1.0], 0.0),
        ([-1.0, -2.0], [1.0, 1.0], np.inf),
        ([2.0, -1.0], [1.0, 1.0], 0.0),
        ([1.0, -2.0], [1.0, 1.0], np.inf),
    ):
        m = model(curvatures, variances)
        assert theory.optimal_step_size(m, "sgd", at) == step
        assert theory.expected_improvement(m, "sgd", at) == step
    # Noise along a flat direction, which no step makes worse.
    flat = model([2.0, 0.0], [0.0, 1.0])
    steady = qpsim.LocalModel([1.0, 1.0], flat.hessian, noise.white(0.0))
    assert theory.optimal_step_size(flat, "sgd", at) == pytest.approx(
        theory.optimal_step_size(steady, "sgd", at)
    )
    wide = qpsim.QuadraticProblem(np.ones(200_000), noise=noise.white(1.0, df=2))
    assert theory.optimal_step_size(wide, "sgd", np.ones(200_000)) == 0.0
