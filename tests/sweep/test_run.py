"""Running sweeps: failures are recorded and do not stop other cells; finished cells are kept."""

import json
import threading
import warnings

import pytest

from qpsim.errors import FileError, InfiniteVarianceWarning, SweepError
from qpsim.sweep import Cell, Store, Sweep, run
from qpsim.sweep import store as room
from tests.sweep.examples import data, small


@pytest.fixture
def faulty(monkeypatch):
    """Cells of sign descent fail as long as the switch is on."""
    switch = {"on": True}
    whole = Cell.run

    def run_or_fail(self):
        if switch["on"] and self.parameters["method"]["name"] == "ssd":
            raise RuntimeError("a wall of fire")
        return whole(self)

    monkeypatch.setattr(Cell, "run", run_or_fail)
    return switch


def test_a_failed_cell_does_not_stop_the_others(tmp_path, faulty):
    report = run(small(), tmp_path / "s", progress=False)
    assert (report.total, report.computed, report.failed) == (6, 3, 3)
    assert report.errors == ["RuntimeError: a wall of fire"]
    store = Store(tmp_path / "s")
    assert store.status() == (6, 3, 3, []) and store.status().left == 0
    failures = list(store.failures())
    assert len(failures) == 3 and "run_or_fail" in failures[0]["traceback"]
    assert failures[0]["parameters"]["method"] == {"name": "ssd"}


def test_failed_cells_wait_until_they_are_asked_for(tmp_path, faulty):
    run(small(), tmp_path / "s", progress=False)
    faulty["on"] = False
    report = run(small(), tmp_path / "s", progress=False)
    assert (report.computed, report.found, report.failed) == (0, 3, 3)
    report = run(small(), tmp_path / "s", progress=False, retry_failed=True)
    assert (report.computed, report.found, report.failed) == (3, 3, 0)
    run(small(), tmp_path / "other", progress=False)
    assert data(tmp_path / "s") == data(tmp_path / "other")
    assert list((tmp_path / "s" / "failed").iterdir()) == []


def test_a_damaged_failure_note_is_still_a_failure(tmp_path, faulty):
    run(small(), tmp_path / "s", progress=False)
    notes = sorted((tmp_path / "s" / "failed").iterdir())
    for note, content in zip(notes, (b"", b"[1]", b"\xff"), strict=True):
        note.write_bytes(content)
    assert [f["error"].endswith("is damaged") for f in Store(tmp_path / "s").failures()] == [
        True
    ] * 3
    assert run(small(), tmp_path / "s", progress=False).failed == 3


def test_the_log_says_where_every_cell_ran_and_for_how_long(tmp_path):
    run(small(), tmp_path / "s", progress=False)
    (log,) = (tmp_path / "s" / "runs").iterdir()
    first, *lines = map(json.loads, log.read_text().splitlines())
    assert first["executor"] == "threads" and "cpu" in first
    assert {line["id"] for line in lines} == small().ids
    assert all(line["ok"] and line["seconds"] > 0 for line in lines)


def test_a_full_disk_ends_the_run_with_what_is_finished_kept(tmp_path, monkeypatch):
    written = []
    whole = room.write_bytes

    def write_or_fail(path, content):
        # The specification and two cells find room.
        if len(written) == 3:
            raise FileError(f"Cannot write {path}: No space left on device.")
        written.append(path)
        return whole(path, content)

    monkeypatch.setattr(room, "write_bytes", write_or_fail)
    with pytest.raises(FileError, match="No space left"):
        run(small(), tmp_path / "s", progress=False)
    monkeypatch.undo()
    assert Store(tmp_path / "s").status() == (6, 2, 0, [])
    report = run(small(), tmp_path / "s", progress=False)
    assert (report.found, report.computed) == (2, 4)


def test_an_interrupt_ends_the_workers_and_frees_the_store(tmp_path):
    def interrupt(*counts):
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        run(small(), tmp_path / "s", progress=interrupt)
    assert threading.active_count() == before
    assert run(small(), tmp_path / "s", progress=False).failed == 0


def test_only_a_sweep_is_run(tmp_path):
    with pytest.raises(SweepError, match="not dict"):
        run({}, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_bar_says_how_many_have_failed(tmp_path, faulty, monkeypatch, capsys):
    monkeypatch.setattr("qpsim.execution.progress._MINUTE", 0.0)
    run(small(), tmp_path / "s", workers=1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    assert lines[-1].startswith("qpsim: sweep: 6/6, ") and lines[-1].endswith("  3 failed")
    run(small(), tmp_path / "s", workers=1, progress=False, retry_failed=True)
    assert capsys.readouterr().err == ""


def test_an_infinite_variance_is_said_once_for_each_method_of_a_sweep(tmp_path):
    fixed = {"spectrum": "mild", "dim": 4, "basis": "axis", "n_steps": 2, "n_replicates": 2}
    grid = {"method": ["sgd", "ssd"], "df": [1.5, 2.0, 4.0], "rng": [0, 1], "batch_size": [1, 2]}
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        sweep = Sweep({**fixed, "noise": "white"}, grid)
        assert not told
        report = run(sweep, tmp_path / "s", progress=False)
        assert len(Store(tmp_path / "s").sweep) == len(sweep)
    assert report.computed == len(sweep)
    assert [str(one.message).partition(":")[0] for one in told] == ["sgd's optimal step is 0"]
    assert told[0].category is InfiniteVarianceWarning and told[0].filename == __file__
