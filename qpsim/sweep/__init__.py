"""Sweeps: thousands of simulations over any parameters, stored so that an interrupted sweep can go on.

``Sweep`` (which cells) -> ``run`` (on any executor) -> ``Store`` (one file a cell) -> table, ``xarray`` or figure.

- ``grid``: ``Sweep``, its fixed parameters, grid and single cells. ``parameters``: the name, default and form of every
  parameter; a new parameter is an entry there. ``given``: matrices and tables from a user's files.
- ``cell``: one set of parameters, its identity, and its result as the content of a file.
- ``run``: the loop that submits cells and stores results. ``executors`` and ``cluster``: where they are computed.
- ``store``: the folder of results; ``manifest`` its specification, ``lock`` keeps two sweeps from sharing it.
- ``table``: results as rows or as an array over the grid.
"""

from qpsim.sweep.cell import QUANTILES, Cell, Record
from qpsim.sweep.grid import Sweep
from qpsim.sweep.run import Report, run
from qpsim.sweep.store import Status, Store

__all__ = ["QUANTILES", "Cell", "Record", "Report", "Status", "Store", "Sweep", "run"]
