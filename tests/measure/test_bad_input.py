"""Wrong arguments give one sentence that names them and says what would be right."""

import numpy as np
import pytest

from qpsim import measure
from qpsim.errors import FileError, MeasureError

G = 1.0 + np.random.default_rng(0).standard_normal((20, 3))
H = np.diag([1.0, 2.0, 3.0])
RANDOM = np.random.default_rng(1)
BUFFER = np.empty(3)


def hvp(v):
    return H @ v


def reused(v):
    BUFFER[:] = H @ v
    return BUFFER


def raising(*_):
    raise OSError("disk is gone\nmore")


def broken():
    yield G[:4]
    raise OSError("disk is gone\nmore")


def one_sentence(run, text, error=MeasureError):
    with pytest.raises(error) as caught:
        run()
    said = str(caught.value)
    assert text in said and "\n" not in said, said


@pytest.mark.parametrize(
    ("gradients", "text"),
    [
        (G[:, 0], "shape (n, d), not (20,)"),
        (G[None], "shape (n, d), not (1, 20, 3)"),
        (np.empty((0, 3)), "no gradients"),
        (np.empty((10, 0)), "not (10, 0)"),
        (3.0, "not float"),
        (None, "not NoneType"),
        (G + 1j, "complex128"),
        (G > 1.0, "type bool"),
        (np.where(G == G[3, 1], np.nan, G), "1 NaN or infinite entries, the first in gradient 3 at coordinate 1"),
        (np.where(G == G[3, 1], np.inf, G), "gradient 3 at coordinate 1"),
        (1e200 * G, "divide the loss by a constant"),
        (1e-200 * G, "multiply the loss by a constant"),
        ([[1.0, 2.0], [3.0]] * 8, "rectangular"),
        (iter([G[:9], G[:, :2]]), "shape (n, 3), not (20, 2)"),
        (broken(), "fails at chunk 2: OSError: disk is gone."),
        (np.ones((10, 3)), "no noise to measure"),
        (G[:3], "at least 8 gradients, not 3"),
        (np.ma.masked_greater(G, 2.0), "masked"),
    ],
)  # fmt: skip
def test_gradients(gradients, text):
    one_sentence(lambda: measure.noise(gradients), text)


def test_half_precision_and_whole_numbers_are_gradients():
    assert measure.noise(G.astype(np.float16)).n_gradients == 20
    assert measure.noise((10.0 * G).astype(int)).n_gradients == 20


def test_an_iterator_may_fill_one_array_again_and_again():
    row = np.empty((1, 3))

    def one_by_one():
        for gradient in G:
            row[0] = gradient
            yield row

    found = measure.directions(one_by_one(), hvp, methods=["sgd"])
    whole = measure.directions(G, hvp, methods=["sgd"])
    assert found["sgd"].improvement == pytest.approx(whole["sgd"].improvement)


@pytest.mark.parametrize(
    ("product", "text"),
    [
        (H, "hvp must be a function of a vector (d,), not ndarray"),
        (lambda v: None, "not of type NoneType"),
        (lambda v: 1.0, "(3,), not ()"),
        (lambda v: np.eye(4) @ v, "hvp fails for a vector of shape (3,): ValueError"),
        (raising, "OSError: disk is gone."),
        (lambda v: hvp(v) + 1j, "complex128"),
        (lambda v: v * np.nan, "NaN or infinite"),
        (lambda v: 1e300 * v, "beyond 1e140"),
        (lambda v: np.triu(np.ones((3, 3))) @ v, "not the product with a symmetric matrix"),
        (lambda v: np.linalg.norm(v) * v, "symmetric"),
        (np.abs, "linear"),
        (lambda v: v.__imul__(2.0), "changes the vector"),
        (reused, "one array again and again"),
        (lambda v: hvp(v).astype(np.float16), "float16"),
    ],
)  # fmt: skip
def test_products(product, text):
    # With this seed <u, |v|> and <v, |u|> agree.
    one_sentence(lambda: measure.curvature(product, 3, rng=0), text)


def test_products_too_small_to_be_squared():
    one_sentence(
        lambda: measure.curvature(lambda v: 1e-200 * v, 3), "multiply the loss by a constant"
    )


def test_underflow_is_ordinary_whatever_numpy_is_told():
    g = 1e-100 * np.random.default_rng(0).standard_normal((20, 3))
    usual = str(measure.directions(g, lambda v: v, methods=["sgd", "ssd"]))
    with np.errstate(all="raise"):
        assert str(measure.directions(g, lambda v: v, methods=["sgd", "ssd"])) == usual
        measure.noise(1e-60 * g)
        measure.curvature(lambda v: 1e-140 * v, 3, exact_below=0)


def test_a_product_with_noise_is_not_called_unsymmetric():
    noisy = lambda v: v + np.random.default_rng().standard_normal(v.shape)  # noqa: E731
    one_sentence(lambda: measure.curvature(noisy, 3), "not deterministic")


