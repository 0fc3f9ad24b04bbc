import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qpsim.errors import DataError, QpsimError
from qpsim.nn.data import Stream


def draws(stream, count=0):
    return stream.at(count).random(4).tolist()


def test_counts_are_reproducible_and_distinct():
    stream = Stream(5)
    assert draws(stream, 3) == draws(Stream(5), 3)
    seen = {tuple(draws(stream, count)) for count in range(50)}
    seen |= {tuple(draws(stream.child(number), count)) for number in range(7) for count in range(7)}
    seen |= {tuple(draws(Stream(6)))}
    assert len(seen) == 50 + 49 + 1


@pytest.mark.parametrize(
    "rng",
    [
        0,
        2**100,
        np.int64(7),
        None,
        np.random.SeedSequence([1, 2, 3], spawn_key=(4,)),
        np.random.default_rng(1),
        Stream(3).child(2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_state_survives_json(rng):
    stream = Stream(rng)
    again = Stream.from_state(json.loads(json.dumps(stream.state())))
    assert draws(again) == draws(stream)
    assert again.permutation(9, 1).tolist() == stream.permutation(9, 1).tolist()


def test_generator_gives_a_new_child_each_time():
    generator = np.random.default_rng(1)
    assert draws(Stream(generator)) != draws(Stream(generator))


@given(n=st.integers(0, 300), count=st.integers(0, 10))
def test_permutation_is_one(n, count):
    assert sorted(Stream(0).permutation(n, count)) == list(range(n))


def test_permutation_is_uniform():
    """All 24 orders of 4, 4800 draws: chi-square of 23 degrees of freedom, 60 is its 1 - 4e-5."""
    stream = Stream(1)
    orders = [tuple(stream.permutation(4, count)) for count in range(4800)]
    counts = np.array([orders.count(order) for order in set(orders)])
    assert len(counts) == 24
    assert ((counts - 200) ** 2 / 200).sum() < 60


def test_permutation_is_pinned():
    """The ranks of SFC64's own words: an old checkpoint keeps its data order."""
    assert Stream(0).permutation(8, 0).tolist() == PINNED


PINNED = [7, 3, 5, 0, 6, 2, 1, 4]


@pytest.mark.parametrize("rng", [-1, 1.5, "seed", True])
def test_no_seed(rng):
    with pytest.raises(QpsimError, match=r"whole number|negative"):
        Stream(rng)


@pytest.mark.parametrize(
    "state", [{}, {"entropy": 1}, {"entropy": -1, "spawn_key": []}, {"entropy": 1, "spawn_key": 3}]
)
def test_malformed_state(state):
    with pytest.raises(DataError, match="stream's state needs"):
        Stream.from_state(state)
