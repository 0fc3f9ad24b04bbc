"""A step taken out and put in again: against every place and the best size there, by the recursion alone."""

import numpy as np
import pytest

import qpsim
from qpsim.kernels.step_moves import reinsert_steps
from qpsim.theory.recursion import Recursion

METHODS = {"sgd": {}, "m-sgd": {"momentum": 0.7}, "nesterov": {"momentum": 0.7}}
LIMIT = 1e-3 / np.finfo(float).eps


def recursion(name, n_steps, averaged):
    p = qpsim.random_problem("structured", 7, "haar", 0.4, rng=3)
    start = np.linspace(-2.0, 3.0, 7)
    return Recursion(p, qpsim.method(name, **METHODS[name]), start, n_steps, averaged)


def moved(r, steps, order, blur=0.0, limit=LIMIT):
    found = steps.copy()
    arguments = (r.curvature, r.variance, r.maps[0], r.weight, r.square)
    count = reinsert_steps(*arguments, found, np.array(order), blur, 1e-6, limit)
    return count, found


def lowest_with_one_elsewhere(r, steps, number):
    """The least value with this step at any place and of any size: the vertex of a parabola through three values."""
    others = np.delete(steps, number)
    values = []
    for place in range(steps.size):
        points = np.array([0.0, 1.0, 2.0]) / r.curvature.max()
        heights = [r.value(np.insert(others, place, a)) for a in points]
        c2, c1, _ = np.polyfit(points, heights, 2)
        values.append(r.value(np.insert(others, place, max(0.0, -0.5 * c1 / c2))))
    return min(values)


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_a_step_goes_where_it_serves_best(name, averaged):
    r = recursion(name, 6, averaged)
    # Rising steps: noise that the last ones let in is not damped any more.
    steps = np.linspace(0.2, 0.9, 6) / r.curvature.max()
    for number in range(6):
        count, found = moved(r, steps, [number])
        lowest = lowest_with_one_elsewhere(r, steps, number)
        assert count == (lowest < r.value(steps) * (1.0 - 1e-6))
        assert r.value(found) == pytest.approx(lowest if count else r.value(steps), rel=1e-9)


def test_moves_are_made_one_after_another():
    r = recursion("sgd", 6, False)
    steps = np.linspace(0.2, 0.9, 6) / r.curvature.max()
    count, found = moved(r, steps, [0, 5, 2])
    by_hand, total = steps, 0
    for number in (0, 5, 2):
        one, by_hand = moved(r, by_hand, [number])
        total += one
    assert count == total > 0
    np.testing.assert_array_equal(found, by_hand)


def test_what_rounding_may_have_made_is_not_taken():
    r = recursion("sgd", 6, False)
    steps = np.linspace(0.2, 0.9, 6) / r.curvature.max()
    count, found = moved(r, steps, [0, 1], limit=0.0)
    assert count == 0
    np.testing.assert_array_equal(found, steps)


def test_an_error_of_every_step_makes_it_shorter():
    # One step of one coordinate: h m / (h^2 m + c) divided by 1 + blur.
    p = qpsim.QuadraticProblem([2.0], noise_std=0.5)
    r = Recursion(p, qpsim.method("sgd"), np.array([1.5]), 1, False)
    _, sharp = moved(r, np.array([0.01]), [0])
    _, blurred = moved(r, np.array([0.01]), [0], blur=0.25)
    assert sharp[0] == pytest.approx(2.0 * 2.25 / (4.0 * 2.25 + 1.0), rel=1e-12)
    assert blurred[0] == pytest.approx(sharp[0] / 1.25, rel=1e-12)
