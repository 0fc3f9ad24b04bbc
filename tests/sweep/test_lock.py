"""One sweep at a time on a store; other files with the lock's name are not changed."""

import errno
import fcntl
import json
import os

import pytest

from qpsim.errors import FileError, StoreWarning, SweepError
from qpsim.sweep.lock import only_one


def test_a_lock_names_its_holder(tmp_path):
    with only_one(tmp_path) as locked:
        assert locked
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
        with pytest.raises(SweepError, match=rf"\(process {os.getpid()} on .*\) is at work"):
            with only_one(tmp_path):
                pass
    with only_one(tmp_path) as locked:
        assert locked


@pytest.mark.parametrize("target", ["precious", "/dev/null", "nowhere"])
def test_a_link_is_not_followed(tmp_path, target):
    (tmp_path / "precious").write_text("years")
    os.symlink(target, tmp_path / "lock")
    with pytest.raises(FileError, match="lock is a symbolic link"), only_one(tmp_path):
        pass
    assert (tmp_path / "precious").read_text() == "years"
    assert sorted(os.listdir(tmp_path)) == ["lock", "precious"]


def test_a_second_name_of_another_file_is_not_written_to(tmp_path):
    (tmp_path / "precious").write_text("years")
    os.link(tmp_path / "precious", tmp_path / "lock")
    with only_one(tmp_path) as locked:
        assert locked
    assert (tmp_path / "precious").read_text() == "years"


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(FileError, match="lock is a pipe"), only_one(tmp_path):
        pass


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_is_told_of_and_used(tmp_path, monkeypatch, code):
    def refuse(handle, operation):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.warns(StoreWarning, match=f"has no locks .{os.strerror(code)}") as told:
        with only_one(tmp_path) as locked:
            assert not locked
    assert len(told) == 1


def test_a_disk_that_fails_is_no_busy_store(tmp_path, monkeypatch):
    def fail(handle, operation):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(FileError, match=r"Cannot lock .*lock: Input/output error"):
        with only_one(tmp_path):
            pass
