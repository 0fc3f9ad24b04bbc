"""Transforms of examples before they go to the network: scaling, noise, CIFAR's distortions.

A transform is an object with two methods: ``training`` draws from the generator it is given (every
step has its own, see `qpsim.nn.data.streams`), ``evaluation`` draws nothing. It has no state, so
that a run can be continued at any step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qpsim.errors import DataError
from qpsim.nn.data.dataset import to_float

__all__ = ["CifarAugmentation", "PixelNoise", "Plain", "Transform"]

Floats = NDArray[np.float32]


class Transform(Protocol):
    """The interface of a transform: any object with these two methods.

    Both take stored examples (batch, ...), ``uint8`` or ``float32`` and read-only, and return what
    the network reads, an array of numbers (batch, ...) that may have another shape.

    Examples
    --------
    >>> class Centred:
    ...     def training(self, images, generator):
    ...         return self.evaluation(images)
    ...     def evaluation(self, images):
    ...         return to_float(images) - 0.5
    >>> Centred().evaluation(np.array([[0, 255]], np.uint8)).tolist()
    [[-0.5, 0.5]]
    """

    def training(self, images: NDArray[Any], generator: np.random.Generator) -> NDArray[Any]:
        """The examples for a training step; random numbers are drawn only from the generator."""
        ...

    def evaluation(self, images: NDArray[Any]) -> NDArray[Any]:
        """The examples for an evaluation."""
        ...


@dataclass(frozen=True)
class Plain:
    """Scaling to 0..1 and nothing else."""

    def training(self, images: NDArray[Any], generator: np.random.Generator) -> Floats:
        return to_float(images)

    def evaluation(self, images: NDArray[Any]) -> Floats:
        return to_float(images)


@dataclass(frozen=True)
class PixelNoise:
    """Independent normal noise on every pixel, drawn anew in every step; none at evaluation.

    Parameters
    ----------
    std : float
        Standard deviation, in units of the full grey range.

    Examples
    --------
    >>> import numpy as np
    >>> noisy = PixelNoise(0.5).training(np.zeros((100, 100), np.uint8), np.random.default_rng(0))
    >>> bool(abs(noisy.std() - 0.5) < 0.02)
    True
    """

    std: float

    def __post_init__(self) -> None:
        if not 0 <= self.std < np.inf:
            raise DataError(f"the pixel noise is {self.std}; it must be finite and not negative")

    def training(self, images: NDArray[Any], generator: np.random.Generator) -> Floats:
        noise = generator.standard_normal(images.shape, dtype=np.float32)
        noise *= np.float32(self.std)
        noise += to_float(images)
        return noise

    def evaluation(self, images: NDArray[Any]) -> Floats:
        return to_float(images)


@dataclass(frozen=True)
class CifarAugmentation:
    """Random crop, mirror image and colours, then each image to mean 0 and variance 1.

    In this order, on colours in 0..1 that are not clipped in between: pad with black by `padding`
    pixels on each side and cut out the original size anywhere; mirror left to right with
    probability 1/2; add one number to all colours; scale the saturation; scale the contrast, each
    channel about its mean; standardise, with a deviation of at least 1 / sqrt(pixels). All
    factors are uniform in their intervals. For evaluation: only standardise.

    The paper says no more than "random cropping of sub-images, left-right mirroring, color
    distortion"; the steps and numbers are those of the same group's later benchmark (DeepOBS), an
    assumption, and each can be set. There the colours are 0..255, so that a brightness of 63 / 255
    has almost no effect; here it is a quarter of the range of colours.

    Parameters
    ----------
    padding : int
        Pixels on each side: 2 turns 32 into 36.
    brightness : float
        The most that is added or subtracted.
    contrast, saturation : (low, high)
        Factors. Saturation applies to images of three channels.
    mirror : bool

    Examples
    --------
    >>> import numpy as np
    >>> images = np.random.default_rng(0).integers(256, size=(4, 32, 32, 3), dtype=np.uint8)
    >>> x = CifarAugmentation().training(images, np.random.default_rng(1))
    >>> x.shape, x.dtype.name, bool(abs(x.mean()) < 1e-5)
    ((4, 32, 32, 3), 'float32', True)
    """

    padding: int = 2
    brightness: float = 63 / 255
    contrast: tuple[float, float] = (0.2, 1.8)
    saturation: tuple[float, float] = (0.5, 1.5)
    mirror: bool = True

    def __post_init__(self) -> None:
        if self.padding < 0 or not 0 <= self.brightness < np.inf:
            raise DataError("padding and brightness must be finite and not negative")
        for name in ("contrast", "saturation"):
            low, high = getattr(self, name)
            if not 0 <= low <= high < np.inf:
                raise DataError(f"{name} is ({low}, {high}); it must be 0 <= low <= high")

    def training(self, images: NDArray[Any], generator: np.random.Generator) -> Floats:
        n = _check_images(images)
        top, left = generator.integers(2 * self.padding + 1, size=(2, n))
        flipped = (generator.random(n) < 0.5) & self.mirror
        brightness = _uniform(generator, -self.brightness, self.brightness, n)
        saturation = _uniform(generator, *self.saturation, n)
        contrast = _uniform(generator, *self.contrast, n)
        out = np.empty(images.shape, dtype=np.float32)
        for here in _chunks(n):
            cropped = _crop(images[here], self.padding, top[here], left[here])
            mirrored = flipped[here]
            cropped[mirrored] = cropped[mirrored, :, ::-1]
            planes = _to_planes(cropped)
            planes += brightness[here]
            if len(planes) == 3:
                _saturate(planes, saturation[here])
            _contrast(planes, contrast[here])
            _standardise(planes, out[here])
        return out

    def evaluation(self, images: NDArray[Any]) -> Floats:
        out = np.empty(images.shape, dtype=np.float32)
        for here in _chunks(_check_images(images)):
            _standardise(_to_planes(images[here]), out[here])
        return out


def _chunks(n: int) -> Iterator[slice]:
    """Chunks of images that stay in the cache, which makes this three times as fast."""
    return (slice(start, start + 64) for start in range(0, n, 64))


def _check_images(images: NDArray[Any]) -> int:
    """The number of images; DataError when they are vectors."""
    if images.ndim != 4:
        raise DataError(
            "images to augment have the shape (batch, rows, columns, channels), "
            f"not {tuple(images.shape)}"
        )
    return len(images)


def _uniform(generator: np.random.Generator, low: float, high: float, n: int) -> Floats:
    """One number an image, as a column to broadcast over its pixels."""
    return (low + (high - low) * generator.random((n, 1))).astype(np.float32)


def _crop(
    images: NDArray[Any], padding: int, top: NDArray[np.int64], left: NDArray[np.int64]
) -> NDArray[Any]:
    """Each image's own window of the original size, out of its padded version."""
    n, rows, columns, channels = images.shape
    width = columns + 2 * padding
    padded = np.zeros((n, rows + 2 * padding, width, channels), dtype=images.dtype)
    padded[:, padding : padding + rows, padding : padding + columns] = images
    # With pixel and channel on one axis, the rows of a window are contiguous.
    runs = padded.reshape(n, rows + 2 * padding, width * channels)
    windows = np.lib.stride_tricks.sliding_window_view(runs, (rows, columns * channels), (1, 2))
    return windows[np.arange(n), top, left * channels].reshape(images.shape)


