"""One training step of the paper's networks, side by side with PyTorch (and JAX) in one process.

    python -m tests.benchmarks.bench_nn --networks mnist cifar10 cifar100 --repeats 10

Steps of all contenders alternate, so that whatever else the machine does meets all of them; read
the ratios. PyTorch runs channels-last, with an allocator that keeps its memory (the script starts
itself again with the environment that this takes), and pads strided convolutions evenly, which
spares it a copy. "gradient" is forward and backward, "step" adds L2 and the M-SVAG update,
"moments" is `Network.per_example_moments`. Peak memory is over what the imports and a two-example
step take, each in a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np

import qpsim
from qpsim import nn

BATCH = {"mnist": 128, "cifar10": 256, "cifar10-same": 256, "cifar100": 256, "digits-mlp": 32}
BATCH["digits-cnn"] = 32
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
    "MALLOC_TOP_PAD_": str(1 << 28),
}


def make_ours(name, threads):
    make = {
        "mnist": nn.mnist_mlp,
        "cifar10": nn.cifar10_cnn,
        "cifar10-same": lambda **o: nn.cifar10_cnn(padding=("same",) * 3, **o),
        "cifar100": nn.cifar100_allcnn,
        "digits-mlp": lambda **o: nn.mlp(64, **o),
        "digits-cnn": lambda **o: nn.small_cnn((8, 8, 1), **o),
    }
    return make[name](rng=0, workers=threads)


def make_batch(network, examples):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((examples, *network.input_shape)).astype(np.float32)
    return x, rng.integers(network.n_classes, size=examples)


class Ours:
    """Forward, backward, and the jitted rule over the flat vector."""

    def __init__(self, network, x, y, method):
        self.network, self.x, self.y = network, x, y
        self.gradient, self.squares = np.zeros((2, network.parameters.size), np.float32)
        self.rng = np.random.default_rng(0)
        self.method = qpsim.method(method)
        self.state = self.method.initial_state(self.gradient.shape, np.float32)

    def compute_gradient(self):
        self.network.loss_and_gradient(self.x, self.y, self.rng, out=self.gradient)

    def step(self):
        self.compute_gradient()
        direction, self.state = self.method.update(self.gradient, self.state)
        direction *= np.float32(1e-6)
        self.network.parameters[:] -= direction

    def moments(self):
        self.network.per_example_moments(
            self.x, self.y, self.rng, out=(self.gradient, self.squares)
        )


class PyTorch:
    """The same layers by torch.nn, and M-SVAG by its multi-tensor operations."""

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
            torch._foreach_add_(self.parameters, mean, alpha=-1e-6)


class Jax:
    """Loss and gradient by jax.grad, jitted, of the same layers without dropout."""

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

        self.function = jax.jit(jax.value_and_grad(loss))
        self.arguments = [view.copy() for view in network.views.values()], x, y
        self.ready = jax.block_until_ready

    def compute_gradient(self):
        self.ready(self.function(*self.arguments))


def time_alternating(tasks, repeats, warm_up=2):
    """Seconds of each task's calls, the tasks taking turns."""
    for task in tasks.values():
        for _ in range(warm_up):
            task()
    seconds = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            time.sleep(0.005)  # OpenMP's threads spin for a while after their work is done
            start = time.perf_counter()
            task()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def compare(name, repeats, threads, with_jax, method):
    network = make_ours(name, threads)
    x, y = make_batch(network, BATCH[name])
    ours, torch = Ours(network, x, y, method), PyTorch(network, x, y, threads)
    tasks = {
        "ours gradient": ours.compute_gradient,
        "torch gradient": torch.compute_gradient,
        "ours step": ours.step,
        "torch step": torch.step,
        "ours moments": ours.moments,
    }
    if with_jax:
        tasks["jax gradient"] = Jax(network, x, y).compute_gradient
    seconds = time_alternating(tasks, repeats)
    result = {"network": name, "threads": threads, "repeats": repeats}
    for task, values in seconds.items():
        result[task] = {"median_ms": 1e3 * np.median(values), "least_ms": 1e3 * min(values)}

    def ratio(one, two):
        quotients = np.divide(seconds[one], seconds[two])
        return {
            "median": float(np.median(quotients)),
            "of_least": min(seconds[one]) / min(seconds[two]),
        }

    result["gradient / torch"] = ratio("ours gradient", "torch gradient")
    result["step / torch"] = ratio("ours step", "torch step")
    result["moments / own gradient"] = ratio("ours moments", "ours gradient")
    return result


def measure_memory(name, contender, threads):
    """Peak megabytes over imports and a two-example step; run in a process of its own."""

    def peak():
        # Not getrusage: a child process starts with its parent's.
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if "VmHWM" in line) / 1024

    network = make_ours(name, threads)
    x, y = make_batch(network, BATCH[name])
    if contender == "torch":
        PyTorch(network, x[:2], y[:2], threads).compute_gradient()
    else:
        small = make_ours("digits-cnn", threads)
        Ours(small, *make_batch(small, 2), "sgd").moments()
    before = peak()
    run = PyTorch(network, x, y, threads) if contender == "torch" else Ours(network, x, y, "sgd")
    for _ in range(2):
        run.compute_gradient()
    return peak() - before


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", nargs="+", default=list(BATCH), choices=list(BATCH))
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--method", default="m-svag", help="of our own step")
    parser.add_argument("--jax", action="store_true", help="also time JAX (slow to compile)")
    parser.add_argument("--memory", action="store_true", help="also measure peak memory")
    parser.add_argument("--memory-of", choices=["ours", "torch"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        print(measure_memory(options.networks[0], options.memory_of, options.threads))
        return
    if any(os.environ.get(key) != value for key, value in ALLOCATOR.items()):
        os.environ.update(ALLOCATOR)
        os.execv(sys.executable, [sys.executable, "-m", "tests.benchmarks.bench_nn", *sys.argv[1:]])
    for name in options.networks:
        result = compare(name, options.repeats, options.threads, options.jax, options.method)
        if options.memory:
            plain = {k: v for k, v in os.environ.items() if k not in ALLOCATOR}
            command = [sys.executable, "-m", "tests.benchmarks.bench_nn", "--networks", name]
            result["peak_mb"] = {
                contender: float(
                    subprocess.run(
                        [*command, "--memory-of", contender],
                        env=plain,
                        check=True,
                        capture_output=True,
                    ).stdout
                )
                for contender in ("ours", "torch")
            }
        print(json.dumps(result, indent=2), flush=True)


if __name__ == "__main__":
    main()
