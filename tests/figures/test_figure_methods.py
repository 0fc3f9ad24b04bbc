"""The comparison of Table 1: what is recorded, and the table made from it."""

import json

import numpy as np
import pytest

import qpsim
from qpsim import figures
from qpsim.figures import figure_methods
from qpsim.figures.figure_methods import ESTIMATED, IDEALISED, Options, first_step_below, rows

OPTIONS = Options(n_replicates=8, n_draws=6, n_steps=6, dim=4, tolerance=0.2, seed=3)


@pytest.fixture(scope="module")
def data():
    return figure_methods.compute(OPTIONS, workers=2)


def test_shapes_follow_the_named_axes(data):
    sizes = {"row": 4, "noise": 3, "method": 8, "level": 5, "step": 7, "replicate": 8}
    for name, array in data.arrays.items():
        assert array.shape == tuple(sizes[axis] for axis in data.axes[name]), name


def test_a_panel_is_what_simulate_gives(data):
    seed = np.random.SeedSequence(3).spawn(6)[0].spawn(3)
    offsets = np.random.Generator(np.random.PCG64(seed[1])).uniform(-10, 10, (2, 4))
    problem = qpsim.random_problem("mild", 4, "haar", 4.0, scale=0.0, rng=seed[0])
    run = qpsim.simulate(problem, "m-svag", n_steps=6, n_replicates=2, theta0=offsets, rng=seed[2])
    k = data.labels["method"].index("m-svag")
    stored = data["final"][0, 2, k][data["problem"] == 0]
    np.testing.assert_array_equal(stored, np.log10(run.excess_loss[:, -1]))
    below = run.excess_loss <= 0.2 * run.excess_loss[:, :1]
    reached = data["reached"][0, 2, k][data["problem"] == 0]
    for row, step in zip(below, reached, strict=True):
        assert (step == np.inf and not row.any()) or step == row.tolist().index(True)


def test_without_noise_adaptation_changes_nothing(data):
    at = data.labels["method"].index
    for plain, adapted in (("sgd", "svag"), ("ssd", "va-ssd")):
        pair = data["quantiles"][:, 0, [at(plain), at(adapted)]]
        # One runs in the eigenbasis and one does not: rounding, until little more than it is left.
        np.testing.assert_allclose(pair[:, 0], pair[:, 1], atol=1e-6)


def test_steps_to_tolerance():
    losses = np.log10([[8.0, 4.0, 2.0], [8.0, 8.0, 8.0], [1.0, 0.5, 3.0]])
    np.testing.assert_array_equal(first_step_below(losses, 0.5), [1.0, np.inf, 1.0])
    np.testing.assert_array_equal(first_step_below(losses, 1.0), [0.0, 0.0, 0.0])
    np.testing.assert_array_equal(first_step_below(losses, 0.0), np.inf)


def test_the_table_is_plain_json_and_its_medians_lie_in_their_intervals(data):
    table = rows(data)
    assert json.loads(json.dumps(table, allow_nan=False)) == table
    assert len(table) == 12 * len(IDEALISED + ESTIMATED)
    for row in table:
        low, high = row["log10_final_loss_interval"]
        assert low <= row["log10_final_loss"] <= high
        assert (row["steps_to_tolerance"] is None) == (row["fraction_reached"] < 0.5)


def test_it_can_be_drawn_at_both_widths(data):
    for width in (3.5, 7.0):
        figure, artists = figures.draw(data, width=width)
        assert set(artists[0, 0, 0.0]) == set(IDEALISED)
        assert set(artists[1, 3, 4.0]) == set(ESTIMATED)
        assert len(figure.axes) == 24
