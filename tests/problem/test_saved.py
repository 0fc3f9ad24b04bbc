"""Every kind of problem, saved with a result and loaded: the same problem, with the same bits."""

import numpy as np
import pytest

import qpsim
from qpsim import noise
from qpsim.errors import ProblemError
from qpsim.problem.saved import problem_from_dict

Q = np.array([[2.0, 0.5], [0.5, 1.0]])
X = np.array([[1.0, 0.5], [-0.3, 2.0], [0.7, -1.0], [0.2, 0.1], [1.5, -0.4]])
Y = np.array([1.0, 0.2, -0.5, 0.3, 2.0])
NOISES = {
    "data": noise.data(0.5),
    "hessian": noise.hessian(0.5, df=3.0),
    "white": noise.white(0.5, law="laplace"),
    "diagonal": noise.diagonal([1.0, 0.0]),
    "dense": noise.dense([[1.0, 0.3], [0.3, 0.5]], df=5.0),
    "low_rank": noise.low_rank([[1.0], [0.5]], [0.0, 0.1]),
}
PROBLEMS = {
    **{f"dense, {k}": qpsim.QuadraticProblem(Q, [1.0, -2.0], noise=n) for k, n in NOISES.items()},
    **{
        f"diagonal, {k}": qpsim.QuadraticProblem([1.0, 2.0], [1.0, -2.0], noise=n)
        for k, n in NOISES.items()
    },
    "another level": qpsim.QuadraticProblem(Q, noise=NOISES["dense"]).with_noise(3.0),
    "minibatch": qpsim.QuadraticProblem(Q, noise=NOISES["dense"]).at_batch(4),
    "least squares": qpsim.LeastSquares(Q, [1.0, -2.0], 0.3),
    "least squares, minibatch": qpsim.LeastSquares(Q, [1.0, -2.0], 0.3).at_batch(4),
    "least squares, diagonal": qpsim.LeastSquares([1.0, 2.0], [1.0, -2.0], 0.3),
    "table": qpsim.DataProblem(X, Y),
    "table, held out": qpsim.DataProblem(X, Y, "reshuffled", False, held_out=(X[:2], Y[:2])),
    "sample": qpsim.DataProblem(X, order="fixed", hessian=Q),
    "sample, held out": qpsim.DataProblem(X, hessian=[1.0, 2.0], held_out=X[:3]),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_is_put_together_from_what_describes_it(name):
    p = PROBLEMS[name]
    again = problem_from_dict({"kind": p.kind, **p.to_dict()}, p.arrays())
    assert type(again) is type(p) and repr(again) == repr(p)
    theta = np.array([[0.3, -0.7], [2.0, 1.0]])
    np.testing.assert_array_equal(again.excess_loss(theta), p.excess_loss(theta))
    np.testing.assert_array_equal(again.gradient(theta), p.gradient(theta))
    if hasattr(p, "noise"):
        np.testing.assert_array_equal(again.gradient_covariance(), p.gradient_covariance())
        assert again.noise.law == p.noise.law
    if p.kind == "least-squares":
        for one in theta:
            np.testing.assert_array_equal(
                again.gradient_covariance(one), p.gradient_covariance(one)
            )
        assert again.batch_size == p.batch_size
    if "held out" in name:
        np.testing.assert_array_equal(again.held_out_loss(theta), p.held_out_loss(theta))


@pytest.mark.parametrize(
    "name", ["dense, dense", "diagonal, hessian", "least squares, minibatch", "table, held out"]
)
def test_a_result_comes_back_with_its_problem_and_runs_again_to_the_same_bits(name, tmp_path):
    run = qpsim.simulate(PROBLEMS[name], "sgd", 0.05, 3, 2, rng=0, workers=1, batch_size=2)
    path = tmp_path / "run.npz"
    run.save(path)
    loaded = qpsim.load(path)
    assert repr(loaded.problem) == repr(run.problem)
    again = qpsim.rerun(loaded, workers=1)
    np.testing.assert_array_equal(again.excess_loss, run.excess_loss)


def test_files_of_version_0_1_have_a_level_and_no_noise():
    p = PROBLEMS["dense, data"]
    description = {k: v for k, v in p.to_dict().items() if k != "noise"}
    again = problem_from_dict(description, p.arrays())
    assert again.noise_std == 0.5 and again.noise.family == "data"


def test_an_unknown_kind_is_named():
    with pytest.raises(ProblemError, match="kind 'cubic'"):
        problem_from_dict({"kind": "cubic"}, {})
