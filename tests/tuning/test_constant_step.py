"""The best constant step size on a problem: of any size, with an interval, and with its edges named."""

import json

import numpy as np
import pytest

import qpsim
from qpsim.theory import expected_excess_loss

MILD = qpsim.random_problem("mild", 50, "axis", noise_std=1.0, rng=0)


def start(scale=1.0):
    return scale * np.random.Generator(np.random.PCG64(1)).standard_normal(50)


def test_adams_best_step_lies_far_below_its_largest_stable_one():
    found = qpsim.best_constant_step(MILD, "adam", n_steps=200, theta0=start(), rng=0)
    assert found.best == 0.1
    assert np.log10(found.best_loss) == pytest.approx(-0.35, abs=0.05)
    assert found.largest_stable >= 1e5
    assert found.interval == (0.06, 0.3)
    assert found.at_edge is None


def test_gradient_descent_is_stable_up_to_two_over_the_curvature():
    p = qpsim.QuadraticProblem([1.0, 10.0], [3.0, -2.0], noise_std=0.0)
    found = qpsim.best_constant_step(p, "sgd", n_steps=50, n_replicates=2, rng=0, workers=1)
    # 0.2 is the edge, the grid's next step is 0.3
    assert (found.best, found.largest_stable, found.at_edge) == (0.1, 0.1, "largest stable")
    assert found.interval == (0.06, 0.3)
    assert np.array_equal(found.step_sizes, np.sort(found.step_sizes)[::-1])
    assert np.array_equal(found.stable, found.step_sizes < 0.2)
    assert "the largest stable step" in repr(found)


@pytest.mark.parametrize("curvature", [1e-40, 1e-12, 1.0, 1e13, 1e40])
def test_a_step_of_any_size_is_found(curvature):
    """At curvature c the best step is that at curvature 1, divided by c."""
    p = qpsim.QuadraticProblem([curvature, 10.0 * curvature], [3.0, -2.0], noise_std=0.1)
    found = qpsim.best_constant_step(p, "sgd", n_steps=50, n_replicates=32, rng=0, workers=1)
    assert found.best * curvature == pytest.approx(0.06)
    assert found.largest_stable * curvature == pytest.approx(0.1)


def test_the_interval_holds_the_step_of_the_lowest_exact_loss():
    p = qpsim.QuadraticProblem([0.5, 2.0, 10.0], [3.0, -2.0, 1.0], noise_std=1.0)
    steps = np.geomspace(1e-3, 0.19, 400)
    exact = [expected_excess_loss(p, "sgd", np.zeros(3), step, 30)[-1] for step in steps]
    best = steps[int(np.argmin(exact))]
    held = 0
    for seed in range(20):
        found = qpsim.best_constant_step(p, "sgd", 30, 32, rng=seed, workers=1)
        held += found.interval[0] <= best <= found.interval[1]
        assert found.interval[0] < found.best < found.interval[1]
    # It promises 95 %: fewer than 16 of 20 has probability 3e-3 by the binomial law.
    assert held >= 16


def test_more_replicates_do_not_widen_the_interval():
    few, many = (
        qpsim.best_constant_step(MILD, "ssd", 100, n, start(), rng=3, workers=1) for n in (8, 512)
    )
    assert many.interval[0] >= few.interval[0] and many.interval[1] <= few.interval[1]


def test_the_same_seed_finds_the_same_on_any_workers():
    p = qpsim.random_problem("mild", 10, "axis", noise_std=1.0, rng=0)
    one, three = (
        qpsim.best_constant_step(p, "m-svag", n_steps=20, n_replicates=70, rng=5, workers=w)
        for w in (1, 3)
    )
    assert np.array_equal(one.final_loss, three.final_loss)
    assert one.to_dict() == three.to_dict()


def test_its_record_is_plain_json():
    p = qpsim.QuadraticProblem([1.0, 10.0], [3.0, -2.0], noise_std=0.1)
    found = qpsim.best_constant_step(
        p, qpsim.method("m-sgd", momentum=0.5), 400, 8, rng=0, workers=1
    )
    kept = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert kept["method"] == {"name": "m-sgd", "hyper": {"momentum": 0.5}}
    assert kept["interval"] == list(found.interval) and kept["best"] == found.best
    by_step = {row["step_size"]: row for row in kept["curve"]}
    assert by_step[found.best]["final_loss"]["median"] == found.best_loss
    assert sum(row["share"] for row in kept["curve"]) == pytest.approx(1.0)
    assert any(row["final_loss"]["median"] is None for row in kept["curve"])


@qpsim.rule(closed_form="linear")
def along(gradient, t, factor=1.0):
    return factor * gradient


@pytest.mark.parametrize(
    ("method", "theta0", "message"),
    [
        ("adam", None, "Every replicate starts at a minimum"),
        ("sgd", [0.0, 0.0], "Every replicate starts at a minimum"),
        (along(factor=-1.0), [1.0, 2.0], "along ends above its start at every constant step size"),
        (along(factor=0.0), [1.0, 2.0], "along moves at no constant step size"),
    ],
)
def test_where_no_step_is_the_best_one_sentence_says_so(method, theta0, message):
    p = qpsim.QuadraticProblem([1.0, 2.0], noise_std=0.0)
    with pytest.raises(qpsim.QpsimError, match=message) as caught:
        qpsim.best_constant_step(p, method, 5, 2, theta0, rng=0, workers=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("n_steps", [29, 30])
def test_steps_that_lead_there_and_back_are_not_the_best(n_steps):
    # Two signs of a step of 1e17 take an offset of 3 to 0: what is left is rounding.
    p = qpsim.QuadraticProblem([1.0, 10.0], noise_std=0.3)
    found = qpsim.best_constant_step(p, "ssd", n_steps, theta0=[3.1, 1.2], rng=0, workers=1)
    assert 0.03 < found.best < 1.0 and found.best_loss > 1e-3
    assert found.largest_stable < 1e9
