"""Counts of steps by jumps, beside the recursion step by step."""

import math

import numpy as np
import pytest

import qpsim
from qpsim import noise, theory
from qpsim.errors import MethodError, ProblemError, TheoryError

THETA0 = np.array([1.0, -2.0, 0.5])
Q = np.array([[2.0, 0.5, -0.3], [0.5, 1.0, 0.2], [-0.3, 0.2, 3.0]])
C = np.array([[1.0, 0.4, -0.2], [0.4, 2.0, 0.3], [-0.2, 0.3, 0.5]])
PROBLEMS = {
    "data": qpsim.QuadraticProblem(Q, noise_std=0.05),
    "dense": qpsim.QuadraticProblem(Q, noise=noise.dense(0.01 * C)),
    "student": qpsim.QuadraticProblem(Q, noise=noise.dense(0.01 * C, df=3.0)),
    "low rank": qpsim.QuadraticProblem(
        [1.0, 2.0, 0.1], noise=noise.low_rank([[0.1], [0.2], [0.0]])
    ),
    "singular": qpsim.QuadraticProblem([1.0, 2.0, 0.0], noise=noise.data(0.05)),
    "silent": qpsim.QuadraticProblem(Q, noise_std=0.0),
}
METHODS = {
    "sgd": "sgd",
    "m-sgd": qpsim.method("m-sgd", momentum=0.7),
    "nesterov": "nesterov",
}


@pytest.mark.parametrize("kind", PROBLEMS)
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("step_size", [0.003, 0.02])
def test_jumps_find_the_step_that_a_walk_finds(kind, name, step_size):
    p, method = PROBLEMS[kind], METHODS[name]
    risk = theory.expected_excess_loss(p, method, THETA0, step_size, 3000)
    for share in (0.9, 0.5, 0.1, 0.02):
        target = share * risk[0]
        below = np.flatnonzero(risk <= target)
        expected = below[0] if below.size else math.inf
        # Momentum's risk may oscillate around the target; the first crossing is unique where it falls through.
        if below.size and not (np.diff(below) == 1).all():
            continue
        assert theory.steps_until(p, method, target, step_size, THETA0) == expected


def test_a_target_at_the_start_takes_no_step_and_a_target_below_the_floor_forever():
    p = PROBLEMS["dense"]
    assert theory.steps_until(p, "sgd", 1.001 * p.excess_loss(THETA0), 0.1, THETA0) == 0.0
    floor = theory.steady_state_excess_loss(p, "sgd", 0.1)
    assert theory.steps_until(p, "sgd", 0.999 * floor, 0.1, THETA0) == math.inf
    assert theory.steps_until(p, "sgd", 1.001 * floor, 0.1, THETA0) < 1000
    assert theory.steps_until(p, "sgd", 0.1, 1.0, THETA0) == math.inf


def test_a_millionfold_count_is_exact():
    # One direction without noise: (1 - a h)^(2 n) <= share.
    p = qpsim.QuadraticProblem([1.0], noise_std=0.0)
    n = math.ceil(math.log(1e-3) / (2.0 * math.log1p(-1e-7)))
    assert theory.steps_until(p, "sgd", 0.5e-3, 1e-7, [1.0]) == n


@pytest.mark.parametrize("df", [1.0, 2.0])
@pytest.mark.parametrize("name", METHODS)
def test_without_a_variance_no_target_is_ever_reached(name, df):
    for curvatures in ([1.0, 2.0], [1.0, 0.0]):
        p = qpsim.QuadraticProblem(curvatures, noise=noise.data(0.1, df=df))
        assert theory.steps_until(p, METHODS[name], 0.1, 0.1, [1.0, 1.0]) == math.inf


def test_a_random_start_is_the_mean_over_its_draws():
    p = PROBLEMS["dense"]
    squares = np.array([1.0, 4.0, 0.25])
    # 2^3 starts with these offsets along the eigenvectors, whose mean outer product is diagonal.
    corners = np.array(np.meshgrid(*[[-1.0, 1.0]] * 3)).reshape(3, -1).T * np.sqrt(squares)
    risks = [theory.expected_excess_loss(p, "sgd", p.eigenvectors @ c, 0.02, 400) for c in corners]
    mean = np.mean(risks, axis=0)
    target = 0.2 * mean[0]
    found = theory.steps_until(p, "sgd", target, 0.02, initial_square=squares)
    assert found == np.argmax(mean <= target)


