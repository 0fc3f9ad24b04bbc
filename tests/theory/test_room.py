"""Imports of the theory: what it loads, and that it does not use the simulation."""

import subprocess
import sys

import numpy as np
import pytest

import qpsim
from qpsim import theory

SCRIPT = """
import sys, qpsim
theory = qpsim.theory
assert not {"scipy", "numba"} & set(sys.modules)
theory.momentum_correction(0.9, 3)
assert not {"scipy", "numba"} & set(sys.modules)
p = qpsim.QuadraticProblem([[2.0, 1.0], [1.0, 3.0]])
theory.compare_directions(p, [1.0, 0.0])
theory.expected_excess_loss(p, "m-sgd", [1.0, 0.0], 0.1, 3)
assert "scipy" in sys.modules
assert not {"numba", "qpsim.kernels", "qpsim.simulation.run"} & set(sys.modules)
"""


def test_theory_needs_no_simulation_and_scipy_only_when_used():
    subprocess.run([sys.executable, "-W", "error", "-c", SCRIPT], check=True)


def test_every_public_name_is_there_and_documented():
    for name in theory.__all__:
        value = getattr(theory, name)
        assert name == "ERRATA" or value.__doc__
    assert set(theory.__all__) <= set(dir(theory))
    with pytest.raises(AttributeError, match="no attribute 'improvment'"):
        theory.improvment  # noqa: B018


EXTREMES = np.array([0.0, 1e-300, 1e-170, 1.0, 1e170, 1e300])
ANSWERS = {
    "success_probability": lambda: theory.success_probability(EXTREMES, 1e-300),
    "expected_sign": lambda: theory.expected_sign(EXTREMES, 1e170),
    "sign_product": lambda: theory.sign_product(EXTREMES, EXTREMES[::-1], 0.5),
    "sign_agreement": lambda: theory.sign_agreement(EXTREMES[1:], EXTREMES[1:], 0.5),
    "variance_adaptation_factor": lambda: theory.variance_adaptation_factor(EXTREMES, "sign"),
    "expected_squared_distance": lambda: theory.expected_squared_distance(
        0.5, EXTREMES[1:4], 1e-170, "gradient"
    ),
    "momentum_correction": lambda: theory.momentum_correction(0.5, [1, 5000, np.inf]),
    "conditional_second_moment": lambda: theory.conditional_second_moment(EXTREMES[:3], 1e-170),
    "expected_excess_loss": lambda: theory.expected_excess_loss(
        qpsim.QuadraticProblem([40.0, 0.5]), "ssd", [1.0, 1e-40], 0.01, 20
    ),
    "compare_directions": lambda: (
        theory.compare_directions(
            qpsim.QuadraticProblem([[2.0, 1.0], [1.0, 3.0]], noise_std=1e-30), [1e-40, 0.0]
        ).rows
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_does_not_depend_on_numpys_error_state(name):
    usual = ANSWERS[name]()
    with np.errstate(all="raise"):
        np.testing.assert_equal(ANSWERS[name](), usual)
