"""The protocol of Section A.2, its cache, and the same numbers wherever the cells run."""

import dataclasses
import json
import math
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import qpsim
from qpsim.errors import DataError, ExecutionError, MethodError, TrainingError
from qpsim.files.archive import read_arrays
from qpsim.nn import cells
from qpsim.nn.cells import Cell, run_cell
from qpsim.nn.data import Dataset, Split
from qpsim.nn.run import History, Run
from qpsim.nn.tasks import NetworkSpec, Task
from qpsim.tuning.networks import Protocol, tune

BLOBS = Task(
    name="blobs",
    network=NetworkSpec("mlp", (("hidden", ()), ("weight", "glorot_normal"))),
    batch_size=8,
    n_steps=20,
    evaluate_every=5,
)
FEW = Protocol(orders=1, n_replicates=3)


def _blobs():
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=120)
    points = rng.standard_normal((120, 2)) + 3.0 * labels[:, None]
    split = Split(points.astype(np.float32), labels)
    return Dataset("blobs", split, split, 2)


DATA = {"blobs": _blobs()}


def tuned(methods="m-sgd", protocol=FEW, task=BLOBS, cache=None, workers=1):
    return tune(task, methods, protocol, data=DATA, workers=workers, cache=cache)


def _play(stable_up_to, best, monkeypatch, protocol, cache, learns_from=1e-7, **changes):
    """Tune with made-up runs: stable up to a step size, best at another; what was asked for."""
    asked = []

    def fake(cell, stop=None):
        step = cell.run.step_size
        asked.append((step, cell.run.seed))
        if step > stable_up_to:
            return History([1.0, math.inf], [0.5, 0.5], [0], [1.0], [0.5], diverged_at=2)
        if step < learns_from:
            return History([1.0, 1.0], [0.5] * 2, [0, 2], [1.0, 1.0], [0.5, 0.5])
        distance = abs(math.log10(step / best))
        return History(
            [1.0, 0.05 * distance], [0.5] * 2, [0, 2], [1.0, 0.5], [0.5, 0.9 - distance / 20]
        )

    monkeypatch.setattr("qpsim.tuning.searches.run_cell", fake)
    (found,) = tuned("adam", protocol, dataclasses.replace(BLOBS, **changes), cache)
    return found, asked


@pytest.mark.parametrize("criterion", ["training-loss", "test-accuracy"])
def test_all_orders_are_tried_and_then_the_grid_around_the_best(criterion, monkeypatch, tmp_path):
    found, asked = _play(0.7, 0.0006, monkeypatch, Protocol(), tmp_path, criterion=criterion)
    assert [step for step, _ in asked[:5]] == [0.1, 1.0, 10.0, 0.3, 0.6]
    steps = [point.step_size for point in found.grid]
    whole = [0.1, 0.01, 0.001, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10]
    assert set(whole) < set(steps)
    assert set(steps) - set(whole) - {0.6, 0.3} == {0.003, 0.0006, 0.0003}
    assert steps == sorted(steps, reverse=True)
    assert (found.best.step_size, found.unstable, found.at_edge) == (0.0006, 1.0, None)
    assert found.interval == (0.0003, 0.001)
    assert asked[-10:] == [(0.0006, seed) for seed in range(1, 11)]
    # Nothing is run twice.
    assert len(set(asked)) == len(asked) == len(steps) + 2 + 10
    assert all(seed == 0 for _, seed in asked[:-10])


def test_the_papers_protocol_goes_two_orders_down(monkeypatch, tmp_path):
    found, _ = _play(0.7, 0.06, monkeypatch, Protocol(orders=2), tmp_path)
    assert [p.step_size for p in found.grid] == [0.6, 0.3, 0.1, 0.06, 0.03, 0.01, 0.006]
    found, _ = _play(0.7, 1e-5, monkeypatch, Protocol(orders=2), tmp_path / "other")
    assert (found.best.step_size, found.at_edge) == (0.006, "smallest tried")


def test_the_search_goes_down_where_the_first_is_unstable(monkeypatch, tmp_path):
    found, asked = _play(0.002, 0.0003, monkeypatch, Protocol(orders=1), tmp_path)
    assert [step for step, _ in asked[:4]] == [0.1, 0.01, 0.001, 0.003]
    assert [p.step_size for p in found.grid] == [0.001, 0.0006, 0.0003, 0.0001]
    assert found.best.step_size == 0.0003 and found.unstable == 0.003


