"""The fast convolution: an exact formula, right on integers, its three passes maps of one form."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpsim.nn import Conv2D, Dense, Flatten, Network
from qpsim.nn.kernels import winograd
from qpsim.nn.kernels.blas import gemm_address
from qpsim.nn.layers.base import Field
from qpsim.nn.layers.winograd import Winograd, suits
from tests.nn import loops

# One pixel, less than a tile, just a tile, a pixel more or less, several; (height, width, padding).
SIZES = [
    (1, 1, "same"), (1, 7, "same"), (2, 2, "same"), (4, 4, "same"), (5, 3, "same"), (8, 9, "same"),
    (3, 3, "valid"), (3, 12, "valid"), (6, 6, "valid"), (7, 5, "valid"), (10, 11, "valid"),
]  # fmt: skip


class Passes:
    """The passes of one layer, on images without their margins."""

    def __init__(self, height, width, padding, weight, relu=False):
        layer = Conv2D(weight.shape[3], 3, padding=padding)
        shape = (height, width, weight.shape[2])
        self.pad = layer.margin(shape)
        self.source = Field(shape, self.pad)
        # Zeros around the output too, as if another convolution came after.
        self.target = Field(layer.output_shape(shape), (1, 2, 3, 1))
        self.relu = relu
        self.weight = weight.astype(np.float32)
        gemm = gemm_address("float32")
        self.winograd = Winograd(gemm, self.source, self.target, self.weight)
        self.winograd.prepare(backward=True)

    def scratch(self):
        """Working memory, where what was there before must not matter."""
        scratch = self.winograd.scratch()
        for memory in scratch:
            memory.fill(np.nan)
        return scratch

    def buffer(self, field, images):
        """Images with zeros around, and the view that leaves those out."""
        top, left = field.origin
        buffer = np.zeros((len(images), *field.buffer_shape), np.float32)
        image = buffer[:, top : top + field.shape[0], left : left + field.shape[1]]
        image[:] = images
        return buffer, image

    def forward(self, x, bias):
        y, image = self.buffer(self.target, np.full((len(x), *self.target.shape), np.nan))
        self.winograd.forward(
            self.buffer(self.source, x)[0], y, bias.astype(np.float32), self.relu, self.scratch()[0]
        )
        return _only(y, image)

    def input_gradient(self, dy):
        dx, image = self.buffer(self.source, np.full((len(dy), *self.source.shape), np.nan))
        self.winograd.input_gradient(self.buffer(self.target, dy)[0], dx, self.scratch()[0])
        return _only(dx, image)

    def parameter_gradient(self, x, y, dy):
        """Both gradients, and what is left of dy."""
        d = [np.zeros(self.weight.shape, np.float32), np.zeros(self.weight.shape[3], np.float32)]
        dy, image = self.buffer(self.target, dy)
        x, y = self.buffer(self.source, x)[0], self.buffer(self.target, y)[0]
        self.winograd.parameter_gradient(x, y, dy, self.relu, d, self.scratch())
        return *d, _only(dy, image)


def _only(buffer, image):
    """The image, outside of which nothing may have been written."""
    kept, image[:] = image.copy(), 0
    assert not buffer.any()
    return kept


def _matrix(transform, size):
    """A transform's matrix, from what it makes of plain numbers."""
    function = getattr(transform, "py_func", transform)
    return np.array([function(*unit) for unit in np.eye(size)]).T


def _fractions(matrix):
    """The multiples of 1/24 whose float64 a matrix holds."""
    exact = [[Fraction(value).limit_denominator(24) for value in row] for row in matrix.tolist()]
    np.testing.assert_allclose(np.array(exact, float), matrix, rtol=2**-52, atol=0)
    return np.array(exact)


def test_the_formula_holds_in_fractions():
    b, a = _matrix(winograd._inputs, 6), _matrix(winograd._outputs, 6)
    g = _fractions(_matrix(winograd._weights, 3))
    correlation = [[[int(k == i + p) for i in range(4)] for k in range(6)] for p in range(3)]
    found = [[_fractions(a) @ (g[:, p] * _fractions(b)[:, k]) for k in range(6)] for p in range(3)]
    assert np.array(found).tolist() == correlation


def test_a_tile_of_integers_is_exact():
    b, a = _matrix(winograd._inputs, 6), _matrix(winograd._outputs, 6)
    g = _matrix(winograd._weights, 3)
    rng = np.random.default_rng(0)
    x = rng.integers(-9, 10, (6, 6))
    w = 24**2 * rng.integers(-9, 10, (3, 3))  # 24: the common denominator of G
    y = a @ ((g @ w @ g.T) * (b @ x @ b.T)) @ a.T
    exact = [[(x[i : i + 3, j : j + 3] * w).sum() for j in range(4)] for i in range(4)]
    np.testing.assert_array_equal(y, exact)


def test_the_backward_transforms_are_the_transposes():
    a, g = _matrix(winograd._outputs, 6), _fractions(_matrix(winograd._weights, 3))
    np.testing.assert_array_equal(_matrix(winograd._output_gradients, 4), a.T)
    assert (_fractions(_matrix(winograd._weight_gradients, 6)) == g.T).all()


def _assert_rounds_to(found, exact):
    """A term too many or too few would be off by 1; of float32's rounding there is far less."""
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-3)


