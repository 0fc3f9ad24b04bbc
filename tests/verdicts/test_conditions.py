"""Section 2's conditions on a small run."""

import math

import pytest

from qpsim import verdicts


@pytest.mark.long
def test_a_small_run_measures_every_statement_at_every_point():
    report = verdicts.measure(
        "conditions", tasks=("digits-whitened",), n_points=2, last_step=4, n_gradients=12,
        n_examples=64, n_steps=3,
    )  # fmt: skip
    assert [one.name for one in report.verdicts] == [
        "diagonal-mass", "few-large-eigenvalues", "sign-improves-more", "one-step-predicts-many",
    ]  # fmt: skip
    for one in report.verdicts[:3]:
        assert len(one.measurements) == 2
        assert all(math.isfinite(m.value) for m in one.measurements)
    # c is exact here: 650 parameters.
    assert all(m.interval[0] == m.interval[1] for m in report.verdicts[0].measurements)
    assert report.verdicts[3].measurements[0].value in (0.0, 0.5, 1.0)