@pytest.mark.parametrize("best", [3e-12, 1e-9, 6e5, 1e11])
def test_a_best_step_of_any_size_is_found(best, monkeypatch, tmp_path):
    found, _ = _play(10 * best, best, monkeypatch, Protocol(), tmp_path, learns_from=best / 100)
    assert found.best.step_size == best and found.at_edge is None


def test_several_seeds_at_every_grid_point(monkeypatch, tmp_path):
    found, asked = _play(0.1, 0.1, monkeypatch, Protocol(0, 3, 2, seed=5), tmp_path)
    tries = [(step, seed) for step in (0.1, 0.3, 1.0, 10.0) for seed in (5, 6, 7)]
    assert sorted(asked) == sorted([*tries, (0.1, 8), (0.1, 9)])
    assert len(found.grid) == 1 and len(found.best.scores) == 3


def test_the_interval_holds_what_other_seeds_would_choose(monkeypatch, tmp_path):
    best = {0: 0.1, 1: 0.001, 2: 0.001}

    def fake(cell, stop=None):
        distance = abs(math.log10(cell.run.step_size / best.get(cell.run.seed, 0.01)))
        lost = min(distance * (1.1 if cell.run.seed else 1.0), 1.0)
        loss = [1.0, math.inf] if cell.run.step_size > 1 else [lost, lost]
        return History(loss, [0.5] * 2, [0, 2], [1.0, 0.5], [0.5, 0.5], 2 if loss[1] > 2 else None)

    monkeypatch.setattr("qpsim.tuning.searches.run_cell", fake)
    (found,) = tuned("adam", Protocol(tuning_seeds=3, n_replicates=1), cache=tmp_path)
    assert found.best.step_size == 0.001
    assert found.interval == (0.0006, 0.3)


def test_nothing_is_stable(monkeypatch, tmp_path):
    with pytest.raises(TrainingError, match="adam is stable on blobs at no step size from 1e-12"):
        _play(0.0, 1.0, monkeypatch, Protocol(), tmp_path)


def test_everything_is_stable(monkeypatch, tmp_path):
    found, _ = _play(math.inf, 1e4, monkeypatch, Protocol(), tmp_path)
    assert found.unstable is None and found.grid[0].step_size == 1e12
    found, _ = _play(math.inf, 1e13, monkeypatch, Protocol(), tmp_path / "other")
    assert found.at_edge == "largest stable"


def test_a_real_search_chooses_the_lowest_mean_loss(tmp_path):
    (found,) = tuned(protocol=Protocol(n_replicates=2), cache=tmp_path)
    assert found.best.score == min(point.score for point in found.grid)
    runs = [
        run_cell(
            Cell(Run(BLOBS, found.method, found.best.step_size, seed), DATA["blobs"], "", None)
        )
        for seed in (1, 2)
    ]
    np.testing.assert_array_equal(found.mean_loss, [run.mean_loss for run in runs])
    np.testing.assert_array_equal(found.test_accuracy, [run.test_accuracy[-1] for run in runs])
    summary = found.summary()
    json.dumps(summary, allow_nan=False)
    assert summary["mean_training_loss"]["mean"] == pytest.approx(found.mean_loss.mean())
    assert summary["mean_training_loss"]["std"] == pytest.approx(found.mean_loss.std(ddof=1))


def test_finished_cells_are_never_run_again(tmp_path, monkeypatch):
    first = tuned(["m-sgd", "adam"], cache=tmp_path)
    monkeypatch.setattr(cells, "train", lambda *a, **k: pytest.fail("a finished cell was run"))
    second = tuned(["m-sgd", "adam"], cache=tmp_path)
    assert [one.summary() for one in first] == [one.summary() for one in second]
    assert not list(tmp_path.glob("*.part.npz"))


def test_a_damaged_cell_is_made_again(tmp_path):
    (first,) = tuned(cache=tmp_path)
    files = sorted(tmp_path.iterdir())
    for path in files:
        path.write_bytes(path.read_bytes()[:100])
    (second,) = tuned(cache=tmp_path)
    assert first.summary() == second.summary()
    assert sorted(tmp_path.iterdir()) == files


