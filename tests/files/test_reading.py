"""Only regular files are read; pipes and devices are refused."""

import io
import os
import socket
import sys

import numpy as np
import pytest

import qpsim
from qpsim.errors import FileError, SpecError
from qpsim.files.arrays import read_array
from qpsim.files.reading import is_regular, read_bytes, read_toml


@pytest.fixture
def strange(tmp_path, monkeypatch):
    """Things that are no regular files, by what is said of them."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.npz")
    os.mkdir("folder.npz")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("socket.npz")
    with listening:
        yield {
            "pipe.npz": "a pipe or a device",
            "/dev/zero": "a pipe or a device",
            "folder.npz": "a folder",
            "socket.npz": "No such device",
            "gone.npz": "No such file",
            "a" * 300: "too long",
            "a\0b": "null",
        }


def test_only_regular_files_are_read(strange):
    for path, said in strange.items():
        assert not is_regular(path)
        with pytest.raises(FileError, match=f"(?s)^Cannot read .*{said}"):
            read_bytes(path)
        for read in (qpsim.load, read_toml):
            with pytest.raises(FileError):
                read(path)
    for path in ("pipe.npz", "folder.npz", "socket.npz", "gone.npz"):
        with pytest.raises(FileError, match=f"^H: cannot read {path}"):
            from pathlib import Path

            read_array("H", Path(path))


def test_a_file_among_the_folders_of_a_path_is_said(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError, match="a part of its path is a file, not a folder"):
        read_bytes(tmp_path / "file" / "more")


def test_a_file_without_a_name_is_not_read():
    with pytest.raises(FileError, match="The name of a file to read is empty"):
        read_bytes("")
    with pytest.raises(FileError, match="A file to read must be a path, not"):
        qpsim.load("")


def test_a_link_is_followed_only_where_a_user_may_have_put_it(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("gone")
    assert read_bytes(tmp_path / "link") == b"x"
    for name in ("link", "loop", "nowhere"):
        with pytest.raises(FileError, match="symbolic link"):
            read_bytes(tmp_path / name, follow_links=False)
    for name in ("loop", "nowhere"):
        with pytest.raises(FileError, match=name):
            read_bytes(tmp_path / name)


def test_toml_from_a_stream_without_bytes(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("a = 1"))
    assert read_toml("-") == {"a": 1}


@pytest.mark.parametrize("content", [b"a = 1" + b"0" * 5000, b"\xff\xfea", b"[" * 5000, b"a"])
def test_what_is_no_toml_is_said_in_one_line(tmp_path, content):
    (tmp_path / "bad.toml").write_bytes(content)
    with pytest.raises(SpecError, match=r"bad\.toml is not .*[.]$") as error:
        read_toml(tmp_path / "bad.toml")
    assert "\n" not in str(error.value)


def test_parquet_needs_numbers_without_gaps(tmp_path):
    import pandas

    frames = {
        "matrix": (pandas.DataFrame({"a": [1, 2], "b": [3.0, 4.0]}), [[1, 3], [2, 4]]),
        "column": (pandas.DataFrame({"a": [1, 2]}), [1, 2]),
        "row": (pandas.DataFrame({"a": [1], "b": [2]}), [1, 2]),
    }
    for name, (frame, values) in frames.items():
        frame.to_parquet(tmp_path / f"{name}.parquet")
        found = read_array("H", tmp_path / f"{name}.parquet")
        np.testing.assert_array_equal(found, values)
    pandas.DataFrame({"a": [True]}).to_parquet(tmp_path / "bool.parquet")
    pandas.DataFrame().to_parquet(tmp_path / "empty.parquet")
    with pytest.raises(SpecError, match=r"bool\.parquet column 1 must be .* not of type bool"):
        read_array("H", tmp_path / "bool.parquet")
    with pytest.raises(SpecError, match=r"empty\.parquet is empty"):
        read_array("H", tmp_path / "empty.parquet")
