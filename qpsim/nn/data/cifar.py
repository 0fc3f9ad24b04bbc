"""Reads CIFAR-10 and CIFAR-100 in their binary versions, from a folder or the original archive.

A file is a row of records: one or two label bytes, then an image of 3072 bytes, the red plane, then
green, then blue, each by rows. The file does not contain the number of records. Both data sets have
five training images for each test image, by which a file that ends too early is recognised.
Reference: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qpsim.errors import DataError
from qpsim.nn.data.dataset import Dataset, Split
from qpsim.nn.data.files import check_directory, find_file, read_file, read_tar_members

__all__ = ["has_cifar10", "has_cifar100", "load_cifar10", "load_cifar100"]

_PIXELS = 3 * 32 * 32
_N_TRAIN, _N_TEST = 50_000, 10_000

_Arrays = tuple[np.ndarray, np.ndarray]
_Read = Callable[[str, int], tuple[bytes, str]]  # file name, limit -> content, name for errors


@dataclass(frozen=True)
class _Format:
    """How a data set is distributed."""

    name: str
    archive: str
    folder: str
    train: tuple[str, ...]
    test: str
    label: int  # which byte of a record is the label
    label_bytes: int
    n_classes: int
    # Names by which the version made of pickles, which is not read, is recognised.
    pickled: tuple[str, ...]


_CIFAR10 = _Format(
    name="CIFAR-10",
    archive="cifar-10-binary.tar.gz",
    folder="cifar-10-batches-bin",
    train=tuple(f"data_batch_{k}.bin" for k in range(1, 6)),
    test="test_batch.bin",
    label=0,
    label_bytes=1,
    n_classes=10,
    pickled=("cifar-10-batches-py", "cifar-10-python.tar.gz", "data_batch_1"),
)

_CIFAR100 = _Format(
    name="CIFAR-100",
    archive="cifar-100-binary.tar.gz",
    folder="cifar-100-binary",
    train=("train.bin",),
    test="test.bin",
    label=1,
    label_bytes=2,
    n_classes=100,
    pickled=("cifar-100-python", "cifar-100-python.tar.gz", "train"),
)


def load_cifar10(directory: str | os.PathLike[str]) -> Dataset:
    """CIFAR-10 from a directory.

    Parameters
    ----------
    directory : path
        Holds the folder ``cifar-10-batches-bin`` or the archive ``cifar-10-binary.tar.gz``; or is
        that folder itself. Nothing is downloaded, and nothing is unpacked to disk.

    Returns
    -------
    Dataset
        Images (n, 32, 32, 3) uint8 and labels (n,): 50000 for training, 10000 for test.

    Raises
    ------
    DataError
        A file is missing, truncated or malformed, a count or label is impossible, or only the
        "python version" is there.

    Notes
    -----
    The python version consists of pickles, and reading a pickle can run any code. If you trust its
    source, convert it, in the folder that has ``cifar-10-batches-py``::

        import os, pickle, numpy
        os.makedirs("cifar-10-batches-bin", exist_ok=True)
        for name in [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]:
            with open(f"cifar-10-batches-py/{name}", "rb") as file:
                batch = pickle.load(file, encoding="latin1")
            records = numpy.column_stack([batch["labels"], batch["data"]])
            records.astype("uint8").tofile(f"cifar-10-batches-bin/{name}.bin")

    Images that are arrays already, from any other library, need no file: see
    :meth:`Dataset.from_arrays`.
    """
    return _load(_CIFAR10, directory)


def load_cifar100(directory: str | os.PathLike[str]) -> Dataset:
    """CIFAR-100, with its 100 fine labels, from a directory.

    Parameters
    ----------
    directory : path
        Holds the folder ``cifar-100-binary`` or the archive ``cifar-100-binary.tar.gz``; or is that
        folder itself. Nothing is downloaded, and nothing is unpacked to disk.

    Returns
    -------
    Dataset
        Images (n, 32, 32, 3) uint8 and labels (n,): 50000 for training, 10000 for test.

    Raises
    ------
    DataError
        A file is missing, truncated or malformed, a count or label is impossible, or only the
        "python version" is there.

    Notes
    -----
    The python version is converted as that of CIFAR-10, see :func:`load_cifar10`::

        import os, pickle, numpy
        os.makedirs("cifar-100-binary", exist_ok=True)
        for name in ["train", "test"]:
            with open(f"cifar-100-python/{name}", "rb") as file:
                batch = pickle.load(file, encoding="latin1")
            records = [batch["coarse_labels"], batch["fine_labels"], batch["data"]]
            numpy.column_stack(records).astype("uint8").tofile(f"cifar-100-binary/{name}.bin")
    """
    return _load(_CIFAR100, directory)


def has_cifar10(directory: str | os.PathLike[str]) -> bool:
    """Whether :func:`load_cifar10` finds the data set, or its version made of pickles.

    Raises
    ------
    DataError
        There is no such directory.
    """
    return _is_there(_CIFAR10, directory)


def has_cifar100(directory: str | os.PathLike[str]) -> bool:
    """Whether :func:`load_cifar100` finds the data set, or its version made of pickles.

    Raises
    ------
    DataError
        There is no such directory.
    """
    return _is_there(_CIFAR100, directory)


def _is_there(kind: _Format, directory: str | os.PathLike[str]) -> bool:
    base = check_directory(directory)
    found = _folder(kind, base) or _archive(kind, base)
    return found is not None or _holds_pickles(kind, base)


def _load(kind: _Format, directory: str | os.PathLike[str]) -> Dataset:
    base = check_directory(directory)
    read = _reader(kind, base)
    *train, (test_images, test_labels) = [
        _parse(kind, *read(file, _limit(kind, file))) for file in (*kind.train, kind.test)
    ]
    counts = [len(labels) for _, labels in train]
    if len(set(counts)) > 1 or sum(counts) != 5 * len(test_labels):
        found = " + ".join(map(str, counts))
        raise DataError(
            f"{kind.name} in {base}: the files hold {found} training and {len(test_labels)} test "
            "examples; there must be five training examples for each test example, in files of "
            "equal length, so one of them is cut short"
        )
    dataset = Dataset(
        kind.name,
        Split(
            _as_images(np.concatenate([images for images, _ in train])),
            np.concatenate([labels for _, labels in train]),
        ),
        Split(_as_images(test_images), test_labels),
        kind.n_classes,
    )
    if _has_all_examples(dataset, kind.n_classes):
        return dataset
    return replace(dataset, name=f"{kind.name} format {dataset.fingerprint()[:8]}")


def _has_all_examples(dataset: Dataset, n_classes: int) -> bool:
    """Whether there are as many examples of each class as the data set of that name has."""
    counts = [
        np.bincount(split.labels, minlength=n_classes) for split in (dataset.train, dataset.test)
    ]
    return all(
        (count == n // n_classes).all()
        for count, n in zip(counts, (_N_TRAIN, _N_TEST), strict=True)
    )


def _reader(kind: _Format, base: Path) -> _Read:
    """How the files are read: from the folder, or out of the archive."""
    folder, archive = _folder(kind, base), _archive(kind, base)
    if folder is not None:
        return _folder_reader(folder)
    if archive is not None:
        return _archive_reader(archive, kind)
    if _holds_pickles(kind, base):
        raise DataError(
            f"{base} holds the python version of {kind.name}, which is made of pickles, and reading "
            f"a pickle can run any code; take the binary version, {kind.archive}, or convert "
            f"yours: help(qpsim.nn.load_{kind.name.lower().replace('-', '')}) says how"
        )
    raise DataError(
        f"there is no {kind.name} in {base}: {kind.folder}/, or {kind.archive}, is expected there"
    )


def _folder(kind: _Format, base: Path) -> Path | None:
    folders = (base / kind.folder, base)
    return next((one for one in folders if find_file(one, kind.train[0]) is not None), None)


def _archive(kind: _Format, base: Path) -> Path | None:
    return find_file(base, kind.archive, kind.archive.removesuffix(".gz"))


def _holds_pickles(kind: _Format, base: Path) -> bool:
    """Whether the version that is not read is there, as a folder, an archive or loose files."""
    loose = find_file(base, kind.pickled[-1])
    return find_file(base, *kind.pickled[:-1]) is not None or (
        loose is not None and loose.is_file()
    )


def _folder_reader(folder: Path) -> _Read:
    def read(file: str, limit: int) -> tuple[bytes, str]:
        path = find_file(folder, file)
        if path is None:
            raise DataError(f"{file} is expected in {folder}, beside the other files, but missing")
        return read_file(path, limit), str(path)

    return read


def _archive_reader(archive: Path, kind: _Format) -> _Read:
    files = (*kind.train, kind.test)
    members = read_tar_members(
        archive, {f"{kind.folder}/{file}": _limit(kind, file) for file in files}
    )

    def read(file: str, limit: int) -> tuple[bytes, str]:
        member = f"{kind.folder}/{file}"
        if member not in members:
            raise DataError(f"{archive} holds no file {member}, which is expected there")
        return members.pop(member), f"{archive}: {member}"

    return read


def _limit(kind: _Format, file: str) -> int:
    """The most bytes that a file may have."""
    most = _N_TEST if file == kind.test else _N_TRAIN // len(kind.train)
    return most * (kind.label_bytes + _PIXELS)


def _parse(kind: _Format, content: bytes, source: str) -> _Arrays:
    """Pixels (n, 3072) and labels (n,) of a file."""
    size = kind.label_bytes + _PIXELS
    n, rest = divmod(len(content), size)
    if rest or n == 0:
        raise DataError(
            f"{source} is truncated: its records have {size} bytes each, so {(n + 1) * size} "
            f"bytes are expected but {len(content)} found"
        )
    records = np.frombuffer(content, np.uint8).reshape(n, size)
    return records[:, kind.label_bytes :], records[:, kind.label].astype(np.int64)


def _as_images(pixels: np.ndarray) -> np.ndarray:
    """(n, 3072) in planes to (n, 32, 32, 3), the channel last and contiguous."""
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
