"""Losses over constant step sizes: recorded as the search found them, and drawn."""

import numpy as np
import pytest

from qpsim import figures
from qpsim.figures import figure_sensitivity


@pytest.mark.long  # eight methods, on a dense Hessian too
def test_sensitivity_holds_the_search_of_every_method():
    options = figure_sensitivity.Options(n_replicates=3, n_steps=5, dim=4, rng=1)
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
    assert len(figure.axes) == 8
    for group, members in enumerate(figure_sensitivity.GROUPS):
        assert tuple(artists[0, group]) == members
        shown = artists[2, group][members[1]]
        k = figure_sensitivity.METHODS.index(members[1])
        drawn, found = shown.get_ydata(), final[2, k][data["stable"][2, k]]
        np.testing.assert_array_equal(drawn, found[: drawn.size])
        # Left out are steps that are too small to get anywhere.
        np.testing.assert_allclose(found[drawn.size :], found[-1], atol=0.011)
        assert 2 <= drawn.size < found.size
    # A row's panels can be compared: they share both axes.
    left, right = (next(iter(artists[1, group].values())).axes for group in (0, 1))
    assert left.get_ylim() == right.get_ylim() and left.get_xlim() == right.get_xlim()
