"""One sweep at a time on one store: a lock that the system drops when its holder dies.

The lock is on an open file, not the file's existence, so that nothing is left behind by a kill.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from qpsim.errors import FileError, SweepError

NAME = "lock"


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the folder's lock.

    Raises
    ------
    SweepError
        Another process holds it; the message says which.
    FileError
        The folder is not writable.
    """
    try:
        handle = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise FileError(
            f"Cannot write to the store {folder}: {error.strerror or error}."
        ) from error
    try:
        if not _lock(handle):
            raise SweepError(
                f"Another sweep {_holder(handle)} is at work on the store {folder}; "
                "wait for it, or give another store."
            )
        _sign(handle)
        yield
    finally:
        os.close(handle)


def _sign(handle: int) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": now}
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(holder).encode(), 0)
    except OSError:
        # A full disk: the lock is held all the same, only its holder stays nameless.
        return


def _holder(handle: int) -> str:
    try:
        holder = json.loads(os.pread(handle, 1000, 0))
        return f"(process {holder['pid']} on {holder['host']}, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "process"


def _lock(handle: int) -> bool:
    if sys.platform == "win32":
        return _lock_byte(handle)
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _lock_byte(handle: int) -> bool:
    """Windows locks a range of bytes: one far behind the text, which stays readable."""
    import msvcrt

    locking: Any = msvcrt
    try:
        os.lseek(handle, 1 << 20, os.SEEK_SET)
        locking.locking(handle, locking.LK_NBLCK, 1)
    except OSError:
        return False
    return True
