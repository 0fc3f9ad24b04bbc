"""Wrong counters and states are diagnosed for every method."""

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
        (
            "adam",
            lambda t: t - 1 if t > 1 else 1e9,
            "with a counter from 0, the first step uncorrected",
        ),
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


def test_one_number_of_the_state_that_saving_loses():
    class Forgetful(tuple):
        def __reduce__(self):
            return Forgetful, ((self[0], np.zeros_like(self[1]), self[2]),)

    def step(gradient, state, params):
        m, v, t = state[0], state[1], state[2] + 1
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        moved = params - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        return moved, Forgetful((m, v, t))

    begin = lambda params: Forgetful((np.zeros_like(params), np.zeros_like(params), 0))  # noqa: E731
    text = said((begin, step), "adam", "save and load")
    assert text.endswith("where the state's v is not restored")


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
    text = text.partition(", except ")[2]
    where = "the counter goes on from the runs before, instead of from 0"
    assert text == f"on streams 'zeros first', 'constant', where {where}"


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


def test_what_does_not_move_is_said():
    def elements(gradient, state, params):
        keep = np.arange(6) % 2 if gradient.shape == (6,) and gradient[0] == 1.0 else 1.0
        return params - 0.01 * keep * gradient, state

    text = said((np.zeros_like, elements), "sgd", "constant")
    assert text.endswith("where some elements of a tensor do not move")

    def tensors(gradient, state, params):
        return params - 0.01 * gradient * (gradient.shape != (2, 3)), state

    text = said((np.zeros_like, tensors), "sgd", "shapes")
    assert text.endswith("where 1 of 7 tensors does not move")

    def stops(gradient, t, params):
        return params - 0.01 * gradient * (t < 20 or gradient[0] != 1.0), t + 1

    text = said((lambda params: 0, stops), "sgd", "constant")
    assert text.endswith("where the parameters do not move any more from step 21 on")


def test_a_step_size_that_depends_on_parameters_is_no_schedule():
    def trust(gradient, state, params):
        length = np.linalg.norm(gradient)
        size = np.linalg.norm(params)
        return params - 0.01 * (size / length if size and length else 1.0) * gradient, state

    text = said((np.zeros_like, trust), "sgd", "constant", "sign flips", "quadratic")
    assert "times one factor for all elements, which depends on gradients or parameters" in text


def test_what_draws_random_numbers_is_said():
    rng = np.random.default_rng(1)

    def update(gradient, state, params):
        return params - 0.01 * gradient * rng.uniform(0.9, 1.1, gradient.shape), state

    text = said((np.zeros_like, update), "sgd", "constant")
    assert "from step 1 on" in text and "given the same gradients again it goes elsewhere" in text


def test_what_is_computed_in_single_precision_is_said():
    init, update = written("adamax")

    def low(gradient, state, params):
        moved, (arrays, t) = update(gradient, state, params)
        return moved.astype(np.float32).astype(params.dtype), [arrays.astype(np.float32), t]

    text = said((init, low), "adamax", "scales", "away from zero")
    assert text == "computed in single precision"


def test_a_counter_of_a_module_names_the_method_itself():
    """Counted for all tensors and runs: most streams differ, and each way is said once."""
    text = said(global_counter(restarts=False), "adamax", "zeros first", "constant", "two at once")
    assert (
        "where the counter counts each tensor as a step, and goes on from the runs before" in text
    )
    assert "where the counter goes on from the runs before, instead of from 0" in text
