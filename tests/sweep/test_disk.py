"""A full or read-only disk: one error, no incomplete files, and the next run continues."""

import subprocess
from contextlib import contextmanager

import pytest

from qpsim.errors import FileError
from qpsim.sweep import Store, run
from tests.sweep.examples import data, small


@contextmanager
def mounted(place, size):
    """A file system of its own; skipped where we may not mount one."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
    try:
        allowed = subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        allowed = False
    if not allowed:
        pytest.skip("mounting needs privileges")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def remount(place, option):
    subprocess.run(["mount", "-o", f"remount,{option}", str(place)], check=True)


def test_a_full_disk_keeps_what_is_finished_and_goes_on_when_there_is_room(tmp_path):
    sweep = small(10)
    run(sweep, tmp_path / "expected", progress=False)
    place = tmp_path / "disk"
    with mounted(place, "64k"):
        with pytest.raises(FileError, match="No space left on device"):
            run(sweep, place / "store", progress=False)
        status = Store(place / "store").status()
        assert 0 < status.done < 20 and status.failed == 0
        assert Store(place / "store").damaged() == []
        assert not list(place.rglob("*.part"))
        remount(place, "size=4m")
        report = run(sweep, place / "store", progress=False)
        assert report.found == status.done
        assert data(place / "store") == data(tmp_path / "expected")


def test_a_read_only_folder_is_refused_before_any_cell_runs(tmp_path):
    place = tmp_path / "disk"
    with mounted(place, "4m"):
        run(small(), place / "store", progress=False)
        remount(place, "ro")
        try:
            before = data(place / "store")
            for store in ("store", "new"):
                with pytest.raises(FileError, match=f"{store}.*Read-only file system"):
                    run(small(), place / store, progress=False)
            assert data(place / "store") == before
            assert len(list(Store(place / "store").to_rows())) == 6
        finally:
            remount(place, "rw")


def test_a_disk_that_is_full_from_the_start_leaves_no_half_store(tmp_path, monkeypatch):
    import os

    def no_space(handle):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", no_space)
        with pytest.raises(FileError, match="No space left"):
            run(small(), tmp_path / "store", progress=False)
    assert not list((tmp_path / "store").rglob("*.part"))
    assert run(small(), tmp_path / "store", progress=False).computed == 6