def test_alike_directions_count_as_often_as_they_are():
    many = qpsim.QuadraticProblem(np.repeat([1.0, 0.1], [3, 5]), noise=noise.white(0.05))
    risk = theory.expected_excess_loss(many, "sgd", np.ones(8), 0.1, 200)
    target = 0.3 * risk[0]
    assert theory.steps_until(many, "sgd", target, 0.1, np.ones(8)) == np.argmax(risk <= target)


@pytest.mark.parametrize("kind", ["data", "dense", "singular"])
@pytest.mark.parametrize("mu", [0.0, 0.7])
@pytest.mark.parametrize("gamma", [0.5, 0.95])
def test_an_averaged_iterate_is_counted_as_a_walk_counts_it(kind, mu, gamma):
    p, step, one, none = PROBLEMS[kind], 0.02, np.eye(3), np.zeros((3, 3))
    q = np.diag(p.hessian) if p.is_diagonal else p.hessian
    c = p.gradient_covariance()
    c = np.diag(c) if c.ndim == 1 else c
    # (offset, buffer, average), and what the noise of a gradient adds to each.
    moved = np.block([one - step * q, -step * mu * one, none])
    walk = np.vstack(
        [moved, np.block([q, mu * one, none]), (1 - gamma) * moved + gamma * np.eye(9)[6:]]
    )
    push = np.vstack([-step * one, one, -(1 - gamma) * step * one])
    mean = np.concatenate([THETA0, np.zeros(3), THETA0])
    second, losses = np.outer(mean, mean), []
    for _ in range(1500):
        losses.append(0.5 * np.trace(q @ second[6:, 6:]))
        second = walk @ second @ walk.T + push @ c @ push.T
    method = qpsim.method("m-sgd", momentum=mu)
    for share in (0.9, 0.3, 0.05):
        target = share * losses[0]
        below = np.flatnonzero(np.array(losses) <= target)
        assert below.size and (np.diff(below) == 1).all()
        average = {"ema": gamma}
        assert theory.steps_until(p, method, target, step, THETA0, average=average) == below[0]
        risk = theory.expected_excess_loss(p, method, THETA0, step, 1499, average=average)
        np.testing.assert_allclose(risk, losses, rtol=1e-9)


def test_averaging_reaches_what_the_iterate_never_does():
    p = PROBLEMS["dense"]
    target = 0.5 * theory.steady_state_excess_loss(p, "sgd", 0.3)
    assert theory.steps_until(p, "sgd", target, 0.3, THETA0) == math.inf
    assert theory.steps_until(p, "sgd", target, 0.3, THETA0, average={"ema": 0.9}) < 200


def test_several_step_sizes_are_counted_one_by_one():
    p, sizes = PROBLEMS["data"], np.array([[0.003, 0.02], [0.1, 9.0]])
    found = theory.steps_until(p, "nesterov", 0.5, sizes, THETA0)
    alone = [theory.steps_until(p, "nesterov", 0.5, a, THETA0) for a in sizes.ravel()]
    assert found.shape == (2, 2) and found.ravel().tolist() == alone
    assert found[1, 1] == math.inf and np.isfinite(found[0]).all()


BAD = {
    "method": (("ssd", 0.1, 0.1), {}, MethodError, "no exact count of steps"),
    "changing": (("adam", 0.1, 0.1), {}, MethodError, "no exact count of steps"),
    "target": (("sgd", 0.0, 0.1), {}, TheoryError, "must be above 0"),
    "step": (("sgd", 0.1, 0.0), {}, TheoryError, "must be above 0"),
    "negative": (("sgd", -1.0, 0.1), {}, TheoryError, "must not be negative"),
    "theta0": (("sgd", 0.1, 0.1, [1.0]), {}, ProblemError, "3 entries"),
    "average": (("sgd", 0.1, 0.1), {"average": {"ema": 1.0}}, TheoryError, r"in \(0, 1\)"),
    "tail average": (("sgd", 0.1, 0.1), {"average": {"tail": 3}}, TheoryError, "counted for"),
    "both": (("sgd", 0.1, 0.1, THETA0), {"initial_square": 1.0}, TheoryError, "not both"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_question_gets_its_own_sentence(kind):
    arguments, keywords, error_class, sentence = BAD[kind]
    with pytest.raises(error_class, match=sentence) as error:
        theory.steps_until(PROBLEMS["dense"], *arguments, **keywords)
    assert "\n" not in str(error.value)


def test_other_problems_are_refused_by_name():
    with pytest.raises(ProblemError, match="not LeastSquares"):
        theory.steps_until(qpsim.LeastSquares(Q), "sgd", 0.1, 0.1)
