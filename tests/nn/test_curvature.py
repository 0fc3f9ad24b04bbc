"""Hessian-vector products: against PyTorch, differences and formulas; symmetric, linear, refused."""

import numpy as np
import pytest

from qpsim import nn
from qpsim.errors import NetworkError
from tests.nn import own
from tests.nn.by_pytorch import objective
from tests.nn.test_layers import SHAPES

PAPER = {"mnist": nn.mnist_mlp, "cifar10": nn.cifar10_cnn, "cifar100": nn.cifar100_allcnn}
OURS = [name for name in SHAPES if "own" not in name]


def made(name, dtype=np.float64, **options):
    layers, shape = SHAPES[name]
    network = nn.Network(layers, shape, weight_decay=0.1, dtype=dtype, rng=1, **options)
    rng = np.random.default_rng(2)
    network.parameters += (0.1 * rng.standard_normal(network.parameters.size)).astype(dtype)
    x = rng.standard_normal((5, *shape)).astype(dtype)
    return network, x, rng.integers(network.n_outputs, size=5), rng


def key():
    """A generator of the same state each time: the same numbers are dropped."""
    return np.random.default_rng(0)


@pytest.mark.parametrize("name", [name for name in OURS if not name.startswith("class")])
def test_products_agree_with_differences_of_the_gradient(name):
    network, x, y, rng = made(name)
    v = rng.standard_normal(network.parameters.size)
    product = network.hessian_vector_product(x, y, v, key())
    start = network.parameters.copy()

    def gradient(shift):
        network.parameters = start + shift * v
        return network.loss_and_gradient(x, y, key())[1]

    step = 1e-5
    coarse = (gradient(2 * step) - gradient(-2 * step)) / (4 * step)
    fine = (gradient(step) - gradient(-step)) / (2 * step)
    expected = (4 * fine - coarse) / 3
    np.testing.assert_allclose(product, expected, atol=2e-8 * abs(expected).max())


@pytest.mark.parametrize("name", ["dense and relu", "conv with stride", "dropout everywhere"])
def test_the_hessian_is_symmetric_and_its_columns_are_the_products(name):
    network, x, y, rng = made(name)
    size = network.parameters.size
    whole = network.hessian(x, y, key())
    v = rng.standard_normal((size, 3))
    products = network.hessian_vector_product(x, y, v, key())
    np.testing.assert_allclose(products, whole @ v, atol=1e-12 * abs(products).max())
    alone = network.hessian_vector_product(x, y, v[:, 1], key())
    np.testing.assert_allclose(products[:, 1], alone, atol=1e-13 * abs(alone).max())
    u, w = v[:, 0], v[:, 1]
    assert u @ products[:, 1] == pytest.approx(w @ products[:, 0], rel=1e-11)


@pytest.mark.peer
@pytest.mark.parametrize("name", PAPER)
def test_the_papers_networks_agree_with_double_backward(name):
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")
    network = PAPER[name](dtype=np.float64, rng=0)
    rng = np.random.default_rng(3)
    x = rng.standard_normal((3, *network.input_shape))
    y = rng.integers(network.n_outputs, size=3)
    v = rng.standard_normal(network.parameters.size)
    product = network.hessian_vector_product(x, y, v, train=False)
    loss, values = objective(torch, network, x, y)
    gradients = torch.autograd.grad(loss, list(values.values()), create_graph=True)
    along = [torch.tensor(part.copy()) for part in network.named(v).values()]
    inner = sum((g * a).sum() for g, a in zip(gradients, along, strict=True))
    expected = torch.autograd.grad(inner, list(values.values()))
    for (key, found), reference in zip(network.named(product).items(), expected, strict=True):
        reference = reference.numpy()
        scale = abs(reference).max()
        np.testing.assert_allclose(found, reference, atol=1e-10 * scale, rtol=0, err_msg=key)


def test_the_squared_error_of_a_linear_map_has_its_own_hessian():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((7, 3)), rng.standard_normal((7, 2))
    network = nn.Network([nn.Dense(2)], (3,), loss="squared-error", weight_decay=0.5,
                         dtype=np.float64, rng=0)  # fmt: skip
    features = np.concatenate([x, np.ones((7, 1))], axis=1)
    single = features.T @ features / 7
    expected = np.zeros((8, 8))
    order = [(row, unit) for row in range(3) for unit in range(2)] + [(3, 0), (3, 1)]
    for a, (row, unit) in enumerate(order):
        for b, (other, second) in enumerate(order):
            expected[a, b] = single[row, other] * (unit == second) + 0.5 * (a == b and a < 6)
    np.testing.assert_allclose(network.hessian(x, y), expected, atol=1e-14)


@pytest.mark.parametrize("name", ["conv same", "pool same", "dense and relu"])
def test_single_precision_follows_double(name):
    double, x, y, rng = made(name)
    single = made(name, np.float32)[0]
    double.parameters = single.parameters
    v = rng.standard_normal(double.parameters.size)
    expected = double.hessian_vector_product(x, y, v)
    found = single.hessian_vector_product(x, y, v)
    assert found.dtype == np.float32
    assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)


def test_the_number_of_threads_never_shows():
    results = []
    for workers in (1, 3):
        network = nn.small_cnn((8, 8, 1), rng=0, workers=workers)
        rng = np.random.default_rng(0)
        x, y = rng.standard_normal((70, 8, 8, 1)), rng.integers(10, size=70)
        results.append(
            network.hessian_vector_product(x, y, rng.standard_normal(network.parameters.size))
        )
    np.testing.assert_array_equal(*results)


def test_blocks_and_groups_of_vectors_change_only_the_rounding(monkeypatch):
    network, x, y, rng = made("pool same")
    v = rng.standard_normal((network.parameters.size, 5))
    whole = network.hessian_vector_product(x, y, v)
    monkeypatch.setattr("qpsim.nn.curvature._BLOCK_BYTES", 1)
    monkeypatch.setattr("qpsim.nn.curvature._SUM_BYTES", 1)
    monkeypatch.setattr("qpsim.nn.curvature._MAX_CHUNKS", 2)
    np.testing.assert_allclose(
        network.hessian_vector_product(x, y, v), whole, rtol=1e-9, atol=1e-14
    )


@pytest.mark.parametrize(
    ("layers", "loss", "v", "message"),
    [
        ([nn.Dense(3)], "cross-entropy", np.ones(3), r"v must be \(15,\) or \(15, k\), not \(3,\)"),
        ([nn.Dense(3)], "cross-entropy", np.ones((15, 1, 1)), "v must be"),
        ([nn.Dense(3)], "cross-entropy", ["a"] * 15, "v must be an array of real numbers"),
        ([own.Scale(), nn.Dense(3)], "cross-entropy", np.ones(19), "not for Scale"),
        ([nn.Dense(3)], own.smoothed, np.ones(15), "not for a loss of one's own"),
        ([nn.Dropout(0.5), nn.Dense(3)], "cross-entropy", np.ones(15), "needs rng"),
    ],
)
def test_what_is_not_possible_is_refused(layers, loss, v, message):
    network = nn.Network(layers, (4,), loss=loss, rng=0)
    with pytest.raises(NetworkError, match=message):
        network.hessian_vector_product(np.ones((2, 4)), [0, 1], v)


def test_a_hessian_of_too_many_parameters_is_refused():
    with pytest.raises(NetworkError, match=r"Hessian of 1336610 parameters has 1\.8e\+12 entries"):
        nn.mnist_mlp(rng=0).hessian(np.ones((1, 784)), [0])
