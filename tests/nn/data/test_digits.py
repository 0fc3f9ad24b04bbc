import sys

import numpy as np
import pytest

from qpsim.errors import DataError, QpsimError
from qpsim.nn.data import load_digits, whitened_digits

bundled = pytest.importorskip("sklearn.datasets", reason="the digits come with scikit-learn")


def rows(images):
    return [image.tobytes() for image in images]


def test_the_split_parts_the_bundled_examples():
    digits = load_digits()
    pixels = (bundled.load_digits().data / 16).astype(np.float32)
    assert (len(digits.train), len(digits.test)) == (1437, 360)
    both = [*rows(digits.train.images), *rows(digits.test.images)]
    assert sorted(both) == sorted(rows(pixels))
    truth = {
        image: label
        for image, label in zip(rows(pixels), bundled.load_digits().target, strict=True)
    }
    for split in (digits.train, digits.test):
        assert [truth[image] for image in rows(split.images)] == split.labels.tolist()
        assert split.images.dtype == np.float32
    assert digits.train.images.min() == 0
    assert digits.train.images.max() == 1


def test_the_split_is_stratified_and_fixed():
    digits = load_digits()
    train = np.bincount(digits.train.labels)
    total = train + np.bincount(digits.test.labels)
    assert np.abs(train - total * 1437 / 1797).max() <= 1
    np.testing.assert_array_equal(load_digits().test.images, digits.test.images)


def test_whitened_training_covariance():
    """In the basis of C, the variances are lambda / (lambda + ridge), whatever the rotation."""
    digits, white = load_digits(), whitened_digits(ridge=1e-3)
    variances = np.linalg.eigvalsh(np.cov(digits.train.images.reshape(1437, 64).T.astype(float)))
    expected = np.sort(np.maximum(variances, 0) / (np.maximum(variances, 0) + 1e-3))
    covariance = np.cov(white.train.images.T.astype(float))
    np.testing.assert_allclose(np.linalg.eigvalsh(covariance), expected, atol=1e-5)
    np.testing.assert_allclose(white.train.images.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_array_equal(white.train.labels, digits.train.labels)


def test_whitened_features_are_mixed():
    """No feature is a principal direction: every one of them mixes the flat and the full ones."""
    diagonal = np.diag(np.cov(whitened_digits().train.images.T))
    assert diagonal.min() > 0.6
    assert diagonal.max() < 0.99


def test_test_examples_go_through_the_training_map():
    """The map is affine and known by its values on the training examples."""
    digits, white = load_digits(), whitened_digits()

    def with_one(split):
        pixels = split.images.reshape(len(split), 64).astype(float)
        return np.concatenate([pixels, np.ones((len(split), 1))], axis=1)

    fitted, *_ = np.linalg.lstsq(with_one(digits.train), white.train.images, rcond=1e-10)
    # Pixels that never change in training leave the map open there; few test images use them.
    constant = digits.train.images.reshape(1437, 64).std(axis=0) == 0
    usable = (digits.test.images.reshape(360, 64)[:, constant] == 0).all(axis=1)
    assert usable.sum() > 300
    error = with_one(digits.test) @ fitted - white.test.images
    assert np.abs(error[usable]).max() < 1e-3


@pytest.mark.parametrize("ridge", [0, -1, float("nan")])
def test_ridge_is_positive(ridge):
    with pytest.raises(DataError, match="must be positive"):
        whitened_digits(ridge)


def test_without_scikit_learn_the_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(QpsimError, match=r'pip install "qpsim\[nn\]"'):
        load_digits()
