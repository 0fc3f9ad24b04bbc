"""The five verdicts: judged on made-up data with a known answer, and on a small simulation."""

import json

import numpy as np
import pytest

from qpsim.figures import figure2 as drawn
from qpsim.figures.data import Data
from qpsim.verdicts import figure2

# log10 SSD and SGD losses after the last step, by row (mild Haar, mild axis, structured Haar, axis)
# and noise level, under which each statement holds.
SGD = np.array([[-9.0, 0.0, 0.0], [-9.0, 0.0, 0.0], [2.0, 2.0, 2.0], [2.0, 2.0, 2.0]])
SSD = np.array([[0.0, 0.1, 0.0], [0.0, 0.1, 0.0], [2.0, 2.1, 2.0], [0.5, 0.5, 0.5]])


def _data(sgd, ssd, spread=0.01):
    options = drawn.Options(n_replicates=16, n_draws=4, n_steps=8, dim=2)
    rng = np.random.default_rng(0)
    final = np.stack([sgd, ssd], axis=2)[..., None, None]
    losses = final + spread * rng.normal(size=(4, 3, 2, 16, 5))
    arrays = {
        "checkpoints": losses,
        "checkpoint_steps": np.array([0, 2, 4, 6, 8]),
        "problem": np.repeat(np.arange(8), 2),
    }
    return Data("2", options, arrays)


def test_all_hold_where_all_should():
    assert [verdict.holds for verdict in figure2.judge(_data(SGD, SSD))] == [True] * 5


@pytest.mark.parametrize(
    ("k", "sgd", "ssd"),
    [
        (0, {(0, 0): -0.5}, {}),
        (1, {(1, 1): 1.0}, {}),
        (2, {}, {(0, 2): 0.6}),
        (3, {(2, 2): 1.0}, {}),
        (4, {}, {(3, 1): 1.5}),
    ],
)
def test_one_case_beyond_its_side_is_enough_to_fail(k, sgd, ssd):
    first, second = SGD.copy(), SSD.copy()
    for place, value in sgd.items():
        first[place] = value
    for place, value in ssd.items():
        second[place] = value
    found = [verdict.holds for verdict in figure2.judge(_data(first, second))]
    assert found == [j != k for j in range(5)]


def test_the_whole_interval_must_lie_on_its_side():
    # Every median is on the right side, by less than the interval is wide.
    close = SSD.copy()
    close[0, 0] = SGD[0, 0] + 1.05
    noisy = figure2.judge(_data(SGD, close, spread=1.0))[0].measurements[0]
    assert noisy.interval[0] < 1.0
    assert not noisy.holds


def test_measured_is_the_median_paired_ratio():
    data = _data(SGD, SSD, spread=0.3)
    measured = figure2.judge(data)[3].measurements[1]
    ratio = data["checkpoints"][2, 1, 1, :, -1] - data["checkpoints"][2, 1, 0, :, -1]
    assert measured.value == np.median(ratio)
    assert measured.what == "SSD/SGD on structured/haar, nu = 0.1"


def test_the_second_statement_also_says_what_is_left_of_the_noise_free_gap():
    shares = [m for m in figure2.judge(_data(SGD, SSD))[1].measurements if m.holds is None]
    assert [round(share.value, 2) for share in shares] == [0.01, 0.01]


def test_a_small_run_is_reproducible_and_reports_every_scale():
    options = figure2.Options(n_replicates=12, n_draws=3, n_steps=12, dim=8, scales=(1.0, 3.0))
    report = figure2.measure(options, workers=1)
    again = figure2.measure(options, workers=2)
    assert report.verdicts == again.verdicts
    for verdict in report.verdicts:
        assert list(verdict.notes["scales"]) == ["1", "3", "10"]
        assert verdict.notes["scales"]["10"]["measurements"] == [
            m.to_dict() for m in verdict.measurements
        ]
    json.dumps(report.to_dict(), allow_nan=False)


def test_without_noise_the_ratio_does_not_depend_on_the_scale():
    options = figure2.Options(n_replicates=8, n_draws=2, n_steps=10, dim=8, scales=(1.0, 30.0))
    notes = figure2.measure(options, workers=1).verdicts[0].notes
    for k in range(2):
        values = [at["measurements"][k]["value"] for at in notes["scales"].values()]
        np.testing.assert_allclose(values, values[0], atol=1e-6)


def test_one_coordinate_and_two_replicates_are_judged_without_a_division_by_zero():
    # Without noise one step lands on the optimum: there is no gap to take a share of.
    report = figure2.measure(figure2.Options(dim=1, n_replicates=2, n_steps=8), workers=1)
    shares = [m for m in report.verdicts[1].measurements if m.holds is None]
    assert [share.to_dict()["value"] for share in shares] == [None, None]
    assert report.verdicts[0].measurements[0].interval == (-np.inf, np.inf)
    assert not report.holds
    assert any("fewer than 6" in text for text in report.verdicts[0].notes["remarks"])
    json.dumps(report.to_dict(), allow_nan=False)
