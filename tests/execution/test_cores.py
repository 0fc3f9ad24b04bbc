"""Number of workers: one for each core by default, or an integer of at least 1."""

import os

import numpy as np
import pytest

import qpsim
from qpsim.errors import ExecutionError
from qpsim.execution.cores import available_cores, worker_count


def test_cores_are_those_that_this_process_may_use():
    if hasattr(os, "sched_getaffinity"):
        assert available_cores() == len(os.sched_getaffinity(0))
    assert worker_count(None) == available_cores()
    assert worker_count(np.int64(3)) == 3


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "2", np.nan, 10**12])
def test_what_is_no_number_of_workers_is_refused(workers):
    with pytest.raises(ExecutionError, match="workers must be"):
        worker_count(workers)
    with pytest.raises(ExecutionError, match="workers must be"):
        qpsim.simulate(qpsim.random_problem(dim=3, rng=0), "sgd", workers=workers)
