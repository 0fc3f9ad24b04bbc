"""Schedules: the library's numbers, gaps that are none at one step, and a line for every kind."""

import numpy as np
import pytest

import qpsim
from qpsim import figures
from qpsim.figures import figure_schedules
from qpsim.theory.schedules import KINDS


@pytest.fixture(scope="module")
def data():
    return figures.compute(
        "schedules", workers=1, dim=20, n_steps=6, batch_size=2, step_counts=(1, 4, 30)
    )


def test_numbers_are_those_of_the_library(data):
    p = qpsim.QuadraticProblem(1.0 / np.arange(1.0, 21.0), noise=qpsim.noise.hessian(0.5**0.5))
    for m, method in enumerate(figure_schedules.METHODS):
        for k, kind in enumerate(KINDS):
            whole = qpsim.best_schedule(p, method, 6, np.ones(20), family=kind)
            # Steps near the best differ more than their losses do, which are flat there: a figure holds
            # BLAS to one thread, and its last bits may be others.
            np.testing.assert_allclose(data["step_size"][m, k], whole.step_size, rtol=1e-4)
            np.testing.assert_allclose(
                data["excess_loss"][m, k], whole.expected_excess_loss, rtol=1e-6
            )
            long = qpsim.best_schedule(p, method, 30, np.ones(20), family=kind)
            assert data["final_loss"][m, k, 2] == pytest.approx(long.value, rel=1e-6)


def test_no_gap_is_negative_and_greedy_steps_have_one_that_grows(data):
    assert data["gap"].min() >= -1e-9 and not data["gap"][:, 0].any()
    greedy = data["gap"][:, KINDS.index("greedy")]
    assert greedy[:, 0] == pytest.approx(0.0, abs=1e-9)
    assert (greedy[:, 2] > greedy[:, 1]).all() and (greedy[:, 1] > 1e-4).all()


@pytest.mark.long
def test_the_numbers_do_not_depend_on_workers(data):
    again = figures.compute(
        "schedules", workers=2, dim=20, n_steps=6, batch_size=2, step_counts=(1, 4, 30)
    )
    for name, array in data.arrays.items():
        np.testing.assert_array_equal(again[name], array)


@pytest.mark.parametrize("width", [3.5, 7.0])
def test_a_line_is_drawn_for_every_kind(data, width):
    figure, artists = figures.draw(data, width=width)
    assert len(figure.axes) == 4
    assert set(artists["step_size"]) == set(artists["excess_loss"]) == set(KINDS)
    for method in figure_schedules.METHODS:
        assert set(artists[method]) == set(KINDS) - {"free"}
    drawn = artists["step_size"]["greedy"].get_ydata()
    np.testing.assert_array_equal(drawn, data["step_size"][0, KINDS.index("greedy")])
    low = artists["sgd"]["greedy"].axes.get_ylim()[0]
    gap = artists["sgd"]["greedy"].get_ydata()
    assert np.isnan(gap[0]) and (gap[1:] > low).all()


def test_lines_of_kinds_differ_in_more_than_colour():
    looks = [look[2:] for look in figure_schedules._LOOKS.values()]
    assert len(set(map(repr, looks))) == len(KINDS)


def test_table_and_summary_say_the_longest_runs_numbers(data):
    columns, rows = figures.table(data)
    assert "after 30 steps" in columns[2] and len(rows) == 2 * len(KINDS)
    greedy = rows[KINDS.index("greedy")]
    gap = data["gap"][0, KINDS.index("greedy"), 2]
    assert greedy[:2] == ["sgd", "greedy"] and greedy[3] == f"{gap:.2%}"
    assert f"by {100.0 * gap:.0f} % for SGD" in figure_schedules.summary(data)
