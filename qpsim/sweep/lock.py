"""One sweep at a time on one store: a lock that the system drops when its holder dies.

The lock is on an open file, not the file's existence, so that nothing is left behind by a kill.
Libraries of file locks do not fit: where a file system has no locks they fall back to the file's
existence, which a killed sweep would leave locked for good.
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
# What Lustre, NFS and others answer when they were mounted without locks.
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL}
_HOLDER = ("host", "pid", "since")


@contextmanager
def only_one(folder: Path) -> Iterator[bool]:
    """Hold the folder's lock; the value says whether there is one to hold.

    A file system without locks is told of in a :class:`~qpsim.errors.StoreWarning`: two sweeps on
    one store compute cells twice then, but cannot damage it, as every file is written whole.

    Raises
    ------
    SweepError
        Another process holds it; the message says which.
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
    """The lock's file, made if it is not there; never what a link points to."""
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
        # Not what a sweep writes, such as a file that has a second name elsewhere: it is left alone.
        return
    now = datetime.now(UTC).isoformat(timespec="seconds")
    holder = dict(zip(_HOLDER, (socket.gethostname(), os.getpid(), now), strict=True))
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(holder).encode(), 0)
    except OSError:
        # A full disk: the lock is held all the same, only its holder stays nameless.
        return


def _holder(handle: int) -> str | None:
    """Who signed the lock last, if anybody did; None if it holds something else."""
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
    """Windows locks a range of bytes: one far behind the text, which stays readable."""
    import msvcrt

    locking: Any = msvcrt
    os.lseek(handle, 1 << 20, os.SEEK_SET)
    locking.locking(handle, locking.LK_NBLCK, 1)
