"""Memory of a workload: the peak of a new process that runs nothing else, interpreter included."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from qpsim.bench.workloads import Workload

_STATUS = Path("/proc/self/status")
_CHILD = "import sys; from qpsim.bench import memory; memory.report_own_peak(*sys.argv[1:])"


def peak_bytes(workload: Workload, workers: int) -> int | None:
    """Peak memory of a new process that runs a workload; None where the system does not count it.

    It includes the recorded losses, 8 bytes per replicate and step.
    """
    command = [sys.executable, "-c", _CHILD, json.dumps(workload.to_dict()), str(workers)]
    done = subprocess.run(
        command, env=child_environment(), stdout=subprocess.PIPE, text=True, check=True
    )
    size: int | None = json.loads(done.stdout)
    return size


def child_environment() -> dict[str, str]:
    """The environment of a new process that finds what this one imports.

    >>> "PYTHONPATH" in child_environment()
    True
    """
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path)}


def report_own_peak(workload: str, workers: str) -> None:
    """Run a workload, given as JSON, and print the most memory that this process has held."""
    Workload(**json.loads(workload)).runner(int(workers))(0)
    print(json.dumps(own_peak_bytes()))


def own_peak_bytes() -> int | None:
    """Peak memory of this process so far, in bytes; None where the system does not count it.

    >>> peak = own_peak_bytes()
    >>> peak is None or peak > 10_000_000
    True
    """
    if _STATUS.exists():
        # getrusage would include the memory of the parent at the time it started this process.
        lines = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
        if "VmHWM" in lines:
            return 1024 * int(lines["VmHWM"].split()[0])
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
