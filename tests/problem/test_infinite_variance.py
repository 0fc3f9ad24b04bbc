"""Student's t with at most 2 degrees of freedom: where the loss sees its infinite variance, no linear step is taken."""

import warnings

import numpy as np
import pytest

import qpsim
from qpsim import noise, theory
from qpsim.errors import InfiniteVarianceWarning, ProblemError
from qpsim.problem.growth import noise_in_loss

BASIS = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
CURVATURES = np.array([2.0, 1.0, 0.0])
# A rotated Hessian, and one of which the last coordinate is flat.
ROTATED = (BASIS * CURVATURES) @ BASIS.T
BLOCK = np.array([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
THETA = np.array([1.0, 2.0, 3.0])
FLAT, CURVED = BASIS[:, 2:], BASIS[:, 1:]


def quadratic(hessian, given):
    return qpsim.QuadraticProblem(
        (hessian + hessian.T) / 2 if hessian.ndim == 2 else hessian, noise=given
    )


UNSEEN = {
    "diagonal": lambda: quadratic(CURVATURES, noise.diagonal([0.0, 0.0, 1.0], df=2.0)),
    "low rank": lambda: quadratic(CURVATURES, noise.low_rank([[0.0], [0.0], [1.0]], df=1.0)),
    "rotated": lambda: quadratic(ROTATED, noise.dense(FLAT @ FLAT.T, df=2.0)),
    "block": lambda: quadratic(BLOCK, noise.diagonal([0.0, 0.0, 1.0], df=0.5)),
}
SEEN = {
    "diagonal": lambda: quadratic(CURVATURES, noise.diagonal([0.0, 1e-20, 1.0], df=2.0)),
    "low rank": lambda: quadratic(CURVATURES, noise.low_rank([[0.0], [1.0], [0.0]], df=1.0)),
    "rotated": lambda: quadratic(ROTATED, noise.dense(CURVED @ CURVED.T, df=2.0)),
    "block": lambda: quadratic(BLOCK, noise.diagonal([0.0, 1.0, 0.0], df=0.5)),
}


def run(problem, method, step_size="optimal", **options):
    options = {"n_steps": 2, "n_replicates": 2, "theta0": THETA, **options}
    return qpsim.simulate(problem, method, step_size, rng=0, workers=1, **options)


@pytest.mark.parametrize("method", ["sgd", "m-sgd"])
@pytest.mark.parametrize("kind", UNSEEN)
def test_noise_in_flat_directions_alone_leaves_the_step_of_a_problem_without_noise(kind, method):
    p = UNSEEN[kind]()
    quiet = p.with_noise(noise.white(0.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = run(p, method)
    assert theory.optimal_step_size(p, method, THETA) == pytest.approx(
        theory.optimal_step_size(quiet, method, THETA), rel=1e-12
    )
    exact = run(quiet, method)
    np.testing.assert_allclose(made.step_size, exact.step_size, rtol=1e-6)
    np.testing.assert_allclose(made.excess_loss, exact.excess_loss, rtol=1e-6)
    risk = theory.expected_excess_loss(p, method, THETA, 0.3, 4)
    np.testing.assert_allclose(
        risk, theory.expected_excess_loss(quiet, method, THETA, 0.3, 4), rtol=1e-12
    )
    assert theory.steady_state_excess_loss(p, method, 0.3) == 0.0
    assert qpsim.best_schedule(p, "sgd", 3, THETA).expected_excess_loss[-1] < 1e-9


@pytest.mark.parametrize("method", ["sgd", "m-sgd"])
@pytest.mark.parametrize("kind", SEEN)
def test_noise_in_a_curved_direction_makes_every_linear_step_0(kind, method):
    p = SEEN[kind]()
    with pytest.warns(InfiniteVarianceWarning, match=f"^{method}'s optimal step is 0"):
        made = run(p, method)
    assert (made.step_size == 0.0).all()
    assert theory.optimal_step_size(p, method, THETA) == 0.0
    with pytest.warns(qpsim.DivergenceWarning):
        assert np.isinf(theory.expected_excess_loss(p, method, THETA, 0.3, 2)[1:]).all()
    assert np.isinf(theory.steady_state_excess_loss(p, method, 0.3))
    with pytest.raises(ProblemError, match="df above 2"):
        qpsim.best_schedule(p, "sgd", 3, THETA)


@pytest.mark.parametrize("hessian", [CURVATURES, BLOCK], ids=["diagonal", "dense"])
@pytest.mark.parametrize("variance", [[0.0, 1.0, 1.0], [0.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
def test_svag_moves_in_the_coordinates_without_noise_and_says_so(hessian, variance):
    p = quadratic(hessian, noise.diagonal(variance, df=1.5))
    noisy = int(sum(variance))
    where = "" if noisy == 3 else rf" in the {noisy} coordinates with noise"
    with pytest.warns(InfiniteVarianceWarning, match=f"^svag does not move{where}:"):
        made = run(p, "svag", n_steps=1)
    step = theory.optimal_step_size(p, "svag", THETA)
    assert (step > 0.0) == (noisy < 3)
    np.testing.assert_allclose(made.step_size[:, 0], step, rtol=1e-12)


def test_a_scale_that_turns_a_direction_decides_whether_the_loss_sees_its_noise():
    # Scaled by a state, noise of a flat direction has a part in curved ones.
    def leaning(gradient, s, t):
        return gradient / (1.0 + s), s + gradient * gradient

    rule = qpsim.rule(leaning, closed_form="linear")
    p = UNSEEN["rotated"]()
    # The same noise is unseen as long as the state is the same in all coordinates, as it is at the beginning.
    made = run(p, rule(), n_steps=2)
    assert (made.step_size[:, 0] > 0.0).all() and (made.step_size[:, 1] == 0.0).all()
    before = qpsim.State(1, {"s": np.array([0.5, 1.0, 2.0])})
    assert theory.optimal_step_size(p, rule(), THETA, before) == 0.0
    assert noise_in_loss(p) == 0.0
    np.testing.assert_allclose(
        noise_in_loss(p, [[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]]),
        [
            0.0,
            np.trace(p.hessian @ np.diag([1, 2, 3]) @ p.gradient_covariance() @ np.diag([1, 2, 3])),
        ],
        rtol=1e-12,
    )


@pytest.mark.long
def test_a_rule_that_grows_has_a_step_where_its_noisy_coordinates_are_flat():
    p = UNSEEN["diagonal"]()
    made = run(p, "m-svag", n_steps=1)
    assert theory.optimal_step_size(p, "m-svag", THETA) == pytest.approx(2.0 / 3.0)
    np.testing.assert_allclose(made.step_size, 2.0 / 3.0, rtol=1e-9)
    with pytest.raises(ProblemError, match="m-svag has no optimal step"):
        run(UNSEEN["rotated"](), "m-svag")
