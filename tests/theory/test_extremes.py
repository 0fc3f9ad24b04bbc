"""At the ends of double precision the formulas keep their value, under the strictest floating-point settings."""

import warnings

import mpmath as mp
import numpy as np
import pytest

import qpsim
from qpsim import theory

ENDS = [0.0, 5e-324, 1e-310, 1e-200, 1e-20, 1.0, 1e20, 1e150, 1e200, 1.7e308]
LARGEST, SMALLEST = mp.mpf("1.797e308"), mp.mpf("1e-322")


def success(g, s):
    if s == 0 or g == 0:
        return mp.mpf(1) if g else mp.mpf(0.5)
    return (1 + mp.erf(g / s / mp.sqrt(2))) / 2


def wrong(g, s):
    """2 (1 - rho), without cancellation."""
    if s == 0 or g == 0:
        return mp.mpf(0) if g else mp.mpf(1)
    ratio = g / s
    return mp.erfc(ratio / mp.sqrt(2)) if ratio < 100 else mp.mpf(0)


def factor_of_sign(x):
    return mp.erf(1 / mp.sqrt(2 * x)) if x else mp.mpf(1)


def kappa(mu, t):
    return (1 - mu) * (1 + mu**t) / ((1 + mu) * (1 - mu**t))


FORMULAS = {
    "factor of a gradient": (
        lambda x: theory.variance_adaptation_factor(x, "gradient"),
        lambda x: 1 / (1 + x),
        1,
    ),
    "factor of a sign": (
        lambda x: theory.variance_adaptation_factor(x, "sign"), factor_of_sign, 1
    ),
    "factor of Adam": (
        lambda x: theory.variance_adaptation_factor(x, "adam"),
        lambda x: 1 / mp.sqrt(1 + x),
        1,
    ),
    "gap": (theory.adaptation_gap, lambda x: 1 / mp.sqrt(1 + x) - factor_of_sign(x), 1),
    "success": (theory.success_probability, success, 2),
    "expected sign": (theory.expected_sign, lambda g, s: 2 * success(g, s) - 1, 2),
    "second moment": (theory.conditional_second_moment, lambda g, s: g * g + s * s, 2),
    "bound": (
        lambda e, c: theory.convergence_bound(e, c, 3)[3], lambda e, c: e / (1 + 3 * e * c), 2
    ),
    "distance": (
        lambda p, s: theory.expected_squared_distance(0.5, p, s),
        lambda p, s: (p * p + s * s) / 4,
        2,
    ),
    "distance, factor 1": (
        lambda p, s: theory.expected_squared_distance(1.0, p, s), lambda p, s: s * s, 2
    ),
    "distance of signs": (
        lambda p, s: theory.expected_squared_distance(1.0, p, s, "sign"),
        lambda p, s: 2 * wrong(p, s),
        2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_keeps_twelve_digits(name):
    ask, exact, n = FORMULAS[name]
    with mp.workdps(350), np.errstate(all="raise"):
        for given in np.stack(np.meshgrid(*[ENDS] * n), axis=-1).reshape(-1, n).tolist():
            wanted, found = exact(*map(mp.mpf, given)), ask(*given)
            if abs(wanted) > LARGEST:
                assert np.isinf(found), given
            else:
                assert abs(mp.mpf(found) - wanted) <= 1e-12 * abs(wanted) + SMALLEST, given


def test_momentum_close_to_its_ends():
    with mp.workdps(350), np.errstate(all="raise"):
        for mu in (0.0, 1e-300, 1e-20, 0.5, 1 - 1e-10, 1 - 2**-53):
            for t in (1, 2, 1000, 10**9, 10**15):
                wanted = kappa(mp.mpf(mu), t)
                assert theory.momentum_correction(mu, t) == pytest.approx(float(wanted), rel=1e-12)
                bias = theory.variance_estimate_factor(mu, t)
                assert bias == pytest.approx(float(1 - wanted), rel=1e-12, abs=0)


def test_the_named_value():
    assert theory.variance_adaptation_factor(1.7e308, "sign") == pytest.approx(
        6.1194e-155, rel=1e-4
    )


def test_a_rate_whose_factors_leave_the_range():
    p = qpsim.QuadraticProblem([1e50, 1e50])
    assert theory.convergence_rate(p, 1e300) == pytest.approx(2e-250)


PROBLEMS = [
    [1e-50, 1e-50],
    [1e50, 1.0],
    [[1e50, 9e49], [9e49, 1e50]],
    [[2e-50, 1e-50], [1e-50, 2e-50]],
    [1.0, 0.0],
]
QUANTITIES = {
    "sign second moment": lambda p, x: theory.sign_second_moment(p, x),
    "bound": lambda p, x: theory.improvement_bound(p, x),
    "tightness": lambda p, x: theory.bound_tightness(p, x),
    "mass": lambda p, x: theory.mass_inequality(p),
    "theorem": lambda p, x: theory.theorem1(p, x, 3).bound,
    "largest moment": lambda p, x: theory.largest_second_moment(p, x),
    "steady state": lambda p, x: theory.steady_state_excess_loss(p, "m-sgd", 1e-60),
    "stable step": lambda p, x: theory.largest_stable_step_size(p, "m-sgd"),
    "risk": lambda p, x: theory.expected_excess_loss(p, "m-sgd", x, 1e-51, 3),
    "steps": lambda p, x: theory.steps_until(p, "sgd", 1e-3, 1e-51, x),
    "table": lambda p, x: theory.compare_directions(p, x).to_dict()["excess_loss"],
    **{
        name: lambda p, x, name=name: theory.optimal_step_size(p, name, x)
        for name in ("sgd", "ssd", "svag", "va-ssd-erf", "adam", "rmsprop")
    },
}


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_the_largest_and_smallest_problems_have_numbers_or_a_sentence(quantity):
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        for hessian in PROBLEMS:
            for noise in (0.0, 1e-300, 1.0, 1e50):
                p = qpsim.QuadraticProblem(hessian, noise_std=noise)
                for size in (1e-300, 1.0, 1e50):
                    try:
                        found = QUANTITIES[quantity](p, np.array([size, -size / 3]))
                    except qpsim.QpsimError as error:
                        assert str(error).endswith((".", "?"))
                    else:
                        assert not np.isnan(np.asarray(found, dtype=float)).any()
