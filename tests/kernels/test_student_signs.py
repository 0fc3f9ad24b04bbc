"""Signs under Student's t: closed forms against quadrature over the scale, and at the ends of their range."""

import numpy as np
import pytest
from scipy.special import erf
from scipy.stats import chi

from qpsim.kernels.student_signs import student_signs
from qpsim.kernels.student_table import error, student_table
from tests import naive

R = np.array([[1.0, 0.6, -0.3], [0.6, 1.0, 0.2], [-0.3, 0.2, 1.0]])
WEIGHTS = np.array([[2.0, 0.5, -0.7], [0.5, 1.0, 0.4], [-0.7, 0.4, 3.0]])
A = np.array([[0.4, 3.0, 0.0], [-1.1, 2.5, 0.7], [0.2, -0.01, -4.0]])
SCALE = np.array([[1.0, 0.5, 2.0], [0.7, 1.0, 1.0], [1.2, 2.0, 0.3]])


def moments(table, own, a, scale=None, weights=WEIGHTS):
    scale = np.ones(a.shape) if scale is None else scale
    mean, form = np.empty(a.shape), np.empty(a.shape[1])
    student_signs(table, own, weights, a, scale, mean, form)
    return mean, form


# Even, odd and broken degrees have tables of different kinds.
@pytest.mark.parametrize(
    "degrees",
    [2, 3, 3.7, *(pytest.param(k, marks=pytest.mark.long) for k in (1, 1.5, 2.5, 8, 30.3, 64))],
)
def test_moments_are_the_gaussian_ones_averaged_over_the_scale(degrees):
    # Gauss-Legendre nodes, crowded at 0 where the density of chi is a power.
    nodes, weights = np.polynomial.legendre.leggauss(80)
    y, most = 0.5 + 0.5 * nodes, 16.0
    scales = most * y**4
    shares = 2.0 * most * y**3 * weights * chi.pdf(scales, degrees)
    mean, form = moments(student_table(degrees, R), None, A, SCALE)
    signs = erf(A[:, :, None] * scales / np.sqrt(2.0)) @ shares
    np.testing.assert_allclose(mean, SCALE * signs, rtol=1e-9, atol=1e-9)
    for lane in range(3):
        forms = [naive.sign_form(WEIGHTS, R, A[:, lane] * u, SCALE[:, lane]) for u in scales]
        assert form[lane] == pytest.approx(shares @ forms, rel=4e-9)


@pytest.mark.long
@pytest.mark.parametrize("degrees", [1, 2, 5, 8, 9, 30, 100])
def test_a_correlation_of_its_own_in_every_lane_gives_the_same(degrees):
    expected = moments(student_table(degrees, R), None, A, SCALE)
    for lane in range(3):
        a, h = A[:, lane : lane + 1].copy(), SCALE[:, lane : lane + 1].copy()
        own = np.sqrt(1.0 + a * a)
        of_data = (R + a * a.T) / (own * own.T)
        np.fill_diagonal(of_data, 1.0)
        mean, form = moments(student_table(degrees, of_data, own=True), own, a, h)
        np.testing.assert_allclose(mean[:, 0], expected[0][:, lane], rtol=1e-9)
        np.testing.assert_allclose(form[0], expected[1][lane], rtol=4e-9)


@pytest.mark.long
@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 64])
def test_without_noise_and_with_equal_coordinates_signs_are_what_they_must_be(degrees):
    a = np.array([[np.inf, 0.3, 0.0], [-np.inf, 0.3, 0.0], [-1e200, -0.3, 0.0]])
    dependent = np.array([[1.0, 1.0, -1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]])
    _, form = moments(student_table(degrees, np.eye(3)), None, a)
    s = np.sign(a[:, 0])
    assert form[0] == pytest.approx(s @ WEIGHTS @ s, rel=1e-9)
    s = np.array([1.0, 1.0, -1.0])
    own = np.sqrt(1.0 + a[:, 1:] ** 2)
    for each in (None, own):
        _, form = moments(student_table(degrees, dependent), each, a[:, 1:].copy())
        np.testing.assert_allclose(form, s @ WEIGHTS @ s, rtol=1e-9)


def test_degrees_from_1_to_256_have_a_table_of_known_error():
    assert [np.isfinite(error(k)) for k in (0.5, 1.0, 2.5, 256.0, 257.0)] == [0, 1, 1, 1, 0]
    assert student_table(0.5, R).degrees == 0.0
    assert max(error(k) for k in (1.0, 2.0, 3.0, 8.0, 33.0)) < 1e-9
    assert max(error(k) for k in (1.5, 2.5, 3.7, 30.3)) < 2.5e-9
    # E[s_i s_j] of least squares is a polynomial if the degrees are odd: two numbers for three degrees.
    table = student_table(3.0, R, own=True)
    assert np.abs(table.coefficients[1:-1]).max() < 1e-14 < abs(table.coefficients[0, 0])