@pytest.mark.parametrize(("height", "width", "padding"), SIZES)
def test_every_pass_is_right_on_integers(height, width, padding):
    rng = np.random.default_rng(height * width)
    weight = rng.integers(-2, 3, (3, 3, 32, 48))
    bias = rng.integers(-9, 10, 48)
    passes = Passes(height, width, padding, weight, relu=True)
    x = rng.integers(-2, 3, (3, *passes.source.shape))
    dy = rng.integers(-2, 3, (3, *passes.target.shape))

    y = passes.forward(x, bias)
    exact = np.array([loops.convolution(image, weight, bias, 1, passes.pad) for image in x])
    _assert_rounds_to(y, np.maximum(exact, 0))

    top, bottom, left, right = passes.pad
    padded = np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))
    kept = np.where(exact > 0, dy, 0.0)
    d_weight, d_bias, cut = passes.parameter_gradient(x, np.maximum(exact, 0), dy)
    np.testing.assert_array_equal(cut, kept)
    np.testing.assert_array_equal(d_bias, kept.sum(axis=(0, 1, 2)))
    _assert_rounds_to(d_weight, loops.weight_gradient(padded, kept, 3))

    dx = loops.input_gradient(dy, weight)[:, top : top + height, left : left + width]
    _assert_rounds_to(passes.input_gradient(dy), dx)


@settings(deadline=None, max_examples=30)
@given(
    height=st.integers(3, 14),
    width=st.integers(3, 14),
    channels=st.sampled_from([32, 48]),
    padding=st.sampled_from(["same", "valid"]),
    examples=st.integers(1, 5),
)
def test_the_three_passes_are_one_trilinear_form(height, width, channels, padding, examples):
    rng = np.random.default_rng(height * width)
    passes = Passes(height, width, padding, rng.standard_normal((3, 3, channels, 64)))
    x = rng.standard_normal((examples, *passes.source.shape))
    dy = rng.standard_normal((examples, *passes.target.shape))
    y = passes.forward(x, np.zeros(64)).astype(float)
    by_y = np.vdot(y, dy)
    by_x = np.vdot(x, passes.input_gradient(dy).astype(float))
    by_w = np.vdot(passes.weight, passes.parameter_gradient(x, y, dy)[0].astype(float))
    # Rounding errors do not point along dy or x.
    bound = 1e-6 * np.linalg.norm(y) * np.linalg.norm(dy)
    assert max(abs(by_x - by_y), abs(by_w - by_y)) < bound


def test_every_pass_is_as_accurate_as_promised():
    rng = np.random.default_rng(0)
    passes = Passes(9, 11, "valid", rng.standard_normal((3, 3, 96, 96)))
    x = rng.standard_normal((5, *passes.source.shape)).astype(np.float32)
    dy = rng.standard_normal((5, *passes.target.shape)).astype(np.float32)
    y, dx = passes.forward(x, np.zeros(96)), passes.input_gradient(dy)
    dw = passes.parameter_gradient(x, y, dy)[0]
    x, dy, weight = x.astype(float), dy.astype(float), passes.weight.astype(float)
    exact_y = np.array([loops.convolution(one, weight, np.zeros(96), 1, passes.pad) for one in x])
    for found, exact, bound in [
        (y, exact_y, 2e-6),
        (dx, loops.input_gradient(dy, weight), 2e-6),
        (dw, loops.weight_gradient(x, dy, 3), 1.5e-6),
    ]:
        error = found - exact
        assert error.std() < bound * exact.std()
        assert abs(error).max() < 25 * bound * exact.std()


def test_gradients_add_to_what_is_there():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 9, 11, 32)).astype(np.float32)
    dy = rng.standard_normal((5, 7, 9, 48)).astype(np.float32)
    found = np.ones((3, 3, 32, 48), np.float32)
    memory = np.empty(winograd.room(2 * 2 * 3, 32, 48), np.float32)
    sums = np.empty((36, 32, 48), np.float32)
    winograd.weight_gradient(
        gemm_address("float32"), x, (9, 11), dy, (0, 0), (7, 9), found, 2, memory, sums
    )
    exact = loops.weight_gradient(x.astype(float), dy.astype(float), 3)
    assert abs(found - 1 - exact).max() < 5e-6 * abs(exact).max()


@settings(deadline=None, max_examples=30)
@given(
    height=st.integers(1, 14),
    width=st.integers(1, 14),
    channels=st.sampled_from([32, 40, 64]),
    padding=st.sampled_from(["same", "valid"]),
    examples=st.integers(1, 7),
)
def test_networks_agree_with_and_without_it(height, width, channels, padding, examples):
    if padding == "valid":
        height, width = height + 2, width + 2
    rng = np.random.default_rng(0)
    x = rng.standard_normal((examples, height, width, 33)).astype(np.float32)
    # The first convolution makes the second one's gradient by its input matter.
    layers = [Conv2D(channels, 1), Conv2D(48, 3, padding=padding), Flatten(), Dense(2)]
    plain, fast = (Network(layers, x.shape[1:], rng=1, fast=f) for f in (False, True))
    y = rng.integers(2, size=examples)
    logits = plain.predict(x)
    np.testing.assert_allclose(fast.predict(x), logits, atol=3e-5 * abs(logits).max())
    gradient, close = (network.loss_and_gradient(x, y)[1] for network in (plain, fast))
    np.testing.assert_allclose(close, gradient, atol=3e-5 * abs(gradient).max())


@pytest.mark.parametrize(
    ("size", "stride", "channels", "filters", "dtype"),
    [(5, 1, 32, 32, "f4"), (3, 2, 32, 32, "f4"), (3, 1, 32, 32, "f8")]
    + [(3, 1, *each, "f4") for each in [(16, 32), (32, 16), (40, 32), (32, 40)]],
)
def test_what_it_cannot_do_is_left_to_the_plain_one(size, stride, channels, filters, dtype):
    assert suits(3, 1, 32, 32, np.float32)
    assert not suits(size, stride, channels, filters, np.dtype(dtype))
