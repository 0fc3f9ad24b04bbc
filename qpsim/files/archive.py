"""Files that are never half-written and never trusted: one .npz with a JSON header.

Writing goes to a temporary name in the same folder, is flushed to disk and then renamed. Reading
refuses pickled objects and anything that does not carry our header.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import stat
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from qpsim.errors import FileError

_HEADER = "header"
_MAGIC = "qpsim"
_SEAL = b"sha256:"
_DIGEST = 64


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], None]) -> Path:
    """Call ``write`` on a temporary file beside ``path`` and rename it when it is complete.

    Raises
    ------
    FileError
        The folder is missing or not writable, or the disk is full; ``path`` is as it was. So is
        a device or a pipe, which renaming would replace.
    """
    _check_target(path)
    target = Path(path)
    temporary = target.parent / f".{target.name}.{secrets.token_hex(4)}.part"
    try:
        # "x" makes the file with the process's umask, which mkstemp would ignore.
        with temporary.open("xb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise FileError(f"Cannot write {target}: {error.strerror or error}.") from error
        raise
    return target


def _check_target(path: str | os.PathLike[str]) -> None:
    """Refuse what is no place for a file: a rename would put one even where a device was."""
    try:
        target = Path(path)
    except TypeError:
        raise FileError(f"A place to write is a path, not {path!r}.") from None
    if not target.name or "\0" in str(target):
        raise FileError(f"Cannot write {str(path)!r}: it names no file.")
    try:
        mode = target.stat().st_mode
    except OSError:  # nothing there yet; or why not is said when it is written
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise FileError(f"Cannot write {target}: it is a device or a pipe; give a file's name.")


def check_writable(folder: str | os.PathLike[str]) -> Path:
    """Make a folder and try to write in it, so that a long run need not end in a refusal.

    Raises
    ------
    FileError
        The folder cannot be made or written.
    """
    place = Path(folder)
    try:
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise FileError(
            f"Cannot write to the folder {place}: {error.strerror or error}; choose another one."
        ) from error
    return place


def write_json(path: str | os.PathLike[str], data: Any) -> Path:
    """Write data as indented JSON, atomically."""
    return write_bytes(path, (json.dumps(data, indent=2, allow_nan=False) + "\n").encode())


def write_arrays(
    path: str | os.PathLike[str],
    kind: str,
    header: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
) -> Path:
    """Write arrays and a JSON header as one .npz whose bytes depend on nothing else."""
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
    source = Path(path)
    return _parse(read_bytes(source), source, kind)


def pack_arrays(kind: str, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Header and arrays as the bytes of one sealed .npz, which depend on nothing else.

    The seal is the archive's comment: the SHA-256 of every byte before it. ``numpy.load`` reads the
    file as any other; :func:`unpack_arrays` looks at nothing before the seal is found whole.

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
            # ZipInfo's own date, 1980, keeps the clock out of the bytes.
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
    """Whether the content ends in the checksum of all that stands before it."""
    body, seal = content[:-_DIGEST], content[-_DIGEST:]
    return body.endswith(_SEAL) and hashlib.sha256(body).hexdigest().encode() == seal


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Content of a file.

    Raises
    ------
    FileError
        It cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise FileError(f"Cannot read {path}: {error.strerror or error}.") from error


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
        raise FileError(f"{source} is not a qpsim file, or is damaged ({error}).") from None
    except Exception as error:
        # zlib, struct and NumPy's header parser have errors of their own for damaged content.
        raise FileError(f"{source} is damaged ({type(error).__name__}: {error}).") from None
    if not isinstance(header, dict) or header.get("format") != _MAGIC:
        raise FileError(f"{source} is not a qpsim file: its header is another program's.")
    if header.get("kind") != kind:
        raise FileError(f"{source} holds a qpsim {header.get('kind')}, not a {kind}.")
    return header, arrays


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write bytes, atomically."""
    return write_atomically(path, lambda stream: _put(stream, content))


def _put(stream: BinaryIO, content: bytes) -> None:
    stream.write(content)
