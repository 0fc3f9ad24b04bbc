"""Models of PyTorch and JAX, and our own network's curvature by PyTorch."""

import sys

import numpy as np
import pytest

from qpsim import measure, nn
from qpsim.errors import MeasureError
from tests.nn.by_pytorch import objective


@pytest.mark.parametrize("name", ["torch", "jax"])
def test_a_framework_that_is_not_there_is_named(name, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    made = measure.from_torch if name == "torch" else measure.from_jax
    with pytest.raises(MeasureError, match=f"{name} is not installed"):
        made(None, None, [])


def small_cnn(torch):
    layers = torch.nn
    return layers.Sequential(
        layers.Conv2d(1, 3, 3), layers.Tanh(), layers.MaxPool2d(2), layers.Flatten(),
        layers.Linear(27, 4),
    )  # fmt: skip


def small_transformer(torch):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Linear(8, 8)
            self.query, self.key, self.value = (torch.nn.Linear(8, 8) for _ in range(3))
            self.norm = torch.nn.LayerNorm(8)
            self.out = torch.nn.Linear(8, 4)

        def forward(self, x):
            h = self.embed(x[:, 0])
            scores = self.query(h) @ self.key(h).transpose(1, 2) / 8**0.5
            h = self.norm(h + torch.softmax(scores, dim=-1) @ self.value(h))
            return self.out(h.mean(dim=1))

    return Model()


@pytest.mark.peer
@pytest.mark.parametrize("make", [small_cnn, small_transformer])
def test_a_torch_model_is_measured(make):
    torch = pytest.importorskip("torch", reason="the test needs PyTorch")
    torch.manual_seed(0)
    model = make(torch).double()
    before = [p.detach().clone() for p in model.parameters()]
    batches = [(torch.randn(6, 1, 8, 8).double(), torch.randint(4, (6,))) for _ in range(12)]
    loss = torch.nn.functional.cross_entropy
    point = measure.from_torch(model, loss, batches)
    mean = np.concatenate(list(point.gradients())).mean(axis=0)
    v = np.random.default_rng(0).standard_normal(point.dim)
    small = 1e-6 * v
    assert (point.loss(small) - point.loss(-small)) / 2 == pytest.approx(mean @ small, rel=1e-5)
    x, y = torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])
    whole = loss(model(x), y)
    parameters = list(model.parameters())
    slope = torch.cat(
        [g.reshape(-1) for g in torch.autograd.grad(whole, parameters, create_graph=True)]
    )
    expected = torch.autograd.grad(slope @ torch.tensor(v), parameters)
    expected = torch.cat([g.reshape(-1) for g in expected]).numpy()
    np.testing.assert_allclose(point.hvp(v), expected, atol=1e-12)
    found = point.directions(methods=["sgd", "ssd"], exact_below=0, n_products=6)
    assert np.isfinite(found["ssd"].realised.value)
    curved = point.curvature(True, exact_below=0, n_probes=3, n_rows=3, n_lanczos=3)
    assert len(curved.blocks) == len(parameters)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.peer
def test_a_jax_loss_is_measured():
    jax = pytest.importorskip("jax", reason="the test needs JAX")
    rng = np.random.default_rng(0)
    weights = {"a": rng.standard_normal((3, 2)), "b": rng.standard_normal(2)}

    def loss(w, batch):
        x, y = batch
        return ((jax.numpy.tanh(x @ w["a"] + w["b"]) - y) ** 2).mean()

    batches = [(rng.standard_normal((5, 3)), rng.standard_normal((5, 2))) for _ in range(20)]
    point = measure.from_jax(loss, weights, batches)
    assert point.dim == 8
    mean = np.concatenate(list(point.gradients())).mean(axis=0)
    small = 1e-2 * rng.standard_normal(8)
    model = mean @ small + 0.5 * small @ point.hvp(small)
    assert point.loss(small) - point.loss(np.zeros(8)) == pytest.approx(model, abs=1e-4)
    assert point.noise().dim == 8
    assert point.directions(methods=["ssd"])["ssd"].improvement.value > 0


def by_torch(torch, name, n_examples):
    """A digits network in double precision, some examples, and PyTorch's product with its Hessian."""
    task = nn.task(name)
    dataset = task.prepared(task.load())
    network = nn.build_network(task, dataset, rng=0, dtype=np.float64)
    x, y = next(iter(task.evaluation_batches(dataset.train, n_examples)))
    x = x.astype(float)
    loss, values = objective(torch, network, x, y)
    parts = list(values.values())
    slopes = torch.autograd.grad(loss, parts, create_graph=True)
    flat = torch.cat([g.reshape(-1) for g in slopes])

    def product(v):
        rows = torch.autograd.grad(flat @ torch.tensor(v), parts, retain_graph=True)
        return torch.cat([g.reshape(-1) for g in rows]).numpy()

    return network, lambda v: network.hessian_vector_product(x, y, v, train=False), product


@pytest.mark.peer
def test_a_digits_networks_whole_hessian_is_that_of_pytorch():
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")
    network, ours, product = by_torch(torch, "digits-whitened", 64)
    found = measure.curvature(ours, network.parameters.size)
    other = np.stack([product(unit) for unit in np.eye(network.parameters.size)])
    np.testing.assert_allclose(found.matrix, other, atol=1e-10 * np.abs(other).max())
    mass = np.abs(np.diagonal(other)).sum() / np.abs(other).sum()
    assert found.diagonal_mass.value == pytest.approx(mass, rel=1e-9)
    expected = np.linalg.eigvalsh(other)
    np.testing.assert_allclose(found.eigenvalues, expected, atol=1e-9 * expected[-1])


@pytest.mark.peer
def test_digits_mlp_has_the_mass_and_spectrum_that_pytorch_gives():
    torch = pytest.importorskip("torch", reason="the comparison needs PyTorch")
    network, ours, product = by_torch(torch, "digits-mlp", 32)

    def single(v):
        if v.ndim != 1:
            raise ValueError("one vector at a time")
        return product(v)

    sizes = {"n_probes": 3, "n_rows": 8, "n_lanczos": 8, "n_eigenvalues": 1}
    found = measure.curvature(ours, network.parameters.size, **sizes)
    other = measure.curvature(single, network.parameters.size, **sizes)
    for name in ("trace", "diagonal_mass", "entry_norm"):
        assert getattr(found, name) == pytest.approx(getattr(other, name), rel=1e-6)
    np.testing.assert_allclose(found.eigenvalues, other.eigenvalues, rtol=1e-3, atol=1e-6)
    scale = np.abs(other.density_nodes).max()
    np.testing.assert_allclose(found.density_nodes, other.density_nodes, atol=1e-6 * scale)
