"""Files that are never half-written and never trusted: one .npz with a JSON header.

Writing goes to a temporary name in the same folder, is flushed to disk and then renamed. Reading
refuses pickled objects and anything that does not carry our header.
"""

from __future__ import annotations

import io
import json
import os
import stat
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from qpsim.errors import FileError

_HEADER = "header"
_MAGIC = "qpsim"


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
    try:
        handle, name = tempfile.mkstemp(
            prefix=f".{target.name}.", suffix=".part", dir=target.parent
        )
    except OSError as error:
        raise FileError(f"Cannot write {target}: {error.strerror or error}.") from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            write(stream)
            stream.flush()
            os.fsync(stream.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise FileError(f"Cannot write {target}: {error.strerror or error}.") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
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
    text = json.dumps(data, indent=2, allow_nan=False) + "\n"
    return write_atomically(path, lambda stream: _put(stream, text.encode()))


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
    try:
        content = source.read_bytes()
    except OSError as error:
        raise FileError(f"Cannot read {source}: {error.strerror or error}.") from error
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


def _put(stream: BinaryIO, content: bytes) -> None:
    stream.write(content)
