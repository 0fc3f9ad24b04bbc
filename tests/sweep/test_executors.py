"""Threads, processes and other executors give the same bytes, also after a worker has died."""

import multiprocessing
import os
import signal
import socket
import sys
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from qpsim.errors import ExecutionError
from qpsim.execution.pool import WorkerPool
from qpsim.sweep import Store, run
from qpsim.sweep.executors import worker_pool
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
    killed = []

    def kill(done, failed, total):
        if not killed:
            killed.append(multiprocessing.active_children()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    report = run(small(), tmp_path / "s", executor="processes", workers=2, progress=kill)
    assert killed and report.failed == 0
    assert data(tmp_path / "s") == expected
    assert multiprocessing.active_children() == []


class Poisoned(Executor):
    """Runs at once; one cell breaks it."""

    def __init__(self, poison):
        self.poison, self.broken = poison, False

    def submit(self, function, *arguments):
        future = Future()
        self.broken = self.broken or self.poison in arguments
        if self.broken:
            future.set_exception(BrokenExecutor("a worker died"))
        else:
            future.set_result(function(*arguments))
        return future


def test_the_cell_that_kills_its_worker_fails_and_its_neighbours_do_not(tmp_path, monkeypatch):
    poison = list(small())[1]

    class Renewed(WorkerPool):
        def replace_workers(self, error):
            self.executor = Poisoned(poison.parameters)

    @contextmanager
    def worker_pool(executor, workers):
        yield Renewed(Poisoned(poison.parameters), 1)

    monkeypatch.setattr(sys.modules["qpsim.sweep.run"], "worker_pool", worker_pool)
    report = run(small(), tmp_path / "s", progress=False)
    assert (report.computed, report.failed) == (5, 1)
    (failure,) = Store(tmp_path / "s").failures()
    assert failure["id"] == poison.id and failure["error"].startswith("WorkerLost")


def test_an_executor_of_the_callers_that_breaks_is_named(tmp_path):
    poison = next(iter(small())).parameters
    with pytest.raises(ExecutionError, match="workers died"):
        run(small(), tmp_path / "s", executor=Poisoned(poison), progress=False)


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
    with pytest.raises(ExecutionError, match=message), worker_pool(executor, workers):
        pass


def test_a_closed_port_is_one_line_soon():
    pytest.importorskip("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    with (
        pytest.raises(
            ExecutionError, match=f"No Dask scheduler answers at dask://127.0.0.1:{port}"
        ),
        worker_pool(f"dask://127.0.0.1:{port}"),
    ):
        pass
    assert time.monotonic() - began < 10


def test_missing_dask_is_answered_with_the_command_that_adds_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(ExecutionError, match=r'pip install "qpsim\[dask\]"'), worker_pool("dask"):
        pass
