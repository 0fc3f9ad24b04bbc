"""How much memory is free, so that work which needs more is refused before it begins."""

from __future__ import annotations

import os
from pathlib import Path

_UNLIMITED = 1 << 60


def available_memory(
    proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")
) -> int | None:
    """Bytes that this process can still take; None if the system does not say.

    The smaller of two numbers: the free memory of the machine, and what is left of the limit of a
    group of processes (a container, a batch job). Memory that only caches files counts as free.

    Parameters
    ----------
    proc, groups : path
        Where Linux reports its memory and its groups of processes.

    Examples
    --------
    >>> from qpsim.execution.memory import available_memory
    >>> free = available_memory()
    >>> free is None or free > 0
    True
    """
    found = [value for value in (_free(proc), _left_to_group(proc, groups)) if value is not None]
    return min(found, default=None)


def readable(n_bytes: float) -> str:
    """A number of bytes as text.

    Examples
    --------
    >>> from qpsim.execution.memory import readable
    >>> readable(48.3e9), readable(2.5e6)
    ('48.3 GB', '2.5 MB')
    """
    for unit, name in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if n_bytes >= unit:
            return f"{n_bytes / unit:.1f} {name}"
    return f"{n_bytes / 1e3:.1f} kB"


def _free(proc: Path) -> int | None:
    try:
        for line in (proc / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _left_to_group(proc: Path, groups: Path) -> int | None:
    """The least that is left to this process's group and to the groups around it."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return None
    left = []
    for line in lines:
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if controllers == "":
            root, names = groups, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            root = groups / "memory"
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        own = root / path.lstrip("/")
        for folder in (own, *own.parents):
            if folder.is_relative_to(root) and (value := _left(folder, *names)) is not None:
                left.append(value)
    return min(left, default=None)


def _left(folder: Path, limit: str, usage: str, reclaimable: str) -> int | None:
    try:
        most = int((folder / limit).read_text())  # "max" is no limit
        used = int((folder / usage).read_text())
        rows = (line.split() for line in (folder / "memory.stat").read_text().splitlines())
        cached = sum(int(row[1]) for row in rows if row[0] == reclaimable)
    except (OSError, ValueError, IndexError):
        return None
    return None if most >= _UNLIMITED else max(0, most - used + cached)
