"""The figure of Theorem 1: below the bound, next to SGD, which stalls."""

import numpy as np
import pytest

from qpsim import figures
from qpsim.errors import FigureError
from qpsim.figures import figure_theorem1 as figure

OPTIONS = figure.Options(n_replicates=300, n_steps=150, dim=4, rng=2)


@pytest.fixture(scope="module")
def data():
    return figure.compute(OPTIONS, workers=1)


def test_svag_stays_below_the_bound_and_sgd_does_not(data):
    svag, sgd = data["mean"]
    error = data["standard_error"]
    assert (svag <= data["bound"] + 4 * error[0]).all()
    assert sgd[-1] > data["bound"][-1] + 4 * error[1, -1]
    t = np.arange(OPTIONS.n_steps + 1)
    np.testing.assert_allclose(data["bound"], 1 / (1 / svag[0] + data["rate"] * t))


def test_sgd_follows_its_exact_risk_down_to_where_it_stalls(data):
    sgd, error = data["mean"][1], data["standard_error"][1]
    assert (np.abs(sgd - data["exact_sgd"]) < 5 * error + 1e-9).all()
    assert data["exact_sgd"][-1] == pytest.approx(float(data["steady_sgd"]), rel=1e-3)


def test_the_constant_is_measured_on_the_path(data):
    problem, _ = figure._problem(OPTIONS)
    start = np.zeros(4)
    first = np.sum(problem.gradient(start) ** 2 + problem.gradient_std() ** 2)
    assert float(data["second_moment"]) >= first
    mu, smooth = 0.5, 1.0
    wanted = 2 * mu**2 / (smooth * float(data["second_moment"]))
    assert float(data["rate"]) == pytest.approx(wanted)
    assert float(data["step_size"]) == pytest.approx(1 / smooth)


def test_the_numbers_are_the_same_for_any_workers(data):
    again = figure.compute(OPTIONS, workers=3)
    np.testing.assert_array_equal(data["mean"], again["mean"])
    # Both start at one point; a matrix product rounds differently with the number of its columns.
    assert data["mean"][0, 0] == pytest.approx(data["mean"][1, 0], rel=1e-13)


def test_the_curves_are_t_times_the_loss():
    made = figures.make("theorem1", n_replicates=8, n_steps=6, dim=2, workers=1)
    x, y = made.artists["sgd"]["line"].get_data()
    np.testing.assert_array_equal(x, [1, 2, 3, 4, 5, 6])
    np.testing.assert_array_equal(y, x * made.data["mean"][1, 1:])


def test_the_largest_eigenvalue_is_one():
    with pytest.raises(FigureError, match="smallest must be at most 1"):
        figures.make("theorem1", smallest=2.0)
