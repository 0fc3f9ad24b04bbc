"""Arrays and a JSON header in one .npz file, checked when it is read.

Reading refuses pickled objects and files without the package's header.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qpsim import checks
from qpsim.errors import FileError
from qpsim.files.reading import read_bytes
from qpsim.files.writing import write_atomically

_HEADER = "header"
_MAGIC = "qpsim"
_SEAL = b"sha256:"
_DIGEST = 64


def write_arrays(
    path: str | os.PathLike[str],
    kind: str,
    header: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
) -> Path:
    """Write arrays and a JSON header as one .npz; the same content gives the same bytes."""
    head = json.dumps({"format": _MAGIC, "kind": kind, "version": 1, **header}, allow_nan=False)
    content: dict[str, Any] = {_HEADER: np.frombuffer(head.encode(), dtype=np.uint8), **arrays}
    return write_atomically(path, lambda stream: np.savez_compressed(stream, **content))


def read_arrays(
    path: str | os.PathLike[str], kind: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a file written by :func:`write_arrays` with this kind.

    Raises
    ------
    FileError
        The file is missing, truncated, damaged, of another kind, or not ours at all.
    """
    source = checks.path("A file to read", path, FileError)
    return _parse(read_bytes(source), source, kind)


def pack_arrays(kind: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Header and arrays as the bytes of an .npz with a checksum; the same content gives the same bytes.

    The archive's comment is the SHA-256 of every byte before it. ``numpy.load`` can read the file;
    :func:`unpack_arrays` checks the checksum first.

    Examples
    --------
    >>> import numpy as np
    >>> from qpsim.files.archive import pack_arrays, unpack_arrays
    >>> content = pack_arrays("note", {"a": 1}, {"x": np.arange(3)})
    >>> unpack_arrays(content, "x.npz", "note")[1]
    {'x': array([0, 1, 2])}
    """
    head = json.dumps({"format": _MAGIC, "kind": kind, "version": 1, **header}, allow_nan=False)
    content = {_HEADER: np.frombuffer(head.encode(), dtype=np.uint8), **arrays}
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, array in content.items():
            # ZipInfo's default date, 1980, so that the bytes do not depend on the time.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
        archive.comment = _SEAL + b"0" * _DIGEST
    packed = stream.getvalue()[:-_DIGEST]
    return packed + hashlib.sha256(packed).hexdigest().encode()


def unpack_arrays(
    content: bytes, source: str | os.PathLike[str], kind: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of :func:`pack_arrays`; ``source`` names the file in errors.

    Raises
    ------
    FileError
        A byte is missing, changed or added; or the file is of another kind, or not ours at all.
    """
    if not _is_sealed(content):
        raise FileError(f"{source} is damaged or not ours: its content does not match a checksum.")
    return _parse(content, source, kind)


def _is_sealed(content: bytes) -> bool:
    """Whether the content ends with the checksum of all bytes before it."""
    body, seal = content[:-_DIGEST], content[-_DIGEST:]
    return body.endswith(_SEAL) and hashlib.sha256(body).hexdigest().encode() == seal


def _parse(
    content: bytes, source: str | os.PathLike[str], kind: str
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        archive = np.load(io.BytesIO(content), allow_pickle=False)
        arrays = {name: archive[name] for name in archive.files}
        header = json.loads(bytes(arrays.pop(_HEADER)).decode())
    except (KeyError, AttributeError, UnicodeDecodeError, json.JSONDecodeError):
        raise FileError(f"{source} is not a qpsim file: it has no qpsim header.") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        # Leave out NumPy's advice to allow pickles.
        why = "" if "pickle" in str(error) else f" ({error})"
        raise FileError(f"{source} is not a qpsim file, or is damaged{why}.") from None
    except Exception as error:
        # zlib, struct and NumPy raise errors of several classes for damaged content.
        raise FileError(f"{source} is damaged ({type(error).__name__}: {error}).") from None
    if not isinstance(header, dict) or header.get("format") != _MAGIC:
        raise FileError(f"{source} is not a qpsim file: its header is another program's.")
    if header.get("kind") != kind:
        raise FileError(f"{source} holds a qpsim {header.get('kind')}, not a {kind}.")
    return header, arrays
