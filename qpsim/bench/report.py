"""A benchmark report as text: a table, Markdown for a page, and a comparison of two reports.

A report is a dict of plain JSON values. A measured number is {"median", "low", "high"} over rounds.
``results`` has one entry per workload:

- ``ns_per_update``: wall time per replicate, step and coordinate;
- ``fraction_of_limit``: the time that the normals and matrix products alone would take, over the time
  taken; ``fraction_with_series`` counts the series of the exact sign step too, or is None;
- ``peak_bytes``: memory of a process that runs only this workload (group "scale"; else None);
- ``baseline``: the ``name`` of the workload that this one varies and the ``ratio`` of its time to that one's in the
  same round, or None; older reports have no such key;
- ``peers``: for each the ``ratio`` of its time to ours in the same round, or why it was ``skipped``.

``start`` is what :func:`qpsim.bench.start.measure` returns, or empty; older reports have no such key.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from qpsim.bench import start
from qpsim.errors import FileError
from qpsim.files.reading import read_bytes

SCHEMA = 1
_NONE = "-"


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A report that was written before.

    Raises
    ------
    FileError
        The file is missing, or is no report of this version.
    """
    try:
        report = json.loads(read_bytes(path))
        if report["schema"] != SCHEMA:
            raise KeyError("schema")
        markdown(report)
        compare(report, report)
    except FileError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError):
        raise FileError(f"{path} is no report of this version's qpsim bench.") from None
    return report


def table(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a report, as text."""
    names = list(report["environment"]["peers"])
    columns = ["workload", "ns/update", "of limit", *(f"x {name}" for name in names), "target"]
    peaks = any(entry.get("peak_bytes") for entry in report["results"])
    columns += ["peak memory"] if peaks else []
    beside = any(entry.get("baseline") for entry in report["results"])
    columns += ["x baseline", "at most"] if beside else []
    rows = []
    for entry in report["results"]:
        target = entry["workload"]["target"]
        rows.append(
            [
                entry["workload"]["name"],
                _number(entry["ns_per_update"]["median"]),
                f"{100 * entry['fraction_of_limit']['median']:.0f} %",
                *(_ratio(entry["peers"].get(name)) for name in names),
                _NONE if target is None else f"{target:g} x jax",
                *([_mebibytes(entry.get("peak_bytes"))] if peaks else []),
                *(_beside(entry) if beside else []),
            ]
        )
    return columns, rows


def starts(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Start-up times of new processes; empty if not measured."""
    found: list[dict[str, Any]] = report.get("start", [])
    return found


def remarks(report: Mapping[str, Any]) -> list[str]:
    """Remarks below the table: the conditions, peers that were skipped, peers that disagree."""
    about, results = report["environment"], report["results"]
    lines = [
        f"{about['cpu']}, {report['workers']} workers on {report['cores']} cores; medians of "
        f"{report['rounds']} rounds in which all take turns (lowest to highest in parentheses)."
    ]
    if results:
        normals = _middle(entry["normals_per_second"]["median"] for entry in results)
        flops = _middle(entry["flops_per_second"]["median"] for entry in results)
        lines.append(
            f"Limits: {normals / 1e9:.2f} normals/ns of the own sampler, "
            f"{flops / 1e9:.0f} GFLOP/s of BLAS in double precision."
        )
    shares = [
        f"{100 * entry['fraction_with_series']['median']:.0f} % ({entry['workload']['name']})"
        for entry in results
        if entry.get("fraction_with_series")
    ]
    if shares:
        lines.append(
            f"Of the limit, if the products of the sign's series count: {', '.join(shares)}."
        )
    beside: dict[str, list[str]] = {}
    for entry in results:
        if entry.get("baseline"):
            beside.setdefault(entry["baseline"]["name"], []).append(entry["workload"]["name"])
    lines += [f"Baseline {name} of: {'; '.join(those)}." for name, those in beside.items()]
    reasons = {
        f"{name}: {peer['skipped']}"
        for entry in results
        if entry["workload"]["group"] != "scale"
        for name, peer in entry["peers"].items()
        if "skipped" in peer
    }
    lines += sorted(f"Skipped {reason}." for reason in reasons)
    lines += [
        f"{entry['workload']['name']}: {name} ends at a median loss of "
        f"{peer['median_final_loss']:.4g}, not {entry['median_final_loss']:.4g}: not the same ensemble."
        for entry in results
        for name, peer in entry["peers"].items()
        if not peer.get("same_ensemble", True)
    ]
    return lines


def markdown(report: Mapping[str, Any]) -> str:
    """The tables and the remarks in Markdown."""
    text = _markdown(*table(report)) + "\n" if report["results"] or not starts(report) else ""
    if starts(report):
        text += _markdown(*start.table(starts(report))) + "\n"
    return text + " ".join(remarks(report)) + "\n"


def _markdown(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """The changes between two reports, as columns and rows of text.

    Times of different machines, or of a busy and an idle one, say little: the last columns compare
    what each machine's own limit was used for, and the ratios to JAX.
    """
    before = {entry["workload"]["name"]: entry for entry in old["results"]}
    columns = ["workload", "ns before", "ns now", "faster by", "of limit", "x jax"]
    rows = []
    for entry in new["results"]:
        past = before.get(entry["workload"]["name"])
        if past is None:
            continue
        earlier, now = past["ns_per_update"]["median"], entry["ns_per_update"]["median"]
        rows.append(
            [
                entry["workload"]["name"],
                _number(earlier),
                _number(now),
                f"{earlier / now:.2f} x",
                f"{_percent(past)} -> {_percent(entry)}",
                f"{_jax(past)} -> {_jax(entry)}",
            ]
        )
    return columns, rows


def _percent(entry: Mapping[str, Any]) -> str:
    return f"{100 * entry['fraction_of_limit']['median']:.0f} %"


def _jax(entry: Mapping[str, Any]) -> str:
    peer = entry["peers"].get("jax", {})
    return f"{peer['ratio']['median']:.1f}" if "ratio" in peer else _NONE


def _ratio(peer: Mapping[str, Any] | None) -> str:
    if peer is None or "ratio" not in peer:
        return _NONE
    if not peer["same_ensemble"]:
        return "differs"
    ratio = peer["ratio"]
    # A peer may be much faster: a ratio of 0.03 says more than 0.0.
    middle, low, high = (
        f"{value:.1f}" if value >= 0.1 else f"{value:.2g}"
        for value in (ratio["median"], ratio["low"], ratio["high"])
    )
    return f"{middle} ({low}-{high})"


def _beside(entry: Mapping[str, Any]) -> list[str]:
    """How many times as long as its baseline a workload takes, and may take."""
    found = entry.get("baseline")
    if not found:
        return [_NONE, _NONE]
    ratio = found["ratio"]
    most = entry["workload"]["at_most"]
    return [
        f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})",
        _NONE if most is None else f"{most:g}",
    ]


def _mebibytes(size: int | None) -> str:
    return _NONE if size is None else f"{size / 2**20:.0f} MiB"


def _number(value: float) -> str:
    return f"{value:.3g}"


def _middle(values: Any) -> float:
    ordered: Sequence[float] = sorted(values)
    return ordered[len(ordered) // 2]
