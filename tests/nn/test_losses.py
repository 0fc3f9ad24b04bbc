"""Losses: gradients against differences, results of one's own checked, variances of mini-batches."""

import numpy as np
import pytest

from qpsim import nn
from qpsim.errors import NetworkError
from tests.nn import loops, own


def test_the_cross_entropy_is_its_definition():
    rng = np.random.default_rng(0)
    logits, labels = rng.standard_normal((5, 3)), rng.integers(3, size=5)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    gradient = np.empty((5, 3))
    losses = nn.softmax_cross_entropy(logits, labels, gradient, 0.5)
    np.testing.assert_allclose(losses, -np.log(p[np.arange(5), labels]), rtol=1e-14)
    np.testing.assert_allclose(gradient, 0.5 * (p - np.eye(3)[labels]), atol=1e-15)


def test_large_scores_neither_overflow_nor_lose_the_loss():
    losses = nn.softmax_cross_entropy(np.array([[1e30, 0.0], [0.0, -1e30]]), np.array([1, 0]))
    np.testing.assert_array_equal(losses, [1e30, 0.0])


@pytest.mark.parametrize("loss", ["squared-error", own.smoothed])
def test_another_loss_trains_by_its_own_gradient(loss):
    rng = np.random.default_rng(0)
    layers = [nn.Dense(5), nn.ReLU(), nn.Dense(3)]
    network = nn.Network(layers, (4,), weight_decay=0.1, loss=loss, dtype=np.float64, rng=1)
    x = rng.standard_normal((6, 4))
    y = rng.standard_normal((6, 3)) if loss == "squared-error" else rng.integers(3, size=6)
    value, gradient = network.loss_and_gradient(x, y)
    places = np.arange(0, gradient.size, 3)
    expected = loops.central_differences(network, x, y, places)
    np.testing.assert_allclose(gradient[places], expected, rtol=1e-7, atol=1e-9)
    single = loss if callable(loss) else nn.squared_error
    mean = single(network.predict(x), y)[0].mean()
    assert value == pytest.approx(mean + network.add_weight_decay(np.zeros_like(gradient)))
    moments = network.per_example_moments(x, y)
    mean_gradient, squares = loops.moments(network, x, y)
    np.testing.assert_allclose(moments.gradient, mean_gradient, atol=1e-14)
    np.testing.assert_allclose(moments.sum_of_squares, squares, rtol=1e-9)
    assert network.evaluate(x, y)[0] == pytest.approx(mean)
    assert np.isnan(network.last_fit.accuracy) == (loss == "squared-error")


def test_without_a_head_another_loss_is_the_same():
    rng = np.random.default_rng(0)
    layers = [nn.Conv2D(3, 3), nn.GlobalAveragePool()]
    network = nn.Network(layers, (5, 5, 2), loss=own.smoothed, dtype=np.float64, rng=1)
    x, y = rng.standard_normal((6, 5, 5, 2)), rng.integers(3, size=6)
    gradient = network.loss_and_gradient(x, y)[1]
    places = np.arange(0, gradient.size, 7)
    expected = loops.central_differences(network, x, y, places)
    np.testing.assert_allclose(gradient[places], expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (
            lambda o, t: (o.sum(), o),
            r"one number for each example .* \(2,\) and \(2, 3\), not \(\)",
        ),
        (lambda o, t: (o[:, 0], o[:, :1]), r"not \(2,\) and \(2, 1\)"),
        ("squared-error", r"needs targets of shape \(2, 3\), not \(2, 1\)"),
        ("mse", "There is no loss 'mse'; known are: cross-entropy, squared-error"),
    ],
)
def test_a_loss_that_does_not_fit_is_refused(loss, message):
    with pytest.raises(NetworkError, match=message):
        network = nn.Network([nn.Dense(3)], (4,), loss=loss, rng=0)
        network.loss_and_gradient(np.ones((2, 4)), np.ones((2, 1)))


def test_minibatch_variance_is_unbiased():
    # 20 single gradients; every mini-batch of 4 of 20 000 drawn with replacement.
    rng = np.random.default_rng(0)
    single = rng.standard_normal((20, 3)) * [1, 2, 3] + [0, 1, 5]
    drawn = single[rng.integers(20, size=(20_000, 4))]
    mean, squares = drawn.mean(axis=1), np.square(drawn).sum(axis=1)
    estimated = nn.minibatch_variance(mean, squares, 4)
    error = estimated.std(axis=0) / np.sqrt(len(estimated))
    assert (abs(estimated.mean(axis=0) - single.var(axis=0) / 4) < 4 * error).all()


def test_minibatch_variance_never_falls_below_zero():
    same = np.full(5, 0.1, np.float32)
    squares = 3 * same * same * np.float32(1 - 1e-6)
    assert (nn.minibatch_variance(same, squares, 3) == 0).all()
    with pytest.raises(NetworkError, match="at least 2"):
        nn.minibatch_variance(same, squares, 1)
