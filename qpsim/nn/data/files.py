"""Reads data files safely: never more bytes than the format allows.

A size in a header may be wrong. Files, also compressed ones, are read up to a given limit, so that
neither a wrong header nor a decompression bomb can fill the memory. Only regular files are opened
(a link to one counts): a pipe or a device could block or never end. Tar archives are read in
memory, member by member; nothing is ever written to disk.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from qpsim import checks
from qpsim.errors import DataError, FileError
from qpsim.files.reading import open_regular

__all__ = ["check_directory", "find_file", "read_file", "read_tar_members"]

_BLOCK = 512
_GZIP = b"\x1f\x8b"
# Largest size of an unpacked archive; the CIFAR archives have at most 186 MB.
_ARCHIVE_LIMIT = 400_000_000
_MEMBER_LIMIT = 1000


def check_directory(directory: str | os.PathLike[str]) -> Path:
    """The directory as a Path; DataError when there is none."""
    path = checks.path("the data directory", directory, DataError)
    with _reading(path):
        if path.is_dir():
            return path
        if path.exists():
            raise DataError(f"{path} is a file; give the directory that holds it")
    raise DataError(f"the data directory {path} does not exist")


def find_file(folder: Path, *names: str) -> Path | None:
    """The first of these names that the folder holds, in capitals or not; None if it has none."""
    with _reading(folder):
        if not folder.is_dir():
            return None
        present = {path.name.lower(): path for path in sorted(folder.iterdir())}
    found = (present.get(name.lower()) for name in names)
    return next((path for path in found if path is not None), None)


def read_file(path: Path, limit: int) -> bytes:
    """The whole content of a file, unpacked if it is gzip data, of at most `limit` bytes."""
    with _reading(path), _opened(path) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise DataError(f"{path}: at most {limit} bytes are expected, unpacked, but more are there")
    return content


def read_tar_members(path: Path, limits: Mapping[str, int]) -> dict[str, bytes]:
    """Those members of a .tar or .tar.gz that `limits` names, with the most bytes each may have.

    Only regular members under exactly these names count: links, devices and paths that lead
    elsewhere are passed over. Names that are not in the archive are not in the result either.
    """
    found: dict[str, bytes] = {}
    with _reading(path), _opened(path) as stream:
        for name, size in _tar_headers(stream, path):
            if name not in limits:
                continue
            if size > limits[name]:
                raise DataError(
                    f"{path}: at most {limits[name]} bytes are expected in {name} "
                    f"but its header says {size}"
                )
            content = stream.read(size)
            if len(content) < size:
                raise DataError(
                    f"{path} is truncated in {name}: {size} bytes are expected "
                    f"but {len(content)} found"
                )
            found[name] = content
            if len(found) == len(limits):
                break
    return found


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn errors of reading into DataErrors."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: the gzip data is truncated or damaged ({error})") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """A regular file's content, unpacked on the fly if it is gzip data, whatever its name."""
    try:
        opened = open_regular(path)
    except FileError as error:
        raise DataError(str(error)) from None
    with opened as stream:
        packed = stream.read(len(_GZIP)) == _GZIP
        stream.seek(0)
        if not packed:
            yield stream
            return
        with gzip.GzipFile(fileobj=stream) as unpacked:
            yield cast(BinaryIO, unpacked)


def _tar_headers(stream: BinaryIO, path: Path) -> Iterator[tuple[str, int]]:
    """(name, size) of every regular member, with `stream` at the start of its content."""
    position = 0
    for _ in range(_MEMBER_LIMIT):
        stream.seek(position)
        header = stream.read(_BLOCK)
        if len(header) < _BLOCK:
            raise DataError(f"{path} is truncated: the archive ends without its closing block")
        if header == bytes(_BLOCK):
            return
        size = _tar_size(header, path)
        position += _BLOCK + -(-size // _BLOCK) * _BLOCK
        if position > _ARCHIVE_LIMIT:
            raise DataError(
                f"{path} holds more than {_ARCHIVE_LIMIT} bytes, which no CIFAR archive does"
            )
        name = header[:100].split(b"\0")[0]
        if header[257:263] == b"ustar\0":
            prefix = header[345:500].split(b"\0")[0]
            name = prefix + b"/" + name if prefix else name
        if header[156:157] in (b"0", b"\0"):
            yield name.decode("latin-1").removeprefix("./"), size
    raise DataError(f"{path} holds more than {_MEMBER_LIMIT} files, which no CIFAR archive does")


def _tar_size(header: bytes, path: Path) -> int:
    """The member's size, once the header's checksum is right."""
    try:
        claimed = int(header[148:156].strip(b" \0"), 8)
        size = int(header[124:136].strip(b" \0") or b"0", 8)
    except ValueError:
        raise DataError(f"{path} unpacks to something that is not a tar archive") from None
    # The checksum is taken with its own eight bytes read as spaces.
    actual = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    if claimed != actual or size < 0:
        raise DataError(f"{path}: the archive is damaged, a header does not match its checksum")
    return size
