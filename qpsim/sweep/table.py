"""The cells of a sweep as a table (one row for each cell, or each cell and step), or as an array over the grid."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np

from qpsim.errors import SweepError
from qpsim.files.writing import write_atomically
from qpsim.sweep.cell import QUANTILES, Record
from qpsim.sweep.grid import Sweep
from qpsim.sweep.parameters import DEFAULTS, HYPER, OPTIONAL, label

_PARQUET_ROWS = 10_000


def rows_of_cells(
    sweep: Sweep, finals: Mapping[str, Mapping[str, Any]]
) -> Iterator[dict[str, Any]]:
    """One row for each finished cell: its parameters and its final loss.

    Parameters
    ----------
    sweep : Sweep
    finals : mapping
        :meth:`Record.final` of every finished cell, by its id.
    """
    names = _columns(sweep)
    for cell in sweep:
        if cell.id in finals:
            known = _parameters(cell.parameters, names)
            yield {"cell": cell.id, **known, **_counted(finals[cell.id])}


def rows_of_steps(sweep: Sweep, records: Iterable[Record]) -> Iterator[dict[str, Any]]:
    """One row for each finished cell and step: the cell's parameters, the step, and its losses."""
    names = _columns(sweep)
    for record in records:
        known = _parameters(record.parameters, names)
        for step, values in enumerate(_by_step(record)):
            yield {"cell": record.id, **known, "step": step, **values}


