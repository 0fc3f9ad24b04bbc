"""Figure 5: the factors, and the two signs of the gap between Adam's and the optimal one."""

import math

import numpy as np
import pytest

from qpsim import figures
from qpsim.figures import figure5


def factors(eta):
    return {
        "sign": math.erf(1 / (math.sqrt(2) * eta)) if eta else 1.0,
        "adam": (1 + eta**2) ** -0.5,
        "gradient": 1 / (1 + eta**2),
    }


def test_the_curves_are_the_formulas():
    data = figure5.compute(figure5.Options(points=101))
    for k, kind in enumerate(data.labels["kind"]):
        wanted = [factors(eta)[kind] for eta in data["eta"]]
        np.testing.assert_allclose(data["factor"][k], wanted, atol=1e-15)


def test_the_gap_is_largest_where_it_is_said_to_be():
    data = figure5.compute(figure5.Options())
    (low, smallest), (high, largest) = data["extremes"]
    assert (round(high, 3), round(largest, 4)) == (1.913, 0.0644)
    assert (round(low, 3), round(smallest, 4)) == (0.454, -0.0618)
    # Against nothing but a fine grid.
    eta = np.arange(0.001, 20, 0.001)
    gap = np.array([factors(x)["adam"] - factors(x)["sign"] for x in eta])
    assert abs(eta[gap.argmax()] - high) < 0.001
    assert abs(eta[gap.argmin()] - low) < 0.001
    assert gap.max() == pytest.approx(largest, abs=1e-7)
    assert gap.min() == pytest.approx(smallest, abs=1e-7)


def test_adams_factor_is_the_smaller_one_first_and_the_larger_one_later():
    data = figure5.compute(figure5.Options())
    crossing = float(data["crossing"])
    assert round(crossing, 3) == 0.842
    inside = (data["eta"] > 0.2) & (data["eta"] < crossing)
    assert (data["gap"][inside] < 0).all()
    assert (data["gap"][data["eta"] > crossing] > 0).all()


def test_the_inset_shows_the_gap_and_both_extremes():
    made = figures.make("5", points=51)
    inset = made.artists["inset"]
    np.testing.assert_array_equal(inset["line"].get_ydata(), made.data["gap"])
    marked = [float(mark.get_xdata()[0]) for mark in inset["marks"]]
    assert marked == list(made.data["extremes"][:, 0])
