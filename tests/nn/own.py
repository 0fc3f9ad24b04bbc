"""A user's layers, losses and transforms, for the tests of networks and training."""

import numpy as np

from qpsim import nn


class Scale(nn.Layer):
    """Each number times a factor of its own."""

    def parameters(self, shape):
        return (nn.Parameter("factor", shape, nn.constant(1.5), decays=True),)

    def forward(self, x, y, context):
        np.multiply(x, self.values[0], out=y)

    def backward(self, x, y, dx, dy, context):
        context.add(0, x * dy)
        if dx is not None:
            np.multiply(dy, self.values[0], out=dx)


class Tanh(nn.Layer):
    """In place, from the output alone."""

    in_place = True
    reads_input = False

    def forward(self, x, y, context):
        np.tanh(y, out=y)

    def backward(self, x, y, dx, dy, context):
        dy *= 1 - y**2


class Softplus(nn.Layer):
    """Not 0 at 0: it must not reach into the margin of zeros around an image."""

    def forward(self, x, y, context):
        y[:] = np.logaddexp(0, x)

    def backward(self, x, y, dx, dy, context):
        if dx is not None:
            dx[:] = dy / (1 + np.exp(-x))


class Normalise(nn.Layer):
    """Each example to length 1; the length is remembered."""

    def memory(self):
        return (1,), np.float64

    def forward(self, x, y, context):
        context.memory[:] = np.sqrt((x**2).sum(axis=1, keepdims=True) + 0.1)
        y[:] = x / context.memory

    def backward(self, x, y, dx, dy, context):
        if dx is not None:
            along = (dy * y).sum(axis=1, keepdims=True)
            dx[:] = (dy - along * y) / context.memory


class LeakyReLU(nn.ReLU):
    """A class derived from one of ours that computes something else."""

    def forward(self, x, y, context):
        np.maximum(y, 0.1 * y, out=y)

    def backward(self, x, y, dx, dy, context):
        dy *= np.where(y > 0, 1.0, 0.1)


class Doubled(nn.Dense):
    """A dense layer with twice its output."""

    def forward(self, x, y, context):
        super().forward(x, y, context)
        y *= 2

    def backward(self, x, y, dx, dy, context):
        dy *= 2
        super().backward(x, y, dx, dy, context)


def smoothed(outputs, labels):
    """Cross-entropy with a tenth of each label spread over all classes."""
    n, k = outputs.shape
    shifted = outputs - outputs.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    target = np.full((n, k), 0.1 / k)
    target[np.arange(n), labels] += 0.9
    return -(target * log_p).sum(axis=1), np.exp(log_p) - target
