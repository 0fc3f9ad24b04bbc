"""The Gaussian closure of sign descent: exact where the law is Gaussian, near ensembles elsewhere."""

import numpy as np
import pytest

import qpsim
from qpsim import noise, theory
from qpsim.errors import MethodError, ProblemError, StepSizeError, TheoryError
from qpsim.theory.sign_closure import gaussian_sign_path

DENSE = qpsim.random_problem([0.3, 1.0, 2.0, 5.0], basis="haar", noise_std=1.0, rng=4)
HEAVY = qpsim.QuadraticProblem(DENSE.hessian, noise=noise.white(0.8, df=3.0))
OFFSET = np.array([1.0, -0.5, 0.3, 2.0])
COVARIANCE = np.diag([0.5, 0.2, 0.1, 0.3]) + 0.05


def drawn(problem, offset, covariance, n, rng):
    """Gradients, and offsets, before a step that begins at N(offset, covariance)."""
    e = offset + rng.standard_normal((n, 4)) @ np.linalg.cholesky(covariance).T
    matrix = problem.gradient_covariance()
    factor = np.linalg.cholesky(np.diag(matrix) if matrix.ndim == 1 else matrix)
    scale = 1.0
    if not problem.noise.law.is_gaussian:
        scale = np.sqrt(3.0 / rng.chisquare(3.0, (n, 1)))
    return e @ problem.hessian + scale * rng.standard_normal((n, 4)) @ factor.T, e


@pytest.mark.parametrize("problem", [DENSE, HEAVY], ids=["gaussian", "student"])
def test_one_step_from_a_gaussian_law_is_exact(problem):
    path = gaussian_sign_path(problem, OFFSET, np.array([0.4]), 1, COVARIANCE)
    rng = np.random.default_rng(0)
    n = 200_000
    g, e = drawn(problem, OFFSET, COVARIANCE, n, rng)
    after = e - 0.4 * np.sign(g)
    mean, error = after.mean(axis=0), after.std(axis=0) / np.sqrt(n)
    assert (np.abs(path.mean - mean) < 4.0 * error).all()
    i, j = np.triu_indices(4)
    products = (after - path.mean)[:, i] * (after - path.mean)[:, j]
    error = products.std(axis=0) / np.sqrt(n)
    assert (np.abs(path.covariance[i, j] - products.mean(axis=0)) < 4.0 * error).all()
    loss = 0.5 * np.einsum("ni,ij,nj->n", after, problem.hessian, after)
    assert abs(path.risk[1] - loss.mean()) < 4.0 * loss.std() / np.sqrt(n)


def test_the_greedy_step_is_the_best_for_the_law():
    path = gaussian_sign_path(DENSE, OFFSET, None, 3, COVARIANCE)
    for factor in (0.98, 1.02):
        steps = path.step_size * [1.0, 1.0, factor]
        other = gaussian_sign_path(DENSE, OFFSET, steps, 3, COVARIANCE)
        assert other.risk[-1] > path.risk[-1]
    # From one point it is Eq. 11's.
    first = gaussian_sign_path(DENSE, OFFSET, None, 1).step_size[0]
    assert first == pytest.approx(
        theory.optimal_step_size(DENSE, "ssd", DENSE.optimum + OFFSET), rel=1e-7
    )


def test_on_a_diagonal_hessian_it_is_near_the_exact_law():
    p = qpsim.QuadraticProblem([0.5, 1.0, 3.0], noise_std=0.7)
    start = [2.0, -1.03, 0.31]
    exact = theory.expected_excess_loss(p, "ssd", start, 0.1, 60)
    closed = theory.expected_excess_loss(p, "ssd", start, 0.1, 60, law="closure")
    np.testing.assert_allclose(closed, exact, rtol=0.02)
    np.testing.assert_allclose(closed[:2], exact[:2], rtol=1e-12)


def test_the_error_against_ensembles_falls_with_the_dimension():
    worst = {6: 0.0, 48: 0.0}
    for d in worst:
        for seed in (3, 4, 5):
            p = qpsim.random_problem("mild", dim=d, basis="haar", noise_std=2.0, rng=seed)
            path = gaussian_sign_path(p, -p.optimum, None, 60)
            closed = theory.expected_excess_loss(
                p, "ssd", np.zeros(d), "optimal", 60, law="closure"
            )
            np.testing.assert_array_equal(closed, path.risk)
            run = qpsim.simulate(p, "ssd", path.step_size, 60, 512, np.zeros(d), rng=0, record=())
            mean = run.excess_loss.mean(axis=0)
            error = run.excess_loss.std(axis=0) / np.sqrt(512) / mean
            gap = np.abs(closed / mean - 1.0)
            worst[d] += gap.max() / 3.0
            # Beside 4 standard errors: what the closure itself is off by, at steps as large as these.
            assert (gap < 4.0 * error + (0.35 if d == 6 else 0.07)).all()
    assert worst[48] < 0.4 * worst[6]


def test_without_noise_the_path_is_that_of_the_signs():
    p = DENSE.with_noise(0.0)
    steps = np.array([0.3, 0.2, 0.1])
    risk = theory.expected_excess_loss(p, "ssd", p.optimum + OFFSET, steps, 3, law="closure")
    run = qpsim.simulate(p, "ssd", steps, 3, 1, p.optimum + OFFSET, rng=0)
    np.testing.assert_allclose(risk, run.excess_loss[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("more", "error", "sentence"),
    [
        ({"law": "gaussian"}, TheoryError, "Unknown law"),
        ({"law": "closure", "return_error_bound": True}, TheoryError, "no error bound"),
        ({"law": "closure", "average": {"ema": 0.9}}, TheoryError, "no average"),
        ({"law": "closure", "method": "sgd"}, MethodError, "not of sgd"),
        ({"law": "closure", "theta0": [OFFSET]}, ProblemError, "theta0 must have shape"),
        ({"law": "closure", "step_size": "bound"}, StepSizeError, "given step sizes"),
    ],
)
def test_refusals(more, error, sentence):
    given = {"method": "ssd", "theta0": OFFSET, "step_size": 0.1, "n_steps": 5, **more}
    with pytest.raises(error, match=sentence):
        theory.expected_excess_loss(DENSE, **given)
