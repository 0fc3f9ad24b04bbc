"""Records numbers and files of one version, which later versions must give again bit for bit.

    python -m tests.golden record FOLDER
    python -m tests.golden check FOLDER [--exact] [--quick] [--only TEXT] [--processes N]

``record`` writes ``golden.json`` and, in ``FOLDER/files``, one file of every kind that the package
saves. ``check`` computes everything again and exits with 1 if something differs. Only public names
are used, so that this script runs before and after any change of the modules behind them.

Of every array ``golden.json`` holds a hash of its bytes, which tells whether a bit has changed, and
a few of its numbers, which tell how far, and are compared where other bits are to be expected: on
another processor or with other versions of the libraries. See :func:`environment`.

The cases are in :mod:`tests.golden_cases`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import multiprocessing
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from tests.golden_cases import ROUNDING, Case, cases, write_files


def environment() -> dict[str, Any]:
    """What bits may depend on besides the code: processor, libraries, and the threads of BLAS.

    Two machines of which all of this agrees must give the same bits. BLAS divides a large product
    or factorisation among its threads, and so adds in another order if it has more of them.
    """
    from llvmlite import binding
    from threadpoolctl import threadpool_info

    features = binding.get_host_cpu_features()
    blas = {
        f"{found['internal_api']} {found.get('architecture')} threads {found['num_threads']}"
        for found in threadpool_info()
        if found["user_api"] == "blas"
    }
    switches = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_OPT")
    libraries = ("numpy", "scipy", "numba", "llvmlite", "scikit-learn")

    def installed(name: str) -> str | None:
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {
        "cpu": binding.get_host_cpu_name(),
        "features": " ".join(sorted(name for name, there in features.items() if there)),
        "blas": sorted(blas),
        "system": f"{sys.platform} {platform.machine()} {' '.join(platform.libc_ver())}",
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{name: installed(name) for name in libraries},
        **{name: os.environ[name] for name in switches if name in os.environ},
    }


def digest(array: np.ndarray) -> str:
    """Hash of an array's type, shape and bytes: 48 bits of its SHA-256."""
    found = hashlib.sha256(f"{array.dtype.str} {array.shape}".encode())
    found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:12]


