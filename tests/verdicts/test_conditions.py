"""Section 2's conditions: verdicts on made-up points, and a small run of the real ones."""

import math

import numpy as np
import pytest

from qpsim import verdicts
from qpsim.verdicts import conditions
from tests.figures import small

NAMES = [
    "diagonal-mass", "few-large-eigenvalues", "sign-improves-more", "sign-where-conditions",
    "gains-are-real", "one-step-predicts-many",
]  # fmt: skip


def met():
    """Points at which everything that is claimed holds."""
    data = small.conditions(by_layer=False, n_points=5)
    around = np.array([1.0, 0.9, 1.1])
    better = np.linspace(1.0, 2.0, 15).reshape(3, 5)
    for name, values in {
        "mass": 0.2 * better, "large_share": 0.05 / better, "noise_scale": better,
        "ratio": 1.5 * better,
    }.items():  # fmt: skip
        data.arrays[name] = values[..., None] * around
    data.arrays["loss"][:] = 1.0
    data.arrays["improvement"] = np.broadcast_to(around, (3, 5, 2, 3)).copy()
    data.arrays["realised"] = 0.8 * data.arrays["improvement"]
    data.arrays["race"] = np.log(better)[..., None] + np.array([0.1, 0.05, 0.2])
    return data


def holds(data):
    return {one.name: one.holds for one in conditions.judge(data)}


def test_every_statement_holds_where_all_points_say_so():
    assert holds(met()) == dict.fromkeys(NAMES, True)


@pytest.mark.parametrize(
    ("name", "change", "failed"),
    [
        ("mass", lambda mass: mass * 0.01, {"diagonal-mass"}),
        ("mass", lambda mass: mass[::-1, ::-1], {"sign-where-conditions"}),
        ("large_share", lambda share: share * 10.0, {"few-large-eigenvalues"}),
        ("ratio", lambda ratio: ratio / 10.0, {"sign-improves-more", "one-step-predicts-many"}),
        ("realised", lambda gain: gain / 4.0, {"gains-are-real"}),
        ("realised", lambda gain: gain * 4.0, {"gains-are-real"}),
        ("race", lambda log: -log, {"one-step-predicts-many"}),
    ],
)
def test_a_statement_fails_where_its_numbers_do(name, change, failed):
    data = met()
    data.arrays[name] = change(data.arrays[name])
    assert {one for one, good in holds(data).items() if not good} == failed


def test_points_beyond_a_divergence_and_unbounded_models_decide_nothing():
    data = met()
    for name, array in data.arrays.items():
        if name != "step":
            array[2, 3:] = np.nan
    data.arrays["improvement"][0, 0] = np.inf
    by_name = {one.name: one for one in conditions.judge(data)}
    assert all(one.holds for one in by_name.values())
    assert len(by_name["diagonal-mass"].measurements) == 13
    assert len(by_name["gains-are-real"].deciding) == 24


def test_the_share_of_winners_that_are_named():
    data = met()
    data.arrays["ratio"][0, :3, 0] = 0.5
    first, second, *_ = next(
        one for one in conditions.judge(data) if one.name == "one-step-predicts-many"
    ).measurements
    assert first.value == pytest.approx(12 / 15)
    assert first.interval[0] < 12 / 15 < first.interval[1]
    assert -1.0 < second.interval[0] < second.value < second.interval[1] < 1.0


@pytest.mark.long
def test_a_small_run_measures_every_statement_at_every_point():
    report = verdicts.measure(
        "conditions", tasks=("digits-whitened",), n_points=2, last_step=4, n_gradients=12,
        n_examples=64, n_steps=3,
    )  # fmt: skip
    assert [one.name for one in report.verdicts] == NAMES
    for one in report.verdicts[:3]:
        assert len(one.measurements) == 2
        assert all(math.isfinite(m.value) for m in one.measurements)
    # c is exact here: 650 parameters.
    assert all(m.interval[0] == m.interval[1] for m in report.verdicts[0].measurements)
    assert report.verdicts[5].measurements[0].value in (0.0, 0.5, 1.0)