def write_csv(rows: Iterable[Mapping[str, Any]], stream: TextIO) -> int:
    """Write rows with equal columns as CSV. Returns their number."""
    writer, count = None, 0
    for row in rows:
        if writer is None:
            writer = csv.DictWriter(stream, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
        count += 1
    return count


def write(rows: Iterable[dict[str, Any]], path: str | os.PathLike[str]) -> int:
    """Write rows to a file named .csv or .parquet, atomically. Returns their number.

    Raises
    ------
    SweepError
        Another ending, or pyarrow is not installed for .parquet.
    FileError
        The place cannot be written.
    """
    ending = Path(path).suffix.lower()
    if ending not in (".csv", ".parquet"):
        raise SweepError(f"A table is written to a file named .csv or .parquet, not {path}.")
    count = 0

    def put(stream: Any) -> None:
        nonlocal count
        if ending == ".parquet":
            count = _write_parquet(rows, stream)
            return
        text = io.TextIOWrapper(stream, "utf-8", newline="")
        count = write_csv(rows, text)
        text.detach()

    if ending == ".parquet":
        _pyarrow()
    write_atomically(path, put)
    return count


def to_xarray(sweep: Sweep, records: Iterable[Record]) -> Any:
    """The finished cells of a sweep as an ``xarray.Dataset``.

    Dimensions are the axes of the grid, with their values as coordinates (text for methods and spectra), then "step"
    and "quantile"; for a sweep with listed cells the dimension "cell" replaces those of the grid. Cells that are not
    there, and steps beyond a cell's last, are NaN; ``diverged`` is -1.

    Raises
    ------
    SweepError
        xarray is not installed.
    """
    try:
        import xarray
    except ImportError:
        raise SweepError(
            'to_xarray needs xarray; install it with: pip install "qpsim[xarray]"'
        ) from None
    gridded = not sweep.listed
    lengths = tuple(sweep.dims.values()) if gridded else (len(sweep),)
    dims = tuple(sweep.dims) if gridded else ("cell",)
    size, n = int(np.prod(lengths)), 1 + max(c.parameters["n_steps"] for c in sweep)
    quantiles = np.full((size, len(QUANTILES), n), np.nan)
    mean, deviation = np.full((size, n), np.nan), np.full((size, n), np.nan)
    diverged = np.full(size, -1)
    places = {cell.id: k for k, cell in enumerate(sweep)}
    for record in records:
        k, m = places[record.id], record.mean_log10_loss.size
        quantiles[k, :, :m] = record.quantiles
        mean[k, :m], deviation[k, :m] = record.mean_log10_loss, record.std_log10_loss
        diverged[k] = record.diverged
    coordinates: dict[str, Any] = {"quantile": list(QUANTILES), "step": np.arange(n)}
    if gridded:
        for name, values in sweep.axes.items():
            labels = [label(name, value) for value in values]
            words = any(isinstance(item, str) for item in labels)
            coordinates[name] = [str(item) for item in labels] if words else labels
    else:
        names = _columns(sweep)
        known = [_parameters(cell.parameters, names) for cell in sweep]
        coordinates["cell"] = list(places)
        for name in known[0]:
            coordinates[name] = ("cell", [row[name] for row in known])
    return xarray.Dataset(
        {
            "loss_quantile": (
                (*dims, "quantile", "step"),
                quantiles.reshape(*lengths, len(QUANTILES), n),
            ),
            "mean_log10_loss": ((*dims, "step"), mean.reshape(*lengths, n)),
            "std_log10_loss": ((*dims, "step"), deviation.reshape(*lengths, n)),
            "diverged": (dims, diverged.reshape(lengths)),
        },
        coordinates,
    )


def _by_step(record: Record) -> Iterator[dict[str, float]]:
    names = [f"loss_q{round(100 * q):02d}" for q in QUANTILES]
    for step, losses in enumerate(record.quantiles.T):
        yield {
            "mean_log10_loss": float(record.mean_log10_loss[step]),
            "std_log10_loss": float(record.std_log10_loss[step]),
            **{name: float(loss) for name, loss in zip(names, losses, strict=True)},
        }


def _counted(final: Mapping[str, Any]) -> dict[str, Any]:
    row = {name: float(value) for name, value in final.items()}
    return {**row, "diverged": int(row["diverged"])}


class _Columns(NamedTuple):
    """The columns of a table: parameters and hyper-parameters that any cell of the sweep has."""

    parameters: list[str]
    hyper: list[str]


def _columns(sweep: Sweep) -> _Columns:
    cells = [cell.parameters for cell in sweep]
    own = [name for name in OPTIONAL if any(name in p for p in cells)]
    names = [name for name in DEFAULTS if name not in ("method", "record")] + own
    return _Columns(names, sorted({name for p in cells for name in p["method"]} - {"name"}))


def _parameters(parameters: Mapping[str, Any], columns: _Columns) -> dict[str, Any]:
    row = {
        name: label(name, parameters[name]) if name in parameters else None
        for name in columns.parameters
    }
    # A step size is a number or the name of a policy; a column has one type.
    row["step_size"] = str(row["step_size"])
    method = parameters["method"]
    hyper = {f"{HYPER}{name}": method.get(name) for name in columns.hyper}
    return {"method": method["name"], **hyper, **row}


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise SweepError(
            'Parquet needs pyarrow; install it with: pip install "qpsim[parquet]"'
        ) from None
    return pyarrow


def _write_parquet(rows: Iterable[dict[str, Any]], stream: Any) -> int:
    pyarrow = _pyarrow()
    writer, count = None, 0
    for chunk in _chunks(rows):
        if writer is None:
            writer = pyarrow.parquet.ParquetWriter(stream, _schema(pyarrow, chunk[0]))
        writer.write_table(pyarrow.Table.from_pylist(chunk, schema=writer.schema))
        count += len(chunk)
    if writer is None:
        raise SweepError("There is no finished cell to write.")
    writer.close()
    return count


def _schema(pyarrow: Any, row: Mapping[str, Any]) -> Any:
    whole = {"dim", "rng", "batch_size", "n_replicates", "n_steps", "step", "diverged"}
    text = {"cell", "method", "spectrum", "step_size", *OPTIONAL} - {"df"}

    def kind(name: str) -> Any:
        if name in whole:
            return pyarrow.int64()
        return pyarrow.string() if name in text else pyarrow.float64()

    return pyarrow.schema([(name, kind(name)) for name in row])


def _chunks(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    chunk: list[dict[str, Any]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _PARQUET_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
