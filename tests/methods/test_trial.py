"""Tests of what a user's rule declares, before its first use."""

import math

import numpy as np
import pytest

import qpsim
from qpsim.errors import MethodError
from qpsim.methods.scalar import sign
from qpsim.methods.trial import try_rule


def plain(gradient, t):
    return gradient


def signed(gradient, t):
    return sign(gradient)


def heavy(gradient, m, t, b=0.9):
    m = b * m + gradient
    return m, m


def lion(gradient, m, t, b1=0.9, b2=0.99):
    return sign(b1 * m + (1 - b1) * gradient), b2 * m + (1 - b2) * gradient


def squares(gradient, v, t):
    return gradient, v + gradient * gradient


def square(gradient, t):
    return gradient * gradient


def raises(t):
    raise ValueError("no")


def carried(m, t, b1=0.9, b2=0.99):
    return b1 * m / (1 - b1)


FALSE = {
    "a sign said to be linear": (signed, {"closed_form": "linear"}, "closed_form='linear'"),
    "linear said to be a sign": (plain, {"closed_form": "sign"}, "closed_form='sign'"),
    "a forgotten offset, linear": (heavy, {"closed_form": "linear"}, "correct the offset"),
    "a forgotten offset, sign": (lion, {"closed_form": "sign"}, "correct the offset"),
    "a state that is not linear": (
        squares,
        {"closed_form": "linear", "equivariant": True},
        "its v is",
    ),
    "no sign at first": (
        square,
        {"closed_form_at_first_step": "sign"},
        "closed_form_at_first_step",
    ),
    "an offset that raises": (
        plain,
        {"closed_form": "linear", "offset": raises},
        "its offset fails",
    ),
    "a breakpoint that raises": (plain, {"breakpoint": raises}, "its breakpoint fails"),
    "an offset of NaN": (plain, {"closed_form": "linear", "offset": lambda t: math.nan}, "is nan"),
}


def try_method(method):
    try_rule(method.rule, method.hyper)


@pytest.mark.parametrize("case", FALSE)
def test_a_false_declaration_is_refused(case):
    function, declared, words = FALSE[case]
    with pytest.raises(MethodError) as caught:
        try_method(qpsim.rule(**declared)(function)())
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_true_declarations_pass():
    try_method(qpsim.rule(closed_form="sign", offset=carried)(lion)())
    carry = qpsim.rule(closed_form="linear", offset=lambda m, t, b: b * m, equivariant=True)
    try_method(carry(heavy)())


@pytest.mark.parametrize(
    "declared",
    [
        {"equivariant": True},
        {"equivariant": "yes"},
        {"offset": lambda t: 0.0},
        {"closed_form": "linear", "offset": 5},
        {"name": 5},
        {"ranges": {"x": (0, 1)}},
        {"ranges": 5},
    ],
)
def test_what_cannot_be_declared(declared):
    with pytest.raises(MethodError):
        qpsim.rule(**declared)(plain)


def late(gradient, t):
    if t == 6:
        raise ValueError("late")
    return gradient


def test_a_rule_that_raises_late_is_named():
    p = qpsim.QuadraticProblem([1.0, 2.0], [1.0, 2.0])
    rule = qpsim.rule(late, closed_form="linear")  # compiles much faster than without
    with pytest.raises(MethodError, match="'late' fails during the run"):
        qpsim.simulate(p, rule, 0.1, n_steps=8, n_replicates=2, rng=0, workers=1)


@pytest.mark.parametrize("state", [None, "state"])
def test_a_state_is_a_state(state):
    with pytest.raises(MethodError, match=r"qpsim\.State"):
        qpsim.method("adam").update(np.ones(3), state)


@pytest.mark.parametrize("arguments", [("a", {}), (0, None), (-1, {}), (1.5, {})])
def test_a_state_of_nonsense(arguments):
    with pytest.raises(MethodError):
        qpsim.State(*arguments)


@pytest.mark.parametrize("gradient", ["a", [[1], [1, 2]], [1j], None])
def test_a_gradient_is_numbers(gradient):
    with pytest.raises(MethodError, match="The gradient must be"):
        qpsim.method("sgd").update(gradient, qpsim.method("sgd").initial_state(1))


GAIN = 1.0


def test_a_rule_whose_constant_changes_after_it_was_compiled(monkeypatch):
    """Machine code keeps the value that a global variable had; the rule as text would say another."""

    def amplified(gradient, t):
        return GAIN * gradient

    made = qpsim.rule(amplified, closed_form="linear")
    state = made().initial_state(1)
    assert made().update(np.ones(1), state)[0] == 1.0
    monkeypatch.setattr(f"{__name__}.GAIN", 3.0)
    with pytest.raises(MethodError, match="declare the rule again"):
        made().update(np.ones(1), state)
    again = qpsim.rule(amplified, closed_form="linear")
    assert again().update(np.ones(1), state)[0] == 3.0
