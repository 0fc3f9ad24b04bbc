"""A lock that lets one sweep at a time use a store; the system releases it when the process ends.

The lock is on an open file and not the existence of a file, so that a killed process leaves no lock. Libraries for file
locks are not used: on file systems without locks they use the existence of a file, so that a killed sweep would leave
the store locked.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qpsim.errors import FileError, StoreWarning, SweepError

NAME = "lock"
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
# Errors of Lustre, NFS and others that are mounted without locks.
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_HOLDER = ("host", "pid", "since")


@contextmanager
def only_one(folder: Path) -> Iterator[bool]:
    """Hold the folder's lock during the block. The value is False if the file system has no locks.

    A file system without locks gives a :class:`~qpsim.errors.StoreWarning`: two sweeps on one store then compute cells
    twice, but cannot damage it, since every file is written atomically.

    Raises
    ------
    SweepError
        Another process has the lock; the message names it.
    FileError
        The folder is not writable, or something else than a lock has its name.
    """
    path = folder / NAME
    handle = _opened(path)
    try:
        try:
            _lock(handle)
            locked = True
        except OSError as error:
            if error.errno in _HELD:
                raise SweepError(
                    f"Another sweep {_holder(handle) or 'process'} is at work on the store {folder}; "
                    "wait for it, or give another store."
                ) from None
            if error.errno not in _NO_LOCKS:
                raise FileError(f"Cannot lock {path}: {error.strerror or error}.") from error
            locked = False
            warnings.warn(
                f"The file system of {folder} has no locks ({error.strerror}): see to it that no "
                "other sweep is at work on this store.",
                StoreWarning,
                stacklevel=2,
            )
        _sign(handle)
        yield locked
    finally:
        os.close(handle)


def _opened(path: Path) -> int:
    """The open lock file, created if it is missing; links are not followed."""
    no_waiting = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        if path.is_symlink():
            raise FileError(f"{path} is a symbolic link, and no lock of a sweep; remove it.")
        handle = os.open(path, os.O_RDWR | os.O_CREAT | no_waiting, 0o666)
    except OSError as error:
        raise FileError(f"Cannot write to the store: {path}: {error.strerror or error}.") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise FileError(f"{path} is a pipe or a device, and no lock of a sweep; remove it.")
    return handle


def _sign(handle: int) -> None:
    if _holder(handle) is None:
        # A file that no sweep has written, such as one with a second hard link, is not changed.
        return
    now = datetime.now(UTC).isoformat(timespec="seconds")
    holder = dict(zip(_HOLDER, (socket.gethostname(), os.getpid(), now), strict=True))
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(holder).encode(), 0)
    except OSError:
        # A full disk: the lock is held, only the text that names its holder is missing.
        return


def _holder(handle: int) -> str | None:
    """The process that is named in the lock file; None if the file has another content."""
    try:
        content = os.pread(handle, 1000, 0)
        if not content:
            return "process"
        holder = json.loads(content)
        return f"(process {holder['pid']} on {holder['host']}, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _lock(handle: int) -> None:
    if sys.platform == "win32":
        _lock_byte(handle)
        return
    import fcntl

    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock_byte(handle: int) -> None:
    """Windows locks a range of bytes; one far behind the text is used, so that the text can be read."""
    import msvcrt

    locking: Any = msvcrt
    os.lseek(handle, 1 << 20, os.SEEK_SET)
    locking.locking(handle, locking.LK_NBLCK, 1)
