"""A simulation continued from a checkpoint gives the same bits."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import qpsim
from qpsim.errors import FileError, SimulationError
from qpsim.files.archive import pack_arrays, unpack_arrays
from qpsim.simulation import block as blocks
from qpsim.simulation.checkpoint import Checkpoint, digest
from qpsim.simulation.plan import make_plan
from qpsim.simulation.run import run_plan

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch):
    """Blocks rest every few steps."""
    monkeypatch.setattr(blocks, "_LEAST_CHUNK", 2)
    monkeypatch.setattr(blocks, "_CHUNK_ELEMENTS", 1000)


def plan(basis=0.0, method="m-ssd", step_size=0.1, n_steps=60, n_replicates=150, rng=3, **options):
    problem = qpsim.random_problem("mild", 10, basis, 1.0, rng=0)
    return make_plan(problem, method, step_size, n_steps, n_replicates, rng=rng, **options)


def same(left, right):
    for name in ("excess_loss", "step_size", "moment_error", "theta"):
        one, two = getattr(left, name), getattr(right, name)
        assert (one is None) == (two is None)
        if one is not None:
            np.testing.assert_array_equal(one, two)


class Killed(BaseException):
    pass


class Stopping(Checkpoint):
    """Ends the run when blocks have rested some times, with the file as it is then."""

    left = 20

    def store(self, first, point):
        super().store(first, point)
        type(self).left -= 1
        if type(self).left == 0:
            raise Killed


CASES = [
    {},
    {"basis": 0.5},
    {"basis": 0.5, "method": "m-sgd"},
    {"basis": 0.5, "method": "adam", "record": {"theta": [0, 7, 33], "step_size": False}},
    {"method": "ssd", "step_size": "optimal", "record": {"theta": True, "step_size": True}},
    {"method": "sgd", "step_size": 5.0, "n_steps": 200},
    {"basis": 0.5, "method": "adam", "step_size": "optimal", "n_steps": 24, "n_replicates": 70},
    {"method": "m-svag-mb", "batch_size": 4},
]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore::qpsim.errors.DivergenceWarning")
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path, case):
    whole = run_plan(plan(**case), workers=1)
    path = tmp_path / "run.checkpoint"
    interruptions = 0
    while True:
        Stopping.left = 9
        try:
            result = run_plan(plan(**case), 1 + interruptions % 2, Stopping(path, 0.0))
            break
        except Killed:
            interruptions += 1
    assert interruptions >= 1
    same(result, whole)


def test_states_inside_a_block_are_kept_and_nothing_is_run_twice(tmp_path):
    path, it = tmp_path / "c", plan()
    Stopping.left = 4
    with pytest.raises(Killed):
        run_plan(it, 1, Stopping(path, 0.0))
    points = Checkpoint(path).open(plan())
    assert 0 < points[0].t < 60
    steps = []

    class Counting(Checkpoint):
        def store(self, first, point):
            steps.append((first, point.t))
            super().store(first, point)

    run_plan(plan(), 1, Counting(path, 0.0))
    assert min(t for first, t in steps if first == 0) > points[0].t
    steps.clear()
    same(run_plan(plan(), 1, Counting(path, 0.0)), run_plan(plan(), 1))
    assert steps == []


def test_the_file_is_written_no_more_often_than_asked(tmp_path):
    written = []

    class Writing(Checkpoint):
        def _write(self):
            written.append(1)
            super()._write()

    run_plan(plan(), 2, Writing(tmp_path / "c", 3600.0))
    assert len(written) == 1


def test_processes_keep_their_finished_blocks(tmp_path):
    import multiprocessing

    path = tmp_path / "c"
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        result = run_plan(plan(), pool, Checkpoint(path, 0.0))
        same(result, run_plan(plan(), 1))
        assert {point.t for point in Checkpoint(path).open(plan()).values()} == {60}
        same(run_plan(plan(), pool, Checkpoint(path, 0.0)), result)


def test_another_simulations_checkpoint_is_refused(tmp_path):
    path = tmp_path / "c"
    run_plan(plan(), 1, Checkpoint(path))
    for other in ({"rng": 4}, {"method": "ssd"}, {"n_steps": 61}, {"step_size": 0.2}):
        with pytest.raises(FileError, match="of another simulation"):
            run_plan(plan(**other), 1, Checkpoint(path))
        assert digest(plan(**other)) != digest(plan())
    assert digest(plan()) == digest(plan())


def test_damaged_and_forged_checkpoints_are_refused(tmp_path):
    path = tmp_path / "c"
    Stopping.left = 4
    with pytest.raises(Killed):
        run_plan(plan(), 1, Stopping(path, 0.0))
    content = path.read_bytes()
    header, arrays = unpack_arrays(content, path, "checkpoint")
    forged = [
        (header, {**arrays, "0.offset": arrays["0.offset"][:, :5]}),
        (header, {**arrays, "0.stream": arrays["0.stream"].astype(float)}),
        (header, {**arrays, "0.losses": arrays["0.losses"][:, :3]}),
        (header, {**arrays, "0.losses": np.zeros(())}),
        ({**header, "at": {"0": -1}}, arrays),
        ({**header, "at": {"0": 10**6}}, arrays),
        ({**header, "at": {"1": 3}}, arrays),
        ({**header, "at": {"x": 3}}, arrays),
        ({**header, "at": 3}, arrays),
        (header, {}),
    ]
    contents = [pack_arrays("checkpoint", h, a) for h, a in forged]
    for bad in [b"", content[:-1], content[:100] + b"\0" + content[101:], *contents]:
        path.write_bytes(bad)
        with pytest.raises(FileError, match=re.escape(str(path))):
            run_plan(plan(), 1, Checkpoint(path))


def test_a_checkpoint_that_cannot_be_written_does_not_end_the_run(tmp_path, monkeypatch):
    from qpsim.simulation import checkpoint

    def full(path, content):
        raise FileError(f"Cannot write {path}: No space left on device.")

    monkeypatch.setattr(checkpoint, "write_bytes", full)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        result = run_plan(plan(), 1, Checkpoint(tmp_path / "c"))
    assert "No space left on device. The simulation goes on." in str(told[0].message)
    same(result, run_plan(plan(), 1))


@pytest.mark.parametrize("every", [-1.0, float("nan"), float("inf"), True, "x", None])
def test_bad_intervals_are_refused(tmp_path, every):
    problem = qpsim.QuadraticProblem([1.0])
    with pytest.raises(SimulationError, match="checkpoint_every"):
        qpsim.simulate(problem, "sgd", checkpoint=tmp_path / "c", checkpoint_every=every)
    with pytest.raises(FileError, match="file"):
        (tmp_path / "file").write_text("")
        qpsim.simulate(problem, "sgd", checkpoint=tmp_path / "file" / "c")


SPEC = """
steps = 3000
replicates = 64
record = []
methods = ["ssd", {name = "adam", step_size = 0.1}]
[problem]
spectrum = "mild"
dim = 400
basis = "axis"
"""


def test_a_killed_command_goes_on_and_leaves_the_same_results(tmp_path):
    (tmp_path / "long.toml").write_text(SPEC)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "qpsim", "simulate", str(tmp_path / "long.toml")]
    command += ["--workers", "1", "--json", "--out"]
    killed = subprocess.Popen(
        [*command, str(out), "--checkpoint-every", "0"],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 60
    while not (out / "ssd.checkpoint").exists():
        assert time.monotonic() < end and killed.poll() is None
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    header, _ = unpack_arrays((out / "ssd.checkpoint").read_bytes(), "c", "checkpoint")
    assert 0 < header["at"]["0"]
    for place, options in ((out, ["--checkpoint-every", "1"]), (tmp_path / "other", [])):
        run = subprocess.run([*command, str(place), *options], cwd=ROOT, capture_output=True)
        assert run.returncode == 0, run.stderr
        assert set(json.loads(run.stdout)["methods"]) == {"ssd", "adam"}
    for name in ("ssd.npz", "adam.npz"):
        same(qpsim.load(out / name), qpsim.load(tmp_path / "other" / name))
    assert not list(out.glob("*.checkpoint"))


def test_checkpoints_need_a_folder(tmp_path):
    (tmp_path / "e.toml").write_text(SPEC)
    run = subprocess.run(
        [sys.executable, "-m", "qpsim", "simulate", tmp_path / "e.toml", "--checkpoint-every", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2 and "Checkpoints need a folder" in run.stderr
