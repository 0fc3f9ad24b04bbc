"""Published problems agree with their sources."""

import numpy as np
import pytest

import qpsim
from qpsim import gallery
from qpsim.errors import ProblemError


def test_figure_2_has_twelve_problems_that_share_what_they_should():
    problems = gallery.figure2(dim=20, scale=3.0, rng=1)
    assert len(problems) == 12
    for (spectrum, basis, level), p in problems.items():
        assert p.noise_std == level and p.dim == 20 and p.is_diagonal == (basis == "axis")
        axis = problems[spectrum, "axis", level]
        np.testing.assert_allclose(np.sort(p.eigenvalues), np.sort(axis.eigenvalues), rtol=1e-12)
        np.testing.assert_array_equal(p.optimum, problems["mild", "axis", 0.0].optimum)
        assert np.abs(p.optimum).max() <= 3.0
        np.testing.assert_array_equal(p.hessian, problems[spectrum, basis, 0.0].hessian)
    mild = problems["mild", "axis", 0.0].eigenvalues
    assert 0.1 <= mild.min() and mild.max() <= 1.1
    structured = problems["structured", "axis", 0.0].eigenvalues
    assert np.sum(structured >= 30.0) == 2 and np.sum(structured <= 1.0) == 18
    again = gallery.figure2(dim=20, scale=3.0, rng=1)["mild", "haar", 4.0]
    np.testing.assert_array_equal(again.hessian, problems["mild", "haar", 4.0].hessian)


def test_the_noisy_quadratic_model_has_the_published_curvatures_and_noise():
    p = gallery.noisy_quadratic_model(dim=50)
    np.testing.assert_allclose(p.hessian, 1.0 / np.arange(1.0, 51.0), rtol=1e-15)
    np.testing.assert_allclose(p.at_batch(4).gradient_covariance(), p.hessian / 4.0, rtol=1e-15)
    other = gallery.noisy_quadratic_model(dim=50, rng=1)
    assert (p.optimum != other.optimum).all()
    assert abs(p.optimum).max() < 5.0


@pytest.mark.parametrize("dim", [2, 10, 10_000])
def test_bins_round_each_number_up_to_a_point_of_the_grid(dim):
    bins = 100
    p = gallery.noisy_quadratic_model(dim, bins=bins)
    number, grid = np.arange(1.0, dim + 1.0), np.geomspace(1.0, dim, bins)
    binned = 1.0 / p.hessian
    for i, b in zip(number, binned, strict=True):
        expected = grid[np.searchsorted(grid, i * (1.0 - 1e-12))]
        assert b == pytest.approx(expected, rel=1e-10)
    assert np.unique(p.hessian).size <= bins


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"dim": 0}, "dim must be a whole number of at least 1, not 0"),
        ({"dim": 10.5}, "dim must be a whole number"),
        ({"bins": 1}, "bins must be a whole number of at least 2, not 1"),
    ],
)
def test_a_bad_size_gets_its_own_sentence(keywords, sentence):
    with pytest.raises(ProblemError, match=sentence):
        gallery.noisy_quadratic_model(**keywords)


def test_the_gallery_is_reached_from_the_package():
    assert qpsim.gallery is gallery
