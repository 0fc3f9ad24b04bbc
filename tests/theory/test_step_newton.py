"""Newton's method on all steps: a minimum is reached, unlike starts end together, changes never raise the value."""

import numpy as np
import pytest

import qpsim
from qpsim.theory.passes import Passes
from qpsim.theory.recursion import Recursion
from qpsim.theory.step_newton import BLURS, Newton


def passes(n_steps, dim=20, noise_std=0.3, name="m-sgd"):
    p = qpsim.random_problem("structured", dim, "axis", noise_std, rng=0)
    r = Recursion(p, qpsim.method(name), np.zeros(dim), n_steps, False)
    return r, Passes(r)


@pytest.mark.parametrize("name", ["m-sgd", "nesterov"])
def test_a_descent_ends_where_no_step_gains(name):
    r, both = passes(12, name=name)
    begin = np.full(12, 0.3 * r.longest)
    steps, value = Newton(both, 0).descend(begin, 0.1, 500, 1e-12)
    assert value == pytest.approx(both.value(steps, 0.01), rel=1e-12)
    assert value < both.value(begin, 0.01)
    for t in range(12):
        for factor in (0.98, 1.02):
            other = steps.copy()
            other[t] *= factor
            assert both.value(other, 0.01) >= value * (1.0 - 1e-9)


def test_unlike_starts_end_together_where_steps_have_large_errors():
    r, both = passes(12)
    draws = np.random.Generator(np.random.PCG64(0))
    begins = [r.greedy(), np.full(12, 0.1 * r.longest)]
    begins += [r.longest * np.exp(draws.normal(size=12)) for _ in range(3)]
    ends = [Newton(both, 0).descend(begin, 1.0, 500, 1e-10)[1] for begin in begins]
    assert max(ends) < min(ends) * (1.0 + 1e-6)


def test_changes_never_raise_the_value_and_are_counted_as_work():
    r, both = passes(12)
    search = Newton(both, 3)
    search.begin(r.greedy())
    values, work = [search.value], [search.work]
    for _ in range(3):
        search.go_on(np.inf, 10)
        values.append(search.value)
        work.append(search.work)
    assert (np.diff(values) <= 0.0).all() and values[-1] < values[0]
    assert (np.diff(work) > 0.0).all()
    assert search.value == both.value(search.steps, BLURS[-1] ** 2)
    before = search.work
    search.go_on(0.0, 10)
    assert search.work > before
    search.go_on(-np.inf, 10)
    assert len(values) == 4 and search.value <= values[-1]


def test_a_start_of_infinite_loss_is_left_as_it_is():
    _, both = passes(40)
    begin = np.full(40, 1e12)
    steps, value = Newton(both, 0).descend(begin, 0.1, 10, 1e-3)
    assert value == np.inf
    np.testing.assert_array_equal(steps, begin)


def test_one_step_of_one_coordinate_is_the_greedy_one():
    p = qpsim.QuadraticProblem([2.0], noise_std=0.5)
    r = Recursion(p, qpsim.method("m-sgd"), np.array([1.5]), 1, False)
    search = Newton(Passes(r), 0)
    search.begin(np.array([0.01]))
    search.go_on(1e9, 5)
    # A direction of one gradient, with the last error of the steps: h m / ((h^2 m + c)(1 + 1e-8)).
    assert search.steps[0] == pytest.approx(2.0 * 2.25 / (4.0 * 2.25 + 1.0), rel=1e-4)
