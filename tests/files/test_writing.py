"""Files are complete or absent, and unwritable places are found before the work."""

import errno
import json
import os
import time
from pathlib import Path

import pytest

from qpsim.errors import FileError
from qpsim.files import writing as files


def test_json_is_whole_or_not_there(tmp_path):
    place = files.write_json(tmp_path / "a.json", {"b": 1})
    assert json.loads(place.read_text()) == {"b": 1}
    with pytest.raises(ValueError, match="JSON"):
        files.write_json(tmp_path / "n.json", {"b": float("nan")})
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_files_have_the_users_permissions(tmp_path):
    place = files.write_json(tmp_path / "a.json", {})
    other = tmp_path / "b.json"
    other.write_text("{}")
    assert place.stat().st_mode == other.stat().st_mode


def test_a_folder_is_checked_before_the_work(tmp_path):
    folder = files.check_writable(tmp_path / "new" / "folder")
    assert folder.is_dir() and not list(folder.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="Cannot write to the folder"):
        files.check_writable(tmp_path / "file")
    with pytest.raises(FileError, match="Cannot write to the folder"):
        files.check_writable(Path(os.devnull) / "x")


def test_what_killed_runs_left_is_swept_up_when_it_is_old(tmp_path):
    old = tmp_path / ".a.npz.0123abcd.part"
    new = tmp_path / ".b.npz.0123abcd.part"
    others = [tmp_path / name for name in ("thesis.part", ".a.part", "a.npz")]
    for path in (old, new, *others):
        path.write_text("x")
        hours = 2 if path != new else 0
        os.utime(path, (time.time() - 3600 * hours,) * 2)
    files.check_writable(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([new, *others])


def test_a_name_as_long_as_the_system_allows(tmp_path):
    name = "é" * 125 + ".json"
    assert len(os.fsencode(name)) == 255
    place = files.write_json(tmp_path / name, {})
    assert json.loads(place.read_text()) == {}
    with pytest.raises(FileError, match="too long"):
        files.check_file(tmp_path / (name + "x"))


def test_no_folder_device_or_pipe_is_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "pipe", tmp_path / "folder", Path(os.devnull)):
        for use in (files.check_file, lambda place: files.write_bytes(place, b"x")):
            with pytest.raises(FileError, match=f"Cannot write {place}: it is a"):
                use(place)
    for nothing in ("", ".", "a\0b", None, 3):
        with pytest.raises(FileError):
            files.check_file(nothing)


def test_a_link_is_replaced_and_its_target_stays(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("precious")
    link.symlink_to(target)
    files.write_bytes(link, b"new")
    assert target.read_text() == "precious" and link.read_text() == "new"


def test_a_full_disk_leaves_the_old_file(tmp_path):
    place = files.write_bytes(tmp_path / "a", b"old")

    def write(stream):
        stream.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(FileError, match=f"Cannot write {place}: No space left on device"):
        files.write_atomically(place, write)
    assert place.read_bytes() == b"old" and list(tmp_path.iterdir()) == [place]
