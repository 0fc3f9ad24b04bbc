"""The examples that a network is given: whether they fit it, and how well it fits them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from qpsim import checks
from qpsim.errors import NetworkError


class Fit(NamedTuple):
    """How well a batch was fitted: its mean loss, without L2, and accuracy.

    The accuracy is the share of examples whose largest output is the one of the label; NaN where
    targets are no labels.
    """

    loss: float
    accuracy: float


def checked_examples(x: np.ndarray, input_shape: tuple[int, ...]) -> np.ndarray:
    """The examples as an array (B, *input_shape), or a NetworkError that says what is wrong."""
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
    """The share of examples whose largest output (B, k) is the one of the label (B,); else NaN."""
    if targets.ndim != 1 or targets.dtype.kind not in "iu":
        return float("nan")
    return float((outputs.argmax(axis=1) == targets).mean())
