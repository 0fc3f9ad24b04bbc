"""Public functions return a number or raise one of the package's errors, for any arguments."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qpsim
from qpsim import theory

P = qpsim.QuadraticProblem([[2.0, 0.5], [0.5, 1.0]], noise_std=1.0)

numbers = st.one_of(st.floats(), st.integers(-5, 5))
anything = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=3),
    st.complex_numbers(),
    numbers,
    st.lists(numbers, max_size=4),
    st.lists(st.lists(numbers, max_size=3), max_size=3),
)
FUNCTIONS = {
    "success_probability": lambda x, y: theory.success_probability(x, y),
    "sign_product": lambda x, y: theory.sign_product(x, y, 0.95),
    "sign_agreement": lambda x, y: theory.sign_agreement(0.1, x, y),
    "sign_second_moment": lambda x, y: theory.sign_second_moment(P, x),
    "expected_improvement": lambda x, y: theory.expected_improvement(P, "va-ssd", x),
    "improvement_bound": lambda x, y: theory.improvement_bound(P, [1.0, 2.0], form=x),
    "diagonal_mass": lambda x, y: theory.diagonal_mass(x),
    "factor": lambda x, y: theory.variance_adaptation_factor(x, "sign"),
    "kind": lambda x, y: theory.variance_adaptation_factor(1.0, x),
    "distance": lambda x, y: theory.expected_squared_distance(0.5, x, y, "sign"),
    "kappa": lambda x, y: theory.momentum_correction(x, y),
    "bias": lambda x, y: theory.variance_estimate_factor(x, y),
    "theta0": lambda x, y: theory.expected_excess_loss(P, "sgd", x, 0.1, 2),
    "step_size": lambda x, y: theory.steady_state_excess_loss(P, "m-sgd", x),
    "second_moment": lambda x, y: theory.conditional_second_moment(x, y),
    "rate": lambda x, y: theory.convergence_rate(P, x),
    "bound": lambda x, y: theory.convergence_bound(x, y, 3),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=60)
@given(x=anything, y=anything)
def test_an_answer_without_nan_or_one_of_our_errors(name, x, y):
    with np.errstate(over="ignore"):
        try:
            answer = FUNCTIONS[name](x, y)
        except qpsim.QpsimError as error:
            assert str(error).endswith((".", "?"))
        else:
            assert not np.isnan(answer).any()


@given(st.one_of(anything, st.functions(like=lambda t: None, returns=anything)))
def test_step_sizes_are_finite_and_not_negative_or_refused(step_size):
    try:
        risk = theory.expected_excess_loss(P, "sgd", [1.0, 2.0], step_size, 2)
    except (qpsim.QpsimError, qpsim.errors.DivergenceWarning) as error:
        assert str(error).endswith((".", "?"))
    else:
        assert risk.shape == (3,) and not np.isnan(risk).any()
