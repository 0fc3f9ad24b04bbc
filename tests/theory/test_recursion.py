"""The recursion on fewer coordinates: exact where eigenvalues repeat, close where they are interpolated."""

import numpy as np
import pytest

import qpsim
from qpsim.theory.recursion import Recursion


def recursion(p, name="m-sgd", n_steps=50):
    start = np.random.Generator(np.random.PCG64(1)).normal(size=p.dim)
    return Recursion(p, qpsim.method(name), start, n_steps, False)


@pytest.mark.parametrize("name", ["sgd", "m-sgd"])
def test_equal_eigenvalues_are_added_up(name):
    r = recursion(qpsim.QuadraticProblem([3.0, 1.0, 3.0, 0.0, 1.0, 3.0], noise_std=0.5), name)
    coarse = r.coarse(2)
    np.testing.assert_array_equal(coarse.curvature, [1.0, 3.0])
    steps = np.linspace(0.5, 0.01, 50)
    np.testing.assert_allclose(coarse.risk(steps)[1:], r.risk(steps)[1:], rtol=1e-12)


@pytest.mark.parametrize("name", ["sgd", "m-sgd"])
@pytest.mark.parametrize("spectrum", ["log-uniform", "structured"])
def test_many_eigenvalues_are_interpolated(name, spectrum):
    r = recursion(qpsim.random_problem(spectrum, 600, "axis", 0.3, rng=2), name)
    coarse = r.coarse(256)
    assert coarse.curvature.size <= 256 < r.curvature.size == 600
    for scale in (0.01, 0.5):
        steps = scale / r.curvature.max() / (1.0 + np.arange(50) / 20.0)
        np.testing.assert_allclose(coarse.risk(steps)[1:], r.risk(steps)[1:], rtol=1e-3)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(r.coarse(8).risk(steps)[1:], r.risk(steps)[1:], rtol=1e-3)
