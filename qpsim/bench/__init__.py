"""Speed of the package, compared with other programs that simulate the same ensembles and with the machine's limits.

``workloads`` lists the ensembles; ``peers`` (and ``loops``) simulate them with NumPy, Numba, JAX and
PyTorch; ``ceilings`` measures the limits of the machine, ``memory`` the memory of a run and ``start``
the time until a new process works. ``measure`` runs all of them, and ``report`` turns the numbers
into tables. ``peer_noise`` and ``peer_parts`` are what the peers share. A new workload is an entry in ``workloads``, a
new peer a function in ``peers``.

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
