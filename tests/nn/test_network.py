"""Whole networks: the paper's three against PyTorch, threads, moments, and what is refused."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

from qpsim import nn
from qpsim.errors import ExecutionError, FileError, NetworkError
from tests.nn import loops
from tests.nn.by_pytorch import objective

PAPER = {
    "mnist": (nn.mnist_mlp, 10),
    "cifar10": (nn.cifar10_cnn, 10),
    "cifar100": (nn.cifar100_allcnn, 100),
}
PLAIN = {"mnist": {}, "cifar10": {"fast": False}, "cifar100": {"fast": False}}


def _batch(network, examples, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((examples, *network.input_shape))
    return x.astype(network.dtype), rng.integers(network.n_outputs, size=examples)


@pytest.mark.parametrize(
    "name", ["mnist", "cifar10", pytest.param("cifar100", marks=pytest.mark.long)]
)
def test_paper_networks_agree_with_central_differences(name):
    network = PAPER[name][0](dtype=np.float64, rng=0)
    x, y = _batch(network, 1)
    gradient = network.loss_and_gradient(x, y, rng=np.random.default_rng(0))[1]
    # The largest entries of each array; and a tiny step, as a bias moves a thousand ReLUs, and
    # those that cross their kink err by an amount that falls with the step.
    places = []
    for view in network.named(gradient).values():
        flat = view.reshape(-1)
        start = (flat.ctypes.data - gradient.ctypes.data) // gradient.itemsize
        places.append(start + abs(flat).argmax())
    expected = loops.central_differences(network, x, y, places, step=1e-7)
    np.testing.assert_allclose(gradient[places], expected, rtol=1e-7, atol=1e-7)


@pytest.mark.peer
@pytest.mark.parametrize("name", PAPER)
def test_paper_networks_agree_with_pytorch(name):
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")
    network = PAPER[name][0](rng=0, **PLAIN[name])
    x, y = _batch(network, 6)
    loss, gradient = network.loss_and_gradient(x, y, train=False)
    reference, values = objective(torch, network, x, y)
    assert loss == pytest.approx(reference.item(), rel=1e-5)
    reference.backward()
    expected = {key: value.grad.numpy() for key, value in values.items()}
    for key, value in network.named(gradient).items():
        reference = expected[key]
        scale = abs(reference).max()
        np.testing.assert_allclose(value, reference, atol=1e-5 * scale, rtol=0, err_msg=key)


@pytest.mark.parametrize("name", PAPER)
def test_paper_networks_per_example_moments(name):
    network = PAPER[name][0](dtype=np.float64, rng=0)
    x, y = _batch(network, 3)
    result = network.per_example_moments(x, y, train=False)
    gradient, squares = loops.moments(network, x, y)
    np.testing.assert_allclose(result.gradient, gradient, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(result.sum_of_squares, squares, rtol=1e-9, atol=1e-15)


def test_moments_are_of_the_data_gradient_before_weight_decay():
    network = nn.mlp(6, (5,), 3, weight_decay=0.3, rng=0)
    x, y = _batch(network, 7)
    moments = network.per_example_moments(x, y)
    loss, gradient = network.loss_and_gradient(x, y)
    whole = moments.gradient.copy()
    assert moments.loss + network.add_weight_decay(whole) == pytest.approx(loss, rel=1e-6)
    np.testing.assert_array_equal(whole, gradient)
    free = nn.mlp(6, (5,), 3, rng=0)
    np.testing.assert_array_equal(free.per_example_moments(x, y).gradient, moments.gradient)


@pytest.mark.parametrize(
    ("make", "examples"),
    [
        (nn.mnist_mlp, 128),
        (nn.cifar10_cnn, 37),
        (nn.cifar100_allcnn, 19),
        (lambda **options: nn.mlp(64, **options), 32),
        (lambda **options: nn.small_cnn((8, 8, 1), **options), 200),
    ],
)
def test_the_number_of_threads_never_shows(make, examples):
    results = []
    for workers in (1, 2, 5):
        network = make(rng=0, workers=workers)
        x, y = _batch(network, examples)
        loss, gradient = network.loss_and_gradient(x, y, rng=np.random.default_rng(1))
        moments = network.per_example_moments(x, y, rng=np.random.default_rng(2))
        results.append((loss, gradient, *moments, network.predict(x)))
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    "make", [nn.cifar10_cnn, pytest.param(nn.cifar100_allcnn, marks=pytest.mark.long)]
)
def test_fast_convolutions_change_the_rounding_only(make):
    # Rounding moves some ReLUs over their kink; so the bounds are on the whole vector.
    plain, fast = make(rng=0, fast=False), make(rng=0)
    x, y = _batch(plain, 6)
    exact = make(rng=0, dtype=np.float64)
    exact.parameters = plain.parameters
    expected = exact.per_example_moments(x, y, train=False)
    whole = exact.loss_and_gradient(x, y, train=False)[1]
    for network, tolerance in ((plain, 2e-4), (fast, 2e-3)):
        result = network.per_example_moments(x, y, train=False)
        assert result.loss == pytest.approx(expected.loss, rel=1e-5)
        # The gradient alone takes another way than the one with squares.
        alone = network.loss_and_gradient(x, y, train=False)[1]
        for one, two in zip((*result[1:], alone), (*expected[1:], whole), strict=True):
            assert np.linalg.norm(one - two) < tolerance * np.linalg.norm(two)
    assert not np.array_equal(fast.predict(x), plain.predict(x))


@pytest.mark.parametrize("name", PAPER)
def test_a_blas_without_small_products_gives_the_same_numbers(name, monkeypatch):
    results = []
    for small in (True, False):
        monkeypatch.setattr("qpsim.nn.kernels.blas.has_small_products", lambda small=small: small)
        network = PAPER[name][0](dtype=np.float64, rng=0)
        x, y = _batch(network, 5)
        moments = network.per_example_moments(x, y, train=False)
        results.append((*moments, network.predict(x)))
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-14)


def test_a_step_leaves_no_trace_in_the_next():
    # Smaller, larger and other batches in between must not change what a batch gives.
    network = nn.small_cnn((8, 8, 2), rng=0)
    x, y = _batch(network, 30)
    loss, gradient = network.loss_and_gradient(x, y)
    gradient = gradient.copy()
    for examples in (7, 64):
        network.per_example_moments(*_batch(network, examples, seed=examples))
        network.predict(_batch(network, 300)[0])
    again, same = network.loss_and_gradient(x, y)
    assert loss == again
    np.testing.assert_array_equal(gradient, same)


def test_parameters_are_one_aligned_vector_with_views():
    network = nn.small_cnn((8, 8, 1), rng=0)
    vector = network.parameters
    assert vector.flags.c_contiguous and vector.ctypes.data % 64 == 0
    assert sum(view.size for view in network.views.values()) == vector.size
    assert all(np.shares_memory(view, vector) for view in network.views.values())
    network.parameters = np.arange(vector.size)
    assert network.parameters is vector
    assert network.views["conv1.weight"][0, 0, 0, 1] == 1
    assert network.named(vector)["dense2.bias"][-1] == vector.size - 1
    out = np.empty_like(vector)
    x, y = _batch(network, 4)
    network.parameters = np.random.default_rng(0).standard_normal(vector.size) / 10
    assert network.loss_and_gradient(x, y, out=out)[1] is out


def test_weight_decay_pulls_at_weights_and_not_at_biases():
    free, pulled = (nn.small_cnn((8, 8, 1), weight_decay=d, rng=0) for d in (0.0, 0.25))
    pulled.views["dense1.bias"][:] = free.views["dense1.bias"][:] = 1
    x, y = _batch(free, 4)
    (loss, gradient), (more, larger) = (n.loss_and_gradient(x, y) for n in (free, pulled))
    weights = [v for name, v in free.views.items() if name.endswith("weight")]
    assert more - loss == pytest.approx(0.125 * sum((w**2).sum() for w in weights), rel=1e-5)
    for name, difference in free.named(larger - gradient).items():
        expected = 0.25 * free.views[name] if name.endswith("weight") else 0 * difference
        np.testing.assert_allclose(difference, expected, atol=1e-6)


def test_the_same_layers_make_independent_networks():
    layers = [nn.Dense(4), nn.ReLU(), nn.Dense(3)]
    one, two = nn.Network(layers, (5,), rng=0), nn.Network(layers, (5,), rng=1)
    x, _ = _batch(one, 3)
    before = one.predict(x)
    two.parameters[:] = 0
    np.testing.assert_array_equal(one.predict(x), before)


def test_training_a_little_lowers_the_loss():
    network = nn.small_cnn((8, 8, 1), rng=0)
    x, y = _batch(network, 40)
    first, gradient = network.loss_and_gradient(x, y)
    for _ in range(120):
        loss, gradient = network.loss_and_gradient(x, y, out=gradient)
        network.parameters -= np.float32(0.1) * gradient
    assert loss < 0.5 * first
    assert network.evaluate(x, y)[1] > 0.8


def test_a_diverged_network_says_so_by_its_loss_and_does_not_warn():
    for network, examples in ((nn.small_cnn((8, 8, 1), rng=0), 4), (nn.mnist_mlp(rng=0), 256)):
        network.parameters *= np.float32(1e20)
        x, y = _batch(network, examples)
        assert not np.isfinite(network.loss_and_gradient(x, y)[0])


def test_initial_values_are_the_documented_ones():
    network = nn.mnist_mlp(rng=0)
    weight = network.views["dense1.weight"]
    assert abs(weight).max() <= 0.06 and weight.std() == pytest.approx(0.03 * 0.8796, rel=0.01)
    network = nn.cifar100_allcnn(rng=0)
    assert all((v == np.float32(0.1)).all() for k, v in network.views.items() if "bias" in k)
    kernel = network.views["conv5.weight"]
    assert kernel.std() == pytest.approx(np.sqrt(2 / (9 * 192 + 9 * 192)), rel=0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n: n.loss_and_gradient(np.ones((2, 5)), [0, 1]), r"x must be \(B, 4\)"),
        (lambda n: n.loss_and_gradient(np.ones((0, 4)), []), "B >= 1"),
        (lambda n: n.loss_and_gradient(np.ones((2, 4)), [0, 3]), r"lie in 0\.\.2"),
        (lambda n: n.loss_and_gradient(np.ones((2, 4)), [-1, 0]), r"lie in 0\.\.2"),
        (lambda n: n.loss_and_gradient(np.ones((2, 4)), [0.0, 1.0]), "integer labels"),
        (lambda n: n.loss_and_gradient(np.ones((2, 4)), [0]), "2 integer labels"),
        (lambda n: n.loss_and_gradient(np.ones((1, 4)), [0], out=np.ones(3)), "out must be"),
        (lambda n: setattr(n, "parameters", np.ones(3)), "parameters of shape"),
        (lambda n: n.predict(np.ones(4)), "x must be"),
        (lambda n: nn.mlp(4, (), 3, dtype=np.int32), "float32 or float64"),
        (lambda n: nn.mlp(4, (), 3, weight_decay=-1.0), "weight_decay"),
        (lambda n: nn.mlp(4, (), 3, workers=0), "workers"),
        (lambda n: nn.Network([3], (4,)), "made of layers such as"),
        (lambda n: nn.Network([nn.ReLU()], (4,)), "at least one layer with parameters"),
        (lambda n: nn.Network([nn.Dense(1)], (4,)), "at least two class scores"),
        (lambda n: nn.Network([nn.Conv2D(2, 3)], (4, 4, 1)), r"not shape \(4, 4, 2\)"),
        (lambda n: nn.Network([nn.Dense(2)], (4, 4, 1)), "put Flatten"),
        (lambda n: nn.Network([nn.Dense(2)], (0,)), "a size in input_shape must be"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_sentence(call, message):
    with pytest.raises((NetworkError, ExecutionError), match=message):
        call(nn.mlp(4, (), 3, rng=0))


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_a_copy_is_another_network_with_the_same_parameters(copied):
    network = nn.small_cnn((8, 8, 1), weight_decay=0.1, dtype=np.float64, rng=0)
    x, y = _batch(network, 4)
    network.parameters *= 0.5
    twin = copied(network)
    assert twin.loss_and_gradient(x, y)[0] == network.loss_and_gradient(x, y)[0]
    twin.parameters[:] = 0
    assert network.parameters.any()


def test_weights_are_kept_by_name(tmp_path):
    network, other = (nn.small_cnn((8, 8, 1), rng=seed) for seed in (0, 1))
    path = network.save(tmp_path / "weights.npz")
    other.load(path)
    np.testing.assert_array_equal(other.parameters, network.parameters)
    with np.load(path) as kept:
        np.testing.assert_array_equal(kept["conv1.weight"], network.views["conv1.weight"])
    double = nn.small_cnn((8, 8, 1), dtype=np.float64, rng=1)
    double.load(path)
    np.testing.assert_array_equal(double.parameters, network.parameters)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([nn.Dense(4), nn.Dense(3)], r"dense1.weight is \(5, 3\) there and \(5, 4\) here"),
        ([nn.Dense(3), nn.Dense(3)], r"dense2.weight is missing there and \(3, 3\) here"),
        ([nn.Conv2D(3, 1), nn.GlobalAveragePool()], r"conv1.weight is missing there"),
    ],
)
def test_weights_of_other_layers_are_refused(layers, message, tmp_path):
    path = nn.Network([nn.Dense(3)], (5,), rng=0).save(tmp_path / "weights.npz")
    other = nn.Network(layers, (5,) if isinstance(layers[0], nn.Dense) else (2, 2, 1), rng=0)
    before = other.parameters.copy()
    with pytest.raises(FileError, match=message):
        other.load(path)
    np.testing.assert_array_equal(other.parameters, before)
    path.write_bytes(b"not one of ours")
    with pytest.raises(FileError, match=r"is not a qpsim file"):
        other.load(path)


def test_importing_the_package_is_cheap_and_dense_networks_compile_nothing():
    code = (
        "import sys, qpsim.nn; assert 'numpy' not in sys.modules;"
        "net = qpsim.nn.mlp(64, rng=0);"
        "import numpy; net.loss_and_gradient(numpy.ones((32, 64)), numpy.zeros(32, int));"
        "assert 'numba' not in sys.modules and 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
