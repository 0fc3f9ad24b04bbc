"""The losses, and the variance estimate of a minibatch's gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qpsim.errors import NetworkError, nearest

__all__ = ["LOSSES", "Loss", "minibatch_variance", "softmax_cross_entropy", "squared_error"]

# A user's loss: (outputs (n, k), targets) -> (losses (n,), gradients by outputs (n, k)).
Loss = Callable[[np.ndarray, np.ndarray], "tuple[np.ndarray, np.ndarray]"]


def softmax_cross_entropy(
    logits: np.ndarray, labels: np.ndarray, d_logits: np.ndarray | None = None, scale: float = 1.0
) -> np.ndarray:
    """Each example's loss, ``log sum exp(logits) - logits[label]``.

    Parameters
    ----------
    logits : array (examples, classes)
    labels : array (examples,) of integers
        Each a class.
    d_logits : array (examples, classes), optional
        Receives ``scale`` times the gradient of each example's loss by its logits, the softmax
        minus the label's indicator. May be ``logits`` itself.
    scale : float, default 1
        1 / B for the mean over a batch of B.

    Returns
    -------
    array (examples,) of float64

    Examples
    --------
    >>> softmax_cross_entropy(np.array([[0.0, 0.0]]), np.array([1])).round(4)
    array([0.6931])
    """
    rows = np.arange(len(labels))
    shifted = logits - logits.max(axis=1, keepdims=True)
    at_label = shifted[rows, labels]
    exponentials = np.exp(shifted, out=shifted)
    total = exponentials.sum(axis=1, keepdims=True)
    losses = np.log(total[:, 0].astype(np.float64)) - at_label
    if d_logits is not None:
        np.multiply(exponentials, scale / total, out=d_logits)
        d_logits[rows, labels] -= d_logits.dtype.type(scale)
    return losses


def squared_error(outputs: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Half the squared distance of each example's outputs from its targets, and its gradient.

    Parameters
    ----------
    outputs, targets : array (examples, k)

    Returns
    -------
    losses : array (examples,)
    gradients : array (examples, k)
        Of each example's loss by its outputs.

    Raises
    ------
    NetworkError
        Targets of another shape.

    Examples
    --------
    >>> losses, gradients = squared_error(np.array([[1.0, 2.0]]), np.array([[1.0, 0.0]]))
    >>> losses, gradients
    (array([2.]), array([[0., 2.]]))
    """
    if targets.shape != outputs.shape:
        raise NetworkError(
            f"the squared error needs targets of shape {outputs.shape}, not {targets.shape}"
        )
    gradients = outputs - targets
    return 0.5 * np.square(gradients, dtype=np.float64).sum(axis=1), gradients


# The losses by name; None stands for the built-in cross-entropy.
LOSSES: dict[str, Loss | None] = {"cross-entropy": None, "squared-error": squared_error}


def find_loss(loss: str | Loss) -> Loss | None:
    """The function of a name or a function; None for the cross-entropy.

    Raises
    ------
    NetworkError
        There is no loss of that name.
    """
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise NetworkError(f"There is no loss {loss!r}; {nearest(str(loss), LOSSES)}")
    return LOSSES[loss]


def filling(loss: Loss) -> Callable[..., np.ndarray]:
    """A user's loss with the signature of `softmax_cross_entropy` and with checks of its results."""

    def filled(
        outputs: np.ndarray,
        targets: np.ndarray,
        d_outputs: np.ndarray | None = None,
        scale: Any = 1.0,
    ) -> np.ndarray:
        losses, gradients = loss(outputs, targets)
        losses, gradients = np.asarray(losses), np.asarray(gradients)
        if losses.shape != outputs.shape[:1] or gradients.shape != outputs.shape:
            raise NetworkError(
                f"A loss must return one number for each example and a gradient of the outputs' "
                f"shape, {outputs.shape[:1]} and {outputs.shape}, not {losses.shape} and "
                f"{gradients.shape}."
            )
        if d_outputs is not None:
            np.multiply(gradients, scale, out=d_outputs, casting="same_kind")
        return losses

    return filled


def minibatch_variance(
    gradient: np.ndarray, sum_of_squares: np.ndarray, batch_size: int, out: np.ndarray | None = None
) -> np.ndarray:
    """The estimated variance of a mini-batch gradient, coordinate by coordinate (unbiased Eq. 44).

    With single-example gradients g_k and their mean g over a batch of B,

        s = ((1/B) sum_k g_k^2 - g^2) / (B - 1)

    has the variance of *g* (not of one g_k) as its expectation. The paper prints B in place of B -
    1, which gives (B - 1)/B of it. If all g_k are equal, s may be slightly negative by rounding;
    such values become 0.

    Parameters
    ----------
    gradient : array (P,)
        g, the mean of the data gradients, without the L2 term (which does not vary).
    sum_of_squares : array (P,)
        ``sum_k g_k^2``, as `Network.per_example_moments` gives it.
    batch_size : int
        B, at least 2.
    out : array (P,), optional
        Receives the result.

    Raises
    ------
    NetworkError
        A batch of fewer than two examples.

    Examples
    --------
    >>> minibatch_variance(np.array([2.0]), np.array([1.0**2 + 3.0**2]), 2)
    array([1.])
    """
    if batch_size < 2:
        raise NetworkError(f"a variance needs a batch of at least 2 examples, not {batch_size}")
    squared = np.multiply(gradient, gradient, out=out)
    variance = np.subtract(sum_of_squares / batch_size, squared, out=squared)
    variance *= 1 / (batch_size - 1)
    return np.maximum(variance, 0, out=variance)
