"""A sweep that was killed at any moment and started again gives the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qpsim.sweep import Store, Sweep, run
from tests.sweep.examples import data

SPEC = """
[fixed]
spectrum = "mild"
dim = 60
basis = 0.0
n_steps = 150
n_replicates = 128
[grid]
noise_std = { log = [0.01, 10.0], n = 30 }
method = ["sgd", "ssd"]
"""
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    path = tmp_path_factory.mktemp("spec") / "sweep.toml"
    path.write_text(SPEC)
    return path


@pytest.fixture(scope="module")
def expected(spec):
    store = spec.parent / "expected"
    run(Sweep.from_toml(spec), store, progress=False)
    return data(store)


def start(spec, store, *options):
    command = [sys.executable, "-m", "qpsim", "sweep", str(spec), "--store", str(store), *options]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.002)


def count(store):
    return len(list((store / "cells").glob("*.npz"))) if (store / "cells").exists() else 0


def killed(spec, store, more_than, pause):
    """Start a sweep, kill it some time after it has written; whether the kill came in time."""
    sweep = start(spec, store, "--workers", "2")
    wait_for(lambda: written(store) > more_than or sweep.poll() is not None)
    time.sleep(pause if more_than >= 0 else 0.0)
    sweep.kill()
    sweep.communicate()
    return sweep.returncode == -signal.SIGKILL


def written(store):
    return count(store) if store.exists() else -1


def test_kills_at_random_moments_lose_and_repeat_nothing(spec, expected, tmp_path):
    store, rng, kills = tmp_path / "store", random.Random(3), 0
    while count(store) < 60 and kills < 4:
        before = count(store)
        # Some kills strike while the store is being made, most while cells are written.
        kills += killed(spec, store, before if kills else -1, rng.uniform(0.0, 0.15))
        assert count(store) >= before
    assert kills >= 3
    finished = {path: path.stat().st_mtime_ns for path in (store / "cells").glob("*.npz")}
    last = start(spec, store)
    assert last.wait(120) == 0, last.communicate()
    last.communicate()
    assert data(store) == expected
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert not list(store.rglob("*.part"))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers in /proc")
def test_worker_processes_end_with_a_killed_sweep(spec, expected, tmp_path):
    store = tmp_path / "store"
    sweep = start(spec, store, "--executor", "processes", "--workers", "2")
    wait_for(lambda: count(store) > 0)
    workers = descendants(sweep.pid)
    assert len(workers) >= 2
    sweep.kill()
    sweep.communicate()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), 20.0)
    run(Sweep.from_toml(spec), store, progress=False)
    assert data(store) == expected


def descendants(pid):
    children = Path(f"/proc/{pid}/task").glob("*/children")
    found = [int(child) for path in children for child in path.read_text().split()]
    return found + [deeper for child in found for deeper in descendants(child)]


def test_a_second_sweep_on_a_busy_store_is_refused_and_harms_nothing(spec, expected, tmp_path):
    store = tmp_path / "store"
    first = start(spec, store, "--workers", "1")
    wait_for(lambda: count(store) > 0)
    os.kill(first.pid, signal.SIGSTOP)
    try:
        second = start(spec, store)
        out, err = second.communicate(timeout=60)
        assert second.returncode == 2 and out == ""
        assert f"process {first.pid} on" in err and "is at work on the store" in err
        assert err.count("\n") == 1
        assert Store(store).status().total == 60
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert first.wait(120) == 0
    first.communicate()
    assert data(store) == expected


def test_control_c_is_one_line_and_the_store_goes_on(spec, expected, tmp_path):
    store = tmp_path / "store"
    sweep = start(spec, store, "--workers", "1")
    wait_for(lambda: count(store) > 0)
    sweep.send_signal(signal.SIGINT)
    _, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 130 and "Traceback" not in err
    run(Sweep.from_toml(spec), store, progress=False)
    assert data(store) == expected
