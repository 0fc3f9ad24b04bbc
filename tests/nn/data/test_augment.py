import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpsim.errors import DataError
from qpsim.nn.data import CifarAugmentation, PixelNoise, Plain
from tests.nn.data import naive_augmentation as naive


def images(n=70, seed=0, shape=(32, 32, 3)):
    return np.random.default_rng(seed).integers(256, size=(n, *shape), dtype=np.uint8)


SMOOTH = images(5, shape=(12, 12, 3)) // 4 + 90


@pytest.mark.parametrize(
    "augmentation",
    [
        CifarAugmentation(),
        CifarAugmentation(padding=0, mirror=True),
        CifarAugmentation(brightness=0.9, saturation=(0.0, 4.0)),
    ],
)
@pytest.mark.parametrize("batch", [SMOOTH, images(6, 1, (9, 11, 3)), images(4) // 250 * 255])
def test_training_against_one_image_at_a_time(augmentation, batch):
    found = augmentation.training(batch, np.random.default_rng(3))
    taken = naive.draws(augmentation, np.random.default_rng(3), len(batch))
    expected = [
        naive.distort(image, augmentation.padding, *numbers)
        for image, numbers in zip(batch, taken, strict=True)
    ]
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_evaluation_against_one_image_at_a_time():
    batch = images(70)
    found = CifarAugmentation().evaluation(batch)
    np.testing.assert_allclose(found, [naive.standardise(i / 255) for i in batch], atol=2e-5)


def test_float_images_keep_their_scale():
    batch = images(3)
    scaled = batch.astype(np.float32) / 255
    augmentation = CifarAugmentation()
    first = augmentation.training(batch, np.random.default_rng(0))
    second = augmentation.training(scaled, np.random.default_rng(0))
    np.testing.assert_allclose(first, second, atol=1e-4)


def test_flat_images_stay_finite():
    for level in (0, 255):
        flat = np.full((2, 8, 8, 3), level, np.uint8)
        found = CifarAugmentation(padding=0).training(flat, np.random.default_rng(0))
        np.testing.assert_allclose(found, 0, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(
    n=st.integers(1, 70),
    rows=st.integers(1, 6),
    columns=st.integers(1, 6),
    channels=st.integers(1, 4),
    padding=st.integers(0, 3),
    seed=st.integers(0, 99),
)
def test_any_shape_is_standardised_and_leaves_its_input_alone(
    n, rows, columns, channels, padding, seed
):
    batch = images(n, seed, (rows, columns, channels))
    before = batch.copy()
    augmentation = CifarAugmentation(padding=padding)
    found = augmentation.training(batch, np.random.default_rng(seed))
    np.testing.assert_array_equal(batch, before)
    assert found.shape == batch.shape
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.reshape(n, -1).mean(axis=1), 0, atol=1e-4)
    assert found.reshape(n, -1).std(axis=1).max() <= 1 + 1e-4


def test_crops_and_mirrors_are_uniform():
    """One marked pixel: 25 windows x mirrored or not, all equally often (5000, p of .02 each)."""
    batch = np.zeros((5000, 8, 8, 1), np.uint8)
    batch[:, 4, 3] = 255
    still = CifarAugmentation(padding=2, brightness=0, contrast=(1, 1))
    found = still.training(batch, np.random.default_rng(0))
    _, places = np.unique(found.reshape(5000, -1).argmax(axis=1), return_counts=True)
    # Columns 1..5 as they are and 2..6 mirrored: 6 columns x 5 rows, the inner 4 from both.
    assert len(places) == 30
    rare = 5000 / 50
    assert np.abs(places - np.where(places < 1.5 * rare, rare, 2 * rare)).max() < 5 * np.sqrt(200)


def test_pixel_noise_has_its_law():
    batch = images(20, shape=(32, 32, 1))
    generator = np.random.default_rng(0)
    noise = PixelNoise(0.25).training(batch, generator) - Plain().evaluation(batch)
    n = noise.size
    assert abs(noise.mean()) < 4 * 0.25 / np.sqrt(n)
    assert abs(noise.std() - 0.25) < 4 * 0.25 / np.sqrt(2 * n)
    again = PixelNoise(0.25).training(batch, generator) - Plain().evaluation(batch)
    assert abs(np.corrcoef(noise.ravel(), again.ravel())[0, 1]) < 4 / np.sqrt(n)
    np.testing.assert_array_equal(
        PixelNoise(0.25).evaluation(batch), Plain().training(batch, generator)
    )


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: PixelNoise(-1), "pixel noise is -1"),
        (lambda: PixelNoise(float("nan")), "finite"),
        (lambda: CifarAugmentation(padding=-1), "padding"),
        (lambda: CifarAugmentation(brightness=float("inf")), "brightness"),
        (lambda: CifarAugmentation(contrast=(1.8, 0.2)), "contrast"),
        (lambda: CifarAugmentation(saturation=(-0.5, 1.5)), "saturation"),
        (lambda: CifarAugmentation().evaluation(np.zeros((2, 64))), r"not \(2, 64\)"),
    ],
)
def test_impossible_options(build, sentence):
    with pytest.raises(DataError, match=sentence):
        build()
