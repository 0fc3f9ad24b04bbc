"""Where a number comes from: versions, revision and machine, as plain JSON."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import qpsim

_LIBRARIES = ("numpy", "scipy", "numba", "llvmlite")


@cache
def environment() -> dict[str, Any]:
    """Versions, git revision (if the package sits in a checkout) and CPU of this process.

    Examples
    --------
    >>> from qpsim.provenance import environment
    >>> sorted(environment())
    ['cpu', 'git_revision', 'libraries', 'platform', 'python', 'qpsim']
    """
    return {
        "qpsim": qpsim.__version__,
        "git_revision": _git_revision(),
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "platform": f"{sys.platform}-{platform.machine()}",
        "cpu": _cpu(),
    }


def provenance_since(began: float, **more: Any) -> dict[str, Any]:
    """The environment, further facts, and the seconds since ``began``, which is a :func:`time.perf_counter`.

    Examples
    --------
    >>> import time
    >>> from qpsim.provenance import provenance_since
    >>> list(provenance_since(time.perf_counter(), bit_generator="SFC64"))[-2:]
    ['bit_generator', 'wall_seconds']
    """
    return {**environment(), **more, "wall_seconds": round(time.perf_counter() - began, 3)}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """Revision of the checkout that holds this package; None for an installed copy."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        run = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip() or None


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
