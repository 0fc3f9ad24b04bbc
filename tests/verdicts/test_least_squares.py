"""Verdicts on the high-dimensional equations, on made-up gaps of a known power of d."""

import numpy as np
import pytest

from qpsim import verdicts
from qpsim.figures import figure_least_squares as figure
from qpsim.figures.data import Data
from qpsim.verdicts import least_squares

DIMS, DRAWS = (32, 64, 128), 8


def _data(power=-0.5, offset=0.0, exact=-1.0):
    rng = np.random.default_rng(0)
    d = np.array(DIMS, dtype=float)
    gap = d[:, None, None] ** power * np.exp(0.01 * rng.normal(size=(3, 2, DRAWS)))
    known = d[:, None] ** exact * np.exp(0.01 * rng.normal(size=(3, DRAWS)))
    arrays = {
        "time": np.tile(np.linspace(0.0, 4.0, 5), (3, 1)),
        "deviation": offset + 0.002 * rng.normal(size=(3, 2, DRAWS, 5)),
        "exponent": figure._slopes(DIMS, gap),
        "exact_exponent": figure._slopes(DIMS, known),
    }
    labels = {"dim": list(DIMS), "method": list(figure.METHODS)}
    return Data("least-squares", figure.Options(), arrays, labels=labels)


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ({}, None),
        ({"power": -0.3}, "gap-of-a-run"),
        ({"power": -0.7}, "gap-of-a-run"),
        ({"offset": 0.05}, "mean-of-runs"),
        ({"exact": -0.5}, "exact-risk-of-sgd"),
    ],
)
def test_each_statement_fails_alone(change, failed):
    for verdict in least_squares.judge(_data(**change)):
        assert verdict.holds is (verdict.name != failed), verdict.name
        assert all(m.interval[0] < m.value < m.interval[1] for m in verdict.measurements)


def test_a_topic_of_two_words_is_found_by_its_hyphen():
    assert "least-squares" in verdicts.topics()
    assert verdicts.module("least-squares") is least_squares
