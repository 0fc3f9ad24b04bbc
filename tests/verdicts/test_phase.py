"""Verdicts on the phase map, on made-up maps with a known answer."""

import numpy as np
import pytest

from qpsim.figures import figure_phase as figure
from qpsim.figures.data import Data
from qpsim.verdicts import phase

LEVELS, TAU = (0.1, 1.0, 4.0), (0.0, 0.5, 1.0)


def _data(change=None, same=((58.0, 20.0), (59.0, 30.0))):
    """Sign descent is ahead on the axes at every noise; the border moves to the axes as the noise gets louder."""
    measured = np.array([[3.0, 0.3, 0.1], [2.0, 0.2, -0.1], [1.0, -0.1, -0.2]])
    for place, value in change or ():
        measured[place] = value
    agreement = [[[60.0, 60.0], [start, 60.0], [run, 60.0]] for run, start in same]
    arrays = {
        "noise": np.array([measured, measured, measured]),
        "condition": np.array([measured, measured, measured + 0.1]),
        "noise_error": np.full(measured.shape, 0.01),
        "agreement": np.array(agreement),
    }
    options = figure.Options(noise_std=LEVELS, tau=TAU)
    return Data("phase", options, arrays)


@pytest.mark.parametrize(
    ("change", "same", "failed"),
    [
        ([], ((58.0, 20.0), (59.0, 30.0)), set()),
        ([], ((56.0, 20.0), (59.0, 30.0)), {"runs-name-the-winner"}),
        ([], ((58.0, 20.0), (59.0, 58.0)), {"one-step-does-not"}),
        ([((2, 0), 0.01)], ((58.0, 20.0), (59.0, 30.0)), {"ahead-on-the-axes"}),
        ([((1, 2), 2.0)], ((58.0, 20.0), (59.0, 30.0)), {"rotation-takes-it"}),
        ([((1, 1), -0.1), ((2, 1), 0.1)], ((58.0, 20.0), (59.0, 30.0)), {"noise-moves-the-border"}),
    ],
)
def test_each_statement_fails_where_its_numbers_do(change, same, failed):
    found = phase.judge(_data(change, same))
    assert {verdict.name for verdict in found if not verdict.holds} == failed


def test_a_share_has_its_count_and_interval():
    first = phase.judge(_data())[0].measurements[0]
    assert first.what == "noise: 58 of 60 decided cells" and first.value == pytest.approx(58 / 60)
    # The exact (Clopper-Pearson) interval is [0.885, 0.996]; Wilson's is a little shorter.
    assert first.interval == pytest.approx((0.8864, 0.9908), abs=2e-4)
    errors = [one.value for one in phase.judge(_data())[0].measurements[2:]]
    assert errors == pytest.approx([0.0, 0.1], abs=1e-12)
