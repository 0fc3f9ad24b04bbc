"""Reads files of users: regular files only.

Reading from a pipe without a writer would never return, and a device such as ``/dev/zero`` would
fill the memory. Both are refused after opening, before anything is read.
"""

from __future__ import annotations

import os
import stat
import sys
import tomllib
from pathlib import Path
from typing import Any, BinaryIO

from qpsim.errors import FileError, SpecError


def open_regular(path: str | os.PathLike[str], follow_links: bool = True) -> BinaryIO:
    """Open a regular file for reading.

    Parameters
    ----------
    path : path
    follow_links : bool, default True
        False refuses a path that is a symbolic link; for folders that only this package writes.

    Raises
    ------
    FileError
        Its name is empty; it does not exist, may not be read, or is a folder, pipe, device, socket or refused link.
    """
    if not os.fspath(path):
        raise FileError("The name of a file to read is empty.")
    # Without O_NONBLOCK, opening a pipe would wait for its writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    if not follow_links:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    if not follow_links and os.path.islink(path):
        raise FileError(f"Cannot read {path}: it is a symbolic link; give the file itself.")
    try:
        handle = os.open(path, flags)
        mode = os.fstat(handle).st_mode
    except (OSError, ValueError) as error:
        raise FileError(f"Cannot read {path}: {reason(error)}.") from None
    if stat.S_ISREG(mode):
        return os.fdopen(handle, "rb")
    os.close(handle)
    kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
    raise FileError(f"Cannot read {path}: it is {kind}; give a file.")


def read_bytes(path: str | os.PathLike[str], follow_links: bool = True) -> bytes:
    """Content of a regular file.

    Raises
    ------
    FileError
        As :func:`open_regular`; or it cannot be read to its end.
    """
    with open_regular(path, follow_links) as stream:
        try:
            return stream.read()
        except OSError as error:
            raise FileError(f"Cannot read {path}: {reason(error)}.") from None


def read_toml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The table in a TOML file; "-" is standard input.

    The file is UTF-8, whatever the locale says; a byte-order mark before it is skipped.

    Raises
    ------
    FileError
        It cannot be read.
    SpecError
        It is not valid TOML.
    """
    content = _standard_input() if str(path) == "-" else read_bytes(path)
    name = "The standard input" if str(path) == "-" else str(path)
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise SpecError(f"{name} is not a text file in UTF-8; save it as UTF-8 TOML.") from None
    except (ValueError, RecursionError) as error:
        # Also other ValueErrors: Python refuses numbers of thousands of digits.
        raise SpecError(f"{name} is not valid TOML: {str(error).rstrip('.')}.") from None


def reason(error: Exception) -> str:
    """The text of an OSError without the path."""
    if isinstance(error, NotADirectoryError):
        return "a part of its path is a file, not a folder"
    return getattr(error, "strerror", None) or str(error).rstrip(".") or type(error).__name__


def _standard_input() -> bytes:
    stream = getattr(sys.stdin, "buffer", sys.stdin)
    try:
        # A closed standard input is None, or a stream that raises.
        content = b"" if stream is None else stream.read()
    except (OSError, ValueError) as error:
        raise FileError(f"Cannot read the standard input: {reason(error)}.") from None
    if not content:
        raise FileError("The standard input is empty or closed; give a file, or write into it.")
    return content if isinstance(content, bytes) else content.encode()


def is_regular(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a regular file and not a link.

    >>> is_regular("/dev/null")
    False
    """
    try:
        return stat.S_ISREG(Path(path).lstat().st_mode)
    except (OSError, ValueError):
        return False
