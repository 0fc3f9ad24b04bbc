"""Verdicts on tails, on made-up ratios with a known answer."""

import numpy as np
import pytest

from qpsim import verdicts
from qpsim.figures import figure_tails as figure
from qpsim.figures.data import Data
from qpsim.verdicts import tails

ROWS, LEVELS, DRAWS = ["mild/haar", "structured/axis"], [0.1, 16.0], 8


def _data(change=None):
    """Sign descent loses under the Gaussian, by 0.2 in a step and 0.1 in a run, and wins at df = 2.5 by 0.3."""
    step = np.zeros((2, 2, 3)) + [0.3, 0.0, -0.2]
    run = np.zeros((2, 2, 3)) + [0.3, 0.0, -0.1]
    for name, place, value in change or ():
        {"step": step, "run": run}[name][place] = value
    rng = np.random.default_rng(0)
    final = 0.01 * rng.normal(size=(2, 2, 3, 2, 2 * DRAWS))
    final[..., 0, :] += run[..., None]
    arrays = {
        "one_step": step[..., None] + 0.01 * rng.normal(size=(2, 2, 3, DRAWS)),
        "final": final,
        "problem": np.repeat(np.arange(DRAWS), 2),
    }
    labels = {"row": ROWS, "noise": LEVELS, "df": [2.5, 6.0, "Gaussian"]}
    return Data("tails", figure.Options(df=(2.5, 6.0)), arrays, labels=labels)


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ([], set()),
        ([("step", (0, 0, 0), -0.3)], set()),
        ([("step", (0, 1, 0), -0.3)], {"one-step", "turned-in-one-step"}),
        ([("step", (1, 1, 2), 0.1)], {"turned-in-one-step"}),
        ([("step", (1, 1, 0), -0.1)], {"turned-in-one-step"}),
        (
            [("run", (1, 0, 0), -0.05)],
            {"ahead-after-a-run"},
        ),
        ([("run", (0, 1, 2), 0.4)], {"further-ahead-after-a-run"}),
    ],
)
def test_each_statement_fails_where_its_numbers_do(change, failed):
    found = tails.judge(_data(change))
    assert {verdict.name for verdict in found if not verdict.holds} == failed
    assert [len(verdict.measurements) for verdict in found] == [4, 4, 4, 4]
    for verdict in found:
        assert all(m.interval[0] <= m.value <= m.interval[1] for m in verdict.measurements)


def test_a_value_is_the_median_that_its_name_says():
    data = _data()
    found = {verdict.name: verdict for verdict in tails.judge(data)}
    third = found["further-ahead-after-a-run"].measurements[2]
    assert third.what == "mild/haar, nu = 16"
    gain = data["final"][0, 1, :, 0] - data["final"][0, 1, :, 1]
    assert third.value == np.median(gain[0] - gain[2])


def test_where_the_noise_turns_no_sign_one_step_informs_only():
    first = tails.judge(_data())[0]
    assert [m.holds for m in first.measurements] == [None, None, True, True]


def test_it_is_found_by_name():
    assert verdicts.module("tails") is tails