def _to_planes(images: NDArray[Any]) -> Floats:
    """(batch, rows, columns, channels) to (channels, batch, pixels), where colour arithmetic is
    contiguous."""
    n, rows, columns, channels = images.shape
    flat = images.reshape(n, rows * columns, channels).transpose(2, 0, 1)
    return to_float(np.ascontiguousarray(flat))


def _saturate(planes: Floats, factor: Floats) -> None:
    """Scale HSV's saturation in place, at the same hue and value.

    value = max(r, g, b), saturation = (max - min) / max, and a colour of the same hue has its
    distances to the maximum scaled along: c <- max - f (max - c), with f so that the new
    saturation is at most 1, which is f (max - min) <= max.
    """
    red, green, blue = planes
    high = np.maximum(np.maximum(red, green), blue)
    low = np.minimum(np.minimum(red, green), blue)
    spread = high - low
    most = np.divide(np.maximum(high, 0), spread, out=np.zeros_like(high), where=spread > 0)
    scale = np.minimum(factor, most, out=most)
    planes -= high
    planes *= scale
    planes += high


def _contrast(planes: Floats, factor: Floats) -> None:
    """Scale, in place, the distances to the mean of each image's channel."""
    mean = planes.mean(axis=2, keepdims=True)
    planes -= mean
    planes *= factor
    planes += mean


def _standardise(planes: Floats, out: Floats) -> None:
    """Each image to mean 0 and variance 1, channels together, into `out` (batch, ...)."""
    channels, n, pixels = planes.shape
    size = channels * pixels
    planes -= planes.mean(axis=(0, 2)).reshape(n, 1)
    variance = np.einsum("cnp,cnp->n", planes, planes).reshape(n, 1) / np.float32(size)
    planes *= 1 / np.sqrt(np.maximum(variance, np.float32(1 / size)))
    out.reshape(n, pixels, channels)[...] = planes.transpose(1, 2, 0)
