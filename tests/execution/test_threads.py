"""A loop divided among threads: every task once, errors raised in the caller, the caller's NumPy settings."""

import threading

import numpy as np
import pytest

from qpsim.execution.threads import for_each


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("n_tasks", [0, 1, 4, 100])
def test_every_task_is_done_once(n_tasks, workers):
    done = []
    for_each(done.append, n_tasks, workers)
    assert sorted(done) == list(range(n_tasks))


def test_threads_are_kept_between_calls():
    def note(number):
        names.add(threading.current_thread().name)

    names = set()
    for _ in range(20):
        for_each(note, 8, workers=2)
    assert len(names - {threading.current_thread().name}) <= 1 + len(names) // 2
    assert len(names) <= 3


def test_errors_in_a_thread_reach_the_caller():
    def fail(number):
        if number == 3:
            raise RuntimeError("task 3")

    with pytest.raises(RuntimeError, match="task 3"):
        for_each(fail, 8, workers=3)


def test_numpy_warns_in_all_threads_as_the_caller_asked():
    # Each waits for the other, so that both threads have one.
    both = threading.Barrier(2, timeout=20)

    def overflow(number):
        both.wait()
        np.float64(1e308) * 10

    with np.errstate(over="ignore"):
        for_each(overflow, 2, workers=2)
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        for_each(overflow, 2, workers=2)
