"""Quadratic forms, by tiles of a triangle and by lists of its entries, against NumPy's sums over all pairs."""

import numpy as np
import pytest
from numba.core.errors import TypingError

from qpsim.kernels import forms
from qpsim.kernels.jit import jit


@jit
def add_forms(packed, columns, out):
    forms.add_forms(packed, columns, out)


@jit
def add_list_forms(matrices, first, columns, out):
    forms.add_list_forms(matrices, first, columns, out)


@jit
def fill_terms(steps, a, this, last, terms):
    forms.fill_terms(steps, a, this, last, terms)


def flat(columns):
    """Columns (n, rows, lanes) as the kernels want them."""
    return columns.reshape(-1, columns.shape[2])


ROUNDING = {"tiles": 1.2e-16, "lists": 6e-8}


def case(dim, lanes, n, way, rng):
    """n symmetric matrices without diagonal, a function that adds their forms, and its padded columns."""
    matrices = rng.standard_normal((n, dim, dim))
    if way == "lists":
        matrices *= np.tril(rng.random((n, dim, dim)) < 0.6, -1)
    matrices += matrices.transpose(0, 2, 1)
    matrices[:, np.arange(dim), np.arange(dim)] = 0.0
    rows = forms.padded.py_func(dim, forms.TILE_ROWS) if way == "tiles" else dim
    dtype = np.float64 if way == "tiles" else np.float32
    columns = np.zeros((n, rows, forms.padded.py_func(lanes, forms.LANES)), dtype)
    columns[:, :dim, :lanes] = rng.standard_normal((n, dim, lanes))
    if way == "tiles":
        packed = np.array([2.0 * m.ravel()[forms.triangle(dim)] for m in matrices])
        return matrices, lambda b, out: add_forms(packed, flat(b), out), columns
    i, j = np.tril_indices(dim, -1)
    listed = forms.lists(i, j, 2.0 * matrices[:, i, j], dim)
    return matrices, lambda b, out: add_list_forms(listed, 0, flat(b), out), columns


@pytest.mark.parametrize("way", ["tiles", "lists"])
@pytest.mark.parametrize("dim", [1, 2, 4, 5, 6, 37, 100, 230])
@pytest.mark.parametrize("lanes", [1, 16, 40, 64, 130])
def test_the_forms_are_those_of_numpy(way, dim, lanes):
    rng = np.random.default_rng(dim + lanes)
    matrices, add, columns = case(dim, lanes, 3, way, rng)
    before = rng.standard_normal(columns.shape[2])
    out = before.copy()
    add(columns, out)
    b = columns[:, :dim].astype(float)
    exact = np.einsum("nil,nij,njl->l", b, matrices, b, optimize=True)
    size = np.einsum("nil,nij,njl->l", abs(b), abs(matrices), abs(b), optimize=True)
    assert np.all(abs(out - before - exact) <= 10 * ROUNDING[way] * (size + 1))


@pytest.mark.parametrize("way", ["tiles", "lists"])
def test_lanes_do_not_see_each_other(way):
    _, add, columns = case(23, 144, 2, way, np.random.default_rng(0))
    whole = np.zeros(144)
    add(columns, whole)
    for start, stop in ((0, 16), (16, 96), (80, 144)):
        part = np.zeros(stop - start)
        add(np.ascontiguousarray(columns[:, :, start:stop]), part)
        assert np.array_equal(part, whole[start:stop])


def test_lists_hold_what_is_not_0_strip_by_strip_and_start_at_any_term():
    rng = np.random.default_rng(4)
    dim = 230
    i, j = np.tril_indices(dim, -1)
    entries = rng.standard_normal((3, i.size)) * (rng.random((3, i.size)) < 0.2)
    listed = forms.lists(i, j, entries, dim)
    assert listed.ends[-1, -1, -1] == listed.entries.size
    assert np.count_nonzero(listed.entries) == np.count_nonzero(entries)
    counts = np.diff(listed.ends.ravel(), prepend=0)
    assert not np.any(counts % 2) and listed.entries.size <= np.count_nonzero(entries) + counts.size
    strips = np.split(listed.columns, listed.ends[:, :, -1].ravel()[:-1])
    assert len(strips) == 9 and all(np.ptp(columns) < 80 for columns in strips)
    columns = rng.standard_normal((3, dim, 16)).astype(np.float32)
    whole, parts = np.zeros((2, 16))
    add_list_forms(listed, 0, flat(columns), whole)
    for n in range(3):
        add_list_forms(listed, n, columns[n], parts)
    assert np.array_equal(whole, parts)


def test_columns_follow_their_recurrence_in_pieces():
    rng = np.random.default_rng(5)
    steps = rng.standard_normal(5)
    a, this, last = rng.standard_normal((3, 7, 32))
    naive, before = [this.copy()], last.copy()
    for step in steps:
        following = a * naive[-1] + step * before
        before = naive[-1]
        naive.append(following)
    first, second = np.zeros((2, 10, 32)), np.zeros((3, 7, 32), np.float32)
    fill_terms(steps[:2], a, this, last, flat(first))
    fill_terms(steps[2:], a, this, last, flat(second))
    fill_terms(steps[:0], a, this, last, flat(second)[:0])
    np.testing.assert_allclose(first[:, :7], naive[:2], rtol=1e-13)
    np.testing.assert_allclose(second, naive[2:5], rtol=1e-6)
    np.testing.assert_allclose(this, naive[5], rtol=1e-12)
    np.testing.assert_allclose(last, naive[4], rtol=1e-12)
    assert not first[:, 7:].any()


def test_an_array_that_is_not_contiguous_is_refused():
    packed, columns = np.ones((2, 25)), np.ones((10, 16))
    with pytest.raises(TypingError, match="contiguous"):
        add_forms(np.asfortranarray(packed), columns, np.zeros(16))
