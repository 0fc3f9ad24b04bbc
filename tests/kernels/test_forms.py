"""Quadratic forms by tiles of a triangle, against NumPy's sums over all pairs."""

import numpy as np
import pytest
from numba.core.errors import TypingError

from qpsim.kernels import forms

ROUNDING = {np.float32: 6e-8, np.float64: 1.2e-16}


def case(dim, lanes, n, dtype, rng):
    """n symmetric matrices without diagonal, packed and as they are, and padded columns."""
    matrices = rng.standard_normal((n, dim, dim))
    matrices += matrices.transpose(0, 2, 1)
    matrices[:, np.arange(dim), np.arange(dim)] = 0.0
    packed = np.array([2.0 * m.ravel()[forms.triangle(dim)] for m in matrices], dtype=dtype)
    shape = n, forms.padded(dim, forms.TILE_ROWS), forms.padded(lanes, forms.LANES)
    columns = np.zeros(shape, dtype)
    columns[:, :dim, :lanes] = rng.standard_normal((n, dim, lanes))
    return matrices, packed, columns


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dim", [1, 2, 4, 5, 6, 37, 100])
@pytest.mark.parametrize("lanes", [1, 16, 40, 64, 130])
def test_the_forms_are_those_of_numpy(dtype, dim, lanes):
    rng = np.random.default_rng(dim + lanes)
    matrices, packed, columns = case(dim, lanes, 3, dtype, rng)
    before = rng.standard_normal(columns.shape[2])
    out = before.copy()
    forms.add_forms(packed, columns, out)
    b = columns[:, :dim].astype(float)
    exact = np.einsum("nil,nij,njl->l", b, matrices, b)
    size = np.einsum("nil,nij,njl->l", abs(b), abs(matrices), abs(b))
    assert np.all(abs(out - before - exact) <= 10 * ROUNDING[dtype] * (size + 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lanes_do_not_see_each_other(dtype):
    _, packed, columns = case(23, 144, 2, dtype, np.random.default_rng(0))
    whole = np.zeros(144)
    forms.add_forms(packed, columns, whole)
    for start, stop in ((0, 16), (16, 96), (80, 144)):
        part = np.zeros(stop - start)
        forms.add_forms(packed, np.ascontiguousarray(columns[:, :, start:stop]), part)
        assert np.array_equal(part, whole[start:stop])


def test_an_array_that_is_not_contiguous_is_refused():
    _, packed, columns = case(5, 16, 2, np.float64, np.random.default_rng(0))
    with pytest.raises(TypingError, match="contiguous"):
        forms.add_forms(np.asfortranarray(packed), columns, np.zeros(16))
