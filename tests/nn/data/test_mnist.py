"""IDX files as MNIST, Fashion-MNIST and others are distributed in, and every kind of damage to them."""

import gzip
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpsim.errors import DataError
from qpsim.nn.data import load_mnist
from tests.nn.data.make_files import idx, write_mnist

IMAGES = "train-images-idx3-ubyte"
LABELS = "train-labels-idx1-ubyte"


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("place", [".", "mnist", "MNIST/raw", "FashionMNIST/raw"])
def test_reads_raw_and_gz_files(tmp_path, zipped, place):
    arrays = write_mnist(tmp_path / place, zipped)
    data = load_mnist(tmp_path)
    assert data.train.images.shape == (7, 28, 28, 1)
    assert data.train.images.dtype == np.uint8
    assert data.n_classes == 10
    np.testing.assert_array_equal(data.train.images[..., 0], arrays[IMAGES])
    np.testing.assert_array_equal(data.train.labels, arrays[LABELS])
    np.testing.assert_array_equal(data.test.images[..., 0], arrays["t10k-images-idx3-ubyte"])
    np.testing.assert_array_equal(data.test.labels, arrays["t10k-labels-idx1-ubyte"])


@pytest.mark.parametrize("name", [IMAGES, f"{IMAGES}.gz", IMAGES.upper(), f"{IMAGES}.GZ"])
@pytest.mark.parametrize("zipped", [False, True])
def test_gzip_is_told_by_content_and_names_may_be_in_capitals(tmp_path, name, zipped):
    arrays = write_mnist(tmp_path)
    content = (tmp_path / IMAGES).read_bytes()
    (tmp_path / IMAGES).unlink()
    (tmp_path / name).write_bytes(gzip.compress(content) if zipped else content)
    np.testing.assert_array_equal(load_mnist(tmp_path).train.images[..., 0], arrays[IMAGES])


def test_other_data_in_the_same_files_have_another_name(tmp_path):
    write_mnist(tmp_path)
    first = load_mnist(tmp_path)
    assert first.name == f"IDX images {first.fingerprint()[:8]}"
    (tmp_path / LABELS).write_bytes(idx((first.train.labels + 1) % 10))
    assert load_mnist(tmp_path).name != first.name


def test_reads_names_with_a_dot_before_idx(tmp_path):
    write_mnist(tmp_path)
    for path in list(tmp_path.iterdir()):
        path.rename(tmp_path / path.name.replace("-idx", ".idx"))
    assert len(load_mnist(tmp_path).test) == 3


@pytest.mark.parametrize("name", [IMAGES, LABELS, "t10k-images-idx3-ubyte"])
def test_missing_file_is_named_with_its_place(tmp_path, name):
    write_mnist(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=f"{name} or {name}.gz is expected in .*{tmp_path.name}"):
        load_mnist(tmp_path)


def test_missing_directory(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        load_mnist(tmp_path / "nowhere")


def test_a_file_in_place_of_the_directory(tmp_path):
    write_mnist(tmp_path)
    with pytest.raises(DataError, match=f"{LABELS} is a file; give the directory that holds it"):
        load_mnist(tmp_path / LABELS)
    with pytest.raises(DataError, match="the data directory must be a path, not 3"):
        load_mnist(3)


def broken(tmp_path, name, content):
    write_mnist(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        load_mnist(tmp_path)
    assert name in str(error.value)
    return str(error.value)


def test_truncated_says_how_many_bytes(tmp_path):
    whole = idx(np.zeros((7, 28, 28)))
    sentence = broken(tmp_path, IMAGES, whole[:-5])
    assert f"{len(whole)} bytes are expected but {len(whole) - 5} found" in sentence


def test_truncated_in_the_header(tmp_path):
    assert "16 bytes of header are expected but 6 found" in broken(tmp_path, IMAGES, b"\0" * 6)


def test_wrong_magic(tmp_path):
    sentence = broken(tmp_path, IMAGES, b"\0\0\x0d\x03" + idx(np.zeros((7, 28, 28)))[4:])
    assert "0x00000d03 instead of 0x00000803" in sentence


def test_labels_in_place_of_images(tmp_path):
    assert "magic number" in broken(tmp_path, IMAGES, idx(np.zeros(70)))


def test_longer_than_the_header_says(tmp_path):
    assert "longer" in broken(tmp_path, LABELS, idx(np.zeros(7)) + b"x")


def test_count_of_labels_differs(tmp_path):
    assert "7 images" in broken(tmp_path, LABELS, idx(np.zeros(6)))


def test_wrong_image_size(tmp_path):
    assert "7 x 14 x 56" in broken(tmp_path, IMAGES, idx(np.zeros((7, 14, 56))))


def test_label_outside_the_classes(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / LABELS).write_bytes(idx(np.full(7, 10)))
    with pytest.raises(DataError, match="label is 10, outside the classes 0 to 9"):
        load_mnist(tmp_path)


@pytest.mark.parametrize("count", [0, 60_001, 2**32 - 1])
def test_claimed_count_is_checked_before_anything_is_allocated(tmp_path, count):
    header = struct.pack(">4I", 0x803, count, 28, 28)
    assert f"claims a shape of {count} x" in broken(tmp_path, IMAGES, header)


def test_gzip_bomb_is_cut_off(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / LABELS).unlink()
    (tmp_path / f"{LABELS}.gz").write_bytes(gzip.compress(bytes(10**6)))
    with pytest.raises(DataError, match="at most 60008 bytes"):
        load_mnist(tmp_path)


def test_file_larger_than_the_format_allows(tmp_path):
    write_mnist(tmp_path)
    with (tmp_path / LABELS).open("wb") as stream:
        stream.truncate(10**12)
    with pytest.raises(DataError, match="at most 60008 bytes are expected"):
        load_mnist(tmp_path)


def test_directory_in_place_of_a_file(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / LABELS).unlink()
    (tmp_path / LABELS).mkdir()
    with pytest.raises(DataError, match="it is a folder"):
        load_mnist(tmp_path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("mnist")
    write_mnist(path)
    return path


@settings(max_examples=100, deadline=None)
@given(
    cut=st.integers(0, 5503),
    junk=st.binary(max_size=40),
    at=st.integers(0, 5503),
    zipped=st.booleans(),
)
def test_any_damage_is_a_data_error_or_valid(folder, cut, junk, at, zipped):
    """Truncate the images file, overwrite a part of it, damage its compressed form likewise."""
    whole = idx(np.arange(7 * 784).reshape(7, 28, 28) % 256)
    content = gzip.compress(whole) if zipped else whole
    content = content[: len(content) - cut] if cut else content
    content = content[:at] + junk + content[at + len(junk) :]
    plain, packed = folder / IMAGES, folder / f"{IMAGES}.gz"
    for path in (plain, packed):
        path.unlink(missing_ok=True)
    (packed if zipped else plain).write_bytes(content)
    try:
        data = load_mnist(folder)
    except DataError:
        return
    assert data.train.images.shape == (7, 28, 28, 1)
