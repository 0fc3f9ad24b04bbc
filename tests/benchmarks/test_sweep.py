"""What a sweep costs beside its simulations: overhead, status of many cells, memory."""

import os
import statistics
import subprocess
import sys
import time

import pytest

import qpsim
from qpsim.sweep import Store, Sweep, run
from qpsim.sweep.cell import _draw

pytestmark = pytest.mark.benchmark

# About 50 ms a cell on one core of 2020s hardware.
CELL = {"spectrum": "mild", "basis": 0.0, "dim": 100, "steps": 400, "method": "ssd"}


def bare(seeds):
    """CPU seconds of the same simulations through ``simulate`` alone."""
    began = time.process_time()
    for seed in seeds:
        problem = qpsim.random_problem("mild", 100, "axis", rng=seed)
        qpsim.simulate(problem, "ssd", n_steps=400, n_replicates=256, rng=0, workers=1, record=())
    return time.process_time() - began


def swept(seeds, store):
    """CPU seconds of all threads; waiting for the disk overlaps with the next cell."""
    _draw.cache_clear()
    began = time.process_time()
    run(Sweep(CELL, {"seed": seeds}), store, workers=1, progress=False)
    return time.process_time() - began


def test_overhead_of_a_sweep_over_bare_simulations(tmp_path):
    bare([0])
    ratios = []
    for turn in range(5):
        seeds = list(range(40 * turn, 40 * turn + 40))
        seconds = bare(seeds)
        ratios.append(swept(seeds, tmp_path / str(turn)) / seconds)
    print(f"\n{1e3 * seconds / 40:.0f} ms a cell; sweep / bare: {sorted(ratios)}")
    assert statistics.median(ratios) < 1.05


def many(folder, count):
    """A finished store of many cells, without simulating each: sealed files of real content."""
    sweep = Sweep({**CELL, "steps": 2, "replicates": 2, "dim": 2}, {"seed": list(range(count))})
    return run(sweep, folder, workers=2, progress=False).store


def test_status_of_ten_thousand_cells(tmp_path):
    many(tmp_path / "store", 10_000)
    command = [sys.executable, "-m", "qpsim", "sweep", "status", str(tmp_path / "store")]
    times = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, cwd=os.getcwd())
        times.append(time.perf_counter() - began)
    print(f"\nstatus: {times} s; {done.stdout.strip()}")
    assert done.stdout.startswith("10000/10000 cells done")
    assert statistics.median(times) < 2.0
    assert Store(tmp_path / "store").status().left == 0


CODE = """
import sys
from qpsim.bench.memory import own_peak_bytes
from qpsim.sweep import Sweep, run
fixed = {"spectrum": "mild", "basis": 0.0, "dim": 2, "steps": 2, "replicates": 2}
run(Sweep(fixed, {"seed": list(range(int(sys.argv[1])))}), sys.argv[2], workers=2, progress=False)
print(own_peak_bytes() / 2**20)
"""


def test_memory_does_not_grow_with_the_results(tmp_path):
    peaks = []
    for count in (100, 10_000):
        command = [sys.executable, "-c", CODE, str(count), str(tmp_path / str(count))]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(float(done.stdout))
    print(f"\npeak of 100 cells {peaks[0]:.0f} MB, of 10000 {peaks[1]:.0f} MB")
    # A cell's file has 2 kB here and its name and bookkeeping well below 1 kB.
    assert peaks[1] - peaks[0] < 10.0
