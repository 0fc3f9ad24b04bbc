"""Timing: in every round each program runs once, and ratios are computed within a round.

Other work on the machine slows down programs that run shortly after each other by about the same
factor, so that the median of such ratios is more reliable than a single time. All programs run on
the same cores.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qpsim import checks
from qpsim.bench import ceilings, memory, peers, start
from qpsim.bench.report import SCHEMA
from qpsim.bench.start import spread
from qpsim.bench.workloads import GROUPS, Workload, baseline_of, small, workloads
from qpsim.errors import SimulationError, nearest
from qpsim.execution import progress
from qpsim.execution.cores import available_cores
from qpsim.provenance import environment

ROUNDS = 7
START = "start"
_BASELINE = "baseline"
_TURN_SECONDS = 0.2
_LOOK_SECONDS = 0.2
# Medians of final losses may differ by so many of their standard errors.
_STANDARD_ERRORS = 5.0


def run(
    *,
    quick: bool = False,
    groups: Sequence[str] | None = None,
    only: Sequence[str] | None = None,
    peers: Sequence[str] | None = None,
    rounds: int | None = None,
    workers: int = 2,
) -> dict[str, Any]:
    """Measure workloads against peers and ceilings.

    Parameters
    ----------
    quick : bool, default False
        The core workloads with an eighth of the replicates and two rounds.
    groups : sequence of {"core", "shape", "scale", "noise", "start"}, default ("core", "shape")
        "start" has no workloads: it measures start-up times of new processes.
    only : sequence of str, optional
        Names of workloads, of any group.
    peers : sequence of {"numpy", "numba", "jax", "torch"}, default all
        Those that are not installed are skipped, with the reason in the report. Workloads of group
        "scale" are too large for them.
    rounds : int, default 7
    workers : int, default 2
        Threads; where the system can do it, all contenders are held to as many cores.

    Returns
    -------
    dict
        Plain JSON values: see :mod:`qpsim.bench.report`.

    Raises
    ------
    SimulationError
        An unknown name, or a count below 1.
    """
    for name, value in (("rounds", 1 if rounds is None else rounds), ("workers", workers)):
        checks.count(name, value, SimulationError)
    groups = groups or (("core",) if quick else ("core", "shape"))
    chosen = _chosen(groups, only)
    if quick:
        chosen = [small(workload) for workload in chosen]
    names = _peers(peers)
    n_rounds = rounds or (2 if quick else ROUNDS)
    mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    starts = []
    with _cores(workers) as cores, progress.bar("bench", len(chosen)) as bar:
        results = []
        if START in groups and only is None:
            _take_idle_cores(workers, mine)
            starts = start.measure(n_rounds)
        for workload in chosen:
            _take_idle_cores(workers, mine)
            results.append(_measured(workload, names, n_rounds, workers))
            bar.tick()
    return {
        "schema": SCHEMA,
        "environment": {**environment(), "peers": {name: _version(name) for name in names}},
        "workers": workers,
        "cores": cores,
        "rounds": n_rounds,
        "quick": quick,
        "results": results,
        "start": starts,
    }


def _measured(
    workload: Workload, names: Sequence[str], rounds: int, workers: int
) -> dict[str, Any]:
    contenders: dict[str, Callable[[int], np.ndarray]] = {"qpsim": workload.runner(workers)}
    beside = baseline_of(workload)
    if beside is not None:
        # Of the same sizes: a quick run has fewer replicates.
        beside = replace(
            beside, n_replicates=workload.n_replicates, n_steps=workload.n_steps, dim=workload.dim
        )
        contenders[_BASELINE] = beside.runner(workers)
    skipped = {}
    for name in names:
        reason = peers.reason_missing(name, workload)
        if reason is None:
            contenders[name] = peers.prepare(name, workload, workers)
        else:
            skipped[name] = reason
    # The first run compiles; its losses are compared to see that all simulate the same ensemble.
    final = {name: run(1) for name, run in contenders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    normals, flops = [], []
    for k in range(rounds):
        normals.append(ceilings.normals_per_second(workers))
        flops.append(ceilings.flops_per_second(workers))
        for name, run in contenders.items():
            seconds[name].append(_seconds(run, k))

    def fraction(operations: float | None = None) -> dict[str, float]:
        turns = zip(normals, flops, seconds["qpsim"], strict=True)
        least = ceilings.least_seconds
        return spread([least(workload, n, f, operations) / taken for n, f, taken in turns])

    with_series = ceilings.flops_with_series(workload)
    entry: dict[str, Any] = {
        "workload": workload.to_dict(),
        "seconds": spread(seconds["qpsim"]),
        "ns_per_update": spread([1e9 * s / workload.updates for s in seconds["qpsim"]]),
        "fraction_of_limit": fraction(),
        "fraction_with_series": None if with_series is None else fraction(with_series),
        "normals_per_second": spread(normals),
        "flops_per_second": spread(flops),
        "median_final_loss": float(np.median(final["qpsim"])),
        "peak_bytes": memory.peak_bytes(workload, workers) if workload.group == "scale" else None,
        "baseline": None,
        "peers": {},
    }
    if beside is not None:
        ratios = [a / b for a, b in zip(seconds["qpsim"], seconds[_BASELINE], strict=True)]
        entry["baseline"] = {"name": beside.name, "ratio": spread(ratios)}
    for name in names:
        if name in skipped:
            entry["peers"][name] = {"skipped": skipped[name]}
            continue
        ratios = [a / b for a, b in zip(seconds[name], seconds["qpsim"], strict=True)]
        entry["peers"][name] = {
            "ns_per_update": spread([1e9 * s / workload.updates for s in seconds[name]]),
            "ratio": spread(ratios),
            "median_final_loss": float(np.median(final[name])),
            "same_ensemble": same_median(final["qpsim"], final[name]),
        }
    return entry


def same_median(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether the medians of two samples differ by no more than five standard errors.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).standard_normal(2000)
    >>> same_median(x[:1000], x[1000:]), same_median(x[:1000], x[1000:] + 0.5)
    (True, False)
    """
    error = np.hypot(_median_error(a), _median_error(b))
    difference = abs(float(np.median(a)) - float(np.median(b)))
    return bool(difference <= _STANDARD_ERRORS * error + 1e-9 * abs(float(np.median(a))))


