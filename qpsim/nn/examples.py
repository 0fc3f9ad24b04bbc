"""Checks of examples and targets, and the accuracy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qpsim import checks
from qpsim.errors import NetworkError


class Fit(NamedTuple):
    """Mean loss of a batch, without L2, and accuracy.

    The accuracy is the fraction of examples whose largest output is that of the label; NaN if
    targets are not labels.
    """

    loss: float
    accuracy: float


def checked_examples(x: np.ndarray, input_shape: tuple[int, ...]) -> np.ndarray:
    """The examples as an array (B, *input_shape); raises NetworkError if they do not fit."""
    x = checks.array("x", x, NetworkError)
    if x.shape[1:] != input_shape or x.ndim == 0 or len(x) == 0:
        sizes = ", ".join(map(str, input_shape))
        raise NetworkError(f"x must be (B, {sizes}) with B >= 1, not {x.shape}")
    return x


def checked_targets(y: np.ndarray, n_examples: int, n_classes: int | None) -> np.ndarray:
    """One target for each example; n_classes None means numbers for a loss of the user's own."""
    y = checks.array("y", y, NetworkError)
    if n_classes is None:
        if y.shape[:1] != (n_examples,):
            raise NetworkError(f"y must be {n_examples} targets, not of shape {y.shape}")
        return y
    if y.shape != (n_examples,) or y.dtype.kind not in "iu":
        raise NetworkError(
            f"y must be {n_examples} integer labels, not {y.dtype} of shape {y.shape}"
        )
    if y.min() < 0 or y.max() >= n_classes:
        raise NetworkError(f"labels must lie in 0..{n_classes - 1}, not in {y.min()}..{y.max()}")
    return y


def accuracy(outputs: np.ndarray, targets: np.ndarray) -> float:
    """The fraction of examples whose largest output (B, k) is that of the label (B,); NaN without labels."""
    if targets.ndim != 1 or targets.dtype.kind not in "iu":
        return float("nan")
    return float((outputs.argmax(axis=1) == targets).mean())
