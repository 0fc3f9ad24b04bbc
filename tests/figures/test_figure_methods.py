"""The comparison of Table 1: what is recorded, and the table made from it."""

import json

import numpy as np
import pytest

import qpsim
from qpsim import figures
from qpsim.figures import figure_methods
from qpsim.figures.figure_methods import ESTIMATED, IDEALISED, Options, first_step_below
from tests.figures import small

SIZES = {"n_replicates": 8, "n_draws": 6, "n_steps": 6, "dim": 4, "tolerance": 0.2, "rng": 3}
# M-SVAG and Adam have no closed form: their exact steps are compiled for half a minute.
QUICK = (*IDEALISED, "m-sgd", "m-ssd")


@pytest.fixture(scope="module")
def data():
    return figure_methods.compute(Options(**SIZES, methods=QUICK), workers=2)


def test_shapes_follow_the_named_axes(data):
    sizes = {"row": 4, "noise": 3, "method": 6, "level": 5, "step": 7, "replicate": 8}
    for name, array in data.arrays.items():
        assert array.shape == tuple(sizes[axis] for axis in data.axes[name]), name


def check_a_panel(data, name):
    """One method's numbers on the first row, at the largest noise, beside a simulation."""
    seed = np.random.SeedSequence(3).spawn(6)[0].spawn(3)
    offsets = np.random.Generator(np.random.PCG64(seed[1])).uniform(-10, 10, (2, 4))
    problem = qpsim.random_problem("mild", 4, "haar", 4.0, scale=0.0, rng=seed[0])
    run = qpsim.simulate(problem, name, n_steps=6, n_replicates=2, theta0=offsets, rng=seed[2])
    k = data.labels["method"].index(name)
    stored = data["final"][0, 2, k][data["problem"] == 0]
    np.testing.assert_array_equal(stored, np.log10(run.excess_loss[:, -1]))
    below = run.excess_loss <= 0.2 * run.excess_loss[:, :1]
    reached = data["reached"][0, 2, k][data["problem"] == 0]
    for row, step in zip(below, reached, strict=True):
        assert (step == np.inf and not row.any()) or step == row.tolist().index(True)


def test_a_panel_is_what_simulate_gives(data):
    check_a_panel(data, "m-ssd")


@pytest.mark.long
def test_all_methods_are_compared_where_none_are_chosen():
    data = figure_methods.compute(Options(**SIZES), workers=2)
    assert tuple(data.labels["method"]) == IDEALISED + ESTIMATED
    for name in ("m-svag", "adam"):
        check_a_panel(data, name)


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
    rows = figure_methods.rows(data)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert len(rows) == 12 * len(QUICK)
    for row in rows:
        low, high = row["log10_final_loss_interval"]
        assert low <= row["log10_final_loss"] <= high
        assert (row["steps_to_tolerance"] is None) == (row["fraction_reached"] < 0.5)


def test_the_table_of_text_says_the_same(data):
    rows = figure_methods.rows(data)
    columns, lines = figures.table(data)
    assert len(lines) == len(rows) and {len(line) for line in lines} == {len(columns)}
    for line, row in zip(lines, rows, strict=True):
        assert line[:3] == [row["problem"], f"{row['noise_std']:g}", row["method"]]
        assert float(line[3]) == pytest.approx(row["log10_final_loss"], abs=0.006)


def test_both_groups_of_methods_are_drawn_at_both_widths():
    data = small.data("methods")
    for width in (3.5, 7.0):
        figure, artists = figures.draw(data, width=width)
        assert set(artists[0, 0, 0.0]) == set(IDEALISED)
        assert set(artists[1, 3, 4.0]) == set(ESTIMATED)
        assert len(figure.axes) == 24
        names = [[text.get_text() for text in one.get_texts()] for one in artists["legend"]]
        assert names == [["SGD", "SSD", "SVAG", "VA-SSD"], ["M-SGD", "M-SSD", "M-SVAG", "ADAM"]]


def test_methods_and_problems_of_the_user():
    hessian = np.array([[2.0, 0.3], [0.3, 1.0]])
    chosen = {"problems": [hessian], "methods": ["ssd", "m-ssd"], "noise_std": 0.5}
    data = figures.compute("methods", n_replicates=3, n_draws=1, n_steps=4, workers=1, **chosen)
    assert data["final"].shape == (1, 1, 2, 3)
    assert data.labels["has_state"] == [False, True]
    _, artists = figures.draw(data)
    assert set(artists[0, 0, 0.5]) == {"ssd"} and set(artists[1, 0, 0.5]) == {"m-ssd"}
    chosen["methods"] = "ssd"
    alone = figures.compute("methods", n_replicates=2, n_steps=2, workers=1, **chosen)
    assert len(figures.draw(alone)[0].axes) == 1