def _median_error(sample: np.ndarray) -> float:
    """Standard error of a median: half the distance of the order statistics around it.

    With fewer than eight values it is unknown, and their size is returned instead.
    """
    n = sample.size
    if n < 8:
        return float(np.abs(sample).max())
    reach = 0.5 / n**0.5
    low, high = np.quantile(sample, [0.5 - reach, 0.5 + reach])
    return float(high - low) / 2.0


def _seconds(run: Callable[[int], np.ndarray], seed: int) -> float:
    """Median time of as many runs as fill a turn.

    A single short run would depend too much on what else the machine does just then.
    """
    times: list[float] = []
    while sum(times) < _TURN_SECONDS:
        began = time.perf_counter()
        run(seed)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def _chosen(groups: Sequence[str], only: Sequence[str] | None) -> list[Workload]:
    known = (*GROUPS, START)
    for group in groups:
        if group not in known:
            raise SimulationError(f"Unknown group {group!r}; {nearest(str(group), known)}")
    if only is None:
        return list(workloads(tuple(groups)))
    every = {workload.name: workload for workload in workloads(GROUPS)}
    for name in only:
        if name not in every:
            raise SimulationError(f"Unknown workload {name!r}; {nearest(str(name), every)}")
    return [every[name] for name in only]


def _peers(names: Sequence[str] | None) -> list[str]:
    wanted = list(peers.NAMES if names is None else names)
    for name in wanted:
        if name not in peers.NAMES:
            raise SimulationError(f"Unknown peer {name!r}; {nearest(str(name), peers.NAMES)}")
    return wanted


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


@contextmanager
def _cores(workers: int) -> Iterator[int]:
    """Restore this process' cores at the end; the value is how many of them are used."""
    if not hasattr(os, "sched_setaffinity"):
        yield available_cores()
        return
    before = os.sched_getaffinity(0)
    try:
        yield min(workers, len(before))
    finally:
        _move_to(before)


def _take_idle_cores(workers: int, among: set[int]) -> None:
    """Move all threads of this process to the cores that other processes use least at the moment."""
    if not (hasattr(os, "sched_setaffinity") and Path("/proc/stat").exists()):
        return
    before = _idle_ticks()
    time.sleep(_LOOK_SECONDS)
    idle = {core: ticks - before[core] for core, ticks in _idle_ticks().items()}
    _move_to(set(sorted(among, key=lambda core: -idle.get(core, 0))[:workers]))


def _idle_ticks() -> dict[int, int]:
    lines = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
    return {int(line[0][3:]): int(line[4]) for line in lines if line[0][3:].isdigit()}


def _move_to(cores: set[int]) -> None:
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # a thread that has just ended
            os.sched_setaffinity(int(task.name), cores)
