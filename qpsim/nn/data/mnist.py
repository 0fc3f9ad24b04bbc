"""MNIST as distributed: four IDX files, raw or .gz, whose header says what must follow.

An IDX file starts with two zero bytes, the element type (8 = unsigned byte), the number of
dimensions, and their sizes as big-endian 32-bit integers; then come the elements.
Reference: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
"""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np

from qpsim.errors import DataError
from qpsim.nn.data.dataset import Dataset, Split
from qpsim.nn.data.files import check_directory, read_file, read_gzip

__all__ = ["load_mnist", "read_idx"]

_IMAGES_MAGIC = 0x00000803
_LABELS_MAGIC = 0x00000801
_SIDE = 28
_MOST = {"train": 60_000, "t10k": 10_000}
# The directory itself, then where common tools put the files below it.
_PLACES = ("", "mnist", "MNIST", "MNIST/raw")


def load_mnist(directory: str | Path) -> Dataset:
    """MNIST, or a data set distributed in the same files, from a directory.

    Parameters
    ----------
    directory : path
        Holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte``
        and ``t10k-labels-idx1-ubyte``, each raw or with ``.gz``, itself or in ``mnist``,
        ``MNIST`` or ``MNIST/raw`` below it. Nothing is downloaded.

    Returns
    -------
    Dataset
        Images (n, 28, 28, 1) uint8 and labels (n,), at most 60000 for training and 10000 for test.

    Raises
    ------
    DataError
        A file is missing, truncated, has the wrong magic number or not one label an image.
    """
    base = check_directory(directory)
    folder = next((base / p for p in _PLACES if _find(base / p, "train-images-idx3-ubyte")), base)
    train, test = (_split(folder, which) for which in ("train", "t10k"))
    return Dataset("mnist", train, test, n_classes=10)


def _find(folder: Path, name: str) -> Path | None:
    """The file under its name as distributed, or with the dot that some unpackers put into it."""
    dotted = name.replace("-idx", ".idx")
    candidates = (folder / (n + end) for n in (name, dotted) for end in ("", ".gz"))
    return next((path for path in candidates if path.exists()), None)


def _split(folder: Path, which: str) -> Split:
    most = _MOST[which]
    images = _read(folder, f"{which}-images-idx3-ubyte", _IMAGES_MAGIC, (most, _SIDE, _SIDE))
    labels = _read(folder, f"{which}-labels-idx1-ubyte", _LABELS_MAGIC, (most,))
    if len(images) != len(labels):
        raise DataError(
            f"{folder}: {which}-images-idx3-ubyte holds {len(images)} images but "
            f"{which}-labels-idx1-ubyte {len(labels)} labels; every image needs one label"
        )
    return Split(images[..., np.newaxis], labels.astype(np.int64))


def _read(folder: Path, name: str, magic: int, most: tuple[int, ...]) -> np.ndarray:
    path = _find(folder, name)
    if path is None:
        raise DataError(f"MNIST is incomplete: {name} or {name}.gz is expected in {folder}")
    return read_idx(path, magic, most)


def read_idx(path: Path, magic: int, most: tuple[int, ...]) -> np.ndarray:
    """The unsigned bytes of one IDX file.

    Parameters
    ----------
    path : Path
        Unpacked on the fly when it ends in ``.gz``.
    magic : int
        The first four bytes of the right kind of file, big-endian.
    most : tuple of int
        The most examples, then the exact size of every other dimension.

    Returns
    -------
    ndarray, uint8
        Read-only, of the shape that the header gives.

    Raises
    ------
    DataError
        Not that kind of file, an impossible shape, or not the bytes that the shape needs.
    """
    n_header = 4 + 4 * len(most)
    limit = n_header + math.prod(most)
    read = read_gzip if path.suffix == ".gz" else read_file
    content = read(path, limit)
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
