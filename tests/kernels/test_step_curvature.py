"""Second derivatives by all pairs of steps, against differences of the adjoint's gradient and of the value."""

import numpy as np
import pytest

import qpsim
from qpsim.kernels.step_curvature import second_derivatives
from qpsim.theory.passes import Passes
from qpsim.theory.recursion import Recursion

METHODS = {
    "sgd": {},
    "m-sgd": {"momentum": 0.7},
    "nesterov": {"momentum": 0.7},
    "damped-m-sgd": {"momentum": 0.6, "dampening": 0.3},
}


def begun(name, averaged, n_steps=6):
    p = qpsim.random_problem("structured", 7, "haar", 0.4, rng=3)
    start = np.linspace(-2.0, 3.0, 7)
    r = Recursion(p, qpsim.method(name, **METHODS[name]), start, n_steps, averaged)
    return r, Passes(r), np.linspace(1.3, 0.2, n_steps) / p.eigenvalues.max()


def derivatives(passes, steps, blur):
    passes.value(steps, blur)
    n, d = steps.size, passes.curvature.size
    gradient, matrix = np.full(n, np.nan), np.full((n, n), np.nan)
    law = passes.curvature, passes.variance, passes.maps, steps
    scratch = np.empty((n, 3, d))
    second_derivatives(*law, passes.moments, passes.adjoint, blur, scratch, gradient, matrix)
    return gradient, matrix


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_the_gradient_is_the_adjoints(name, averaged):
    r, passes, steps = begun(name, averaged)
    gradient, _ = derivatives(passes, steps, 0.0)
    np.testing.assert_allclose(gradient, r.value_and_gradient(steps)[1], rtol=1e-10)


@pytest.mark.parametrize("blur", [0.0, 0.3])
@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_derivatives_agree_with_differences(name, averaged, blur):
    _, passes, steps = begun(name, averaged)
    gradient, matrix = derivatives(passes, steps, blur)
    np.testing.assert_array_equal(matrix, matrix.T)
    for t in range(steps.size):
        h = 1e-5 * steps[t]
        up, down = steps.copy(), steps.copy()
        up[t], down[t] = steps[t] + h, steps[t] - h
        slope = (passes.value(up, blur) - passes.value(down, blur)) / (2.0 * h)
        assert gradient[t] == pytest.approx(slope, rel=1e-7, abs=1e-8 * np.abs(gradient).max())
        row = (derivatives(passes, up, blur)[0] - derivatives(passes, down, blur)[0]) / (2.0 * h)
        np.testing.assert_allclose(matrix[t], row, rtol=1e-6, atol=1e-8 * np.abs(matrix).max())
