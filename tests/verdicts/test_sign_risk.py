"""Verdicts on approximations of sign descent's loss, on made-up errors and with a planted error of the theory."""

import math

import numpy as np
import pytest

from qpsim import theory, verdicts
from qpsim.figures import figure_sign_risk as figure
from qpsim.figures.data import Data
from qpsim.verdicts import sign_risk

SIGNALS, DIMS, DRAWS = [0.1, 1.0, 10.0], [16, 128], 6


def _data(change=()):
    """The closure errs by 0.9 % and 0.3 % at the dimensions, the other law by 0.9 % and, at large signals, 40 %."""
    error = np.empty((2, 3, 2, DRAWS))
    error[0] = np.array([0.009, 0.003])[:, None]
    error[1] = np.array([0.009, 0.02, 0.4])[:, None, None]
    for place, value in change:
        error[place] = value
    error *= np.exp(0.1 * np.random.default_rng(0).normal(size=error.shape))
    labels = {"law": list(figure.LAWS), "signal": SIGNALS, "dim": DIMS}
    return Data("sign-risk", figure.Options(), {"error": error}, labels=labels)


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ([], set()),
        ([((0, 0), 0.05)], set()),
        ([((0, 1, 1), 0.0098), ((0, 1, 0), 0.1)], {"closure-within"}),
        ([((0, 2, 0), 0.003)], {"closure-falls"}),
        ([((1, 2), 0.003)], {"closure-ahead"}),
        ([((1, 1), 0.003)], set()),
    ],
)
def test_each_statement_fails_where_its_numbers_do(change, failed):
    found = sign_risk.judge(_data(change))
    assert {verdict.name for verdict in found if not verdict.holds} == failed
    for verdict in found:
        assert [m.holds is None for m in verdict.measurements][:1] == [True]
        assert all(m.interval[0] <= m.value <= m.interval[1] for m in verdict.measurements)


def test_an_error_of_one_percent_in_the_theory_breaks_it(monkeypatch):
    options = {"dims": (4, 64), "signals": (10.0,), "n_steps": 20, "n_replicates": 8192}
    first = verdicts.measure("sign-risk", **options, n_draws=6, workers=1).verdicts[0]
    true = theory.expected_excess_loss
    monkeypatch.setattr(
        theory, "expected_excess_loss", lambda *a, **k: 1.01 * np.asarray(true(*a, **k))
    )
    broken = verdicts.measure("sign-risk", **options, n_draws=6, workers=1).verdicts[0]
    assert first.holds and not broken.holds
    (low, high) = broken.measurements[0].interval
    assert math.isfinite(low) and high > 0.01 > first.measurements[0].interval[1]
