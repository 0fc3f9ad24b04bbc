"""The in-place step: the very rules, float64 arithmetic on float32 storage, no denormals left."""

import numpy as np
import pytest

import qpsim
from qpsim.errors import MethodError, TrainingError
from qpsim.kernels.elementwise import step_all
from qpsim.nn import Dense, Network, ReLU, minibatch_variance
from qpsim.nn.optimizer import Optimizer

SMALLEST = float(np.finfo(np.float32).tiny)
TRAINING = ["sgd", "ssd", "m-sgd", "m-ssd", "m-svag", "adam", "adam*", "m-svag-mb", "adam*-mb"]


@qpsim.rule
def clipped(gradient, t, limit=0.1):
    """A rule of one's own: the gradient, but no longer than a limit."""
    return max(min(gradient, limit), -limit)


def network(dtype=np.float32, **options):
    return Network([Dense(6), ReLU(), Dense(3)], (4,), dtype=dtype, rng=0, **options)


def batch(n=5):
    rng = np.random.default_rng(1)
    return rng.standard_normal((n, 4)), rng.integers(3, size=n)


@pytest.mark.parametrize("name", TRAINING)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_step_is_the_methods_own_update(name, dtype):
    ours, twin = network(dtype, weight_decay=0.1), network(dtype, weight_decay=0.1)
    method = qpsim.method(name)
    optimizer = Optimizer(ours, method)
    state = method.initial_state(twin.parameters.shape, dtype)
    x, y = batch()
    for t in range(4):
        step_size = 0.1 / (t + 1)
        optimizer.step(x, y, step_size)
        extra = {}
        if method.observes:
            moments = twin.per_example_moments(x, y)
            extra["variance_estimate"] = minibatch_variance(
                moments.gradient, moments.sum_of_squares, len(x)
            )
        _, gradient = twin.loss_and_gradient(x, y)
        direction, state = method.update(gradient, state, **extra)
        twin.parameters -= dtype(step_size) * direction
    tolerance = 2e-5 if dtype is np.float32 else 1e-12
    np.testing.assert_allclose(ours.parameters, twin.parameters, rtol=tolerance, atol=tolerance)
    assert optimizer.t == 4


def test_a_rule_of_ones_own_trains():
    net = network()
    before = net.parameters.copy()
    Optimizer(net, clipped(limit=0.01)).step(*batch(), 1.0)
    moved = np.abs(net.parameters - before)
    assert 0 < moved.max() <= 0.01 * (1 + 1e-4)


def test_the_variance_is_that_of_the_data_gradient_without_l2():
    plain, decayed = network(np.float64), network(np.float64, weight_decay=0.5)
    first, second = (Optimizer(net, qpsim.method("m-svag-mb")) for net in (plain, decayed))
    start = plain.parameters.copy()
    for optimizer in (first, second):
        optimizer.step(*batch(), 0.1)
    variance = first.states[1, 0]
    np.testing.assert_array_equal(variance, second.states[1, 0])
    assert variance.max() > 0
    decaying = np.concatenate([np.full(24, 0.5), np.zeros(6), np.full(18, 0.5), np.zeros(3)])
    difference = second.states[0, 0] - first.states[0, 0]
    np.testing.assert_allclose(difference, decaying * start, atol=1e-14)


@pytest.mark.parametrize("name", ["svag", "va-ssd", "va-ssd-erf"])
def test_an_oracle_method_is_refused(name):
    with pytest.raises(MethodError, match=f"{name} needs the exact relative variance"):
        Optimizer(network(), qpsim.method(name))


def test_one_example_has_no_variance():
    optimizer = Optimizer(network(), qpsim.method("m-svag-mb"))
    with pytest.raises(TrainingError, match="at least 2 examples, not 1"):
        optimizer.step(*batch(1), 0.1)


def _steps(name, gradients, step_size=1.0):
    method = qpsim.method(name)
    theta = np.zeros(len(gradients[0]), np.float32)
    states = np.zeros((len(method.state_names), 1, theta.size), np.float32)
    for t, gradient in enumerate(gradients, 1):
        g = np.asarray(gradient, np.float32)
        step_all(method.hyper, g, g, states, float(t), step_size, SMALLEST, theta, 0, theta.size)
    return theta, states


@pytest.mark.parametrize("name", ["adam*", "m-ssd"])
def test_signs_survive_where_squares_underflow_in_float32(name):
    tiny = np.array([1e-25, -1e-30, 1e-20])
    theta, _ = _steps(name, [tiny] * 3)
    np.testing.assert_allclose(theta, -3 * np.sign(tiny), rtol=1e-6)


@pytest.mark.parametrize("name", ["m-sgd", "m-svag", "adam", "adam*"])
def test_no_state_lingers_among_the_denormal_numbers(name):
    _, states = _steps(name, [np.full(9, 1e-18)] + [np.zeros(9)] * 2000)
    assert not ((states != 0) & (np.abs(states) < SMALLEST)).any()
    # The slowest to fade is a mean of gradients, with .9 a step.
    assert (states[0] == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_weights_that_only_l2_moves_end_at_zero(name, dtype):
    """Their products with small numbers would be subnormal long before they are themselves."""
    smallest = float(np.finfo(dtype).tiny)
    floor = np.sqrt(smallest)
    theta = np.array([floor * 1.01, -floor * 1.01, floor * 0.99, smallest / 2, 1.0], dtype)
    before = theta.copy()
    method = qpsim.method(name)
    states = np.zeros((len(method.state_names), 1, theta.size), dtype)
    nothing = np.zeros(theta.size, dtype)
    step_all(method.hyper, nothing, nothing, states, 1.0, 0.1, smallest, theta, 0, theta.size)
    np.testing.assert_array_equal(theta, [*before[:2], 0, 0, 1])
    # A unit that nothing reaches, pulled at by L2: exactly zero in the end, as its exact path is
    # below the floor; and no subnormal number anywhere on the way.
    for t in range(2, 3000):
        gradient = (0.5 * theta).astype(dtype)
        step_all(method.hyper, gradient, nothing, states, float(t), 0.5, smallest, theta, 0, 5)
        assert not ((theta != 0) & (abs(theta) < floor)).any()
    if name == "sgd":
        assert not theta.any()


def test_the_chunk_bounds_are_kept():
    hyper = qpsim.method("sgd").hyper
    g, theta = np.ones(10, np.float32), np.zeros(10, np.float32)
    step_all(hyper, g, g, np.zeros((0, 1, 10), np.float32), 1.0, 1.0, SMALLEST, theta, 3, 7)
    np.testing.assert_array_equal(theta, [0, 0, 0, -1, -1, -1, -1, 0, 0, 0])