def test_an_interrupted_cell_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    run = Run(BLOBS, qpsim.method("adam"), 0.1)
    whole = run_cell(Cell(run, DATA["blobs"], "key", None))
    cell = Cell(run, DATA["blobs"], "key", tmp_path)
    asked = []
    with pytest.raises(KeyboardInterrupt):
        run_cell(cell, lambda: asked.append(True) or len(asked) == 12)
    (partial,) = tmp_path.iterdir()
    steps = []
    advance = cells.train.__globals__["Loop"].advance
    monkeypatch.setattr(
        cells.train.__globals__["Loop"], "advance", lambda loop: steps.append(1) or advance(loop)
    )
    assert vars(run_cell(cell)) == vars(whole)
    assert len(steps) == 20 - 12
    assert [path.name for path in tmp_path.iterdir()] == [f"{cell.key}.npz"] != [partial.name]


def test_a_damaged_checkpoint_costs_the_cell_from_its_start(tmp_path):
    cell = Cell(Run(BLOBS, qpsim.method("adam"), 0.1), DATA["blobs"], "key", tmp_path)
    (tmp_path / f"{cell.key}.part.npz").write_bytes(b"PK nonsense")
    whole = run_cell(dataclasses.replace(cell, folder=None))
    assert vars(run_cell(cell)) == vars(whole)


def test_a_cells_key_knows_everything_that_decides_its_numbers(monkeypatch):
    run = Run(BLOBS, qpsim.method("adam"), 0.1)
    one = Cell(run, DATA["blobs"], DATA["blobs"].fingerprint(), None)
    others = [
        dataclasses.replace(one, run=dataclasses.replace(run, step_size=0.2)),
        dataclasses.replace(one, run=dataclasses.replace(run, rng=1)),
        dataclasses.replace(one, run=dataclasses.replace(run, method=qpsim.method("adam", b1=0.8))),
        dataclasses.replace(
            one, run=dataclasses.replace(run, task=dataclasses.replace(BLOBS, l2=0.1))
        ),
        dataclasses.replace(one, data_key="other"),
    ]
    assert len({cell.key for cell in [one, *others]}) == 6
    assert dataclasses.replace(one).key == one.key
    before = one.key
    monkeypatch.setattr(cells, "source_fingerprint", lambda *rooms: "edited")
    assert one.key != before


def test_processes_give_the_same_numbers(tmp_path):
    alone = tuned(["m-sgd", "adam"], cache=tmp_path / "one")
    beside = tuned(["m-sgd", "adam"], cache=tmp_path / "two", workers=2)
    assert [one.summary() for one in alone] == [one.summary() for one in beside]


def test_an_error_in_a_worker_is_the_callers(tmp_path):
    # More examples in a batch than there are: only the data can tell.
    greedy = dataclasses.replace(BLOBS, batch_size=500)
    with pytest.raises(DataError, match="batch size is 500"):
        tuned(task=greedy, cache=tmp_path, workers=2)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Protocol(orders=-1), TrainingError, "orders must be a whole number"),
        (lambda: Protocol(n_replicates=0), TrainingError, "n_replicates must be"),
        (lambda: Protocol(tuning_seeds=1.5), TrainingError, "tuning_seeds must be"),
        (lambda: Protocol(seed=True), TrainingError, "seed must be"),
        (lambda: Protocol(first=0.0), TrainingError, "first must be a number in"),
        (lambda: tuned("adma"), MethodError, "did you mean 'adam'"),
        (lambda: tuned("svag"), MethodError, "exact relative variance"),
        (lambda: tuned([]), TrainingError, "at least one task and one method"),
        (lambda: tuned(task="blobs"), TrainingError, r"task must be a Task, .* not 'blobs'"),
        (lambda: tuned(task=3), TrainingError, "task must be a Task, .* not 3"),
        (lambda: tuned(workers=0), ExecutionError, "workers must be a whole number"),
    ],
)
def test_what_makes_no_sense_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_ctrl_c_stops_the_workers_and_keeps_what_is_finished(tmp_path):
    command = [sys.executable, "-m", "qpsim", "tune", "digits-mlp", "--method", "adam", "--steps", "20000",
               "--workers", "2", "--cache", str(tmp_path / "cells"), "--out", str(tmp_path)]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("cells/*.part.npz")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert out == "" and "Traceback" not in err
    assert time.monotonic() - began < 20
    left = list((tmp_path / "cells").iterdir())
    assert left and all(path.name.endswith(".part.npz") for path in left)
    for path in left:
        header, _ = read_arrays(path, "training checkpoint")
        assert header["t"] > 0
