"""How fast it is: against peers doing the same ensemble, and against what the machine can do.

``workloads`` says what is measured, ``peers`` who else does it, ``ceilings`` what limits everybody,
``start`` how long one waits before that, ``measure`` takes turns and ``report`` writes it down.

Examples
--------
>>> from qpsim import bench
>>> report = bench.run(quick=True, rounds=1, only=["SGD, axis"], peers=["numpy"])
>>> report["results"][0]["workload"]["name"]
'SGD, axis'
"""

from qpsim.bench.measure import run
from qpsim.bench.report import compare, markdown, table
from qpsim.bench.workloads import Workload

__all__ = ["Workload", "compare", "markdown", "run", "table"]