def test_a_product_that_is_not_the_same_twice():
    # <u, Hv> and <v, Hu> agree: only the third product shows it.
    factors = iter([1.0, 1.0, 2.0, 3.0])
    one_sentence(lambda: measure.curvature(lambda v: next(factors) * v, 3), "not deterministic")


@pytest.mark.parametrize("dim", [1, 2, 3, 30])
def test_a_zero_hessian_and_few_coordinates_are_measured(dim):
    found = measure.curvature(lambda v: 0.0 * v, dim, exact_below=0)
    assert found.trace.value == 0.0 and not found.eigenvalues.any()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"methods": 3}, "methods must be names or rules, or a list of them, not 3"),
        ({"methods": []}, "at least one"),
        ({"methods": ["sgdd"]}, "did you mean 'sgd'"),
        ({"methods": [np.sign]}, "not ufunc"),
        ({"states": [1]}, "not be a list"),
        ({"methods": ["adam"], "states": {"adam": 3}}, "qpsim.State, not int"),
        ({"loss": 3.0}, "loss must be a function of a vector (d,), not 3.0"),
        ({"loss": raising}, "fails: OSError: disk is gone."),
        ({"loss": lambda d: d}, "must give a number for a vector of shape (3,)"),
        ({"loss": lambda d: None}, "must give a number"),
        ({"loss": lambda d: np.nan}, "must be finite"),
        ({"loss": lambda d: RANDOM.uniform()}, "not deterministic"),
        ({"n_bootstrap": 3}, "at least 100, not 3"),
        ({"n_products": 1}, "at least 2, not 1"),
        ({"exact_below": -1}, "at least 0, not -1"),
        ({"rng": "x"}, "rng must be a seed"),
    ],
)
def test_directions(options, text):
    one_sentence(lambda: measure.directions(G, hvp, **options), text, (MeasureError, ValueError))


@pytest.mark.parametrize(
    ("blocks", "text"),
    [
        ([slice(0, 2)], "not be a list"),
        ({"a": 2}, "must be a slice"),
        ({"a": slice(2, 9)}, "no coordinates among 3"),
        ({"a": slice(2, 2)}, "no coordinates among 3"),
    ],
)
def test_blocks(blocks, text):
    one_sentence(lambda: measure.curvature(hvp, 3, blocks=blocks), text)


def test_files_and_points(tmp_path):
    one_sentence(lambda: measure.load(None), "path must be a path", FileError)
    one_sentence(lambda: measure.load(tmp_path / "none.npz"), "Cannot read", FileError)
    (tmp_path / "text.npz").write_text("text")
    one_sentence(lambda: measure.load(tmp_path / "text.npz"), "not a qpsim file", FileError)
    one_sentence(lambda: measure.Point(3, G, hvp, hvp), "must be a function, not ndarray")


@pytest.mark.peer
def test_torch_models():
    torch = pytest.importorskip("torch")
    layers, mse = torch.nn, torch.nn.functional.mse_loss
    pair = (torch.ones(3, 2), torch.ones(3, 2))
    double = layers.Sequential(layers.Linear(2, 2), layers.Linear(2, 2).double())
    for model, loss, batches, text in [
        (3, mse, [pair], "must be a torch.nn.Module, not int"),
        (layers.Tanh(), mse, [pair], "no parameters"),
        (layers.Linear(2, 2), mse, [], "no batches"),
        (layers.Linear(2, 2), mse, 5, "not int"),
        (layers.Linear(2, 2), mse, [pair[0]] * 9, "Batch 0 must be a pair"),
        (layers.Linear(2, 2), mse, [pair] * 8 + [(pair[0][:2], pair[1][:2])], "one size, not 3 and 2"),
        (layers.Linear(2, 2), torch.sub, [pair] * 9, "a tensor of one number, not (3, 2)"),
        (layers.Linear(4, 2), mse, [pair] * 9, "The model or the loss fails: RuntimeError"),
        (layers.Linear(2, 2, dtype=torch.complex64), mse, [pair] * 9, "not torch.complex64"),
        (double, mse, [pair] * 9, "not torch.float32 and torch.float64"),
    ]:  # fmt: skip
        one_sentence(lambda m=model, lo=loss, b=batches: measure.from_torch(m, lo, b).noise(), text)
    tensor = torch.tensor(G, requires_grad=True)
    assert measure.noise(tensor).n_gradients == 20


@pytest.mark.peer
def test_a_torch_models_buffers_are_left_alone():
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).double()
    batches = [(torch.randn(5, 2).double(), torch.randn(5, 2).double()) for _ in range(9)]
    measure.from_torch(model, torch.nn.functional.mse_loss, batches).noise()
    assert not model[1].running_mean.any() and model[1].num_batches_tracked == 0
