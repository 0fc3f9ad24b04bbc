"""Simple, slow versions of the network backend in plain loops, for comparison."""

import numpy as np


def convolution(x, weight, bias, stride, pad):
    """x (H, W, C), weight (k, k, C, F), pad (top, bottom, left, right)."""
    top, bottom, left, right = pad
    padded = np.pad(x, ((top, bottom), (left, right), (0, 0)))
    k = weight.shape[0]
    height, width = ((s - k) // stride + 1 for s in padded.shape[:2])
    y = np.zeros((height, width, weight.shape[3]))
    for i in range(height):
        for j in range(width):
            patch = padded[i * stride : i * stride + k, j * stride : j * stride + k]
            for f in range(weight.shape[3]):
                y[i, j, f] = (patch * weight[..., f]).sum() + bias[f]
    return y


def weight_gradient(x, dy, k):
    """Of `convolution` without zeros around, stride 1: x (B, H, W, C), dy (B, H', W', F)."""
    _, height, width, _ = dy.shape
    return np.array(
        [
            [np.einsum("bijc,bijf->cf", x[:, p : p + height, q : q + width], dy) for q in range(k)]
            for p in range(k)
        ]
    )


def input_gradient(dy, weight):
    """Of `convolution` without zeros around, stride 1: dy (B, H', W', F), weight (k, k, C, F)."""
    k, _, channels, _ = weight.shape
    examples, height, width, _ = dy.shape
    dx = np.zeros((examples, height + k - 1, width + k - 1, channels))
    for p in range(k):
        for q in range(k):
            dx[:, p : p + height, q : q + width] += dy @ weight[p, q].T
    return dx


def max_pool(x, window, stride, pad):
    """x (H, W, C), pad (top, bottom, left, right)."""
    top, bottom, left, right = pad
    padded = np.pad(x, ((top, bottom), (left, right), (0, 0)), constant_values=-np.inf)
    height, width = ((s - window) // stride + 1 for s in padded.shape[:2])
    y = np.zeros((height, width, x.shape[2]))
    for i in range(height):
        for j in range(width):
            part = padded[i * stride : i * stride + window, j * stride : j * stride + window]
            y[i, j] = part.max(axis=(0, 1))
    return y


def central_differences(network, x, y, places, seed=0, step=1e-5):
    """The objective's derivative by some of the parameters, from four values of it (Richardson)."""
    derivatives = []
    for place in places:
        kept = network.parameters[place]

        def objective(shift, place=place, kept=kept):
            network.parameters[place] = kept + shift
            return network.loss_and_gradient(x, y, rng=np.random.default_rng(seed))[0]

        coarse = (objective(2 * step) - objective(-2 * step)) / (4 * step)
        fine = (objective(step) - objective(-step)) / (2 * step)
        derivatives.append((4 * fine - coarse) / 3)
        network.parameters[place] = kept
    return np.array(derivatives)


def moments(network, x, y):
    """Mean and sum of squares of single-example gradients, one example after the other."""
    gradients = np.array(
        [
            network.per_example_moments(x[k : k + 1], y[k : k + 1], train=False).gradient
            for k in range(len(x))
        ]
    )
    return gradients.mean(axis=0), np.square(gradients, dtype=np.float64).sum(axis=0)
