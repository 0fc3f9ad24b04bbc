"""Adaptation factors along a run: recorded, drawn, and those of the paper."""

import numpy as np

import qpsim
from qpsim import figures
from qpsim.figures import figure_factors


def test_factors_are_those_of_the_library_and_start_at_one():
    options = figure_factors.Options(n_steps=4, dim=5, batch_size=4, rng=2)
    data = figure_factors.compute(options, workers=2)
    assert data["factor"].shape == data["oracle"].shape == (6, 3, 4)
    seeds = np.random.SeedSequence(2).spawn(2)
    problem = qpsim.random_problem("structured", 5, "axis", 1.0, rng=seeds[0])
    run = qpsim.adaptation_factors(problem, "m-svag", n_steps=4, rng=seeds[1])
    k = figure_factors.METHODS.index("m-svag")
    np.testing.assert_array_equal(
        data["factor"][k], np.quantile(run.factor, (0.1, 0.5, 0.9), axis=1)
    )
    distance = np.abs(run.factor - run.oracle).mean(axis=1)
    np.testing.assert_array_equal(data["distance"][k], distance)
    # One gradient says nothing of its variance: moving averages adapt nothing at t = 1.
    np.testing.assert_allclose(data["factor"][[0, 1, 4], :, 0], 1.0)
    figure, artists = figures.draw(data, width=3.5)
    assert len(figure.axes) == 6 and set(figure_factors.METHODS) < set(artists)
    assert [text.get_text() for text in artists["legend"].get_texts()][1] == "oracle: median"
