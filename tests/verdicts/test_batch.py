"""Verdicts on batch sizes: on made-up counts each fails alone, and on the model itself all hold."""

import numpy as np
import pytest

from qpsim import verdicts
from qpsim.figures import figure_batch as figure
from qpsim.figures.data import Data
from qpsim.verdicts import batch

BATCHES = (1, 4, 256, 16384, 2**20)


def _data(count=1.0, critical=1.0, momentum=1.0, early=0.2, late=1.0, cut=0.2, dim=10_000):
    """Steps like those of the model, changed by these factors."""
    published = figure.PUBLISHED
    sgd = np.array([4.0 * published["sgd"][4], *published["sgd"].values()])
    preconditioned = np.array(
        [4.0 * published["preconditioned"][4], *published["preconditioned"].values()]
    )
    fast = sgd[0] / np.array(BATCHES) * critical ** np.arange(5.0)
    m_sgd = momentum * np.maximum(fast, 400.0)
    averaged = sgd * np.array([early, 0.2, 0.4, 1.0, late])
    in_pieces = sgd * np.array([cut, 0.2, 0.4, 1.0, 0.95])
    sgd[1] = sgd[1] * count + 1.0
    arrays = {"steps": np.array([sgd, m_sgd, averaged, preconditioned, in_pieces])}
    labels = {"curve": list(figure.CURVES), "batch": list(BATCHES)}
    return Data("batch", figure.Options(dim=dim), arrays, labels=labels)


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ({}, {"published-counts"}),
        ({"count": 1.002}, {"published-counts"}),
        ({"critical": 5.0}, {"larger-critical-batch"}),
        ({"momentum": 1.05}, {"momentum-at-small-batches"}),
        ({"early": 0.6}, {"averaging-at-small-batches"}),
        ({"late": 0.9}, {"averaging-at-small-batches"}),
        ({"cut": 0.6}, {"pieces-at-small-batches"}),
    ],
)
def test_each_statement_fails_alone(change, failed):
    # The smallest counts are published from 0, one less than here: made-up ones are off by 1 of 84 at most.
    for verdict in batch.judge(_data(**change)):
        if verdict.name == "published-counts":
            first = verdict.measurements[0]
            assert first.holds is (change.get("count", 1.0) == 1.0)
        else:
            assert verdict.holds is (verdict.name not in failed), verdict.name


def test_another_model_has_no_published_counts():
    counts = batch.judge(_data(dim=5))[0].measurements
    assert len(counts) == 8 and all(m.holds is None for m in counts)


def test_the_topic_is_found():
    assert verdicts.module("batch") is batch


@pytest.mark.long
def test_all_hold_on_the_model():
    few = batch.Options(batch_sizes=BATCHES, averaging=(0.0, 0.99999))
    report = batch.measure(few)
    assert report.holds
    assert all(m.holds for m in report.verdicts[0].measurements)
