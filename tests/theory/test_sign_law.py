"""Sign descent under any steps: all paths of a few steps, the lattice's law, ensembles, and differences."""

import itertools
import math

import numpy as np
import pytest

import qpsim
from qpsim import noise, theory
from qpsim.errors import QpsimError
from qpsim.theory.sign_law import LawSizeError, SignLaw

H, START = np.array([2.0, 0.5, 1.0, 0.0]), np.array([1.0, -2.0, 0.3, 1.0])
STEPS = np.array([1.31, 0.472, 0.2317, 0.11])
NOISES = {
    "data": noise.data(0.4),
    "white": noise.white(0.6),
    "student": noise.white(0.6, df=1.5),
    "laplace": noise.white(0.6, law="laplace"),
    "none in one": noise.diagonal([0.3, 0.0, 0.2, 0.1]),
}


def problem(name):
    return qpsim.QuadraticProblem(H, noise=NOISES[name])


def all_paths(p, steps):
    """E[excess loss] (n_steps + 1,), from every path of signs."""
    total = np.zeros(steps.size + 1)
    scale = p.gradient_scale()
    for q, e0, s in zip(p.hessian, START, scale, strict=True):
        if q == 0.0:
            continue
        total[0] += 0.5 * q * e0**2
        for t in range(1, steps.size + 1):
            for signs in itertools.product([-1.0, 1.0], repeat=t):
                e, chance = e0, 1.0
                for sign, step in zip(signs, steps, strict=False):
                    if s > 0.0:
                        chance *= float(p.noise.law.cdf(sign * q * e / s))
                    else:
                        chance *= float(np.sign(e) == sign)
                    e -= step * sign
                total[t] += 0.5 * q * chance * e**2
    return total


@pytest.mark.parametrize("name", NOISES)
def test_all_paths_of_a_few_steps(name):
    p = problem(name)
    risk, error = SignLaw(p, START, 4, averaged=False).risk_and_error(STEPS)
    exact = all_paths(p, STEPS)
    # A law with a kink costs digits.
    np.testing.assert_allclose(risk, exact, rtol=1e-4 if name == "laplace" else 1e-6)
    assert (np.abs(risk - exact) <= error + 1e-8 * exact).all()
    through = theory.expected_excess_loss(p, "ssd", START, STEPS, 4, return_error_bound=True)
    np.testing.assert_array_equal(through[0], risk)
    np.testing.assert_array_equal(through[1], error)


@pytest.mark.parametrize("step", [0.02, 0.3, 2.0])
@pytest.mark.parametrize("name", ["data", "white", "student"])
def test_a_constant_step_has_the_law_of_the_lattice(name, step):
    p = problem(name)
    exact = theory.expected_excess_loss(p, "ssd", START, step, 150)
    risk, error = SignLaw(p, START, 150, averaged=False).risk_and_error(np.full(150, step))
    np.testing.assert_allclose(risk, exact, rtol=1e-5)
    assert (np.abs(risk - exact) <= error + 1e-9 * exact).all()


def test_a_finer_grid_errs_by_the_sixth_power():
    p = problem("white")
    exact = theory.expected_excess_loss(p, "ssd", START, 0.5, 40)
    errors = []
    for cells in (6.2, 12.4):
        risk = SignLaw(p, START, 40, False, cells=cells).risk(np.full(40, 0.5))
        errors.append(np.abs(risk - exact).max())
    assert errors[1] < errors[0] / 2.0**5 and errors[0] < 1e-2


@pytest.mark.parametrize("name", ["data", "student", "none in one"])
def test_an_ensemble_agrees_within_four_standard_errors(name):
    p = problem(name)
    steps = 1.1 * 0.93 ** np.arange(40.0)
    risk = SignLaw(p, START, 40, averaged=False).risk(steps)
    n = 4000
    run = qpsim.simulate(p, "ssd", steps, 40, n, START, rng=2, workers=1, record=())
    error = run.excess_loss.std(axis=0, ddof=1) / math.sqrt(n)
    assert (np.abs(run.excess_loss.mean(axis=0) - risk) <= 4.0 * error + 1e-9 * risk).all()


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("name", ["data", "white", "student", "laplace"])
def test_the_adjoint_agrees_with_differences(name, averaged):
    law = SignLaw(problem(name), START, 6, averaged)
    # Steps of whole numbers of cells have two slopes.
    steps = np.array([1.31, 0.913, 0.552, 0.313, 0.2117, 0.1013])
    value, gradient = law.value_and_gradient(steps)
    assert value == law.value(steps)
    for t in range(6):
        h = 1e-5 * steps[t] * (np.arange(6) == t)
        slope = (law.value(steps + h) - law.value(steps - h)) / (2.0 * h[t])
        assert gradient[t] == pytest.approx(slope, rel=1e-7, abs=1e-7 * np.abs(gradient).max())


def test_without_noise_it_is_one_path_with_its_derivative():
    p = qpsim.QuadraticProblem(H, noise_std=0.0)
    law = SignLaw(p, START, 4, averaged=True)
    assert law.is_certain
    run = qpsim.simulate(p, "ssd", STEPS, 4, 1, START, rng=0, workers=1)
    np.testing.assert_allclose(law.risk(STEPS), run.excess_loss[0], rtol=1e-12)
    _, gradient = law.value_and_gradient(STEPS)
    for t in range(4):
        h = 1e-6 * (np.arange(4) == t)
        slope = (law.value(STEPS + h) - law.value(STEPS - h)) / 2e-6
        assert gradient[t] == pytest.approx(slope, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("name", ["data", "white", "none in one"])
def test_a_greedy_step_is_the_best_for_the_loss_after_it(name):
    law = SignLaw(problem(name), START, 5, averaged=False)
    greedy = law.greedy()
    for t in range(5):

        def after(factor, t=t):
            steps = greedy[: t + 1].copy()
            steps[t] *= factor
            return law.risk(steps)[-1]

        assert after(1.0) < min(after(0.9), after(0.99), after(1.01), after(1.1))


def test_of_several_starts_the_mean_is_followed():
    p = problem("white")
    starts = np.stack([START, 0.5 * START, START - 1.0])
    mean = np.mean([SignLaw(p, one, 4, False).risk(STEPS) for one in starts], axis=0)
    law = SignLaw(p, starts, 4, False)
    np.testing.assert_allclose(law.risk(STEPS), mean, rtol=1e-12)
    assert law.initial_loss == pytest.approx(mean[0], rel=1e-14)


def test_no_step_changes_nothing():
    law = SignLaw(problem("data"), START, 3, False)
    np.testing.assert_array_equal(law.risk(np.zeros(3)), np.full(4, law.initial_loss))


def test_a_law_that_takes_too_many_numbers_is_refused_in_one_sentence():
    p = qpsim.QuadraticProblem(H, noise_std=1e-9)
    law = SignLaw(p, START, 4, False)
    with pytest.raises(LawSizeError, match=r"use qpsim\.simulate") as error:
        law.risk(STEPS)
    assert isinstance(error.value, QpsimError) and "\n" not in str(error.value)
    assert law.value(STEPS) == math.inf
    assert not law.value_and_gradient(STEPS)[1].any()
    # Single steps of any length have a value.
    assert SignLaw(problem("data"), START, 4, False).value(np.full(4, 1e30)) == math.inf
