"""Initial parameters: functions ``(rng, shape) -> array``.

Weights have shape (inputs, units) in a dense layer, (height, width, channels, filters) in a
convolution. The fan-in is the product of all sizes but the last, the fan-out that of all but the
last but one.
"""

from collections.abc import Callable
from functools import partial
from math import prod, sqrt

import numpy as np

Initializer = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

# The standard deviation of a standard normal variable truncated to [-2, 2].
_TRUNCATED_STD = 0.87962566103423978


def constant(value: float) -> Initializer:
    """Every entry the same.

    Examples
    --------
    >>> constant(0.1)(np.random.default_rng(0), (2,))
    array([0.1, 0.1])
    """
    return partial(_constant, value=value)


def zeros(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Every entry 0.

    Examples
    --------
    >>> zeros(np.random.default_rng(0), (2,))
    array([0., 0.])
    """
    return np.zeros(shape)


def truncated_normal(std: float) -> Initializer:
    """Normal of scale ``std``, redrawn where it falls beyond two of them (the true std is .88 std).

    Examples
    --------
    >>> weights = truncated_normal(0.03)(np.random.default_rng(0), (784, 100))
    >>> bool(abs(weights).max() <= 0.06)
    True
    """
    return partial(_truncated_normal, std=std)


def glorot_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Truncated normal of variance 2 / (fan_in + fan_out) (Glorot and Bengio, 2010).

    Examples
    --------
    >>> weights = glorot_normal(np.random.default_rng(0), (300, 100))
    >>> round(float(weights.std() * 200**0.5), 2)
    1.0
    """
    fan_in, fan_out = _fans(shape)
    return _truncated_normal(rng, shape, sqrt(2 / (fan_in + fan_out)) / _TRUNCATED_STD)


def glorot_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Uniform of variance 2 / (fan_in + fan_out) (Glorot and Bengio, 2010).

    Examples
    --------
    >>> weights = glorot_uniform(np.random.default_rng(0), (30, 20))
    >>> bool(abs(weights).max() <= (6 / 50) ** 0.5)
    True
    """
    limit = sqrt(6 / sum(_fans(shape)))
    return rng.uniform(-limit, limit, shape)


def he_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normal of variance 2 / fan_in, made for ReLU (He et al., 2015).

    Examples
    --------
    >>> weights = he_normal(np.random.default_rng(0), (200, 300))
    >>> round(float(weights.std() * 10), 2)
    1.0
    """
    return rng.standard_normal(shape) * sqrt(2 / _fans(shape)[0])


def _constant(rng: np.random.Generator, shape: tuple[int, ...], value: float) -> np.ndarray:
    return np.full(shape, float(value))


def _truncated_normal(rng: np.random.Generator, shape: tuple[int, ...], std: float) -> np.ndarray:
    values = rng.standard_normal(shape)
    outside = np.abs(values) > 2
    while outside.any():
        values[outside] = rng.standard_normal(np.count_nonzero(outside))
        outside = np.abs(values) > 2
    return values * std


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    return prod(shape[:-1]), prod(shape[:-2]) * shape[-1]
