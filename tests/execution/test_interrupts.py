"""Ctrl-C while tasks are submitted: no task is lost, nothing hangs, and the program can handle it."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import qpsim
from qpsim import nn, tuning
from qpsim.execution import threads
from qpsim.execution.interrupts import deferred


class Struck(ThreadPoolExecutor):
    """An interrupt arrives in the midst of the second submission."""

    asked = 0

    def submit(self, *arguments, **more):
        self.asked += 1
        if self.asked == 2:
            signal.raise_signal(signal.SIGINT)
        return super().submit(*arguments, **more)


def test_what_was_begun_is_finished_before_the_interrupt_is_raised():
    done = []
    with pytest.raises(KeyboardInterrupt), deferred():
        signal.raise_signal(signal.SIGINT)
        done.append(1)
    assert done == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_inside_leaves_the_usual_answer_in_place():
    with pytest.raises(ZeroDivisionError), deferred():
        1 / 0  # noqa: B018
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_have_nothing_to_hold_back():
    def work():
        with deferred():
            seen.append(signal.getsignal(signal.SIGINT))

    seen = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


def test_a_simulation_struck_while_it_hands_out_work_leaves_the_pool_usable():
    p = qpsim.random_problem("mild", 10, rng=0)
    options = {"n_steps": 20, "n_replicates": 1000, "rng": 1}
    with Struck(2) as pool:
        with pytest.raises(KeyboardInterrupt):
            qpsim.simulate(p, "sgd", workers=pool, **options)
        again = qpsim.simulate(p, "sgd", workers=pool, **options)
    alone = qpsim.simulate(p, "sgd", workers=1, **options)
    assert np.array_equal(again.excess_loss, alone.excess_loss)


def test_threads_struck_while_they_are_called_are_done_when_the_interrupt_is_raised(monkeypatch):
    def task(number):
        time.sleep(0.01)
        done.append(number)

    done = []
    with Struck(3) as pool:
        monkeypatch.setattr(threads, "_threads", lambda: pool)
        with pytest.raises(KeyboardInterrupt):
            threads.for_each(task, 12, workers=4)
        assert sorted(done) == list(range(12))


def test_threads_struck_while_the_caller_waits_for_them_are_done_as_well():
    def task(number):
        if threading.current_thread() is threading.main_thread():
            begun.wait(10)
            return
        begun.set()
        time.sleep(0.1)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.1)
        done.append(number)

    done, begun = [], threading.Event()
    with pytest.raises(KeyboardInterrupt):
        threads.for_each(task, 2, workers=2)
    assert len(done) == 1


class Noting(ThreadPoolExecutor):
    """An interrupt arrives when the second task is queued and its future not yet handed over."""

    def __init__(self, workers):
        super().__init__(workers)
        self.futures = []

    def submit(self, *arguments, **more):
        self.futures.append(super().submit(*arguments, **more))
        if len(self.futures) == 2:
            signal.raise_signal(signal.SIGINT)
        return self.futures[-1]


def test_a_tuning_struck_while_it_hands_out_work_leaves_nothing_in_the_queue(tmp_path):
    free = threading.Event()
    with Noting(1) as pool:
        ThreadPoolExecutor.submit(pool, free.wait)
        try:
            with pytest.raises(KeyboardInterrupt):
                tuning.tune(nn.task("digits-mlp"), ["adam", "m-sgd"], workers=pool, cache=tmp_path)
            assert [future.cancelled() for future in pool.futures] == [True, True]
        finally:
            free.set()
