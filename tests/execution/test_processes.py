"""Worker processes: they end with their parent, ignore Ctrl-C, and start or give an error."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qpsim.errors import ExecutionError, WorkerLost
from qpsim.execution import processes as room
from qpsim.execution.processes import processes
from qpsim.execution.stopping import stop_requested

ROOT = Path(__file__).parents[2]


def pid(number):
    return os.getpid()


def die(number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def wait_for_the_end(path):
    Path(path).write_text("begun")
    while not stop_requested():
        time.sleep(0.01)
    Path(path).write_text("in order")


def wait_for_ever(path):
    Path(path).write_text("begun")
    time.sleep(600)


def numbered(count):
    return ((k, (k,)) for k in range(count))


def test_tasks_run_in_other_processes_that_end_with_the_block():
    with processes(2) as pool:
        with pool.run(pid, numbered(6)) as results:
            pids = set(results.in_order())
        assert os.getpid() not in pids and 1 <= len(pids) <= 2
    assert not multiprocessing.active_children()


def test_workers_that_are_still_starting_end_quietly():
    """They would find their parent gone, and print a traceback."""
    with pytest.raises(KeyboardInterrupt), processes(1) as pool:
        pool.submit(pid, 0)
        raise KeyboardInterrupt
    for worker in pool._context.made:
        worker.join(30.0)
    assert [worker.exitcode for worker in pool._context.made] == [-signal.SIGTERM]


def test_one_worker_may_be_this_process():
    with processes(1, thread_if_one=True) as pool, pool.run(pid, numbered(2)) as results:
        assert set(results.in_order()) == {os.getpid()}


def test_a_dead_worker_costs_a_repetition_and_the_task_that_kills_it_fails():
    with processes(2) as pool, pool.run(die, numbered(5)) as results:
        found = dict(results)
    assert {k: f.result() for k, f in found.items() if k != 1} == {0: 0, 2: 2, 3: 3, 4: 4}
    assert isinstance(found[1].exception(), WorkerLost)


@pytest.mark.parametrize(
    ("task", "stop_seconds", "left"),
    [(wait_for_the_end, 30.0, "in order"), (wait_for_ever, 0.2, "begun")],
)
def test_an_interrupted_run_waits_for_its_workers_as_long_as_it_is_patient(
    tmp_path, task, stop_seconds, left
):
    path = tmp_path / "note"
    with pytest.raises(KeyboardInterrupt), processes(2, stop_seconds) as pool:
        with pool.run(task, [(0, (str(path),))]) as results:
            results._fill()
            deadline = time.monotonic() + 60
            while not path.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            raise KeyboardInterrupt
    assert path.read_text() == left
    deadline = time.monotonic() + 20
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not multiprocessing.active_children()


def run_program(text, *, stdin=False, tmp_path=None):
    if stdin:
        command, given = [sys.executable, "-"], text
    else:
        path = tmp_path / "program.py"
        path.write_text(text)
        command, given = [sys.executable, str(path)], None
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, input=given, capture_output=True, text=True, timeout=120, env=environment
    )


UNGUARDED = """
import sys
from pathlib import Path
from qpsim.errors import QpsimError
{imports}
try:
    {call}
except QpsimError as error:
    print("refused:", error)
"""
CALLS = {
    "a sweep": (
        "from qpsim.sweep import Sweep, run",
        'run(Sweep({"dim": 3}, {"rng": [0, 1]}), STORE, executor="processes", workers=2)',
    ),
    "a tuning": (
        "import dataclasses; from qpsim import nn, tuning",
        'tuning.tune(nn.task("digits-whitened"), "sgd", workers=2, cache=STORE)',
    ),
    "a pool": (
        "from qpsim.execution.processes import processes",
        "exec('with processes(2) as p, p.run(abs, [(0, (1,))]) as r: list(r)')",
    ),
}


@pytest.mark.parametrize(
    ("what", "stdin"),
    [
        ("a pool", False),
        ("a pool", True),
        # What refuses is the pool; these use it.
        *(
            pytest.param(what, stdin, marks=pytest.mark.long)
            for what in ("a sweep", "a tuning")
            for stdin in (False, True)
        ),
    ],
)
def test_a_program_that_workers_cannot_import_is_told_so_in_one_sentence(tmp_path, what, stdin):
    imports, call = CALLS[what]
    call = call.replace("STORE", repr(str(tmp_path / "store")))
    text = UNGUARDED.format(imports=imports, call=call)
    run = run_program(text, stdin=stdin, tmp_path=tmp_path)
    assert run.returncode == 0 and run.stderr == ""
    assert run.stdout.startswith("refused: Worker processes ")
    assert ("standard input" if stdin else "__main__") in run.stdout
    assert run.stdout.count("\n") == 1
    assert not list(tmp_path.glob("store/failed/*"))


HIRING = """
import sys, time
from qpsim.execution.processes import processes
if __name__ == "__main__":
    print("ready", flush=True)
    try:
        with processes(2, 5.0) as pool, pool.run(time.sleep, [(k, (60,)) for k in range(9)]) as r:
            list(r)
    except KeyboardInterrupt:
        print("stopped", flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="a terminal's Ctrl-C goes to a group")
@pytest.mark.parametrize(
    "delay",
    [0.0, *(pytest.param(delay, marks=pytest.mark.long) for delay in (0.05, 0.1, 0.2, 0.4))],
)
def test_ctrl_c_while_workers_start_leaves_no_traceback(tmp_path, delay):
    path = tmp_path / "program.py"
    path.write_text(HIRING)
    run = subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert run.stdout.readline() == "ready\n"
        time.sleep(delay)
        os.killpg(run.pid, signal.SIGINT)
        out, err = run.communicate(timeout=60)
    finally:
        run.kill()
    assert (out, err) == ("stopped\n", "")


TUNING = """
import sys
from qpsim import nn, tuning
if __name__ == "__main__":
    tuning.tune(nn.task("digits-mlp"), ["adam", "m-sgd"], workers=2, cache=sys.argv[1])
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers in /proc")
@pytest.mark.parametrize(
    "kind", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_workers_of_a_tuning_end_with_it(tmp_path, kind):
    path = tmp_path / "program.py"
    path.write_text(TUNING)
    run = subprocess.Popen(
        [sys.executable, str(path), str(tmp_path / "cells")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("cells/*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        workers = descendants(run.pid)
        assert len(workers) >= 2
        run.send_signal(kind)
        run.wait(20)
        deadline = time.monotonic() + 20
        while any(map(is_running, workers)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert not any(map(is_running, workers))
    finally:
        run.kill()


def descendants(pid):
    children = Path(f"/proc/{pid}/task").glob("*/children")
    found = [int(child) for path in children for child in path.read_text().split()]
    return found + [deeper for child in found for deeper in descendants(child)]


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_process_that_imports_the_program_may_not_start_workers(monkeypatch):
    current = multiprocessing.current_process()
    monkeypatch.setattr(current, "_inheriting", True, raising=False)
    with pytest.raises(ExecutionError, match="__main__"), processes(2):
        pass
    monkeypatch.setattr(current, "_config", dict(current._config))
    monkeypatch.setattr(current, "_name", f"{room._NAME}-1")
    with pytest.raises(SystemExit), processes(2):
        pass
