"""Curvature from products: known matrices, known spectra, and what is refused."""

import numpy as np
import pytest

from qpsim import measure
from qpsim.errors import FileError, MeasureError


def symmetric(dim, rng, spread=10.0):
    a = rng.standard_normal((dim, dim))
    return a + a.T + np.diag(spread * np.arange(dim) / dim)


def test_a_small_matrix_is_measured_exactly():
    h = symmetric(30, np.random.default_rng(0))
    found = measure.curvature(lambda v: h @ v, 30, blocks={"first": slice(0, 7)})
    assert found.exact
    np.testing.assert_allclose(found.matrix, h, atol=1e-12)
    np.testing.assert_allclose(found.eigenvalues, np.linalg.eigvalsh(h), atol=1e-10)
    c = np.abs(np.diagonal(h)).sum() / np.abs(h).sum()
    assert found.diagonal_mass.value == pytest.approx(c)
    values = np.linalg.eigvalsh(h)
    share = -values[values < 0].sum() / np.abs(values).sum()
    assert found.negative_mass.value == pytest.approx(share)
    block = h[:7, :7]
    assert found.blocks[0].diagonal_mass.value == pytest.approx(
        np.abs(np.diagonal(block)).sum() / np.abs(block).sum()
    )


def test_intervals_of_the_estimates_cover_the_exact_numbers():
    h = symmetric(80, np.random.default_rng(1), spread=40.0)
    exact = measure.curvature(lambda v: h @ v, 80)
    covered = []
    for seed in range(40):
        found = measure.curvature(
            lambda v: h @ v, 80, exact_below=0, n_probes=8, n_rows=20, n_lanczos=10, rng=seed
        )
        pairs = [
            (found.trace, exact.trace),
            (found.diagonal_mass, exact.diagonal_mass),
            (found.entry_norm, exact.entry_norm),
        ]
        covered.append([low <= right.value <= high for (_, low, high), right in pairs])
    # 95 % of 40 is 38; four standard errors below that is 32.5.
    assert (np.sum(covered, axis=0) >= 33).all()


def test_probes_may_be_taken_together_or_one_by_one():
    h = symmetric(60, np.random.default_rng(4))

    def single(v):
        assert v.shape == (60,)
        return h @ v

    together = measure.spectral_density(lambda v: h @ v, 60, n_probes=11, n_steps=12)
    alone = measure.spectral_density(single, 60, n_probes=11, n_steps=12)
    np.testing.assert_allclose(together.nodes, alone.nodes, atol=1e-10)
    np.testing.assert_allclose(together.weights, alone.weights, atol=1e-10)
    # Of a matrix with two eigenvalues every probe ends after two steps.
    two = np.repeat([1.0, 3.0], 30)
    short = measure.spectral_density(lambda v: (two * v.T).T, 60, n_probes=3, n_steps=12)
    np.testing.assert_allclose(np.sort(short.nodes, axis=1)[:, -2:], [[1.0, 3.0]] * 3)
    assert (np.count_nonzero(short.weights, axis=1) == 2).all()


def test_extreme_eigenvalues_are_those_of_the_matrix():
    h = symmetric(80, np.random.default_rng(2))
    found = measure.curvature(lambda v: h @ v, 80, exact_below=0, n_eigenvalues=2)
    values = np.linalg.eigvalsh(h)
    np.testing.assert_allclose(found.eigenvalues, [*values[:2], *values[-2:]], rtol=1e-3)


def test_extreme_eigenvalues_without_gaps_do_not_take_forever():
    values = np.linspace(-1.0, 3.0, 20_000)
    found = measure.curvature(
        lambda v: (values * v.T).T, values.size, n_probes=3, n_rows=3, n_lanczos=30
    )
    np.testing.assert_allclose(found.eigenvalues[[0, -1]], [-1.0, 3.0], atol=0.02)
    assert found.n_products < 400


@pytest.mark.parametrize(
    "spectrum",
    [pytest.param("uniform", marks=pytest.mark.long), "two clusters", "marchenko-pastur"],
)
def test_lanczos_quadrature_finds_known_spectra(spectrum):
    rng, dim = np.random.default_rng(3), 200
    values = {
        "uniform": np.linspace(-1.0, 1.0, dim),
        "two clusters": np.repeat([0.1, 5.0], [180, 20]),
        "marchenko-pastur": np.linalg.svd(rng.standard_normal((dim, 2 * dim)))[1] ** 2 / (2 * dim),
    }[spectrum]
    basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0]
    h = (basis * values) @ basis.T
    found = measure.spectral_density(lambda v: h @ v, dim, n_probes=30, n_steps=40)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1.0)
    for function in (lambda x: x, np.square, np.exp, lambda x: 1.0 * (x > 0.5)):
        seen = found.mean(function)
        error = seen.std(ddof=1) / np.sqrt(len(seen))
        # Four standard errors, and the width of a node for the step function.
        assert abs(seen.mean() - function(values).mean()) < 4.0 * error + 0.01


@pytest.mark.parametrize(
    ("hvp", "message"),
    [
        (lambda v: v[:-1], "must return the shape"),
        (lambda v: np.triu(np.ones((5, 5))) @ v, "not the product with a symmetric matrix"),
        (lambda v: v * np.nan, "NaN or infinite"),
        (3, "must be a function"),
    ],
)
def test_wrong_products_are_refused(hvp, message):
    with pytest.raises(MeasureError, match=message):
        measure.curvature(hvp, 5)


def test_products_that_differ_from_call_to_call_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(MeasureError, match=r"symmetric matrix|not deterministic"):
        measure.curvature(lambda v: v * rng.uniform(), 5)


def test_a_function_of_single_vectors_is_enough():
    h = np.diag([1.0, 2.0, 3.0])

    def product(v):
        assert v.shape == (3,)
        return h @ v

    assert measure.curvature(product, 3).trace.value == 6.0


def test_measurements_are_saved_and_loaded(tmp_path):
    found = measure.curvature(lambda v: (v.T * np.arange(1.0, 5)).T, 4, blocks={"a": slice(2, 4)})
    found.save(tmp_path / "m.npz")
    again = measure.load(tmp_path / "m.npz")
    assert again.to_dict() == found.to_dict()
    assert str(again) == str(found)
    np.testing.assert_array_equal(again.matrix, found.matrix)
    (tmp_path / "n.npz").write_bytes(b"no")
    with pytest.raises(FileError):
        measure.load(tmp_path / "n.npz")
    assert found.plot().get_xscale() == "log"
