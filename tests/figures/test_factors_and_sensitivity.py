"""Adaptation factors along a run, and losses over step sizes: recorded, and drawn."""

import numpy as np

import qpsim
from qpsim import figures
from qpsim.figures import figure_factors, figure_sensitivity


def test_factors_are_those_of_the_library_and_start_at_one():
    options = figure_factors.Options(steps=4, dim=5, batch=4, seed=2)
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


def test_sensitivity_holds_the_search_of_every_method():
    options = figure_sensitivity.Options(replicates=3, steps=5, dim=4, seed=1)
    data = figure_sensitivity.compute(options, workers=2)
    best, steps, final = data["best"], data["step_size"], data["final"]
    assert best.shape == (4, 8)
    for place in np.ndindex(best.shape):
        stable = data["stable"][place]
        k = best[place]
        assert stable[k] and final[place][k] == final[place][stable].min()
        # The smallest step of the grid is never the best: the search goes on below it.
        assert k < np.isfinite(steps[place]).sum() - 1
    figure, artists = figures.draw(data)
    assert len(figure.axes) == 4
    assert set(artists[0]) == set(figure_sensitivity.METHODS)
