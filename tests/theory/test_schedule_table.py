"""Schedules beside each other: the same numbers as one by one, and counts of steps against every horizon."""

import math

import numpy as np
import pytest

import qpsim
from qpsim import theory
from qpsim.errors import TheoryError
from qpsim.theory.schedules import KINDS

START = [2.0, -1.0, 3.0, 1.0]


def problem():
    return qpsim.random_problem("structured", 4, "haar", 0.3, scale=0.0, rng=3)


@pytest.fixture(scope="module")
def table():
    return theory.compare_schedules(problem(), "sgd", 16, START, n_pieces=4, target=0.1)


def test_rows_are_the_best_schedules(table):
    assert [row.schedule.family for row in table.rows] == list(KINDS)
    assert [row.name for row in table.rows[:3]] == ["planned", "greedy", "constant"]
    for row in table.rows:
        one = qpsim.best_schedule(
            problem(), "sgd", 16, START, family=row.schedule.family, n_pieces=4
        )
        np.testing.assert_array_equal(row.schedule.step_size, one.step_size)
        assert row.final_loss == one.value
        assert row.over_planned == pytest.approx(one.value / table.rows[0].final_loss, rel=1e-14)
    assert table.rows[0].over_planned == 1.0 < min(row.over_planned for row in table.rows[1:])


def test_the_fewest_steps_are_those_of_all_horizons(table):
    for row in table.rows:
        if row.name == "planned" or row.name == "linear":
            ends = [
                qpsim.best_schedule(problem(), "sgd", n, START, family=row.schedule.family).value
                for n in range(1, 17)
            ]
            below = [n for n, end in enumerate(ends, start=1) if end <= 0.1]
            assert row.steps_to_target == (below[0] if below else math.inf)
        if row.name == "greedy":
            below = np.flatnonzero(row.schedule.expected_excess_loss <= 0.1)
            assert row.steps_to_target == (below[0] if below.size else math.inf)
    assert 1 < table.rows[0].steps_to_target < 16


def test_a_target_above_the_start_takes_no_step_and_one_too_low_is_infinite():
    high = theory.compare_schedules(problem(), "sgd", 3, START, target=1e9)
    assert {row.steps_to_target for row in high.rows} == {0.0}
    low = theory.compare_schedules(problem(), "sgd", 3, START, target=1e-9)
    assert {row.steps_to_target for row in low.rows} == {math.inf}
    assert low.to_dict()["schedules"]["greedy"]["steps_to_target"] is None
    none = theory.compare_schedules(problem(), "sgd", 3, START)
    assert {row.steps_to_target for row in none.rows} == {None}
    assert "planned ends at" in repr(none)


@pytest.mark.parametrize("target", [0.0, -1.0, math.inf, math.nan, "low"])
def test_a_target_that_is_none_is_refused(target):
    with pytest.raises(TheoryError) as error:
        theory.compare_schedules(problem(), "sgd", 3, START, target=target)
    assert "\n" not in str(error.value)


def test_greedy_steps_are_a_kind_of_schedule():
    # Without noise and from one start, expected greedy steps are the exact line search's.
    p = problem().with_noise(0.0)
    greedy = qpsim.best_schedule(p, "sgd", 5, START, family="greedy")
    run = qpsim.simulate(p, "sgd", "optimal", 5, 1, START, rng=0, workers=1)
    np.testing.assert_allclose(greedy.step_size, run.step_size[0], rtol=1e-9)
    np.testing.assert_allclose(greedy.expected_excess_loss, run.excess_loss[0], rtol=1e-9)
    assert greedy.family == "greedy" and greedy.restarts.size == 1 and greedy.disagreement == 0.0
