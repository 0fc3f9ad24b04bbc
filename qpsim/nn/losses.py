"""The loss of a classifier, and what the spread of its per-example gradients says of their mean."""

import numpy as np


def softmax_cross_entropy(
    logits: np.ndarray, labels: np.ndarray, d_logits: np.ndarray | None = None, scale: float = 1.0
) -> np.ndarray:
    """Each example's loss, ``log sum exp(logits) - logits[label]``.

    Parameters
    ----------
    logits
        (examples, classes).
    labels
        (examples,) integers, each a class.
    d_logits
        If given, receives ``scale`` times the gradient of each example's loss by its logits, the
        softmax minus the label's indicator. May be ``logits`` itself.
    scale
        1 for single losses, 1 / B for the mean over a batch of B.

    Returns
    -------
    (examples,) losses in float64.

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


def minibatch_variance(
    gradient: np.ndarray, sum_of_squares: np.ndarray, batch_size: int, out: np.ndarray | None = None
) -> np.ndarray:
    """The estimated variance of a mini-batch gradient, coordinate by coordinate (unbiased Eq. 44).

    With single-example gradients g_k and their mean g over a batch of B,

        s = ((1/B) sum_k g_k^2 - g^2) / (B - 1)

    has the variance of *g* (not of one g_k) as its expectation; the paper prints B for B - 1 and
    has the expectation (B - 1)/B of it. Rounding can leave s slightly negative where all g_k
    agree: such values become 0.

    Parameters
    ----------
    gradient
        g, the mean of the data gradients, without the L2 term (which does not vary).
    sum_of_squares
        ``sum_k g_k^2``, as `Network.per_example_moments` gives it.
    batch_size
        B, at least 2.
    out
        Receives the result if given.

    Raises
    ------
    ValueError
        For a batch of fewer than two examples.

    >>> minibatch_variance(np.array([2.0]), np.array([1.0**2 + 3.0**2]), 2)
    array([1.])
    """
    if batch_size < 2:
        raise ValueError(f"a variance needs a batch of at least 2 examples, got {batch_size}")
    squared = np.multiply(gradient, gradient, out=out)
    variance = np.subtract(sum_of_squares / batch_size, squared, out=squared)
    variance *= 1 / (batch_size - 1)
    return np.maximum(variance, 0, out=variance)
