"""Each layer against its definition in loops, and its gradient against central differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpsim.nn import (
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool,
    Layer,
    MaxPool,
    Network,
    ReLU,
)
from qpsim.nn.kernels import pooling, pooling_lanes
from qpsim.nn.kernels.masks import dropout
from qpsim.nn.layers.base import same_padding
from tests.nn import loops, own


def _output(layer, x):
    """What a layer makes of images: read through a dense layer that is the identity."""
    shape = layer.output_shape(x.shape[1:])
    size = int(np.prod(shape))
    network = Network([layer, Flatten(), Dense(size)], x.shape[1:], dtype=np.float64, rng=3)
    network.views["dense1.weight"][:] = np.eye(size)
    network.views["dense1.bias"][:] = 0
    return network, network.predict(x).reshape(len(x), *shape)


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    channels=st.sampled_from([1, 3, 17]),
    size=st.integers(1, 3),
    stride=st.integers(1, 3),
    padding=st.sampled_from(["same", "valid"]),
)
def test_a_convolution_is_the_sum_over_its_window(height, width, channels, size, stride, padding):
    x = np.random.default_rng(0).standard_normal((2, height, width, channels))
    layer = Conv2D(4, size, stride, padding)
    network, y = _output(layer, x)
    network.views["conv1.bias"][:] = [0.5, -1, 2, 0]
    y = network.predict(x).reshape(y.shape)
    pad = layer.margin(x.shape[1:])
    weight, bias = network.views["conv1.weight"], network.views["conv1.bias"]
    for image, result in zip(x, y, strict=True):
        expected = loops.convolution(image, weight, bias, stride, pad)
        np.testing.assert_allclose(result, expected, atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(4, 9),
    width=st.integers(4, 9),
    window=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=st.sampled_from(["same", "valid"]),
)
def test_a_max_pool_is_the_maximum_over_its_window(height, width, window, stride, padding):
    x = np.random.default_rng(0).standard_normal((2, height, width, 3))
    y = _output(MaxPool(window, stride, padding), x)[1]
    pad = (0, 0, 0, 0)
    if padding == "same":
        pad = (*same_padding(height, window, stride), *same_padding(width, window, stride))
    for image, result in zip(x, y, strict=True):
        np.testing.assert_array_equal(result, loops.max_pool(image, window, stride, pad))


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    ("window", "stride", "pad"), [(3, 2, (1, 0)), (2, 3, (0, 0)), (4, 1, (2, 1))]
)
def test_pooling_sixteen_channels_at_a_time_changes_no_bit(window, stride, pad, relu):
    rng = np.random.default_rng(0)
    x = rng.integers(-4, 5, (2, 9, 10, 32)).astype(np.float32)
    x[0, 3, 4, 5] = np.nan
    size = tuple((s + pad[0] - window) // stride + 1 for s in x.shape[1:3])
    dy = rng.standard_normal((2, *size, 32)).astype(np.float32)
    results = []
    for forward, backward in (
        (pooling.forward, pooling.backward),
        (pooling_lanes.forward, pooling_lanes.backward),
    ):
        y, winner = np.zeros_like(dy), np.zeros(dy.shape, np.uint8)
        dx = np.full_like(x, 7)
        forward(x, (9, 10), y, (0, 0), size, window, stride, pad, relu, winner)
        backward(dy, (0, 0), size, window, stride, pad, winner, dx)
        results.append((y, winner, dx))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (
        np.isnan(results[0][0]).sum()
        == np.isnan(
            [
                loops.max_pool(x[0], window, stride, (pad[0], window, pad[1], window))[
                    : size[0], : size[1]
                ]
            ]
        ).sum()
        > 0
    )


def test_the_odd_zero_of_same_goes_below_and_to_the_right():
    assert Conv2D(1, 3, stride=2).margin((32, 32, 1)) == (0, 1, 0, 1)
    assert Conv2D(1, 5).margin((8, 7, 1)) == (2, 2, 2, 2)


SHAPES = {
    "dense": ([Dense(4)], (5,)),
    "dense and relu": ([Dense(6), ReLU(), Dense(3)], (5,)),
    "relu first": ([ReLU(), Dense(3)], (5,)),
    "dropout in a dense network": ([Dropout(0.3), Dense(8), ReLU(), Dropout(0.5), Dense(3)], (6,)),
    "conv 1 x 1": ([Conv2D(3, 1), GlobalAveragePool()], (4, 5, 2)),
    "conv same": ([Conv2D(5, 3), ReLU(), Conv2D(3, 3), GlobalAveragePool()], (6, 5, 2)),
    "conv same, many channels": (
        [Conv2D(20, 3), ReLU(), Conv2D(18, 3), ReLU(), Conv2D(3, 3), GlobalAveragePool()],
        (6, 5, 17),
    ),
    "conv of even size": ([Conv2D(5, 2), ReLU(), Conv2D(3, 4), GlobalAveragePool()], (6, 7, 2)),
    "conv valid": (
        [Conv2D(5, 3, padding="valid"), ReLU(), Conv2D(3, 2, padding="valid"), Flatten(), Dense(3)],
        (6, 7, 2),
    ),
    "conv with stride": (
        [Conv2D(17, 3, stride=2), ReLU(), Conv2D(4, 3, stride=2), ReLU(), Flatten(), Dense(3)],
        (9, 8, 2),
    ),
    "conv with stride, valid": (
        [
            Conv2D(17, 3, stride=2, padding="valid"),
            ReLU(),
            Conv2D(4, 2, stride=3, padding="valid"),
            GlobalAveragePool(),
        ],
        (9, 12, 2),
    ),
    "pool same": ([Conv2D(4, 3), ReLU(), MaxPool(), Flatten(), Dense(3)], (7, 8, 2)),
    "pool, then conv": (
        [Conv2D(4, 3), MaxPool(2, 2), Conv2D(3, 3), GlobalAveragePool()],
        (7, 8, 2),
    ),
    "pool valid": ([Conv2D(4, 3), MaxPool(3, 2, "valid"), Flatten(), Dense(3)], (7, 8, 2)),
    "dropout everywhere": (
        [
            Dropout(0.2),
            Conv2D(6, 3),
            ReLU(),
            Dropout(0.5),
            Conv2D(6, 3),
            MaxPool(),
            Dropout(0.5),
            ReLU(),
            Flatten(),
            Dropout(0.4),
            Dense(3),
        ],
        (6, 6, 2),
    ),
    "own layers, dense": (
        [own.Scale(), Dense(5), own.Tanh(), own.Scale(), Dense(3)],
        (4,),
    ),
    "own layers behind the last parameters": (
        [Dense(5), own.Tanh(), Dense(4), own.Softplus(), Dense(3), own.Softplus()],
        (4,),
    ),
    "own memory behind a dense layer": ([Dense(5), own.Normalise(), Dense(3)], (4,)),
    "own layers around an image": (
        [
            Conv2D(4, 3),
            own.Softplus(),
            Conv2D(3, 3),
            own.Scale(),
            own.Tanh(),
            MaxPool(),
            Flatten(),
            own.Scale(),
            Dense(4),
            own.Softplus(),
            Dense(3),
        ],
        (5, 6, 2),
    ),
    "own layers, images, no head": (
        [own.Scale(), Conv2D(4, 3), own.Tanh(), Conv2D(3, 3), GlobalAveragePool(), own.Scale()],
        (5, 6, 2),
    ),
    "classes derived from ours": (
        [own.Doubled(5), own.LeakyReLU(), Dense(4), own.LeakyReLU(), own.Doubled(3)],
        (4,),
    ),
    "no dense layer at all": (
        [Conv2D(6, 3), ReLU(), Dropout(0.5), Conv2D(3, 3), GlobalAveragePool(), ReLU()],
        (6, 6, 2),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_gradient_agrees_with_central_differences(name):
    layers, shape = SHAPES[name]
    network = Network(layers, shape, weight_decay=0.1, dtype=np.float64, rng=1)
    rng = np.random.default_rng(2)
    network.parameters += 0.1 * rng.standard_normal(network.parameters.size)
    x = rng.standard_normal((5, *shape))
    y = rng.integers(network.n_outputs, size=5)
    gradient = network.loss_and_gradient(x, y, rng=np.random.default_rng(0))[1]
    size = network.parameters.size
    places = rng.choice(size, min(size, 40), replace=False)
    expected = loops.central_differences(network, x, y, places)
    np.testing.assert_allclose(gradient[places], expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", SHAPES)
def test_per_example_moments_agree_with_one_example_at_a_time(name):
    layers, shape = SHAPES[name]
    network = Network(layers, shape, weight_decay=0.1, dtype=np.float64, rng=1)
    rng = np.random.default_rng(2)
    x = rng.standard_normal((6, *shape))
    y = rng.integers(network.n_outputs, size=6)
    result = network.per_example_moments(x, y, train=False)
    gradient, squares = loops.moments(network, x, y)
    np.testing.assert_allclose(result.gradient, gradient, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(result.sum_of_squares, squares, rtol=1e-10, atol=1e-14)


def test_dropout_keeps_its_share_and_its_mean():
    values = np.ones((50, 10_000))
    dropout(values, np.uint64(12345), 0, np.uint64(round(0.3 * 2**32)), 1 / 0.7)
    assert set(np.unique(values)) == {0.0, 1 / 0.7}
    # 500 000 draws: the share dropped has standard error .00065, an example's .0046.
    assert abs((values == 0).mean() - 0.3) < 4 * 0.00065
    assert abs((values == 0).mean(axis=1) - 0.3).max() < 4.5 * 0.0046
    # Neighbours, in the example and across examples, are uncorrelated.
    centred = (values == 0) - 0.3
    for product in (centred[:, 1:] * centred[:, :-1], centred[1:] * centred[:-1]):
        assert abs(product.mean() / 0.21) < 4 / np.sqrt(product.size)


def test_dropout_depends_on_the_generator_and_is_left_out_of_predictions():
    network = Network([Dense(50), Dropout(0.5), Dense(3)], (4,), rng=0)
    x, y = np.ones((8, 4)), np.zeros(8, int)

    def loss(seed):
        return network.loss_and_gradient(x, y, rng=np.random.default_rng(seed))[0]

    assert loss(1) == loss(1) != loss(2)
    assert np.ptp(network.predict(x), axis=0).max() == 0
    with pytest.raises(ValueError, match="training needs rng"):
        network.loss_and_gradient(x, y)
    whole = network.loss_and_gradient(x, y, train=False)[0]
    assert whole == pytest.approx(network.evaluate(x, y)[0])


def test_examples_and_layers_have_masks_of_their_own():
    layers = [Dropout(0.5), Conv2D(1, 1), Dropout(0.5), Flatten(), Dense(2)]
    network = Network(layers, (16, 16, 1), rng=0)
    network.views["conv1.weight"][:] = 1
    x, y = np.ones((2, 16, 16, 1)), np.zeros(2, int)
    network.loss_and_gradient(x, y, rng=np.random.default_rng(0))
    plan = network._plans[True]
    first, second = (plan._whole[n][:2].reshape(2, -1) > 0 for n in (0, 1))
    assert (first[0] != first[1]).mean() > 0.3
    # What the second dropout leaves of the pixels that the first kept is again one half.
    assert 0.35 < second[first].mean() < 0.65


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: Dense(0), "units must be an integer"),
        (lambda: Conv2D(3, 2.5), "size must be an integer"),
        (lambda: Conv2D(3, 3, padding="full"), "'same' or 'valid'"),
        (lambda: MaxPool(3, 2, "full"), "'same' or 'valid'"),
        (lambda: MaxPool(16), "at most 15"),
        (lambda: Dropout(1.0), r"in \[0, 1\)"),
        (lambda: Network([Dense(3)], (4, 4, 1)), "put Flatten"),
        (lambda: Network([Conv2D(3, 3)], (4,)), "needs images"),
        (lambda: Network([Conv2D(3, 5, padding="valid"), Flatten()], (4, 4, 1)), "kernel fits"),
        (lambda: Network([MaxPool(5, 1, "valid"), Flatten()], (4, 4, 1)), "window fits"),
        (lambda: Network([Conv2D(3, 3)], (4, 4, 1)), "class scores"),
        (lambda: Network([Dense(1)], (4,)), "at least two class scores"),
        (lambda: Network([ReLU()], (4,)), "at least one layer with parameters"),
    ],
)
def test_what_makes_no_sense_is_refused(layer, message):
    with pytest.raises(ValueError, match=message):
        layer()


def test_own_layers_do_not_depend_on_the_number_of_threads():
    layers, shape = SHAPES["own layers around an image"]
    results = []
    for workers in (1, 3):
        network = Network(layers, shape, rng=0, workers=workers)
        x = np.random.default_rng(0).standard_normal((300, *shape))
        y = np.arange(300) % 3
        results.append((network.loss_and_gradient(x, y)[1], network.predict(x)))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_layer_by_default_is_the_identity():
    network = Network([Layer(), Dense(3), Layer()], (4,), rng=0)
    plain = Network([Dense(3)], (4,), rng=0)
    x, y = np.ones((2, 4)), [0, 1]
    np.testing.assert_array_equal(
        network.loss_and_gradient(x, y)[1], plain.loss_and_gradient(x, y)[1]
    )
    assert list(network.views) == ["dense1.weight", "dense1.bias"]
