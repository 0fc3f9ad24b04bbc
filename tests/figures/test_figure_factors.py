"""Adaptation factors along a run: recorded, drawn, and those of the paper."""

import numpy as np
import pytest

import qpsim
from qpsim import figures
from qpsim.figures import figure_factors
from tests.figures import small


def recorded(methods):
    """The figure's data for a small run, after a comparison with the library's own factors."""
    options = figure_factors.Options(n_steps=4, dim=5, batch_size=4, rng=2)
    data = figure_factors.compute(options, workers=2)
    assert data["factor"].shape == data["oracle"].shape == (len(methods), 3, 4)
    seeds = np.random.SeedSequence(2).spawn(2)
    problem = qpsim.random_problem("structured", 5, "axis", 1.0, rng=seeds[0])
    run = qpsim.adaptation_factors(problem, "adam", n_steps=4, rng=seeds[1])
    k = methods.index("adam")
    np.testing.assert_array_equal(
        data["factor"][k], np.quantile(run.factor, (0.1, 0.5, 0.9), axis=1)
    )
    distance = np.abs(run.factor - run.oracle).mean(axis=1)
    np.testing.assert_array_equal(data["distance"][k], distance)
    return data


def test_factors_are_those_of_the_library(monkeypatch):
    monkeypatch.setattr(figure_factors, "METHODS", ("adam",))
    recorded(("adam",))


@pytest.mark.long
def test_all_six_methods_have_their_factors():
    data = recorded(figure_factors.METHODS)
    # One gradient says nothing of its variance: moving averages adapt nothing at t = 1.
    np.testing.assert_allclose(data["factor"][[0, 1, 4], :, 0], 1.0)
    made_up = small.data("factors")
    assert data.axes == made_up.axes and data.labels == made_up.labels


def test_a_panel_is_drawn_for_every_method():
    figure, artists = figures.draw(small.data("factors"), width=3.5)
    assert len(figure.axes) == 6 and set(figure_factors.METHODS) < set(artists)
    assert [text.get_text() for text in artists["legend"].get_texts()][1] == "oracle: median"
