"""Figure 1: the paper's own numbers, and draws that follow their law."""

import numpy as np

from qpsim import figures
from qpsim.figures import figure1


def test_the_numbers_are_the_papers():
    data = figure1.compute(figure1.Options())
    np.testing.assert_array_equal(data["gradient"], [2.0, 1.0])
    np.testing.assert_array_equal(data["std"], [1.0, 1.5])
    np.testing.assert_array_equal(data["relative_variance"], [0.25, 2.25])
    np.testing.assert_allclose(data["factor"], [1 / 1.25, 1 / 3.25])


def test_adapted_draws_have_less_variance_and_a_biased_mean():
    data = figure1.compute(figure1.Options(samples=40_000, rng=5))
    for panel, factor in enumerate((np.ones(2), data["factor"])):
        drawn = data["draws"][panel]
        error = factor * data["std"] / np.sqrt(40_000)
        assert np.all(np.abs(drawn.mean(axis=0) - factor * [2.0, 1.0]) < 4 * error)
        np.testing.assert_allclose(drawn.std(axis=0), factor * data["std"], rtol=0.02)
        np.testing.assert_allclose(data["mean"][panel], factor * [2.0, 1.0])
        np.testing.assert_allclose(data["deviation"][panel], factor * data["std"])


def test_the_same_seed_gives_the_same_draws():
    first, second, other = (
        figure1.compute(figure1.Options(samples=5, rng=seed))["draws"] for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_both_panels_have_equal_scales_and_the_same_limits():
    made = figures.make("1", samples=20)
    left, right = made.figure.axes
    assert left.get_xlim() == right.get_xlim()
    assert left.get_ylim() == right.get_ylim()
    assert left.get_aspect() == right.get_aspect() == 1.0
    shown = np.column_stack(made.artists["variance-adapted"]["draws"].get_data())
    np.testing.assert_array_equal(shown, made.data["draws"][1])
    for end in ((0.0, 0.0), (2.0, 1.0)):
        assert left.get_xlim()[0] < end[0] < left.get_xlim()[1]
        assert left.get_ylim()[0] < end[1] < left.get_ylim()[1]
