"""Sweeps: thousands of ensembles over any parameter, in a store that survives anything.

The flow is one way: ``Sweep`` (which cells) -> ``run`` (any executor) -> ``Store`` (one file a
cell) -> table, ``xarray`` or figure.
"""

from qpsim.sweep.cell import QUANTILES, Cell, Record
from qpsim.sweep.grid import Sweep
from qpsim.sweep.run import Report, run
from qpsim.sweep.store import Status, Store

__all__ = ["QUANTILES", "Cell", "Record", "Report", "Status", "Store", "Sweep", "run"]
