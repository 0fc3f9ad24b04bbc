"""Images without a data set: noisy, shifted copies of one smooth random template for each class.

It is a problem of any shape and size for tests of networks. Classes differ like smooth random
fields, and the noise is smooth too, so that averaging does not remove it. Only training labels may
be wrong, a given fraction of them, so that the training loss cannot become 0 and the test accuracy
still shows what was learned.
"""

from __future__ import annotations

import numpy as np

from qpsim.errors import DataError
from qpsim.nn.data.dataset import Dataset, Split
from qpsim.nn.data.streams import Seed, Stream

__all__ = ["synthetic_images"]

# Examples are drawn in chunks of this many, each from its own generator: the first examples are
# the same whatever their total number, and memory stays small.
_CHUNK = 1000
_TEMPLATES, _TRAIN, _TEST = range(3)


def synthetic_images(
    n_classes: int = 10,
    *,
    n_train: int = 10_000,
    n_test: int = 2_000,
    shape: tuple[int, int, int] = (32, 32, 3),
    n_waves: int = 4,
    max_shift: int = 2,
    structured_noise: float = 2.0,
    pixel_noise: float = 1.0,
    label_noise: float = 0.1,
    rng: Seed = 0,
) -> Dataset:
    """Smooth class templates under shifts, smooth noise, pixel noise and wrong labels.

    Each image is ``128 + 24 * (template + structured_noise * field + pixel_noise * white)``,
    rounded and clipped to 0..255, and the template is shifted cyclically by up to `max_shift`
    rows and columns. Templates and fields are sums of the `n_waves` lowest cosine waves a side,
    with normal coefficients, scaled to a mean square of one a pixel.

    Parameters
    ----------
    n_classes : int
        Number of classes, and of templates.
    n_train, n_test : int
        Examples of each split; the classes are drawn independently and uniformly.
    shape : (rows, columns, channels)
    n_waves : int
        Waves a side: the smaller, the smoother.
    max_shift : int
        Pixels, either way.
    structured_noise, pixel_noise : float
        Standard deviations, in units of the templates'.
    label_noise : float
        Probability with which a training label is replaced by a uniformly drawn one.
    rng : int, SeedSequence, Generator or None
        The same seed gives the same data.

    Returns
    -------
    Dataset
        Images (n, rows, columns, channels) uint8.

    Raises
    ------
    DataError
        A size that is not positive, a negative noise, or a probability outside 0 to 1.

    Examples
    --------
    >>> data = synthetic_images(10, n_train=64, n_test=16, shape=(8, 8, 1))
    >>> data.train.images.shape, data.train.images.dtype.name, data.n_classes
    ((64, 8, 8, 1), 'uint8', 10)
    """
    sizes = {"n_classes": n_classes, "n_train": n_train, "n_test": n_test, "n_waves": n_waves}
    for name, size in {**sizes, "every side of shape": min(shape)}.items():
        if size < 1:
            raise DataError(f"{name} is {size}; it must be at least 1")
    if n_waves > min(shape[:2]):
        raise DataError(f"n_waves is {n_waves}; an image of shape {shape} holds fewer")
    if min(max_shift, structured_noise, pixel_noise) < 0:
        raise DataError("max_shift, structured_noise and pixel_noise must not be negative")
    if not 0 <= label_noise <= 1:
        raise DataError(f"label_noise is {label_noise}; a probability is between 0 and 1")

    stream = Stream(rng)
    templates = _smooth_fields(n_classes, shape, n_waves, stream.child(_TEMPLATES).at(0))

    def split(purpose: int, n: int, wrong: float) -> Split:
        images = np.empty((n, *shape), dtype=np.uint8)
        labels = np.empty(n, dtype=np.int64)
        for chunk, start in enumerate(range(0, n, _CHUNK)):
            generator = stream.child(purpose).at(chunk)
            here = slice(start, start + _CHUNK)
            classes = generator.integers(n_classes, size=_CHUNK)
            pixels = _shifted(templates[classes], max_shift, generator)
            pixels += structured_noise * _smooth_fields(_CHUNK, shape, n_waves, generator)
            pixels += pixel_noise * generator.standard_normal(pixels.shape, dtype=np.float32)
            np.clip(np.rint(128 + 24 * pixels), 0, 255, out=pixels)
            is_wrong = generator.random(_CHUNK) < wrong
            given = np.where(is_wrong, generator.integers(n_classes, size=_CHUNK), classes)
            images[here], labels[here] = pixels[: n - start], given[: n - start]
        return Split(images, labels)

    return Dataset(
        f"synthetic-{n_classes}",
        split(_TRAIN, n_train, label_noise),
        split(_TEST, n_test, 0.0),
        n_classes,
    )


def _smooth_fields(
    n: int, shape: tuple[int, int, int], n_waves: int, generator: np.random.Generator
) -> np.ndarray:
    """(n, rows, columns, channels) float32 fields, of mean square one on average."""
    rows, columns, channels = shape
    coefficients = generator.standard_normal((n, channels, n_waves, n_waves), dtype=np.float32)
    vertical, horizontal = _cosines(rows, n_waves), _cosines(columns, n_waves)
    fields = vertical @ coefficients @ horizontal.T / np.float32(n_waves)
    return np.ascontiguousarray(fields.transpose(0, 2, 3, 1))


def _cosines(size: int, n_waves: int) -> np.ndarray:
    """(size, n_waves): cosine waves over the pixels, orthogonal, of mean square one."""
    phase = np.pi * (np.arange(size) + 0.5) / size
    waves = np.cos(phase[:, np.newaxis] * np.arange(n_waves))
    waves[:, 1:] *= np.sqrt(2)
    return waves.astype(np.float32)


def _shifted(images: np.ndarray, most: int, generator: np.random.Generator) -> np.ndarray:
    """Each image moved cyclically by its own rows and columns, up to `most` either way."""
    n, rows, columns, _ = images.shape
    down, right = generator.integers(-most, most + 1, size=(2, n, 1))
    row = (np.arange(rows) - down) % rows
    column = (np.arange(columns) - right) % columns
    return images[np.arange(n)[:, None, None], row[:, :, None], column[:, None, :]]