def computed(case: Case, workers: int | None = None) -> dict[str, list[Any]]:
    """By the name of an array: its hash, then the numbers that are kept of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arrays = case.compute(workers)
    return {name: [digest(whole), *few.tolist()] for name, (whole, few) in arrays.items()}


def difference(recorded: dict[str, list[Any]], now: dict[str, list[Any]]) -> float | None:
    """None if all bits agree, else the largest relative difference of the numbers that are kept.

    It is infinite if other arrays were computed than recorded. A number of less than a millionth of
    the largest of its array counts as that millionth.
    """
    if recorded == now:
        return None
    if recorded.keys() != now.keys():
        return math.inf
    worst = 0.0
    for name, (_, *before) in recorded.items():
        after = now[name][1:]
        if len(before) != len(after):
            return math.inf
        a, b = np.array(before, dtype=float), np.array(after, dtype=float)
        finite = np.isfinite(a)
        if not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return math.inf
        a, b = a[finite], b[finite]
        if not np.isfinite(b).all():
            return math.inf
        least = max(1e-6 * np.abs(a).max(initial=0.0), sys.float_info.min)
        relative = np.abs(a - b) / np.maximum(np.abs(a), least)
        worst = max(worst, float(relative.max(initial=0.0)))
    return worst


def verdict(case: Case, found: float | None, exact: bool) -> str:
    """One of "equal", "rounding" (within 1e-12), "tolerated" and "different".

    A case that is marked may differ a little even if bits are asked for.
    """
    if found is None:
        return "equal"
    if (exact and not case.rounding) or found > max(case.allowed, 0.0 if exact else case.tolerance):
        return "different"
    return "rounding" if found <= ROUNDING else "tolerated"


def read(folder: Path) -> dict[str, Any]:
    """The recorded numbers and the environment that they were recorded in."""
    return json.loads((folder / "golden.json").read_text())


Timed = tuple[dict[str, list[Any]], float]


@cache
def _by_name() -> dict[str, Case]:
    return {case.name: case for case in cases()}


def _timed(names: list[str], workers: int | None) -> list[Timed]:
    out = []
    for name in names:
        began = time.perf_counter()
        entry = computed(_by_name()[name], workers)
        out.append((entry, time.perf_counter() - began))
    return out


def all_computed(chosen: list[Case], workers: int | None, processes: int) -> dict[str, Timed]:
    """Numbers and seconds of the chosen cases by name, in this process or in several.

    Cases of one method stay together in one process, which compiles what they need once.
    """
    names = [case.name for case in chosen]
    if processes == 1:
        return dict(zip(names, _timed(names, workers), strict=True))
    parts: dict[str, list[str]] = {}
    for name in names:
        parts.setdefault(" ".join(name.split(", ")[:2]), []).append(name)
    out: dict[str, Timed] = {}
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        found = pool.map(_timed, parts.values(), [workers] * len(parts))
        for part, timed in zip(parts.values(), found, strict=True):
            out.update(zip(part, timed, strict=True))
    return {name: out[name] for name in names}


def record(folder: Path, workers: int | None, processes: int) -> None:
    """Compute and write everything; the folder must not hold the files of another version."""
    write_files(folder / "files")
    lines = []
    for name, (entry, _) in all_computed(list(cases()), workers, processes).items():
        marked: dict[str, Any] = {"rounding": True} if _by_name()[name].rounding else {}
        line = json.dumps({**entry, **marked}, separators=(",", ":"))
        lines.append(f"{json.dumps(name)}: {line}")
    content = [
        '{"environment":',
        json.dumps(environment(), indent=1) + ",",
        '"cases": {',
        ",\n".join(lines),
        "}}\n",
    ]
    (folder / "golden.json").write_text("\n".join(content))
    print(f"{len(lines)} cases recorded in {folder}")


def compare(
    folder: Path,
    exact: bool,
    chosen: Callable[[Case], bool] = lambda case: True,
    workers: int | None = None,
    processes: int = 1,
) -> list[tuple[Case, float | None, str, float]]:
    """Case, difference, verdict and seconds of every chosen case. Missing cases are different."""
    stored = read(folder)["cases"]
    mine = list(filter(chosen, cases()))
    out = []
    for case, (now, seconds) in zip(
        mine, all_computed(mine, workers, processes).values(), strict=True
    ):
        before = stored.get(case.name, {})
        before.pop("rounding", None)
        found = difference(before, now)
        out.append((case, found, verdict(case, found, exact), seconds))
    return out


def check(arguments: argparse.Namespace) -> int:
    """Print a table of what is equal and what is not; 1 if something is different."""
    began = time.perf_counter()

    def chosen(case: Case) -> bool:
        return arguments.only in case.name and (case.quick or not arguments.quick)

    rows = compare(
        arguments.folder, arguments.exact, chosen, arguments.workers, arguments.processes
    )
    same = read(arguments.folder)["environment"] == environment()
    print("environment as recorded" if same else "another environment than recorded")
    verdicts = ("equal", "rounding", "tolerated", "different")
    titles = ("equal bits", "within 1e-12", "tolerated", "different")
    print(f"{'':<12}" + "".join(f"{title:>14}" for title in titles) + f"{'seconds':>10}")
    kinds = list(dict.fromkeys(row[0].name.split(",")[0] for row in rows))
    for kind in kinds:
        mine = [row for row in rows if row[0].name.split(",")[0] == kind]
        counts = [sum(row[2] == name for row in mine) for name in verdicts]
        seconds = sum(row[3] for row in mine)
        print(f"{kind:<12}" + "".join(f"{count:>14}" for count in counts) + f"{seconds:>10.1f}")
    for case, found, name, _ in rows:
        if name == "different" or (name != "equal" and arguments.verbose):
            size = "" if found is None else f" ({found:.1e})"
            print(f"{name}: {case.name}{size}")
    if arguments.verbose:
        for case, _, _, seconds in sorted(rows, key=lambda row: -row[3])[:20]:
            print(f"{seconds:8.2f} s  {case.name}")
    bad = sum(row[2] == "different" for row in rows)
    print(f"{len(rows)} cases, {bad} different, {time.perf_counter() - began:.0f} s")
    return int(bad > 0 or not rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("record", "check"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--exact", action="store_true", help="bits, but for the marked cases")
    parser.add_argument("--quick", action="store_true", help="check what the default tests check")
    parser.add_argument(
        "--only", default="", metavar="TEXT", help="check cases with this in a name"
    )
    parser.add_argument("--workers", type=int, default=1, help="threads; default 1")
    parser.add_argument("--processes", type=int, default=1, help="default 1")
    parser.add_argument("--verbose", action="store_true", help="name every case that is not equal")
    arguments = parser.parse_args()
    if arguments.action == "record":
        record(arguments.folder, arguments.workers, arguments.processes)
        return 0
    return check(arguments)


if __name__ == "__main__":
    sys.exit(main())
