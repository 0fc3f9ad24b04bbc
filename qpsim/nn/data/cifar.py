"""CIFAR-10 and CIFAR-100 as distributed: binary or python version, folder or .tar.gz.

Both versions hold an image as 3072 bytes, the red plane, then green, then blue, each by rows. A
binary file is a row of records, one or two label bytes before each image; a python file is a
Python 2 pickle of a dict with the images as one array. Neither says how many examples belong in
it, but both data sets have five training images for each test image: a file cut short at the end
of a record is found out by that.
Reference: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qpsim.errors import DataError
from qpsim.nn.data.dataset import Dataset, Split
from qpsim.nn.data.files import check_directory, read_file, read_tar_members
from qpsim.nn.data.unpickle import unpickle

__all__ = ["load_cifar10", "load_cifar100"]

_PIXELS = 3 * 32 * 32
# Room for the file names that a python version carries with each image, some 40 bytes each.
_PYTHON_EXTRA = 200

_Arrays = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class _Version:
    """One way in which a data set is distributed."""

    archive: str
    folder: str
    train: tuple[str, ...]
    test: str
    label: int | str  # the label's byte in a record, or its key in the pickled dict
    label_bytes: int


_BATCHES = tuple(f"data_batch_{k}" for k in range(1, 6))

_CIFAR10 = (
    _Version(
        archive="cifar-10-binary.tar.gz",
        folder="cifar-10-batches-bin",
        train=tuple(f"{name}.bin" for name in _BATCHES),
        test="test_batch.bin",
        label=0,
        label_bytes=1,
    ),
    _Version(
        archive="cifar-10-python.tar.gz",
        folder="cifar-10-batches-py",
        train=_BATCHES,
        test="test_batch",
        label="labels",
        label_bytes=0,
    ),
)

_CIFAR100 = (
    _Version(
        archive="cifar-100-binary.tar.gz",
        folder="cifar-100-binary",
        train=("train.bin",),
        test="test.bin",
        label=1,
        label_bytes=2,
    ),
    _Version(
        archive="cifar-100-python.tar.gz",
        folder="cifar-100-python",
        train=("train",),
        test="test",
        label="fine_labels",
        label_bytes=0,
    ),
)


def load_cifar10(directory: str | Path) -> Dataset:
    """CIFAR-10 from a directory.

    Parameters
    ----------
    directory : path
        Holds the folder ``cifar-10-batches-bin`` or ``cifar-10-batches-py``, or the archive
        ``cifar-10-binary.tar.gz`` or ``cifar-10-python.tar.gz``; or is that folder itself.
        Nothing is downloaded, and nothing is unpacked to disk.

    Returns
    -------
    Dataset
        Images (n, 32, 32, 3) uint8 and labels (n,): 50000 for training, 10000 for test.

    Raises
    ------
    DataError
        A file is missing, truncated or malformed, or a count or label is impossible.
    """
    return _load("cifar10", directory, _CIFAR10, n_classes=10)


def load_cifar100(directory: str | Path) -> Dataset:
    """CIFAR-100, with its 100 fine labels, from a directory.

    Parameters
    ----------
    directory : path
        Holds the folder ``cifar-100-binary`` or ``cifar-100-python``, or the archive
        ``cifar-100-binary.tar.gz`` or ``cifar-100-python.tar.gz``; or is that folder itself.
        Nothing is downloaded, and nothing is unpacked to disk.

    Returns
    -------
    Dataset
        Images (n, 32, 32, 3) uint8 and labels (n,): 50000 for training, 10000 for test.

    Raises
    ------
    DataError
        A file is missing, truncated or malformed, or a count or label is impossible.
    """
    return _load("cifar100", directory, _CIFAR100, n_classes=100)


def _load(
    name: str, directory: str | Path, versions: tuple[_Version, ...], n_classes: int
) -> Dataset:
    base = check_directory(directory)
    version, read = _locate(name, base, versions)
    parts = [_parse(version, file, read) for file in (*version.train, version.test)]
    *train, (test_images, test_labels) = parts
    counts = [len(labels) for _, labels in train]
    if len(set(counts)) > 1 or sum(counts) != 5 * len(test_labels):
        found = " + ".join(map(str, counts))
        raise DataError(
            f"{name} in {base}: the files hold {found} training and {len(test_labels)} test "
            "examples; there must be five training examples for each test example, in files of "
            "equal length, so one of them is cut short"
        )
    train_images = _as_images(np.concatenate([images for images, _ in train]))
    train_labels = np.concatenate([labels for _, labels in train])
    return Dataset(
        name,
        Split(train_images, train_labels),
        Split(_as_images(test_images), test_labels),
        n_classes,
    )


_Read = Callable[[str, int], tuple[bytes, str]]  # file name, limit -> content, name for errors


def _locate(name: str, base: Path, versions: tuple[_Version, ...]) -> tuple[_Version, _Read]:
    """The version that is there, and how its files are read."""
    for version in versions:
        for folder in (base / version.folder, base):
            if (folder / version.train[0]).is_file():
                return version, _folder_reader(folder)
    for version in versions:
        if (base / version.archive).exists():
            return version, _archive_reader(base / version.archive, version)
    folders = " or ".join(f"{version.folder}/" for version in versions)
    archives = " or ".join(version.archive for version in versions)
    raise DataError(f"there is no {name} in {base}: {folders}, or {archives}, is expected there")


def _folder_reader(folder: Path) -> _Read:
    def read(file: str, limit: int) -> tuple[bytes, str]:
        path = folder / file
        if not path.exists():
            raise DataError(f"{file} is expected in {folder}, beside the other files, but missing")
        return read_file(path, limit), str(path)

    return read


def _archive_reader(archive: Path, version: _Version) -> _Read:
    limits = {
        f"{version.folder}/{file}": _limit(version, file) for file in (*version.train, version.test)
    }
    members = read_tar_members(archive, limits)

    def read(file: str, limit: int) -> tuple[bytes, str]:
        member = f"{version.folder}/{file}"
        if member not in members:
            raise DataError(f"{archive} holds no file {member}, which is expected there")
        return members.pop(member), f"{archive}: {member}"

    return read


def _limit(version: _Version, file: str) -> int:
    """The most bytes that a file may have; only CIFAR-100 has its training set in one file."""
    n_most = 50_000 if file.startswith("train") else 10_000
    extra = version.label_bytes if isinstance(version.label, int) else _PYTHON_EXTRA
    return n_most * (_PIXELS + extra)


def _parse(version: _Version, file: str, read: _Read) -> _Arrays:
    content, source = read(file, _limit(version, file))
    if isinstance(version.label, int):
        return _parse_records(content, source, version.label, version.label_bytes)
    return _parse_pickle(content, source, version.label)


def _parse_records(content: bytes, source: str, label: int, label_bytes: int) -> _Arrays:
    """Pixels (n, 3072) and labels (n,) of a binary file."""
    size = label_bytes + _PIXELS
    n, rest = divmod(len(content), size)
    if rest or n == 0:
        raise DataError(
            f"{source} is truncated: its records have {size} bytes each, so {(n + 1) * size} "
            f"bytes are expected but {len(content)} found"
        )
    records = np.frombuffer(content, np.uint8).reshape(n, size)
    return records[:, label_bytes:], records[:, label].astype(np.int64)


def _parse_pickle(content: bytes, source: str, label: str) -> _Arrays:
    """Pixels (n, 3072) and labels (n,) of a python file."""
    batch = unpickle(content, source)
    if not isinstance(batch, dict):
        raise DataError(f"{source}: the pickle holds no dict, which a CIFAR file does")
    pixels, labels = _field(batch, "data", source), _field(batch, label, source)
    is_image_array = (
        isinstance(pixels, np.ndarray)
        and pixels.dtype == np.uint8
        and pixels.ndim == 2
        and pixels.shape[1] == _PIXELS
    )
    if not is_image_array:
        raise DataError(f"{source}: 'data' must be an array (n, {_PIXELS}) of unsigned bytes")
    if not isinstance(labels, list) or any(type(k) is not int or not 0 <= k < 256 for k in labels):
        raise DataError(f"{source}: {label!r} must be a list of small integers")
    if len(labels) != len(pixels):
        raise DataError(
            f"{source} holds {len(pixels)} images but {len(labels)} labels; "
            "every image needs one label"
        )
    return pixels, np.array(labels, dtype=np.int64)


def _field(batch: Mapping[Any, Any], key: str, source: str) -> Any:
    """A value of the pickled dict, whose keys are bytes when Python 2 wrote them."""
    for name in (key.encode(), key):
        if name in batch:
            return batch[name]
    raise DataError(f"{source}: the pickled dict has no {key!r}, which a CIFAR file has")


def _as_images(pixels: np.ndarray) -> np.ndarray:
    """(n, 3072) in planes to (n, 32, 32, 3), the channel last and contiguous."""
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
