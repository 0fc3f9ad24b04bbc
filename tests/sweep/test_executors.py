"""Threads, processes and anybody's executor give the same bytes; a dead worker costs a repetition."""

import multiprocessing
import os
import signal
import socket
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor

import pytest

from qpsim.errors import SweepError
from qpsim.sweep import run
from qpsim.sweep.cell import work
from qpsim.sweep.executors import Crew, crew
from qpsim.sweep.progress import Progress
from tests.sweep.examples import data, small


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    store = tmp_path_factory.mktemp("expected") / "store"
    run(small(), store, progress=False, workers=1)
    return data(store)


def test_any_executor_gives_the_same_bytes(tmp_path, expected):
    run(small(), tmp_path / "threads", workers=3, progress=False)
    with ThreadPoolExecutor(2) as pool:
        run(small(), tmp_path / "pool", executor=pool, progress=False)
        assert pool.submit(int, 3).result() == 3
    assert data(tmp_path / "threads") == data(tmp_path / "pool") == expected


def test_processes_give_the_same_bytes_though_one_is_killed(tmp_path, expected):
    class Killer(Progress):
        killed = False

        def tick(self, failed):
            if not Killer.killed:
                Killer.killed = True
                os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    report = run(small(), tmp_path / "s", executor="processes", workers=2, progress=Killer)
    assert Killer.killed and report.failed == 0
    assert data(tmp_path / "s") == expected
    assert multiprocessing.active_children() == []


class Inline(Executor):
    """Runs at once; a poisonous cell breaks it, with all that was in flight."""

    def __init__(self, poison):
        self.poison, self.flying, self.broken = poison, [], False

    def submit(self, function, parameters, *args):
        if self.broken:
            raise BrokenExecutor("broken before")
        future = Future()
        self.flying.append((future, parameters, args))
        if len(self.flying) == 2 or parameters == self.poison or self.poison is None:
            self._land()
        return future

    def _land(self):
        self.broken = any(parameters == self.poison for _, parameters, _ in self.flying)
        for future, parameters, args in self.flying:
            if self.broken:
                future.set_exception(BrokenExecutor("a worker died"))
            else:
                future.set_result(work(parameters, *args))
        self.flying = []


def test_the_cell_that_kills_its_worker_fails_and_its_neighbours_do_not():
    cells = list(small())
    poison = cells[1].parameters

    class Alone(Inline):
        def submit(self, function, parameters, *args):
            future = super().submit(function, parameters, *args)
            if not future.done():
                self._land()
            return future

    hands = Crew("inline", Alone(poison), lambda: 2, lambda: Alone(poison))
    outcomes = dict(hands.completed(cells))
    failed = [cell for cell, outcome in outcomes.items() if outcome.content is None]
    assert len(outcomes) == 6 and failed == [cells[1]]
    assert outcomes[cells[1]].failure["error"].startswith("WorkerLost")


def test_an_executor_of_the_callers_that_breaks_is_named(tmp_path):
    poison = next(iter(small())).parameters
    with pytest.raises(SweepError, match="workers died"):
        run(small(), tmp_path / "s", executor=Inline(poison), progress=False)


def test_few_cells_are_in_flight():
    submitted = []

    class Counting(Inline):
        def submit(self, function, parameters, *args):
            submitted.append(parameters)
            return super().submit(function, parameters, *args)

    hands = Crew("inline", Counting(None), lambda: 2)
    finished = hands.completed(iter(small(20)))
    for count in range(1, 6):
        next(finished)
        assert len(submitted) <= count + 2
    finished.close()


@pytest.mark.parametrize(
    ("executor", "workers", "message"),
    [
        ("thread", None, "did you mean 'threads'"),
        (3, None, "Unknown executor 3"),
        ("threads", 0, "workers must be a whole number"),
        ("threads", True, "workers must be a whole number"),
        ("dask://", None, "dask://HOST:PORT"),
        ("dask://host", None, "dask://HOST:PORT"),
        ("dask://host:port", None, "dask://HOST:PORT"),
        ("dask://host:70000", None, "dask://HOST:PORT"),
    ],
)
def test_bad_executors_are_refused(executor, workers, message):
    pytest.importorskip("distributed")
    with pytest.raises(SweepError, match=message), crew(executor, workers):
        pass


def test_a_closed_port_is_one_line_soon():
    pytest.importorskip("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    with (
        pytest.raises(SweepError, match=f"No Dask scheduler answers at dask://127.0.0.1:{port}"),
        crew(f"dask://127.0.0.1:{port}"),
    ):
        pass
    assert time.monotonic() - began < 10


def test_missing_dask_is_answered_with_the_command_that_adds_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(SweepError, match=r'pip install "qpsim\[dask\]"'), crew("dask"):
        pass
