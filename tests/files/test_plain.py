"""Conversion of results to JSON values."""

import json
from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import numpy as np

from qpsim.files.plain import plain

Pair = namedtuple("Pair", "low high")


@dataclass(frozen=True)
class Found:
    value: float
    interval: Pair
    steps: np.ndarray
    notes: tuple[str, ...] = ("a", "b")


def test_everything_becomes_json():
    found = Found(np.float32(0.5), Pair(-np.inf, 2), np.array([[1.0, np.nan], [3.0, 4.0]]))
    made = plain(OrderedDict(found=found, count=np.int64(3), flag=np.bool_(True), nothing=None))
    assert made == {
        "found": {
            "value": 0.5,
            "interval": {"low": None, "high": 2},
            "steps": [[1.0, None], [3.0, 4.0]],
            "notes": ["a", "b"],
        },
        "count": 3,
        "flag": True,
        "nothing": None,
    }
    assert json.loads(json.dumps(made, allow_nan=False)) == made
