"""The numbers are those of the stored file."""

from tests import regression


def test_the_stored_trajectories_come_out_again():
    assert regression.compare() == []
