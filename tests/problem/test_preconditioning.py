"""Preconditioning: SGD on the new problem is preconditioned SGD on the old one."""

import numpy as np
import pytest

import qpsim
from qpsim import noise, theory
from qpsim.errors import ProblemError

Q = np.array([[2.0, 0.5, -0.3], [0.5, 1.0, 0.2], [-0.3, 0.2, 3.0]])
C = np.array([[1.0, 0.4, -0.2], [0.4, 2.0, 0.3], [-0.2, 0.3, 0.5]])
P = np.array([[1.0, 0.3, 0.0], [0.3, 2.0, -0.4], [0.0, -0.4, 0.5]])
OPTIMUM, THETA = np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.4, -1.0])


def power(matrix, exponent):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values**exponent) @ vectors.T


PRECONDITIONERS = {
    "matrix": (P, P),
    "vector": ([0.5, 2.0, 3.0], np.diag([0.5, 2.0, 3.0])),
    "power": (-0.5, None),
    "inverse": (-1.0, None),
    "square": (2, None),
    "nothing": (0, None),
}
NOISES = {
    "data": noise.data(0.7),
    "hessian": noise.hessian(0.7, df=5.0),
    "white": noise.white(0.7, law="laplace"),
    "diagonal": noise.diagonal([1.0, 0.0, 2.0]),
    "dense": noise.dense(C),
    "low_rank": noise.low_rank([[1.0], [0.5], [-1.0]], [0.1, 0.2, 0.0]),
}


@pytest.mark.parametrize("given", PRECONDITIONERS)
@pytest.mark.parametrize("family", NOISES)
@pytest.mark.parametrize("dense", [True, False])
def test_one_step_is_worth_what_the_preconditioned_direction_is_worth(given, family, dense):
    hessian = Q if dense else np.diag([0.5, 1.0, 3.0])
    p = qpsim.QuadraticProblem(hessian, OPTIMUM, noise=NOISES[family])
    asked, matrix = PRECONDITIONERS[given]
    matrix = power(hessian, asked) if matrix is None else matrix
    new = p.preconditioned(asked)
    inverse = power(matrix, -0.5)
    # Direction P g on the old problem: Eq. 10 by hand.
    grad = hessian @ (THETA - OPTIMUM)
    z = matrix @ grad
    spread = matrix @ p.noise.dense_matrix(p) @ matrix * p.noise.law.variance
    step = grad @ z / (z @ hessian @ z + np.trace(hessian @ spread))
    assert theory.optimal_step_size(new, "sgd", inverse @ THETA) == pytest.approx(step, rel=1e-10)
    assert new.excess_loss(inverse @ THETA) == pytest.approx(p.excess_loss(THETA), rel=1e-10)
    assert (new.noise.law, new.is_diagonal) == (p.noise.law, not dense and given != "matrix")
    back = new.preconditioned(np.linalg.inv(matrix))
    full = back.hessian if dense else np.diag(back.hessian) if back.is_diagonal else back.hessian
    if given != "matrix":
        np.testing.assert_allclose(full, hessian, rtol=1e-10, atol=1e-12)


def test_preconditioning_by_the_inverse_hessian_reaches_the_optimum_at_once():
    new = qpsim.QuadraticProblem(Q, OPTIMUM, 0.0).preconditioned(-1.0)
    np.testing.assert_allclose(
        new.hessian, np.ones(3) if new.is_diagonal else np.eye(3), atol=1e-12
    )
    theta = THETA
    risk = theory.expected_excess_loss(new, "sgd", theta, 1.0, 1)
    assert risk[1] < 1e-20 * risk[0]


def test_low_rank_noise_stays_of_low_rank():
    p = qpsim.QuadraticProblem(
        np.linspace(1.0, 2.0, 5000), noise=noise.low_rank(np.ones((5000, 2)))
    )
    assert p.preconditioned(-0.5).noise.family == "low_rank"


def test_a_local_model_is_preconditioned_with_its_gradient():
    local = qpsim.LocalModel([1.0, 2.0], [2.0, -1.0], noise.white(0.3))
    new = local.preconditioned([4.0, 9.0])
    np.testing.assert_allclose(new.gradient(np.zeros(2)), [2.0, 6.0])
    np.testing.assert_allclose(new.hessian, [8.0, -9.0])
    np.testing.assert_allclose(new.gradient_covariance(), [0.36, 0.81])
    with pytest.raises(ProblemError, match="smallest eigenvalue is -1"):
        local.preconditioned(0.5)


BAD = {
    "singular, negative power": ([1.0, 0.0], -0.5, "smallest eigenvalue is 0"),
    "singular, positive power": ([1.0, 0.0], 0.5, "smallest eigenvalue is 0"),
    "not positive": ([1.0, 2.0], [1.0, 0.0], "smallest entry is 0"),
    "not positive definite": ([1.0, 2.0], [[1.0, 2.0], [2.0, 1.0]], "smallest eigenvalue is -1"),
    "not symmetric": ([1.0, 2.0], [[1.0, 0.5], [0.0, 1.0]], "symmetric"),
    "shape": ([1.0, 2.0], np.ones(3), r"not of shape \(3,\)"),
    "huge power": ([1.0, 2.0], 1e6, "power 1e.06 of the Hessian, with eigenvalues from 1 to 2"),
    "text": ([1.0, 2.0], "half", "preconditioner"),
    "nan": ([1.0, 2.0], [np.nan, 1.0], "preconditioner holds NaN"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_preconditioner_gets_its_own_sentence(kind):
    hessian, given, sentence = BAD[kind]
    with pytest.raises(ProblemError, match=sentence) as error:
        qpsim.QuadraticProblem(hessian).preconditioned(given)
    assert "\n" not in str(error.value)
