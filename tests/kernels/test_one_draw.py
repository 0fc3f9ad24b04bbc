"""Signs on least squares: closed forms at one draw against a loop, and the integral of a pair at more."""

from collections import namedtuple

import numpy as np
import pytest
from scipy.integrate import quad

from qpsim.kernels.arguments import Moments
from qpsim.kernels.jit import jit
from qpsim.kernels.one_draw import one_draw_moments
from qpsim.kernels.plackett import pair_integral, root_of_power
from qpsim.problem.least_squares import _arcsines, _legendre_rules

Arrays = namedtuple("Arrays", "covariance arcsines")
Rules = namedtuple(
    "Rules", "legendre_nodes legendre_weights legendre_counts legendre_limits batch_size"
)
K = np.array(
    [[2.0, 0.9, 0.0, -0.5], [0.9, 1.0, 0.0, 0.1], [0.0, 0.0, 0.0, 0.0], [-0.5, 0.1, 0.0, 3.0]]
)


def test_closed_forms_are_those_of_a_loop_with_and_without_a_gradient():
    rng = np.random.default_rng(0)
    offset = rng.standard_normal((4, 3))
    offset[:, 2] = 0.0
    gradient = K @ offset
    square = (offset * gradient).sum(axis=0)
    middle, half = rng.standard_normal((4, 3)), rng.uniform(0.5, 2.0, (4, 3))
    found = Moments(np.empty(3), np.empty(3), np.zeros(3))
    one_draw_moments(Arrays(K, _arcsines(K)), square, gradient, middle, half, found)
    std = np.sqrt(np.diagonal(K))
    for lane in range(3):
        first, second = np.zeros(4), np.zeros((4, 4))
        for i in range(4):
            if std[i] > 0 and square[lane] > 0:
                first[i] = np.arcsin(gradient[i, lane] / std[i] / square[lane] ** 0.5) / (np.pi / 2)
            for j in range(4):
                if std[i] > 0 and std[j] > 0 and square[lane] > 0:
                    r = 1.0 if i == j else K[i, j] / std[i] / std[j]
                    second[i, j] = np.arcsin(r) / (np.pi / 2)
        m, h = middle[:, lane], half[:, lane]
        numerator = gradient[:, lane] @ (m + h * first)
        cross = np.outer(m, m) + np.outer(m, h * first) + np.outer(h * first, m)
        denominator = np.sum(K * (cross + np.outer(h, h) * second))
        assert found.numerator[lane] == pytest.approx(numerator, rel=1e-12, abs=1e-14)
        assert found.denominator[lane] == pytest.approx(denominator, rel=1e-12)


@jit
def _power(base, count):
    return root_of_power(base, count)


@jit
def _integral(rules, r, a, b, degrees):
    return pair_integral(rules, r, a, b, degrees)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 77, 1000, 2**31])
def test_half_powers_by_squaring(count):
    for base in (1.0, 0.999, 0.3, 1e-12):
        assert _power(base, count) == pytest.approx(base ** (0.5 * count), rel=1e-11, abs=1e-300)


@pytest.mark.parametrize("batch_size", [1, 2, 5, 8])
@pytest.mark.parametrize("r", [0.1, -0.6, 0.95])
def test_the_integral_of_a_pair_is_plackett_s(batch_size, r):
    rules = Rules(*_legendre_rules(), batch_size)

    def integrand(t, a, b):
        x = (a * a + b * b - 2.0 * a * b * np.sin(t)) / np.cos(t) ** 2
        return 2.0 / np.pi * (1.0 + x / batch_size) ** (-0.5 * batch_size)

    for a, b in ((0.0, 0.0), (0.4, -1.3), (2.0, 1.0)):
        exact = quad(integrand, 0.0, np.arcsin(r), args=(a, b), epsabs=1e-13)[0]
        assert _integral(rules, r, a, b, float(batch_size)) == pytest.approx(exact, abs=1e-8)
