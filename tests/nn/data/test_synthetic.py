import numpy as np
import pytest

from qpsim.errors import DataError
from qpsim.nn.data import synthetic_images

SMALL = {"n_train": 300, "n_test": 50, "shape": (8, 6, 2)}
CLEAN = {"structured_noise": 0, "pixel_noise": 0, "label_noise": 0}


def test_same_seed_same_data():
    first, second = synthetic_images(**SMALL, rng=4), synthetic_images(**SMALL, rng=4)
    np.testing.assert_array_equal(first.train.images, second.train.images)
    np.testing.assert_array_equal(first.train.labels, second.train.labels)
    np.testing.assert_array_equal(first.test.images, second.test.images)
    other = synthetic_images(**SMALL, rng=5)
    assert (other.train.images != first.train.images).any()


def test_more_examples_leave_the_first_ones_alone():
    few = synthetic_images(n_train=900, n_test=1, shape=(4, 4, 1))
    many = synthetic_images(n_train=2100, n_test=1, shape=(4, 4, 1))
    np.testing.assert_array_equal(many.train.images[:900], few.train.images)
    np.testing.assert_array_equal(many.train.labels[:900], few.train.labels)
    assert (many.train.images[1000:1900] != few.train.images).any()


def test_training_and_test_share_templates_and_nothing_else():
    data = synthetic_images(5, **SMALL, **CLEAN, max_shift=0)
    templates = {}
    for split in (data.train, data.test):
        for image, label in zip(split.images, split.labels, strict=True):
            templates.setdefault(int(label), image)
            np.testing.assert_array_equal(image, templates[int(label)])
    assert len({image.tobytes() for image in templates.values()}) == 5
    assert (data.train.labels[:50] != data.test.labels).any()


def test_shifts_are_cyclic_and_bounded():
    still = synthetic_images(1, **SMALL, **CLEAN, max_shift=0).train.images[0]
    moved = synthetic_images(1, **SMALL, **CLEAN, max_shift=2).train.images
    allowed = {
        np.roll(still, (down, right), axis=(0, 1)).tobytes()
        for down in range(-2, 3)
        for right in range(-2, 3)
    }
    assert {image.tobytes() for image in moved} == allowed


def test_label_noise_has_its_rate_and_spares_the_test_examples():
    options = {"n_train": 4000, "n_test": 500, "shape": (4, 4, 1), "max_shift": 0}
    quiet = {"structured_noise": 0, "pixel_noise": 0}
    data = synthetic_images(10, **options, **quiet, label_noise=0.4)
    truth = {
        image.tobytes(): label
        for image, label in zip(data.test.images, data.test.labels, strict=True)
    }
    assert len(truth) == 10
    wrong = np.mean(
        [
            truth[image.tobytes()] != label
            for image, label in zip(data.train.images, data.train.labels, strict=True)
        ]
    )
    # A uniform replacement is right one time in ten: .36, standard error .0076.
    assert abs(wrong - 0.36) < 4 * 0.0076


def test_noise_has_its_size():
    """Images are 24 units a standard deviation about 128; here no value is near the clipping."""
    smooth = {"structured_noise": 0.5, "pixel_noise": 0, "label_noise": 0, "max_shift": 0}
    rough = {"structured_noise": 0, "pixel_noise": 0.5, "label_noise": 0, "max_shift": 0}
    for noise in (smooth, rough):
        images = synthetic_images(1, n_train=3000, n_test=1, shape=(8, 8, 1), **noise).train.images
        deviation = images.astype(float) - images.mean(axis=0)
        assert abs(np.sqrt(np.mean(deviation**2)) / 12 - 1) < 0.03


def test_structured_noise_is_smooth():
    """Neighbouring pixels move together under the field, and not at all under white noise."""

    def correlation(**noise):
        options = {"n_train": 2000, "n_test": 1, "shape": (16, 16, 1), "max_shift": 0}
        images = synthetic_images(1, **options, label_noise=0, **noise).train.images.astype(float)
        deviation = images - images.mean(axis=0)
        product = np.mean(deviation[:, :, 1:] * deviation[:, :, :-1])
        return product / np.mean(deviation**2)

    assert correlation(structured_noise=1, pixel_noise=0) > 0.8
    assert abs(correlation(structured_noise=0, pixel_noise=1)) < 0.02


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"n_classes": 0}, "n_classes is 0"),
        ({"n_train": 0}, "n_train is 0"),
        ({"n_test": -1}, "n_test is -1"),
        ({"shape": (8, 0, 1)}, "every side of shape is 0"),
        ({"n_waves": 9}, "holds fewer"),
        ({"max_shift": -1}, "must not be negative"),
        ({"pixel_noise": -0.1}, "must not be negative"),
        ({"label_noise": 1.1}, "label_noise is 1.1"),
    ],
)
def test_impossible_options(wrong, sentence):
    with pytest.raises(DataError, match=sentence):
        synthetic_images(**{"shape": (8, 8, 1), "n_train": 5, "n_test": 5, **wrong})
