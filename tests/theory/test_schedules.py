"""Planned schedules: the adjoint against differences, brute force in one coordinate, greedy steps, and simulation."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

import qpsim
from qpsim import noise, theory
from qpsim.errors import MethodError, ProblemError, StepSizeError, TheoryError
from qpsim.theory import families, schedule_search, step_newton
from qpsim.theory.recursion import Recursion

METHODS = {
    "sgd": {},
    "m-sgd": {"momentum": 0.7},
    "nesterov": {"momentum": 0.7},
    "damped-m-sgd": {"momentum": 0.6, "dampening": 0.3},
}


def problem(dim=5, basis="haar", noise_std=0.4):
    return qpsim.random_problem("structured", dim, basis, noise_std, rng=3)


def recursion(p, name, n_steps, averaged=False):
    method = qpsim.method(name, **METHODS[name])
    return Recursion(p, method, np.linspace(-2.0, 3.0, p.dim), n_steps, averaged), method


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("dim", [1, 5, 35])
def test_the_recursion_is_the_theorys_risk(name, dim):
    p = problem(dim)
    steps = np.linspace(1.2, 0.1, 9) / p.eigenvalues.max()
    r, method = recursion(p, name, 9)
    expected = theory.expected_excess_loss(p, method, np.linspace(-2.0, 3.0, dim), steps, 9)
    np.testing.assert_allclose(r.risk(steps), expected, rtol=1e-12)


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_the_adjoint_agrees_with_differences(name, averaged):
    p = problem(20)
    r, _ = recursion(p, name, 7, averaged)
    steps = np.linspace(1.5, 0.2, 7) / p.eigenvalues.max()
    value, gradient = r.value_and_gradient(steps)
    assert value == pytest.approx(r.value(steps), rel=1e-14)
    for t in range(7):
        h = 1e-5 * steps[t]
        up, down = steps.copy(), steps.copy()
        up[t], down[t] = steps[t] + h, steps[t] - h
        slope = (r.value(up) - r.value(down)) / (2.0 * h)
        assert gradient[t] == pytest.approx(slope, rel=1e-7, abs=1e-9 * np.abs(gradient).max())


@pytest.mark.parametrize("name", ["sgd", "m-sgd", "nesterov"])
def test_one_step_is_the_greedy_one(name):
    p = problem()
    method = qpsim.method(name, **METHODS[name])
    best = qpsim.best_schedule(p, method, 1, np.ones(5))
    greedy = theory.optimal_step_size(p, method, np.ones(5))
    assert best.step_size[0] == pytest.approx(greedy, rel=1e-5)
    improvement = theory.expected_improvement(p, method, np.ones(5))
    decrease = best.expected_excess_loss[0] - best.expected_excess_loss[1]
    assert decrease == pytest.approx(improvement, rel=1e-9)


@pytest.mark.parametrize("n_steps", [2, 3, 4])
def test_one_coordinate_agrees_with_brute_force(n_steps):
    p = qpsim.QuadraticProblem([2.0], noise_std=0.5)
    best = qpsim.best_schedule(p, "sgd", n_steps, [1.5])
    grid = np.linspace(0.0, 0.6, 7)
    lowest = min(
        theory.expected_excess_loss(p, "sgd", [1.5], steps, n_steps)[-1]
        for steps in itertools.product(grid, repeat=n_steps)
    )
    assert best.value <= lowest
    # In one coordinate each step's best does not depend on the later ones: greedy is optimal.
    r = Recursion(p, qpsim.method("sgd"), np.array([1.5]), n_steps, False)
    assert best.value == pytest.approx(r.value(r.greedy()), rel=1e-9)


@pytest.mark.parametrize("n_steps", [2, 3, 4])
@pytest.mark.parametrize("name", ["sgd", "m-sgd"])
def test_a_gap_in_the_spectrum_agrees_with_brute_force(name, n_steps):
    from scipy.optimize import minimize

    p = qpsim.QuadraticProblem([1.0, 10.0], noise_std=0.3)
    method = qpsim.method(name, **METHODS[name])
    best = qpsim.best_schedule(p, method, n_steps, [3.0, 1.0])
    r = Recursion(p, method, np.array([3.0, 1.0]), n_steps, False)
    grid = [0.02, 0.07, 0.1, 0.14, 0.4, 0.7, 1.0]
    all_of_them = sorted(
        itertools.product(grid, repeat=n_steps), key=lambda a: r.value(np.array(a))
    )
    ends = [
        minimize(r.value_and_gradient, a, jac=True, method="BFGS", options={"gtol": 1e-10}).fun
        for a in all_of_them[:40]
    ]
    assert best.value == pytest.approx(min(ends), rel=1e-3)


@pytest.mark.parametrize("noise_std", [0.1, 4.0])
def test_starts_agree_where_the_spectrum_has_a_gap(noise_std):
    p = qpsim.random_problem("structured", 30, "axis", noise_std, rng=0)
    best = qpsim.best_schedule(p, "sgd", 60)
    assert best.disagreement < 0.01


def test_starts_of_heavy_ball_agree_where_the_spectrum_has_a_gap():
    # With 12 random changes all three ended at 5.4985, and agreed.
    p = qpsim.QuadraticProblem([1.0, 100.0], noise_std=0.3)
    best = qpsim.best_schedule(p, "m-sgd", 4, [3.0, 1.0])
    assert best.disagreement < 0.02 and best.value < 1.56


@pytest.mark.parametrize("name", METHODS)
def test_no_schedule_of_a_family_and_no_greedy_one_is_better(name, monkeypatch):
    # What does not depend on how long it is searched.
    monkeypatch.setattr(schedule_search, "_CHANGES", 4)
    monkeypatch.setattr(step_newton, "_PLACES", 1)
    p = problem(6)
    r, method = recursion(p, name, 24)
    start = np.linspace(-2.0, 3.0, 6)
    free = qpsim.best_schedule(p, method, 24, start, n_pieces=4)
    assert free.value <= r.value(r.greedy()) * (1.0 + 1e-12)
    assert free.value == free.expected_excess_loss[-1] <= free.restarts[0]
    assert free.restarts.size == 3 and (np.diff(free.restarts) >= 0.0).all()
    for family in families.NAMES:
        one = qpsim.best_schedule(p, method, 24, start, family=family, n_pieces=4)
        assert free.value <= one.value * (1.0 + 1e-6), family
        assert one.step_size.shape == (24,) and (one.step_size >= 0.0).all()
    pieces = qpsim.best_schedule(p, method, 24, start, family="piecewise", n_pieces=4).step_size
    assert len(set(pieces.tolist())) <= 4


def test_a_constant_step_is_the_best_on_a_grid():
    p = problem(6)
    best = qpsim.best_schedule(p, "sgd", 30, np.ones(6), family="constant")
    steps = best.step_size[0] * np.array([0.9, 0.99, 1.01, 1.1])
    others = [theory.expected_excess_loss(p, "sgd", np.ones(6), a, 30)[-1] for a in steps]
    assert best.value < min(others)


def test_the_averaged_objective_is_the_mean_over_the_steps():
    p = problem(6)
    final = qpsim.best_schedule(p, "sgd", 20, np.ones(6))
    averaged = qpsim.best_schedule(p, "sgd", 20, np.ones(6), objective="averaged")
    assert averaged.value == pytest.approx(averaged.expected_excess_loss[1:].mean(), rel=1e-12)
    assert averaged.value < final.expected_excess_loss[1:].mean()
    assert final.value < averaged.expected_excess_loss[-1]


def test_an_ensemble_has_the_planned_loss():
    q = problem(4)
    p = qpsim.QuadraticProblem(q.hessian, noise=noise.dense(np.eye(4) + 0.5, df=6.0))
    best = qpsim.best_schedule(p, "m-sgd", 15, np.ones(4))
    run = qpsim.simulate(p, "m-sgd", best.step_size, 15, 4000, np.ones(4), rng=0, workers=1)
    mean = run.excess_loss.mean(axis=0)
    error = run.excess_loss.std(axis=0, ddof=1) / np.sqrt(4000)
    assert (np.abs(mean - best.expected_excess_loss) <= 4.0 * error + 1e-12).all()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("objective", ["final", "averaged"])
def test_planned_steps_are_never_worse_than_greedy_ones(objective, name, seed, monkeypatch):
    monkeypatch.setattr(schedule_search, "_CHANGES", 4)
    monkeypatch.setattr(step_newton, "_PLACES", 1)
    draws = np.random.Generator(np.random.PCG64(seed))
    dim, n_steps = int(draws.integers(1, 30)), int(draws.integers(1, 40))
    values = np.exp(draws.uniform(-3.0, 3.0, dim))
    p = qpsim.random_problem(values, noise_std=float(draws.choice([0.0, 0.1, 4.0])), rng=seed)
    method = qpsim.method(name, **METHODS[name])
    best = qpsim.best_schedule(p, method, n_steps, np.ones(dim), objective=objective)
    r = Recursion(p, method, np.ones(dim), n_steps, objective == "averaged")
    assert best.value <= r.value(r.greedy())


def test_the_disagreement_is_that_of_the_highest_restart_with_the_lowest():
    best = qpsim.best_schedule(problem(6), "sgd", 24, np.ones(6))
    assert best.disagreement == pytest.approx(best.restarts[-1] / best.restarts[0] - 1.0, abs=1e-15)
    assert best.to_dict()["disagreement"] == best.disagreement
    for restarts, expected in (([2.0, 2.0, 3.0], 0.5), ([0.0, 0.0], 0.0), ([0.0, 1.0], np.inf)):
        assert replace(best, restarts=np.array(restarts)).disagreement == expected


def test_starts_agree_where_the_spectrum_is_smooth():
    p = qpsim.gallery.noisy_quadratic_model(dim=300)
    best = qpsim.best_schedule(p, "sgd", 60, np.ones(300))
    assert best.disagreement < 1e-6


def test_long_runs_are_searched_by_doubling(monkeypatch):
    p = qpsim.random_problem("structured", 12, "axis", 0.1, rng=0)
    whole = qpsim.best_schedule(p, "sgd", 60)
    monkeypatch.setattr(schedule_search, "_MOVED", 2.0 * 30**2 * 12)
    doubled = qpsim.best_schedule(p, "sgd", 60)
    half = qpsim.best_schedule(p, "sgd", 30)
    assert (doubled.step_size != whole.step_size).any()
    assert doubled.value < 0.7 * half.value and doubled.value < 1.5 * whole.value


def test_many_eigenvalues_of_a_gapped_spectrum_are_not_interpolated_in_a_short_run():
    # Steps that were fitted to the nodes of an interpolation ended at 1e3 here.
    p = qpsim.random_problem("structured", 300, "axis", 0.1, rng=0)
    best = qpsim.best_schedule(p, "sgd", 60)
    families_best = qpsim.best_schedule(p, "sgd", 60, family="piecewise")
    assert best.disagreement < 0.05 and best.value < 0.5 * families_best.value


def test_planned_steps_may_be_rounded_to_five_digits():
    p = problem(20, noise_std=0.1)
    best = qpsim.best_schedule(p, "sgd", 40, np.ones(20))
    rounded = [float(f"{a:.5g}") for a in best.step_size]
    assert (np.array(rounded) != best.step_size).any()
    risk = theory.expected_excess_loss(p, "sgd", np.ones(20), rounded, 40)
    assert risk[-1] == pytest.approx(best.value, rel=1e-3)


@pytest.mark.parametrize("name", ["sgd", "m-sgd"])
def test_of_several_starts_the_mean_loss_is_planned(name):
    p = problem(4)
    starts = np.random.Generator(np.random.PCG64(0)).normal(size=(3, 4))
    best = qpsim.best_schedule(p, name, 12, starts)
    each = [theory.expected_excess_loss(p, name, one, best.step_size, 12) for one in starts]
    np.testing.assert_allclose(best.expected_excess_loss, np.mean(each, axis=0), rtol=1e-10)
    assert best.value < theory.expected_excess_loss(p, name, starts[0], best.step_size, 12).max()


def test_an_ensemble_comes_down_again_from_where_a_plan_lets_the_loss_rise():
    # Steps far above 2 / the largest eigenvalue, in a random basis: the simulation keeps its digits along eigenvectors.
    p = qpsim.random_problem("structured", 12, "haar", 0.1, rng=0)
    best = qpsim.best_schedule(p, "sgd", 40, np.ones(12))
    assert best.highest_loss == best.expected_excess_loss.max() > 1e3 * best.expected_excess_loss[0]
    assert best.value < 1e-3 * best.expected_excess_loss[0]
    run = qpsim.simulate(p, "sgd", "planned", 40, 1000, np.ones(12), rng=0, workers=1)
    last = run.excess_loss[:, -1]
    assert abs(last.mean() - best.value) <= 4.0 * last.std(ddof=1) / np.sqrt(1000)
    averaged = qpsim.best_schedule(p, "sgd", 40, np.ones(12), objective="averaged")
    assert averaged.highest_loss < 10.0 * averaged.expected_excess_loss[0]


def test_a_schedule_is_plain_json_and_says_what_it_is():
    best = qpsim.best_schedule(problem(3), "sgd", 4, np.ones(3))
    assert json.loads(json.dumps(best.to_dict()))["method"] == "sgd"
    assert "\n" not in repr(best) and "4 free steps for sgd" in repr(best)


@pytest.mark.parametrize(
    ("arguments", "more", "error", "match"),
    [
        (("m-ssd", 5), {}, MethodError, "linear in the gradient"),
        (("adam", 5), {}, MethodError, "not for adam"),
        (("sgd", 0), {}, TheoryError, "n_steps"),
        (("sgd", 5), {"family": "quadratic"}, StepSizeError, "Unknown family 'quadratic'"),
        (
            ("sgd", 5),
            {"objective": "best"},
            StepSizeError,
            "Unknown objective 'best'; known are: final, averaged",
        ),
        (("sgd", 5, np.ones((2, 2, 5))), {}, ProblemError, r"shape \(5,\) or \(n, 5\), not"),
        (("sgd", 5, np.ones((0, 5))), {}, ProblemError, r"shape \(5,\) or \(n, 5\), not"),
    ],
)
def test_what_cannot_be_planned_is_said_in_one_sentence(arguments, more, error, match):
    with pytest.raises(error, match=match) as caught:
        qpsim.best_schedule(problem(), *arguments, **more)
    assert "\n" not in str(caught.value)


def test_infinite_variance_and_a_start_that_nothing_moves_are_refused():
    heavy = qpsim.QuadraticProblem([1.0, 2.0], noise=noise.white(1.0, df=2.0))
    with pytest.raises(ProblemError, match="df above 2"):
        qpsim.best_schedule(heavy, "sgd", 3, [1.0, 1.0])
    still = qpsim.QuadraticProblem([1.0, 2.0], noise_std=0.0)
    with pytest.raises(StepSizeError, match="Give theta0"):
        qpsim.best_schedule(still, "sgd", 3)
