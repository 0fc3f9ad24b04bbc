"""A fingerprint of the package's source files: programs with equal fingerprints run the same code."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import qpsim

PACKAGE = Path(__file__).resolve().parent.parent


class Sources:
    """The source files of some subpackages, as they are now.

    Parameters
    ----------
    subpackages : iterable of str
        Names of subpackages; "" is the whole package.

    Attributes
    ----------
    digest : str or None
        SHA-256 of the names and contents of all files; None if they cannot be read.
    """

    def __init__(self, subpackages: Iterable[str]) -> None:
        self._folders = [PACKAGE / name for name in subpackages]
        self._stamps = self._file_stamps()
        self.digest = self._read()

    def _files(self) -> Iterator[Path]:
        for folder in self._folders:
            yield from sorted(folder.rglob("*.py"))

    def _file_stamps(self) -> list[tuple[str, int, int]]:
        """Path, time of the last change and size of every file; empty if they cannot be read."""
        try:
            stats = [(str(path), path.stat()) for path in self._files()]
        except OSError:
            return []
        return [(path, stat.st_mtime_ns, stat.st_size) for path, stat in stats]

    def _read(self) -> str | None:
        digest = hashlib.sha256()
        try:
            for path in self._files():
                text = path.read_bytes()
                digest.update(f"{path.relative_to(PACKAGE).as_posix()} {len(text)}\n".encode())
                digest.update(text)
        except OSError:
            return None
        return digest.hexdigest()

    def unchanged(self) -> bool:
        """Whether the files are still the same. Once False it stays False."""
        if self.digest is None or not self._stamps:
            return False
        stamps = self._file_stamps()
        if stamps != self._stamps:
            if self._read() != self.digest:
                self.digest = None
                return False
            self._stamps = stamps
        return True

    def covers(self, file: str | None) -> bool:
        """Whether an edit of this file would change the digest."""
        if file is None:
            return False
        path = Path(file).resolve()
        return path.suffix == ".py" and any(folder in path.parents for folder in self._folders)


@cache
def source_fingerprint(*subpackages: str) -> str:
    """Hash of the sources of some subpackages, or of the whole package if none is named.

    Examples
    --------
    >>> from qpsim.execution.sources import source_fingerprint
    >>> len(source_fingerprint("kernels", "rules"))
    32
    """
    return str(Sources(subpackages or ("",)).digest)[:32]


def identity() -> str:
    """The version and the fingerprint of the qpsim that this process runs.

    Examples
    --------
    >>> from qpsim.execution.sources import identity
    >>> identity().split()[0] == qpsim.__version__
    True
    """
    return f"{qpsim.__version__} {source_fingerprint()}"
