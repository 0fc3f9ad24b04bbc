"""Reading files that may be anything: a pipe, a device, a link, a folder nobody may read."""

import gzip
import os
from pathlib import Path

import pytest

from qpsim.errors import DataError
from qpsim.nn.data.files import check_directory, find_file, read_file


def test_a_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"12345")
    assert read_file(path, 5) == b"12345"
    with pytest.raises(DataError, match="at most 4 bytes are expected"):
        read_file(path, 4)
    path.write_bytes(gzip.compress(bytes(10**6)))
    with pytest.raises(DataError, match="at most 999999 bytes are expected, unpacked"):
        read_file(path, 999_999)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_refused_and_does_not_block(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for name in ("pipe", "link"):
        with pytest.raises(DataError, match=f"Cannot read .*{name}: it is a pipe or a device"):
            read_file(tmp_path / name, 100)


def test_a_device_and_a_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"Cannot read /dev/zero: it is a pipe or a device"):
        read_file(Path("/dev/zero"), 100)
    with pytest.raises(DataError, match=r"it is a folder"):
        read_file(tmp_path, 100)


def test_a_link_to_a_file_is_followed(tmp_path):
    (tmp_path / "data").write_bytes(b"1")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    assert read_file(tmp_path / "link", 1) == b"1"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o000)
    with pytest.raises(DataError, match=r"closed cannot be read: Permission denied"):
        find_file(folder, "data")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"Cannot read .*nowhere: No such file"):
        read_file(tmp_path / "nowhere", 1)
    assert find_file(tmp_path / "nowhere", "data") is None
    with pytest.raises(DataError, match=r"the data directory .*nowhere does not exist"):
        check_directory(tmp_path / "nowhere")
