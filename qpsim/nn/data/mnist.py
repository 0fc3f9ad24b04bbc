"""Reads MNIST and data sets with the same files: four IDX files, plain or compressed by gzip.

An IDX file starts with two zero bytes, the element type (8 = unsigned byte), the number of
dimensions, and their sizes as big-endian 32-bit integers; then come the elements. Fashion-MNIST and
others have files of the same names, so that the data set is recognised by its content. Reference:
Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np

from qpsim.errors import DataError
from qpsim.nn.data.dataset import Dataset, Split
from qpsim.nn.data.files import check_directory, find_file, read_file

__all__ = ["has_mnist", "load_mnist"]

_IMAGES_MAGIC = 0x00000803
_LABELS_MAGIC = 0x00000801
_SIDE = 28
_MOST = {"train": 60_000, "t10k": 10_000}
_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
# The directory itself, then where common tools put the files below it.
_PLACES = ("", "mnist", "MNIST", "MNIST/raw", "fashion-mnist", "FashionMNIST/raw", "KMNIST/raw")
# Published MD5 sums of the four unpacked files, in the order of _FILES.
_KNOWN: dict[tuple[str, ...], str] = {
    (
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ): "MNIST",
    (
        "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "9018921c3c673c538a1fc5bad174d6f9",
        "8181f5470baa50b63fa0f6fddb340f0a",
        "15d484375f8d13e6eb1aabb0c3f46965",
    ): "Fashion-MNIST",
}


def load_mnist(directory: str | os.PathLike[str]) -> Dataset:
    """MNIST, or a data set distributed in the same files, from a directory.

    Parameters
    ----------
    directory : path
        Holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte``
        and ``t10k-labels-idx1-ubyte``, each plain or packed with gzip, with or without ``.gz``; or
        one of its folders ``mnist``, ``MNIST``, ``MNIST/raw``, ``fashion-mnist``,
        ``FashionMNIST/raw`` or ``KMNIST/raw`` does, the first of these that is there. Nothing is
        downloaded.

    Returns
    -------
    Dataset
        Images (n, 28, 28, 1) uint8 and labels (n,), at most 60000 for training and 10000 for test.
        Its name is "MNIST" or "Fashion-MNIST" if the files are these, byte for byte, and otherwise
        "IDX images" with the first eight digits of its fingerprint.

    Raises
    ------
    DataError
        A file is missing, truncated, has the wrong magic number or not one label an image.
    """
    base = check_directory(directory)
    folder = _folder(base) or base
    content = {}
    for name in _FILES:
        path = _find(folder, name)
        if path is None:
            raise DataError(f"MNIST is incomplete: {name} or {name}.gz is expected in {folder}")
        count = _MOST[name.split("-")[0]]
        most = (count, _SIDE, _SIDE) if "images" in name else (count,)
        limit = _header_size(most) + math.prod(most)
        content[name] = path, read_file(path, limit), most
    arrays = [_parse(*content[name]) for name in _FILES]
    for images, labels, name in zip(arrays[::2], arrays[1::2], _FILES[::2], strict=True):
        if len(images) != len(labels):
            raise DataError(
                f"{folder}: {name} holds {len(images)} images but "
                f"{name.replace('images-idx3', 'labels-idx1')} {len(labels)} labels; every image "
                "needs one label"
            )
    train, test = (
        Split(images[..., np.newaxis], labels)
        for images, labels in zip(arrays[::2], arrays[1::2], strict=True)
    )
    sums = tuple(
        hashlib.md5(content[name][1], usedforsecurity=False).hexdigest() for name in _FILES
    )
    found = Dataset(_KNOWN.get(sums, "IDX images"), train, test, n_classes=10)
    if sums in _KNOWN:
        return found
    return replace(found, name=f"{found.name} {found.fingerprint()[:8]}")


def has_mnist(directory: str | os.PathLike[str]) -> bool:
    """Whether :func:`load_mnist` finds the first of the files.

    Raises
    ------
    DataError
        There is no such directory.
    """
    return _folder(check_directory(directory)) is not None


def _folder(base: Path) -> Path | None:
    return next((base / place for place in _PLACES if _find(base / place, _FILES[0])), None)


def _find(folder: Path, name: str) -> Path | None:
    """The file under its name as distributed, or with the dot that some unpackers put into it."""
    dotted = name.replace("-idx", ".idx")
    return find_file(folder, *(n + end for n in (name, dotted) for end in ("", ".gz")))


def _header_size(most: tuple[int, ...]) -> int:
    return 4 + 4 * len(most)


def _parse(path: Path, content: bytes, most: tuple[int, ...]) -> np.ndarray:
    """The unsigned bytes of one IDX file, read-only, of the shape that its header gives.

    ``most`` is the largest number of examples, then the exact size of every other dimension.
    """
    magic = _IMAGES_MAGIC if len(most) == 3 else _LABELS_MAGIC
    n_header = _header_size(most)
    if len(content) < n_header:
        raise DataError(
            f"{path} is truncated: {n_header} bytes of header are expected but {len(content)} found"
        )
    found, *shape = struct.unpack_from(f">{1 + len(most)}I", content)
    if found != magic:
        raise DataError(
            f"{path} is not the expected IDX file: its magic number is 0x{found:08x} "
            f"instead of 0x{magic:08x}"
        )
    if not 0 < shape[0] <= most[0] or tuple(shape[1:]) != most[1:]:
        right = " x ".join([f"1 to {most[0]}", *map(str, most[1:])])
        raise DataError(f"{path} claims a shape of {' x '.join(map(str, shape))}, not {right}")
    expected = n_header + math.prod(shape)
    if len(content) != expected:
        wrong = "is truncated" if len(content) < expected else "is longer than its header says"
        raise DataError(f"{path} {wrong}: {expected} bytes are expected but {len(content)} found")
    return np.frombuffer(content, np.uint8, offset=n_header).reshape(shape)
