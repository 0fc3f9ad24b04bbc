"""CIFAR's binary version from folders and archives, damaged ones too; its pickles are not read."""

import gzip
import inspect
import tarfile
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpsim.errors import DataError
from qpsim.nn.data import load_cifar10, load_cifar100
from tests.nn.data.make_files import (
    CIFAR_ARCHIVES,
    CIFAR_FOLDERS,
    cifar_expected,
    cifar_files,
    cifar_pickles,
    write_folder,
    write_tar,
)

LOAD = {10: load_cifar10, 100: load_cifar100}
PICKLED = {10: "cifar-10-batches-py", 100: "cifar-100-python"}


def check(data, n_classes):
    (train_images, train_labels), (test_images, test_labels) = cifar_expected(n_classes)
    np.testing.assert_array_equal(data.train.images, train_images)
    np.testing.assert_array_equal(data.train.labels, train_labels)
    np.testing.assert_array_equal(data.test.images, test_images)
    np.testing.assert_array_equal(data.test.labels, test_labels)
    assert data.n_classes == n_classes
    assert data.train.images.dtype == np.uint8
    assert data.train.images.flags.c_contiguous


@pytest.mark.parametrize("n_classes", LOAD)
@pytest.mark.parametrize("place", [None, "here"])
def test_reads_folder(tmp_path, n_classes, place):
    write_folder(tmp_path / (place or CIFAR_FOLDERS[n_classes]), cifar_files(n_classes))
    check(LOAD[n_classes](tmp_path / (place or "")), n_classes)


def test_reads_names_in_capitals(tmp_path):
    files = {name.upper(): content for name, content in cifar_files(100).items()}
    write_folder(tmp_path / CIFAR_FOLDERS[100], files)
    check(load_cifar100(tmp_path), 100)


@pytest.mark.parametrize(
    "tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
)
@pytest.mark.parametrize("n_classes", LOAD)
def test_reads_archive(tmp_path, n_classes, tar_format):
    path = tmp_path / CIFAR_ARCHIVES[n_classes]
    write_tar(path, CIFAR_FOLDERS[n_classes], cifar_files(n_classes), tar_format)
    check(LOAD[n_classes](tmp_path), n_classes)
    assert [path.name for path in tmp_path.iterdir()] == [CIFAR_ARCHIVES[n_classes]]


def test_reads_an_archive_that_a_browser_has_unpacked(tmp_path):
    packed = tmp_path / CIFAR_ARCHIVES[10]
    write_tar(packed, CIFAR_FOLDERS[10], cifar_files(10))
    (tmp_path / "cifar-10-binary.tar").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    check(load_cifar10(tmp_path), 10)


def test_the_name_says_what_the_data_are(tmp_path):
    """Few examples are no CIFAR-10; as many of each class as it has are."""
    write_folder(tmp_path / "few", cifar_files(10))
    few = load_cifar10(tmp_path / "few")
    assert few.name == f"CIFAR-10 format {few.fingerprint()[:8]}"
    whole = np.zeros((10_000, 3073), np.uint8)
    whole[:, 0] = np.arange(10_000) % 10
    write_folder(tmp_path / "all", dict.fromkeys(cifar_files(10), whole.tobytes()))
    assert load_cifar10(tmp_path / "all").name == "CIFAR-10"


@pytest.mark.parametrize("n_classes", LOAD)
def test_pickles_are_refused_and_the_documented_converter_reads_them(
    tmp_path, n_classes, monkeypatch
):
    write_folder(tmp_path / PICKLED[n_classes], cifar_pickles(n_classes))
    sentence = rf"made of pickles, .* take the binary version, {CIFAR_ARCHIVES[n_classes]}, or"
    for place in (tmp_path, tmp_path / PICKLED[n_classes]):
        with pytest.raises(DataError, match=sentence):
            LOAD[n_classes](place)
    documented = inspect.getdoc(LOAD[n_classes]).split("::\n\n")[1].split("\n\n")[0]
    monkeypatch.chdir(tmp_path)
    exec(textwrap.dedent(documented), {})
    check(load_cifar10(tmp_path) if n_classes == 10 else load_cifar100(tmp_path), n_classes)


def test_nothing_there_names_what_is_expected(tmp_path):
    with pytest.raises(DataError, match=r"cifar-10-batches-bin/, or cifar-10-binary.tar.gz"):
        load_cifar10(tmp_path)


def test_one_file_missing_in_folder(tmp_path):
    files = cifar_files(10)
    del files["data_batch_3.bin"]
    write_folder(tmp_path, files)
    with pytest.raises(DataError, match=r"data_batch_3\.bin is expected in"):
        load_cifar10(tmp_path)


def test_one_file_missing_in_archive(tmp_path):
    files = cifar_files(10)
    del files["test_batch.bin"]
    write_tar(tmp_path / CIFAR_ARCHIVES[10], CIFAR_FOLDERS[10], files)
    with pytest.raises(DataError, match="holds no file cifar-10-batches-bin/test_batch"):
        load_cifar10(tmp_path)


def test_record_cut_short(tmp_path):
    files = cifar_files(100)
    files["test.bin"] = files["test.bin"][:-1]
    write_folder(tmp_path, files)
    with pytest.raises(DataError, match="6148 bytes are expected but 6147 found"):
        load_cifar100(tmp_path)


