"""Writes files atomically, and checks in advance whether a file can be written.

Content goes to a temporary name in the same folder, is flushed to disk and then renamed.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from qpsim import checks
from qpsim.errors import FileError
from qpsim.files.reading import reason

# Names of the temporary files, which a killed run may leave.
TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.part")
# Bytes of a file's name that its temporary name repeats, so that it does not become too long.
_NAME_KEPT = 40
# A temporary file that was not written to for so long belongs to a killed run.
_ABANDONED_SECONDS = 3600.0


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], None]) -> Path:
    """Call ``write`` on a temporary file in the same folder and rename it to ``path`` when it is complete.

    Raises
    ------
    FileError
        The folder is missing or not writable, or the disk is full; ``path`` is as it was. Or it
        is a folder, a device or a pipe, which renaming would replace.
    """
    target = _checked_target(path)
    kept = os.fsencode(target.name)[:_NAME_KEPT].decode(errors="ignore")
    temporary = target.parent / f".{kept}.{secrets.token_hex(4)}.part"
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
            raise FileError(f"Cannot write {target}: {reason(error)}.") from error
        raise
    return target


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write bytes, atomically."""

    def put(stream: BinaryIO) -> None:
        stream.write(content)

    return write_atomically(path, put)


def write_json(path: str | os.PathLike[str], data: Any) -> Path:
    """Write data as indented JSON, atomically."""
    return write_bytes(path, (json.dumps(data, indent=2, allow_nan=False) + "\n").encode())


def check_writable(folder: str | os.PathLike[str]) -> Path:
    """Make a folder and test that it is writable, before a long run begins.

    Temporary files of killed runs that are more than an hour old are removed.

    Raises
    ------
    FileError
        The folder cannot be made or written.
    """
    place = checks.path("A folder", folder, FileError)
    try:
        if place.exists() and not place.is_dir():
            raise FileError(f"Cannot write to the folder {place}: it is a file; give a folder.")
        place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        raise FileError(
            f"Cannot write to the folder {place}: {reason(error)}; choose another one."
        ) from error
    sweep_up(place, _ABANDONED_SECONDS)
    return place


def check_file(path: str | os.PathLike[str]) -> Path:
    """Make a file's folder and check that the file can be written later.

    Raises
    ------
    FileError
        The path is a folder, a device or a pipe, its name is too long, or its folder cannot be
        written.

    Examples
    --------
    >>> from qpsim.files.writing import check_file
    >>> check_file(".")
    Traceback (most recent call last):
    ...
    qpsim.errors.FileError: Cannot write .: it is a folder; give a file's name.
    """
    target = _checked_target(path)
    check_writable(target.parent)
    return target


def sweep_up(folder: Path, abandoned_seconds: float) -> None:
    """Remove temporary files in a folder that were last written so long ago."""
    now = time.time()
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if TEMPORARY.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                with suppress(OSError):
                    if now - entry.stat(follow_symlinks=False).st_mtime >= abandoned_seconds:
                        os.unlink(entry.path)


def _checked_target(path: str | os.PathLike[str]) -> Path:
    """The path, if a file may be written there; renaming would otherwise replace even a device."""
    target = checks.path("A place to write", path, FileError)
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    except OSError as error:
        raise FileError(f"Cannot write {target}: {reason(error)}.") from None
    if stat.S_ISDIR(mode) or not target.name:
        raise FileError(f"Cannot write {target}: it is a folder; give a file's name.")
    if not stat.S_ISREG(mode):
        raise FileError(f"Cannot write {target}: it is a device or a pipe; give a file's name.")
    return target
