"""The stored numbers come out again."""

from tests import regression


def test_the_stored_trajectories_come_out_again():
    assert regression.compare() == []