@pytest.mark.parametrize("n_classes", [10, 100])
def test_file_cut_short_between_records(tmp_path, n_classes):
    files = cifar_files(n_classes)
    name = "data_batch_2.bin" if n_classes == 10 else "train.bin"
    files[name] = files[name][: -(3073 if n_classes == 10 else 3074)]
    write_folder(tmp_path, files)
    with pytest.raises(DataError, match="five training examples for each test example"):
        LOAD[n_classes](tmp_path)


def test_empty_file(tmp_path):
    write_folder(tmp_path, {**cifar_files(100), "test.bin": b""})
    with pytest.raises(DataError, match="truncated"):
        load_cifar100(tmp_path)


def test_label_outside_the_classes(tmp_path):
    files = cifar_files(10)
    files["data_batch_1.bin"] = b"\x0a" + files["data_batch_1.bin"][1:]
    write_folder(tmp_path, files)
    with pytest.raises(DataError, match="label is 10, outside the classes 0 to 9"):
        load_cifar10(tmp_path)


def test_file_larger_than_any_cifar_file(tmp_path):
    write_folder(tmp_path, cifar_files(10))
    with (tmp_path / "data_batch_1.bin").open("wb") as stream:
        stream.truncate(10**11)
    with pytest.raises(DataError, match="at most 30730000 bytes"):
        load_cifar10(tmp_path)


def tar_entry(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type = kind
    info.linkname = target
    return info


def test_links_and_paths_that_lead_elsewhere_are_never_followed(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(2 * 3073))
    folder, files = "cifar-10-batches-bin", cifar_files(10)
    del files["test_batch.bin"]
    extra = [
        tar_entry(f"{folder}/test_batch.bin", tarfile.SYMTYPE, "../secret"),
        tar_entry(f"{folder}/test_batch.bin", tarfile.LNKTYPE, "../secret"),
        tar_entry("../../outside", tarfile.REGTYPE),
        tar_entry("/outside", tarfile.REGTYPE),
        tar_entry(f"{folder}/device", tarfile.CHRTYPE),
    ]
    archive = tmp_path / "in" / CIFAR_ARCHIVES[10]
    archive.parent.mkdir()
    write_tar(archive, folder, files, extra=extra)
    with pytest.raises(DataError, match=r"holds no file .*test_batch\.bin"):
        load_cifar10(archive.parent)
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "cifar-10-binary.tar.gz",
        "in",
        "secret",
    ]


def raw_header(name, size):
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.USTAR_FORMAT)


def write_raw_archive(tmp_path, content):
    (tmp_path / CIFAR_ARCHIVES[10]).write_bytes(gzip.compress(content))


def test_member_that_claims_too_much(tmp_path):
    name = "cifar-10-batches-bin/data_batch_1.bin"
    write_raw_archive(tmp_path, raw_header(name, 8 * 10**9))
    with pytest.raises(DataError, match="400000000 bytes"):
        load_cifar10(tmp_path)
    write_raw_archive(tmp_path, raw_header(name, 3 * 10**8))
    with pytest.raises(DataError, match=f"30730000 bytes are expected in {name}"):
        load_cifar10(tmp_path)


def test_archive_truncated_in_a_member(tmp_path):
    write_raw_archive(tmp_path, raw_header("cifar-10-batches-bin/data_batch_1.bin", 3073) + b"123")
    with pytest.raises(DataError, match="3073 bytes are expected but 3 found"):
        load_cifar10(tmp_path)


def test_archive_with_too_many_members(tmp_path):
    write_raw_archive(tmp_path, raw_header("x", 0) * 1001)
    with pytest.raises(DataError, match="more than 1000 files"):
        load_cifar10(tmp_path)


def test_archive_that_is_no_tar_or_no_gzip(tmp_path):
    write_raw_archive(tmp_path, b"\x01" * 1024)
    with pytest.raises(DataError, match="not a tar archive"):
        load_cifar10(tmp_path)
    (tmp_path / CIFAR_ARCHIVES[10]).write_bytes(b"\x1f\x8b" * 1024)
    with pytest.raises(DataError, match="gzip data is truncated or damaged"):
        load_cifar10(tmp_path)


def test_header_with_a_wrong_checksum(tmp_path):
    header = bytearray(raw_header("x", 0))
    header[0] += 1
    write_raw_archive(tmp_path, bytes(header))
    with pytest.raises(DataError, match="checksum"):
        load_cifar10(tmp_path)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    path = tmp_path_factory.mktemp("cifar") / CIFAR_ARCHIVES[100]
    write_tar(path, CIFAR_FOLDERS[100], cifar_files(100))
    return path, path.read_bytes()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_damaged_archive_is_a_data_error_or_valid(archive, data):
    path, whole = archive
    at = data.draw(st.integers(0, len(whole)))
    junk = data.draw(st.binary(max_size=8))
    keep = data.draw(st.integers(0, len(whole)))
    path.write_bytes((whole[:at] + junk + whole[at + len(junk) :])[:keep])
    try:
        found = load_cifar100(path.parent)
    except DataError:
        return
    assert found.train.images.shape == (10, 32, 32, 3)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_damaged_tar_inside_the_gzip_is_a_data_error_or_valid(archive, data):
    path, whole = archive
    inner = gzip.decompress(whole)
    at = data.draw(st.integers(0, len(inner)))
    junk = data.draw(st.binary(max_size=8))
    keep = data.draw(st.integers(0, len(inner)))
    damaged = (inner[:at] + junk + inner[at + len(junk) :])[:keep]
    path.write_bytes(gzip.compress(damaged, compresslevel=1))
    try:
        found = load_cifar100(path.parent)
    except DataError:
        return
    finally:
        path.write_bytes(whole)
    assert found.train.images.shape == (10, 32, 32, 3)
