"""The contenders of the network benchmark: the same layers by this package, PyTorch and JAX.

Each has ``step``: forward, backward, L2 and the M-SVAG update, on one fixed batch.
"""

import numpy as np

import qpsim
from qpsim import nn
from qpsim.nn.optimizer import Optimizer

NETWORKS = {
    "mnist": ("MNIST MLP", nn.mnist_mlp, 128),
    "cifar10": ("CIFAR-10 CNN", nn.cifar10_cnn, 256),
    "cifar100": ("All-CNN-C", nn.cifar100_allcnn, 256),
    "digits-mlp": ("digits MLP", lambda **options: nn.mlp(64, **options), 32),
    "digits-cnn": ("digits CNN", lambda **options: nn.small_cnn((8, 8, 1), **options), 32),
}
# So small that the arithmetic is real and the parameters stay where they are.
STEP_SIZE = 1e-6


def make_network(name, threads):
    return NETWORKS[name][1](rng=0, workers=threads)


def make_batch(network, examples):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((examples, *network.input_shape)).astype(np.float32)
    return x, rng.integers(network.n_outputs, size=examples)


class Ours:
    """The optimizer's own step; gradient and per-example moments alone."""

    def __init__(self, network, x, y):
        self.network, self.x, self.y = network, x, y
        self.out = np.zeros((2, network.parameters.size), np.float32)
        self.rng = np.random.default_rng(0)
        self.optimizer = Optimizer(network, qpsim.method("m-svag"))

    def gradient(self):
        self.network.loss_and_gradient(self.x, self.y, self.rng, out=self.out[0])

    def moments(self):
        self.network.per_example_moments(self.x, self.y, self.rng, out=tuple(self.out))

    def step(self):
        self.optimizer.step(self.x, self.y, STEP_SIZE, self.rng)


class PyTorch:
    """The same layers by torch.nn, and M-SVAG by its multi-tensor operations.

    Channels-last; strided convolutions padded evenly, which spares it a copy.
    """

    def __init__(self, network, x, y, threads):
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.torch = torch
        self.model = torch.nn.Sequential(*self._layers(network)).train()
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)
        if x.ndim == 4:
            self.model = self.model.to(memory_format=torch.channels_last)
            self.x = self.x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        self.parameters = list(self.model.parameters())
        self.m = [torch.zeros_like(p) for p in self.parameters]
        self.v = [torch.zeros_like(p) for p in self.parameters]
        self.decay = network.weight_decay
        self.t = 0

    def _layers(self, network):
        shape = network.input_shape
        for layer in network.layers:
            if isinstance(layer, nn.Conv2D):
                pad = 0 if layer.padding == "valid" else layer.size // 2
                yield self.torch.nn.Conv2d(shape[2], layer.filters, layer.size, layer.stride, pad)
            elif isinstance(layer, nn.Dense):
                yield self.torch.nn.Linear(shape[0], layer.units)
            elif isinstance(layer, nn.MaxPool):
                yield self.torch.nn.MaxPool2d(layer.window, layer.stride, ceil_mode=True)
            elif isinstance(layer, nn.GlobalAveragePool):
                yield self.torch.nn.AdaptiveAvgPool2d(1)
                yield self.torch.nn.Flatten()
            elif isinstance(layer, nn.Dropout):
                yield self.torch.nn.Dropout(layer.rate)
            else:
                yield {nn.ReLU: self.torch.nn.ReLU, nn.Flatten: self.torch.nn.Flatten}[
                    type(layer)
                ]()
            shape = layer.output_shape(shape)

    def compute_gradient(self):
        for p in self.parameters:
            p.grad = None
        self.torch.nn.functional.cross_entropy(self.model(self.x), self.y).backward()

    def step(self, mu=0.9):
        self.compute_gradient()
        torch, m, v = self.torch, self.m, self.v
        self.t += 1
        with torch.no_grad():
            gradients = [p.grad for p in self.parameters]
            weights = [p for p in self.parameters if p.ndim > 1]
            torch._foreach_add_([p.grad for p in weights], weights, alpha=self.decay)
            torch._foreach_lerp_(m, gradients, 1 - mu)
            torch._foreach_mul_(v, mu)
            torch._foreach_addcmul_(v, gradients, gradients, 1 - mu)
            correction = 1 - mu**self.t
            kappa = (1 - mu) * (1 + mu**self.t) / ((1 + mu) * correction)
            mean = torch._foreach_div(m, correction)
            squared = torch._foreach_mul(mean, mean)
            spread = torch._foreach_div(v, correction)
            torch._foreach_sub_(spread, squared)
            torch._foreach_mul_(spread, kappa)
            torch._foreach_add_(spread, squared)
            torch._foreach_add_(spread, 1e-30)
            torch._foreach_div_(squared, spread)
            torch._foreach_mul_(mean, squared)
            torch._foreach_add_(self.parameters, mean, alpha=-STEP_SIZE)


class Jax:
    """The whole step under jax.jit, of the same layers without dropout."""

    def __init__(self, network, x, y):
        import jax

        def loss(values, x, y):
            h, at = x, iter(values)
            for layer in network.layers:
                if isinstance(layer, nn.Conv2D):
                    h = jax.lax.conv_general_dilated(
                        h,
                        next(at),
                        (layer.stride, layer.stride),
                        layer.padding.upper(),
                        dimension_numbers=("NHWC", "HWIO", "NHWC"),
                    ) + next(at)
                elif isinstance(layer, nn.Dense):
                    h = h @ next(at) + next(at)
                elif isinstance(layer, nn.ReLU):
                    h = jax.nn.relu(h)
                elif isinstance(layer, nn.MaxPool):
                    window, stride = (1, layer.window, layer.window, 1), layer.stride
                    h = jax.lax.reduce_window(
                        h, -np.inf, jax.lax.max, window, (1, stride, stride, 1), "SAME"
                    )
                elif isinstance(layer, nn.Flatten):
                    h = h.reshape(len(h), -1)
                elif isinstance(layer, nn.GlobalAveragePool):
                    h = h.mean((1, 2))
            chosen = jax.numpy.take_along_axis(h, y[:, None], 1)[:, 0]
            return (jax.nn.logsumexp(h, axis=1) - chosen).mean()

        def moved(value, gradient, m, v, t, mu=0.9):
            gradient = gradient + network.weight_decay * value * (value.ndim > 1)
            m, v = mu * m + (1 - mu) * gradient, mu * v + (1 - mu) * gradient**2
            correction = 1 - mu**t
            kappa = (1 - mu) * (1 + mu**t) / ((1 + mu) * correction)
            mean, spread = m / correction, v / correction - (m / correction) ** 2
            factor = mean**2 / (mean**2 + kappa * spread + 1e-30)
            return value - STEP_SIZE * factor * mean, m, v

        def step(state, t, x, y):
            gradients = jax.grad(loss)(state[0], x, y)
            steps = [moved(*each, t) for each in zip(state[0], gradients, *state[1:], strict=True)]
            return tuple(map(list, zip(*steps, strict=True)))

        self._step = jax.jit(step, donate_argnums=0)
        self._ready = jax.block_until_ready
        values = [jax.numpy.array(view) for view in network.views.values()]
        zeros = [[jax.numpy.zeros_like(value) for value in values] for _ in range(2)]
        self._state, self._batch, self._t = (values, *zeros), (x, y), 0

    def step(self):
        self._t += 1
        self._state = self._ready(self._step(self._state, float(self._t), *self._batch))
