"""CIFAR's distortions for one image at a time, saturation by the way over HSV, in loops."""

import colorsys

import numpy as np


def draws(augmentation, generator, n):
    """The random numbers of a batch, in the order in which the augmentation takes them."""

    def uniform(low, high):
        return low + (high - low) * generator.random((n, 1))[:, 0]

    top, left = generator.integers(2 * augmentation.padding + 1, size=(2, n))
    flipped = generator.random(n) < 0.5
    brightness = uniform(-augmentation.brightness, augmentation.brightness)
    saturation = uniform(*augmentation.saturation)
    contrast = uniform(*augmentation.contrast)
    return list(zip(top, left, flipped, brightness, saturation, contrast, strict=True))


def distort(image, padding, top, left, flipped, brightness, saturation, contrast):
    rows, columns, _ = image.shape
    padded = np.pad(image / 255, ((padding, padding), (padding, padding), (0, 0)))
    image = padded[top : top + rows, left : left + columns].copy()
    if flipped:
        image = image[:, ::-1].copy()
    image = image + brightness
    for row in range(rows):
        for column in range(columns):
            image[row, column] = saturate(image[row, column], saturation)
    for channel in range(3):
        mean = image[..., channel].mean()
        image[..., channel] = mean + contrast * (image[..., channel] - mean)
    return standardise(image)


def saturate(colour, factor):
    if max(colour) <= 0:
        return np.full(3, max(colour))
    hue, saturation, value = colorsys.rgb_to_hsv(*colour)
    return np.array(colorsys.hsv_to_rgb(hue, min(factor * saturation, 1), value))


def standardise(image):
    deviation = image - image.mean()
    return deviation / max(image.std(), 1 / np.sqrt(image.size))
