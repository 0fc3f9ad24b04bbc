"""Counters and states that are wrong, whatever the method, are told where they are planted."""

import numpy as np
import pytest

import qpsim
from qpsim import conformance
from qpsim.conformance.written import WRITTEN_OUT
from tests.conformance.planted import pair

REWRITTEN = {
    name: WRITTEN_OUT[qpsim.method(name).rule.function]
    for name in qpsim.method_names()
    if qpsim.method(name).rule.function in WRITTEN_OUT
}


def written(name, counter=lambda t: t, **settings):
    """A method as most programs have it, with a counter of its own."""
    method, function = qpsim.method(name, **settings), REWRITTEN[name]
    n = len(method.state_names)

    def counted(gradient, *rest):
        return function(gradient, *rest[:n], float(counter(rest[n])), *rest[n + 1 :])

    return pair(counted, n, method.hyper_parameters.values())


def said(optimizer, method, *streams, **hyper):
    report = conformance.check(optimizer, method, only=streams, run_laws=False, **hyper)
    return report.diagnosis.removeprefix(f"equals {report.method} ").removeprefix(", ")


@pytest.mark.parametrize("name", REWRITTEN)
def test_a_rule_written_out_is_the_rule(name):
    assert len(REWRITTEN) == len(WRITTEN_OUT)
    for settings in ({}, {"bias_corrected": True}):
        if settings and "bias_corrected" not in qpsim.method(name).hyper_parameters:
            continue
        text = said(written(name, **settings), name, "small", "zeros first", **settings)
        assert text == "on 3 streams"


@pytest.mark.parametrize(
    ("name", "counter", "text"),
    [
        ("adamax", lambda t: t + 1, "with a counter one step ahead"),
        ("adamax", lambda t: t + 10, "with a counter 10 steps ahead"),
        # With another step size this is the same.
        ("adamax", lambda t: 1, "without the bias correction of m"),
        ("adamax", lambda t: 2 * t, "with a counter that counts each step twice"),
        ("m-svag", lambda t: 1, "with a counter that stays at 1"),
        ("m-svag", lambda t: t + 2, "with a counter 2 steps ahead"),
        ("radam", lambda t: t + 1, "with a counter one step ahead"),
    ],
)
def test_a_counter_that_is_wrong_from_the_start(name, counter, text):
    assert said(written(name, counter), name, "zeros first") == text


@pytest.mark.parametrize("name", ["adamax", "m-svag"])
def test_a_counter_that_saving_loses(name):
    init, update = written(name)

    class Forgetful(list):
        def __reduce__(self):
            return Forgetful, ([self[0], 0],)

    def step(gradient, state, params):
        moved, state = update(gradient, state, params)
        return moved, Forgetful(state)

    text = said((lambda params: Forgetful(init(params)), step), name, "save and load")
    assert text.endswith("where the step counter is not restored")


def global_counter(restarts):
    """AdaMax that counts in a variable of its module, for all tensors and runs."""
    count = [0]
    init, update = written("adamax", lambda t: count[0])

    def begin(params):
        count[0] = 0 if restarts else count[0]
        return init(params)

    def step(gradient, state, params):
        count[0] += 1
        return update(gradient, state, params)

    return begin, step


def test_a_counter_that_counts_each_tensor():
    text = said(global_counter(restarts=True), "adamax", "two at once")
    assert text.endswith("where the counter counts each tensor as a step")


def test_a_counter_that_does_not_start_again():
    text = said(global_counter(restarts=False), "adamax", "zeros first", "constant")
    where = "the counter goes on from the runs before, instead of from 0"
    assert text.count(where) == 2 and "differs" not in text


@pytest.mark.parametrize("kept", [True, False])
def test_optimizers_that_disturb_each_other(kept):
    """A state that two tensors of one shape share."""
    held = {}

    def init(params):
        held["m"] = np.zeros_like(params)
        return np.zeros_like(params)

    def update(gradient, state, params):
        state = held["m"] if kept else state
        state = 0.9 * state + gradient
        held["m"] = state
        return params - 0.01 * state, state

    text = said((init, update), "m-sgd", "two at once")
    assert ("two optimizers disturb each other" in text) == kept
