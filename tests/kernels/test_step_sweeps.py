"""Sweeps over step sizes: every new step against the recursion's own parabola, errors of steps against their signs."""

import itertools

import numpy as np
import pytest

import qpsim
from qpsim.theory.passes import Passes
from qpsim.theory.recursion import Recursion
from qpsim.theory.sweeps import BLURS, Sweeps

METHODS = {"sgd": {}, "m-sgd": {"momentum": 0.7}, "nesterov": {"momentum": 0.7}}


def recursion(name, n_steps, averaged=False, dim=7):
    p = qpsim.random_problem("structured", dim, "haar", 0.4, rng=3)
    start = np.linspace(-2.0, 3.0, dim)
    return Recursion(p, qpsim.method(name, **METHODS[name]), start, n_steps, averaged)


def search(r, seed=0, moved=np.inf):
    return Sweeps(Passes(r), seed, 200, moved)


def begun(r):
    """Sweeps whose moments and adjoint belong to falling steps, and these."""
    steps = np.linspace(0.9, 0.2, r.n_steps) / r.curvature.max()
    sweeps = search(r)
    sweeps.passes.back(steps, 0.0, False)
    value, _ = sweeps.passes.forth(steps, 0.0, False)
    return sweeps, steps, value


def at_its_best(r, steps, t, value=None):
    """Step t of least value, the others given: the vertex of the parabola through three values."""
    value = value or r.value
    points = np.array([0.5, 1.0, 1.5]) / r.curvature.max()
    values = []
    for a in points:
        changed = steps.copy()
        changed[t] = a
        values.append(value(changed))
    c2, c1, _ = np.polyfit(points, values, 2)
    assert c2 > 0.0
    return max(0.0, -c1 / (2.0 * c2))


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_without_updates_the_passes_give_the_recursions_value(name, averaged):
    r = recursion(name, 6, averaged)
    _, steps, value = begun(r)
    assert value == pytest.approx(r.value(steps), rel=1e-13)


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_every_step_of_a_sweep_is_at_its_own_minimum(name, averaged):
    r = recursion(name, 6, averaged)
    sweeps, steps, before = begun(r)
    expected = steps.copy()
    for t in reversed(range(6)):
        expected[t] = at_its_best(r, expected, t)
    sweeps.passes.back(steps, 0.0, True)
    np.testing.assert_allclose(steps, expected, rtol=1e-7)
    for t in range(6):
        expected[t] = at_its_best(r, expected, t)
    after, rounding = sweeps.passes.forth(steps, 0.0, True)
    np.testing.assert_allclose(steps, expected, rtol=1e-7)
    assert after == pytest.approx(r.value(steps), rel=1e-12)
    assert after < before and after <= rounding < 1e4 * after


@pytest.mark.parametrize("name", METHODS)
def test_blurred_steps_have_the_mean_value_over_their_errors(name):
    # The moments are quadratic in each step: errors of one size and random sign have the mean of normal ones.
    r, blur = recursion(name, 4), 0.3
    sweeps, steps, _ = begun(r)
    value, _ = sweeps.passes.forth(steps, blur**2, False)
    signs = itertools.product([-1.0, 1.0], repeat=4)
    mean = np.mean([r.value(steps * (1.0 + blur * np.array(s))) for s in signs])
    assert value == pytest.approx(mean, rel=1e-12)
    # The adjoint belongs to the same blur: the moments before each step give the value of a random loss without noise.
    r.variance[:] = 0.0
    still = search(r)
    still.passes.back(steps, blur**2, False)
    value, _ = still.passes.forth(steps, blur**2, False)
    for t in range(5):
        assert (still.passes.moments[t] * still.passes.adjoint[t]).sum() == pytest.approx(
            value, rel=1e-11
        )


def test_a_search_ends_where_no_single_step_gains():
    r = recursion("sgd", 12)
    begin = np.full(12, 0.3 / r.curvature.max())
    steps = search(r).graduated(begin)
    assert r.value(steps) < 0.5 * r.value(begin)
    sweeps = search(r)

    def blurred(tried):
        return sweeps.passes.forth(tried, BLURS[-1] ** 2, False)[0]

    for t in range(12):
        changed = steps.copy()
        changed[t] = at_its_best(r, steps, t, blurred)
        assert blurred(changed) >= blurred(steps) * (1.0 - 1e-3)


def test_a_diverging_start_is_left_for_better():
    r = recursion("m-sgd", 40)
    with np.errstate(all="ignore"):
        steps = search(r).graduated(np.full(40, 1e12))
    assert np.isfinite(r.value(steps)) or (steps == 1e12).all()


def test_moves_and_changes_never_raise_the_value_and_are_counted_as_work():
    r = recursion("sgd", 16)
    one = search(r)
    one.begin(r.greedy())
    plain = search(r, moved=0.0)
    plain.begin(r.greedy())
    assert one.value <= plain.value and plain.work == 0.0 < one.work
    plain.go_on(np.inf, 10)
    assert plain.work == 0.0
    values, work = [one.value], [one.work]
    for _ in range(3):
        one.go_on(np.inf, 5)
        values.append(one.value)
        work.append(one.work)
    assert (np.diff(values) <= 0.0).all() and (np.diff(work) > 0.0).all()
    assert one.value == one.passes.value(one.steps, BLURS[-1] ** 2)
    one.offer(2.0 * one.steps)
    assert one.value == values[-1]


@pytest.mark.parametrize("n_steps", [15, 16])
def test_a_run_becomes_twice_as_long_and_no_worse(n_steps):
    half = search(recursion("sgd", 8))
    half.begin(np.full(8, 0.3 / half.passes.curvature.max()))
    whole = search(recursion("sgd", n_steps))
    whole.lengthen(half.steps)
    assert whole.steps.shape == (n_steps,)
    assert whole.value < half.value
