"""The number of available cores, and the check of a ``workers`` argument."""

from __future__ import annotations

import os
from typing import Any

from qpsim import checks
from qpsim.errors import ExecutionError


def available_cores() -> int:
    """Cores that this process may use.

    Examples
    --------
    >>> from qpsim.execution.cores import available_cores
    >>> available_cores() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def worker_count(workers: Any) -> int:
    """``workers`` as a number: one for each core if it is None.

    Raises
    ------
    ExecutionError
        Neither None nor a whole number of at least 1.

    Examples
    --------
    >>> from qpsim.execution.cores import worker_count
    >>> worker_count(3)
    3
    """
    return (
        available_cores() if workers is None else checks.count("workers", workers, ExecutionError)
    )
