"""Pools: results as tasks finish, few tasks at a time, replacement of dead workers, no leftovers."""

import threading
import time
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)

import pytest

from qpsim.errors import ExecutionError, ForeignWorker, WorkerLost
from qpsim.execution import stopping
from qpsim.execution.pool import WorkerPool, in_this_thread, of_executor, threads
from qpsim.execution.stopping import stop_requested


def double(number):
    return 2 * number


def numbered(count):
    return ((k, (k,)) for k in range(count))


@pytest.mark.parametrize("workers", [1, 3, None])
def test_every_task_comes_back_with_its_key(workers):
    with threads(workers) as pool, pool.run(double, numbered(50)) as results:
        found = {key: future.result() for key, future in results}
    assert found == {k: 2 * k for k in range(50)}


def test_results_can_be_had_in_the_order_of_the_tasks():
    def slow_at_first(number):
        time.sleep(0.02 if number == 0 else 0.0)
        return number

    with threads(3) as pool, pool.run(slow_at_first, numbered(20)) as results:
        assert list(results.in_order()) == list(range(20))


def test_in_this_thread_a_task_runs_when_its_result_is_asked_for():
    begun = []
    with in_this_thread().run(begun.append, numbered(4)) as results:
        for key, _ in results:
            assert begun == list(range(key + 1))


def test_few_tasks_are_drawn_ahead():
    drawn = []

    def tasks():
        for k in range(100):
            drawn.append(k)
            yield k, (k,)

    with threads(2) as pool, pool.run(double, tasks()) as results:
        for seen, _ in enumerate(results):
            assert len(drawn) <= seen + 1 + 8


def test_tasks_may_be_added_on_the_way():
    with threads(2) as pool, pool.run(double) as results:
        results.add(1, 1)
        found = []
        for key, future in results:
            found.append(future.result())
            if key < 100:
                results.add(future.result(), future.result())
    assert found == [2, 4, 8, 16, 32, 64, 128, 256]


def test_an_error_is_its_tasks_and_the_others_go_on():
    def invert(number):
        return 1 / number

    with threads(2) as pool, pool.run(invert, numbered(5)) as results:
        errors = {key: future.exception() for key, future in results}
    assert [key for key, error in errors.items() if error] == [0]
    with pytest.raises(ZeroDivisionError), threads(2) as pool:
        with pool.run(invert, numbered(5)) as results:
            list(results.in_order())


def test_tasks_under_way_learn_that_nobody_waits_and_the_others_never_begin():
    begun, gave_up = [], []

    def work(number):
        begun.append(number)
        while not stop_requested():
            time.sleep(0.001)
        gave_up.append(number)

    with ThreadPoolExecutor(2) as executor:
        with pytest.raises(KeyboardInterrupt), of_executor(executor).run(work, numbered(50)) as r:
            r._fill()
            while len(begun) < 2:
                time.sleep(0.001)
            raise KeyboardInterrupt
        assert sorted(gave_up) == sorted(begun) == [0, 1]
        assert executor.submit(stop_requested).result() is False
    assert not stopping._stopped


def test_a_task_that_has_started_tasks_stops_them_as_well():
    begun = threading.Event()

    def inner(number):
        begun.set()
        while not stop_requested():
            time.sleep(0.001)

    def outer(number):
        with threads(1) as pool, pool.run(inner, numbered(1)) as results:
            for _ in results:
                return "the inner one has given up"

    with threads(1) as pool:
        run = pool.run(outer, numbered(1))
        run._fill()
        (future,) = run._submitted
        assert begun.wait(10)
        run.__exit__(None, None, None)
    assert future.result() == "the inner one has given up"


def test_of_two_runs_one_may_be_stopped():
    with threads(1) as pool, pool.run(stop_requested, [(0, ())]) as first:
        with pytest.raises(ZeroDivisionError), pool.run(time.sleep, [(0, (0.01,))]) as second:
            second._fill()
            1 / 0  # noqa: B018
        assert [future.result() for _, future in first] == [False]


class Mortal(Executor):
    """Its workers die of a poisonous task, with all that was in flight."""

    def __init__(self, poison, batch=3):
        self.poison, self.batch = poison, batch
        self.flying, self.broken = [], False

    def submit(self, function, *arguments):
        if self.broken:
            raise BrokenExecutor("broken before")
        future = Future()
        self.flying.append((future, function, arguments))
        if len(self.flying) >= self.batch:
            self.land()
        return future

    def land(self):
        self.broken = any(self.poison in arguments for *_, arguments in self.flying)
        for future, function, arguments in self.flying:
            if self.broken:
                future.set_exception(BrokenExecutor("a worker died"))
            else:
                future.set_result(function(*arguments))
        self.flying = []


class Renewed(WorkerPool):
    """Replaces its executor; what is alone in flight is landed when it is waited for."""

    def __init__(self, poison):
        super().__init__(Mortal(poison), 1)
        self.renewals = 0

    def replace_workers(self, error):
        self.renewals += 1
        self.executor = Mortal(self.executor.poison, batch=1)


def test_the_task_that_kills_its_worker_has_failed_and_its_neighbours_have_not():
    pool = Renewed("poison")
    tasks = [(k, ("poison" if k == 1 else str(k),)) for k in range(6)]
    with pool.run(str.upper, tasks) as results:
        found = dict(results)
    assert {k: f.result() for k, f in found.items() if k != 1} == {
        k: str(k) for k in (0, 2, 3, 4, 5)
    }
    assert isinstance(found[1].exception(), WorkerLost)
    assert pool.renewals == 2


def test_a_worker_that_died_while_idle_is_replaced():
    pool = Renewed("poison")
    pool.executor.broken = True
    with pool.run(double, numbered(3)) as results:
        assert list(results.in_order()) == [0, 2, 4]
    assert pool.renewals == 1


def test_workers_of_the_callers_that_died_are_named():
    pool = of_executor(Mortal(0))
    with pytest.raises(ExecutionError, match=r"workers died \(a worker died\); give a new one"):
        list(pool.run(double, numbered(3)))


@pytest.mark.parametrize("kind", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_an_executor_that_was_shut_down_is_refused(kind):
    executor = kind(1)
    executor.shutdown()
    with pytest.raises(ExecutionError, match="takes no more work"), threads(executor):
        pass


def test_an_executor_that_is_shut_down_meanwhile_is_named():
    with ThreadPoolExecutor(1) as executor:
        results = of_executor(executor).run(double, numbered(30))
        next(results)
        executor.shutdown(wait=True)
        with pytest.raises(ExecutionError, match="ThreadPoolExecutor takes no more work"):
            list(results)


def test_tasks_that_somebody_else_cancels_end_the_run():
    with ThreadPoolExecutor(1) as executor:
        gate = threading.Event()
        executor.submit(gate.wait)
        results = of_executor(executor).run(double, numbered(3))
        results._fill()
        threading.Timer(
            0.05, executor.shutdown, kwargs={"wait": False, "cancel_futures": True}
        ).start()
        with pytest.raises(ExecutionError, match="it was shut down"):
            next(results)
        gate.set()


def test_a_worker_that_runs_another_qpsim_is_refused_and_not_taken_for_a_failure():
    class Elsewhere(ThreadPoolExecutor):
        pass

    with Elsewhere(1) as executor:
        results = WorkerPool(executor, 1).run(double, numbered(1))
        results._expected = "0.0.1 f00"
        with pytest.raises(
            ForeignWorker, match=r"runs another qpsim, .*, whose numbers may differ"
        ):
            next(results)
