"""Figure 4: the shaded mass is the probability of a wrong sign."""

import math

import numpy as np
from scipy import integrate

from qpsim import figures
from qpsim.figures import figure4


def test_densities_and_probabilities_are_those_of_the_gaussians():
    data = figure4.compute(figure4.Options(points=6001))
    x = data["x"]
    for variance, density, rho in zip(
        (0.5, 1.0, 4.0), data["density"], data["success_probability"], strict=True
    ):
        at_mean = density[np.argmin(np.abs(x - 1.0))]
        assert math.isclose(at_mean, 1 / math.sqrt(2 * math.pi * variance), rel_tol=1e-6)
        below = x <= 0
        shaded = integrate.trapezoid(density[below], x[below])
        missing = 0.5 * math.erfc(6 / math.sqrt(2 * variance))  # left of the drawn range
        assert abs(shaded + missing - (1 - rho)) < 1e-6


def test_the_probability_is_written_and_the_mass_shaded():
    made = figures.make("4")
    for variance, probability in (("0.5", "0.079"), ("1", "0.159"), ("4", "0.309")):
        panel = made.artists[variance]
        assert probability in panel["text"].get_text()
        edges = panel["shade"].get_paths()[0].vertices
        assert edges[:, 0].max() == 0.0
