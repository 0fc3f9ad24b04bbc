"""Noise from gradients of known laws."""

import numpy as np
import pytest

from qpsim import measure
from qpsim.errors import MeasureError


def test_scales_and_variances_of_gaussian_gradients():
    rng = np.random.default_rng(0)
    mean, std = np.linspace(0.5, 2.0, 40), np.linspace(1.0, 3.0, 40)
    g = mean + std * rng.standard_normal((2000, 40))
    found = measure.noise(g)
    np.testing.assert_allclose(found.variance, np.var(g, axis=0, ddof=1), rtol=1e-10)
    np.testing.assert_allclose(found.gradient, g.mean(axis=0), rtol=1e-10)
    exact = np.sum(std**2) / np.sum(mean**2)
    assert found.noise_scale.low < exact < found.noise_scale.high
    assert found.noise_scale.value == pytest.approx(exact, rel=0.05)
    assert found.sign_scale.value == pytest.approx((std.sum() / mean.sum()) ** 2, rel=0.05)
    # Independent Gaussian coordinates: no correlation, no heavy tail, and Eq. 8 is exact.
    assert found.gradient_correlation.low < 0.01
    assert found.sign_probability_error.low < 0.005
    assert found.tail_index.low > 30.0


def test_chunks_and_arrays_give_the_same_numbers():
    g = 1.0 + np.random.default_rng(1).standard_normal((60, 9))
    whole = measure.noise(g)
    chunks = measure.noise(iter([g[:7], g[7:50], g[50:]]))
    assert whole.to_dict() == chunks.to_dict()


@pytest.mark.parametrize("df", [2.5, 5.0])
def test_the_tail_index_of_student_gradients(df):
    g = np.random.default_rng(2).standard_t(df, size=(1000, 20))
    found = measure.noise(g).tail_index
    assert found.low < df < found.high
    assert found.value == pytest.approx(df, rel=0.15)


def test_correlated_coordinates_are_found():
    rng = np.random.default_rng(3)
    g = 2.0 * rng.standard_normal((1000, 1)) + rng.standard_normal((1000, 30))
    found = measure.noise(g)
    assert found.gradient_correlation.value == pytest.approx(0.8, abs=0.03)
    assert found.sign_correlation.value == pytest.approx(2 / np.pi * np.arcsin(0.8), abs=0.03)


def test_skewed_gradients_break_the_gaussian_success_probability():
    g = np.random.default_rng(4).exponential(size=(2000, 20)) - 1.0
    found = measure.noise(g).sign_probability_error
    # P[x > 0] is 1 / e, and Eq. 8 says 1/2.
    assert found.value == pytest.approx(0.5 - np.exp(-1.0), abs=0.02)


def test_units_that_are_mostly_off_and_dead_ones_leave_the_other_numbers_alone():
    """A network's coordinates: some never vary but by the L2 term, some are 0 in most minibatches."""
    rng = np.random.default_rng(5)
    on = 1.0 + rng.standard_normal((200, 20))
    rare = on * (rng.uniform(size=on.shape) < 0.02)
    rare[0] = 1.0
    constant = np.broadcast_to(0.1 * rng.standard_normal(20) / 3.0, on.shape)
    whole = np.concatenate([on, rare, constant], axis=1)
    found, alone = measure.noise(whole, n_coordinates=60), measure.noise(on)
    assert found.dead == 20
    assert found.tail_index == alone.tail_index
    for estimate in (found.sign_probability_error, found.gradient_correlation):
        assert np.isfinite(estimate).all()
    assert np.isnan(measure.noise(rare).tail_index.value)


@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        (np.full((20, 3), np.nan), "NaN"),
        (np.ones((3, 3)), "at least 8"),
        (np.ones((20, 3)), "no noise"),
        (np.ones(20), "shape"),
        (iter([np.ones((9, 3)), np.ones((9, 4))]), "shape"),
        (iter([]), "no gradients"),
        (5, "array"),
    ],
)
def test_wrong_gradients_are_refused(gradients, message):
    with pytest.raises(MeasureError, match=message):
        measure.noise(gradients)
