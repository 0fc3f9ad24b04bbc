"""A task that never asks, such as a compilation, ends when nobody waits for it any more."""

import threading
import time

import pytest

from qpsim.execution import pool as pool_module
from qpsim.execution import stopping
from qpsim.execution.pool import threads


class Fallen:
    """Python ignores what is raised in here."""

    def __init__(self, began):
        self.began = began

    def __del__(self):
        self.began.set()
        while self.began.is_set():
            sum(range(100))


def work_on(began, ended):
    began.set()
    try:
        end = time.monotonic() + 60.0
        while time.monotonic() < end:
            sum(range(100))
        ended.append("by itself")
    except KeyboardInterrupt:
        ended.append("interrupted")
        raise


def work(began, ended):
    with stopping.interruptible():
        work_on(began, ended)


def test_work_that_does_not_ask_is_interrupted():
    began, ended = threading.Event(), []
    with threads(1) as pool:
        with pool.run(work, [("long", (began, ended))]) as run:
            run._fill()
            assert began.wait(30.0)
        # The block has waited for it.
        assert ended == ["interrupted"]
        # The thread lives on.
        with pool.run(pow, [("eight", (2, 3))]) as run:
            assert [future.result() for _, future in run] == [8]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_is_lost_is_said_again(monkeypatch):
    monkeypatch.setattr(pool_module, "_SECONDS_UNTIL_SAID_AGAIN", 0.5)
    fallen, began, ended = threading.Event(), threading.Event(), []

    def task():
        with stopping.interruptible():
            Fallen(fallen)
            work_on(began, ended)

    with threads(1) as pool, pool.run(task, [("long", ())]) as run:
        run._fill()
        assert fallen.wait(30.0)
    assert ended == ["interrupted"]


def test_a_task_that_begins_too_late_does_not_begin():
    runs = stopping.new_run()
    stopping.stop(runs)
    with threads(1) as pool, pytest.raises(KeyboardInterrupt):
        pool.submit(stopping.call, runs, None, work, threading.Event(), []).result()
    stopping.forget(runs)


def test_nothing_is_raised_after_the_block():
    runs = stopping.new_run()

    def task():
        with stopping.interruptible():
            pass
        stopping.stop(runs)
        return sum(range(1000))

    with threads(1) as pool:
        assert pool.submit(stopping.call, runs, None, task).result() == 499500
    stopping.forget(runs)
