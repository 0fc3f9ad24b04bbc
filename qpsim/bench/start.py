"""Start-up times, each measured on a new process.

They are compared with the least that such a program can take: an empty typer program, and
``import numpy``. Compiled kernels go to a separate cache folder, which is empty at first.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from qpsim.bench.memory import child_environment

_BARE = """
import typer
app = typer.Typer()

@app.command()
def one() -> None:
    "One command."

@app.command()
def other() -> None:
    "Another command."

app(["--help"])
"""
_QPSIM = [sys.executable, "-m", "qpsim"]
# A run with an empty cache takes ten seconds.
_COLD_ROUNDS = 3


def measure(rounds: int) -> list[dict[str, Any]]:
    """Time every start, each together with what it is compared with.

    Returns
    -------
    list of dict
        ``name``, ``seconds``, and compared with the peer in the same round ``ratio`` (of the times)
        or ``beyond`` (their difference in seconds); each {"median", "low", "high"}, or None.
        ``target`` is a limit in words.
    """
    bare, numpy = [sys.executable, "-c", _BARE], [sys.executable, "-c", "import numpy"]
    ours = [sys.executable, "-c", "import numpy, qpsim"]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        figure = [*_QPSIM, "figure", "2", "--out", os.path.join(folder, "figures")]

        def cold(k: int) -> float:
            return _seconds(figure, os.path.join(folder, f"cold-{k}"))

        def warm(k: int) -> float:
            return _seconds(figure, os.path.join(folder, "cold-0"))

        return [
            _entry(
                "qpsim --help", "1.5 x a bare typer program", "ratio", rounds, [*_QPSIM, "-h"], bare
            ),
            _entry("import qpsim", "0.15 s beyond numpy", "beyond", rounds, ours, numpy),
            _alone("qpsim figure 2, nothing compiled", "15 s", min(rounds, _COLD_ROUNDS), cold),
            _alone("qpsim figure 2, compiled before", "5 s", rounds, warm),
        ]


def table(entries: Sequence[dict[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows, as text."""
    rows = []
    for entry in entries:
        seconds, ratio, beyond = entry["seconds"], entry["ratio"], entry["beyond"]
        relative = "-"
        if ratio is not None:
            relative = f"{ratio['median']:.2f} x"
        elif beyond is not None:
            relative = f"{beyond['median']:+.3f} s"
        spread = f"{seconds['median']:.2f} ({seconds['low']:.2f}-{seconds['high']:.2f})"
        rows.append([entry["name"], spread, relative, entry["target"]])
    return ["start", "seconds", "beside its peer", "target"], rows


def _entry(
    name: str, target: str, kind: str, rounds: int, ours: list[str], peer: list[str]
) -> dict[str, Any]:
    pairs = [(_seconds(ours), _seconds(peer)) for _ in range(rounds + 1)][1:]
    against: dict[str, Callable[[float, float], float]] = {
        "ratio": lambda own, other: own / other,
        "beyond": lambda own, other: own - other,
    }
    found = spread([against[kind](*pair) for pair in pairs])
    entry = {"name": name, "target": target, "ratio": None, "beyond": None}
    return {**entry, "seconds": spread([own for own, _ in pairs]), kind: found}


def _alone(name: str, target: str, rounds: int, run: Callable[[int], float]) -> dict[str, Any]:
    seconds = spread([run(k) for k in range(rounds)])
    return {"name": name, "target": target, "seconds": seconds, "ratio": None, "beyond": None}


def _seconds(command: list[str], cache: str | None = None) -> float:
    environment = child_environment()
    if cache is not None:
        environment["QPSIM_CACHE_DIR"] = cache
    began = time.perf_counter()
    subprocess.run(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True
    )
    return time.perf_counter() - began


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, least and largest of repeated measurements.

    >>> spread([3.0, 1.0, 2.0])
    {'median': 2.0, 'low': 1.0, 'high': 3.0}
    """
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}
