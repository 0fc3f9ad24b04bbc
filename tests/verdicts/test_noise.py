"""Statements of Figure 2 under other noises: each is judged under each family by itself."""

import numpy as np
import pytest

from qpsim import verdicts
from qpsim.figures import figure2 as paper
from qpsim.figures import figure_noise as figure
from qpsim.figures.data import Data
from qpsim.verdicts import figure2, noise
from tests.verdicts.test_figure2 import SGD, SSD


def _data(change=None):
    """Losses under which each statement holds under each family, and one of sign descent's changed."""
    final = np.broadcast_to(np.stack([SGD, SSD], axis=2), (4, 4, 3, 2)).copy()
    for place, value in (change or {}).items():
        final[place] = value
    final = final[..., None] + 0.01 * np.random.default_rng(0).normal(size=(4, 4, 3, 2, 16))
    arrays = {"final": final, "problem": np.repeat(np.arange(8), 2)}
    return Data("noise", figure.Options(), arrays, labels={"family": list(figure.FAMILIES)})


def test_all_hold_where_all_should():
    found = noise.judge(_data())
    assert [verdict.holds for verdict in found] == [True] * 17
    assert len({verdict.name for verdict in found}) == 17


@pytest.mark.parametrize(
    ("place", "value", "failed"),
    [
        ((2, 1, 1, 1), -3.0, {"a-little-noise, white", "orientation, white"}),
        ((1, 2, 2, 1), 0.9, {"structured-haar, hessian", "structured-axis, hessian"}),
        ((3, 3, 1, 1), 1.9, {"structured-axis, diagonal"}),
    ],
)
def test_a_statement_fails_under_the_family_whose_losses_changed(place, value, failed):
    found = noise.judge(_data({place: value}))
    assert {verdict.name for verdict in found if not verdict.holds} == failed


def test_under_the_papers_noise_the_verdicts_are_those_on_figure_2():
    sizes = {"n_replicates": 8, "n_draws": 8, "n_steps": 8, "dim": 6}
    found = {v.name: v for v in noise.measure(noise.Options(**sizes), workers=1).verdicts}
    for verdict in figure2.judge(paper.compute(paper.Options(**sizes), workers=1)):
        name = verdict.name if verdict.name in found else f"{verdict.name}, data"
        assert [m.to_dict() for m in found[name].deciding] == [
            m.to_dict() for m in verdict.deciding
        ]


def test_it_is_found_by_name():
    assert verdicts.module("noise") is noise
