"""The 1797 handwritten digits of 8 x 8 pixels that are part of scikit-learn.

The same 1437 training and 360 test examples every time, as images or, for a regression whose
features are uncorrelated and mixed, whitened and rotated.
Reference: E. Alpaydin, C. Kaynak, "Optical recognition of handwritten digits", UCI repository.
"""

from __future__ import annotations

import numpy as np

from qpsim.errors import DataError, QpsimError
from qpsim.nn.data.dataset import Dataset, Split
from qpsim.nn.data.streams import Stream

__all__ = ["load_digits", "whitened_digits"]

N_TRAIN = 1437
# Must not change, so that all results on the digits have the same test examples.
_SPLIT_SEED = 1797
_ROTATION_SEED = 64
_RIDGE = 1e-3


def load_digits() -> Dataset:
    """The digits as images (n, 8, 8, 1) of float32 in 0..1; 1437 for training and 360 for test.

    The split is stratified: each class has the same share, to within one example, in both.

    Raises
    ------
    QpsimError
        scikit-learn, which brings the data, is not installed.

    Examples
    --------
    >>> digits = load_digits()
    >>> digits.train.images.shape, len(digits.test)
    ((1437, 8, 8, 1), 360)
    """
    pixels, labels = _bundled()
    images = (pixels / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    train, test = _stratified(labels)
    return Dataset(
        "digits",
        Split(images[train], labels[train]),
        Split(images[test], labels[test]),
        n_classes=10,
    )


def whitened_digits(ridge: float = _RIDGE) -> Dataset:
    """The digits as vectors (n, 64) of uncorrelated features, randomly rotated.

    With training mean mu and covariance C = V diag(lambda) V^T of the pixels in 0..1, an image x
    becomes ``Q diag(lambda + ridge)^(-1/2) V^T (x - mu)``, Q a fixed Haar rotation. The quadratic
    part of a regression's loss then has nearly equal curvatures in a basis far from the axes:
    where the paper's Section 2 predicts signs to hurt.

    Parameters
    ----------
    ridge : float
        Added to the variances, in squared units of the full grey range; it keeps pixels that
        hardly ever change, whose variance is near zero, from being blown up. Must be positive.

    Raises
    ------
    QpsimError
        scikit-learn, which brings the data, is not installed.
    DataError
        The ridge is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> x = whitened_digits().train.images
    >>> covariance = np.cov(x.T)
    >>> bool(np.linalg.eigvalsh(covariance)[-40:].min() > 0.8)
    True
    """
    if not ridge > 0:
        raise DataError(f"ridge is {ridge}; it must be positive")
    digits = load_digits()
    pixels = digits.train.images.reshape(len(digits.train), -1).astype(np.float64)
    mean = pixels.mean(axis=0)
    variances, basis = np.linalg.eigh(np.cov(pixels.T))
    rotation = _haar_rotation(len(mean))
    matrix = basis / np.sqrt(np.maximum(variances, 0) + ridge) @ rotation.T

    def whiten(split: Split) -> Split:
        centred = split.images.reshape(len(split), -1) - mean
        return Split((centred @ matrix).astype(np.float32), split.labels)

    return Dataset("digits-whitened", whiten(digits.train), whiten(digits.test), n_classes=10)


def _bundled() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's copy: pixels (1797, 64) in 0..16 and labels (1797,)."""
    try:
        from sklearn.datasets import load_digits as bundled_digits
    except ImportError:
        raise QpsimError(
            "the digits come with scikit-learn, which is not installed; "
            'install it with: pip install "qpsim[nn]"'
        ) from None
    bundle = bundled_digits()
    return bundle.data, bundle.target.astype(np.int64)


def _stratified(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the training and of the test examples, both in their original order.

    Every class, shuffled, is spread evenly over 0..1; the examples up to the cut train.
    """
    order = Stream(_SPLIT_SEED).permutation(len(labels), 0)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        members = order[labels[order] == label]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    ranked = np.argsort(place, kind="stable")
    return np.sort(ranked[:N_TRAIN]), np.sort(ranked[N_TRAIN:])


def _haar_rotation(size: int) -> np.ndarray:
    """A rotation (size, size) from the uniform law, the same every time."""
    normals = Stream(_ROTATION_SEED).at(0).standard_normal((size, size))
    q, r = np.linalg.qr(normals)
    return q * np.sign(np.diag(r))
