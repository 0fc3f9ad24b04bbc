"""Races of two methods from one point, on losses with a known winner."""

import math

import numpy as np
import pytest

from qpsim import nn
from qpsim.nn.measured import network_point
from qpsim.nn.race import race


def run(scales, guesses, seed=0, n_steps=30):
    """Regression with squared error on independent features of given sizes: a diagonal Hessian."""
    rng = np.random.default_rng(1)
    x = np.sqrt(scales) * rng.choice([-1.0, 1.0], (64, len(scales)))
    y = (x / np.sqrt(scales)) @ np.full((len(scales), 1), 1.0) / np.sqrt(len(scales))
    network = nn.Network(
        [nn.Dense(1)], (len(scales),), loss="squared-error", dtype=np.float64, rng=0
    )
    network.parameters = np.zeros(network.parameters.size)
    point = network_point(network, x, y, 32, 8, rng=0)
    found = race(network, x, y, 32, n_steps, point.loss, guesses, seed)
    assert not network.parameters.any()
    return found


def test_the_best_steps_are_found_from_any_guess():
    scales = np.ones(4)
    one = run(scales, {"ssd": 0.02, "sgd": 0.3})
    for guess in ({"ssd": 1e-4, "sgd": 30.0}, {"ssd": math.inf, "sgd": math.nan}):
        other = run(scales, guess)
        assert abs(math.log2(other.step_size["sgd"] / one.step_size["sgd"])) < 1.1
        for name in ("ssd", "sgd"):
            assert other.fall[name].value == pytest.approx(one.fall[name].value, rel=0.1)


def test_the_sign_wins_where_scales_differ_and_not_where_they_are_equal():
    guess = {"ssd": 0.02, "sgd": 0.3}
    wide = run(np.logspace(-3.0, 0.0, 6), guess, n_steps=100)
    equal = run(np.ones(6), guess, n_steps=5)
    assert wide.log_ratio.low > 0.0
    assert equal.log_ratio.high < 0.1
    for one in (wide, equal):
        expected = math.log(one.fall["ssd"].value / one.fall["sgd"].value)
        assert one.log_ratio.value == pytest.approx(expected)


def test_a_race_is_the_same_for_the_same_seed():
    first, again, other = (run(np.ones(3), {}, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.fall != other.fall


def test_where_neither_loss_falls_there_is_no_winner():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((16, 2))
    network = nn.Network([nn.Dense(1)], (2,), loss="squared-error", dtype=np.float64, rng=0)
    network.parameters = np.zeros(3)
    # The optimum: no step lets the loss fall.
    found = race(network, x, np.zeros((16, 1)), 4, 3, lambda delta: float(delta @ delta), {}, 0)
    assert math.isnan(found.log_ratio.value)
