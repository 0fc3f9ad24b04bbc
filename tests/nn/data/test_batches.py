import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpsim.errors import DataError
from qpsim.nn.data import Batches, CifarAugmentation, PixelNoise, Split, evaluation_batches


def numbered(n):
    return Split(np.arange(n, dtype=np.float32)[:, None], np.arange(n))


def pictures(n=24):
    pixels = np.random.default_rng(0).integers(256, size=(n, 8, 8, 3), dtype=np.uint8)
    return Split(pixels, np.arange(n))


@settings(deadline=None)
@given(n=st.integers(1, 60), size=st.integers(1, 60), seed=st.integers(0, 9))
def test_an_epoch_sees_no_example_twice(n, size, seed):
    size = min(n, size)
    batches = Batches(numbered(n), size, rng=seed)
    for _ in range(2):
        seen = [next(batches) for _ in range(batches.batches_per_epoch)]
        labels = np.concatenate([y for _, y in seen])
        assert all(len(y) == size for _, y in seen)
        assert len(labels) == n - n % size
        assert len(set(labels)) == len(labels)
        for x, y in seen:
            np.testing.assert_array_equal(x[:, 0], y)
    assert batches.epoch == 2


def test_epochs_are_shuffled_afresh_and_leave_out_others():
    batches = Batches(numbered(100), 30, rng=0)
    left_out = [
        frozenset(range(100)) - {int(k) for _ in range(3) for k in next(batches)[1]}
        for _ in range(5)
    ]
    assert len(set(left_out)) == 5


def test_order_and_distortions_draw_from_streams_of_their_own():
    plain = Batches(pictures(), 4, rng=1)
    noisy = Batches(pictures(), 4, CifarAugmentation(), rng=1)
    assert [next(plain)[1].tolist() for _ in range(9)] == [
        next(noisy)[1].tolist() for _ in range(9)
    ]


@pytest.mark.parametrize("transform", [None, PixelNoise(0.3), CifarAugmentation()])
@pytest.mark.parametrize("stop", [0, 1, 6, 11])
def test_resumes_bit_for_bit(transform, stop):
    through = Batches(pictures(), 4, transform, rng=7)
    whole = [next(through) for _ in range(15)]
    first = Batches(pictures(), 4, transform, rng=7)
    for _ in range(stop):
        next(first)
    resumed = Batches(pictures(), 4, transform, rng=99)
    resumed.restore(json.loads(json.dumps(first.state())))
    assert resumed.step == stop
    for x, y in whole[stop:]:
        again_x, again_y = next(resumed)
        assert again_x.tobytes() == x.tobytes()
        np.testing.assert_array_equal(again_y, y)


def test_any_step_can_be_asked_for():
    batches = Batches(pictures(), 5, PixelNoise(1), rng=0)
    wanted = batches.at(13)
    for _ in range(13):
        next(batches)
    np.testing.assert_array_equal(next(batches)[0], wanted[0])
    assert batches.step == 14


def test_without_a_seed_runs_differ_but_resume():
    first, second = Batches(numbered(50), 10), Batches(numbered(50), 10)
    state = first.state()
    assert (first.at(0)[1] != second.at(0)[1]).any()
    second.restore(state)
    np.testing.assert_array_equal(first.at(0)[1], second.at(0)[1])


@pytest.mark.parametrize("size", [0, -1, 11])
def test_impossible_batch_size(size):
    with pytest.raises(DataError, match="between 1 and 10"):
        Batches(numbered(10), size)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"step": -1}, "step is -1"),
        ({"step": 1.0}, "non-negative integer"),
        ({"examples": 11}, "out of 11 examples"),
        ({"batch_size": 5}, "batches of 5"),
        ({"stream": {}}, "stream's state"),
        ({"stream": None}, "stream's state"),
    ],
)
def test_state_of_another_run(change, sentence):
    batches = Batches(numbered(10), 2)
    with pytest.raises(DataError, match=sentence):
        batches.restore({**batches.state(), **change})


@pytest.mark.parametrize("state", [{}, {"step": 1}, None])
def test_malformed_state(state):
    with pytest.raises(DataError, match="needs 'step'"):
        Batches(numbered(10), 2).restore(state)


def test_evaluation_goes_through_all_examples_in_order():
    parts = list(evaluation_batches(numbered(10), 4, PixelNoise(3)))
    assert [len(y) for _, y in parts] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate([x for x, _ in parts])[:, 0], np.arange(10))
    with pytest.raises(DataError, match="at least 1"):
        list(evaluation_batches(numbered(3), 0))
