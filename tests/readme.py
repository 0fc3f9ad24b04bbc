"""Keeps the README and the gallery page up to date: runs their examples, and makes their tables.

``python -m tests.readme`` says what is not up to date, ``python -m tests.readme --write`` mends it.

A fenced ``console`` block holds commands, each after ``$ `` (continued after ``> ``), followed by what they
print; all run in one empty folder, one after the other. A region between ``<!-- begin NAME -->`` and
``<!-- end NAME -->`` is made by the function of that name below.
"""

import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = (README, ROOT / "figures" / "README.md")
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)
REGION = re.compile(r"(<!-- begin (\w+) -->\n)(.*?)(<!-- end \2 -->)", re.S)
NUMBER = re.compile(r"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?")
TOLERANCE = 0.02
# Methods that are named in one line, because the page is to stay short.
LATER = ("qpsim.methods.relatives", "qpsim.methods.momentum", "qpsim.methods.modern")
# Members of the paper's own families that are named without a row, too.
WITHOUT_ROW = ("svag-ema", "m-svag-mb", "adam*", "adam*-mb", "m-ssd", "nesterov")


def methods():
    """Table of the registered methods, from their docstrings."""
    import qpsim
    from qpsim.methods import method_names

    rows = ["| name | update | hyper-parameters |", "|---|---|---|"]
    later = []
    for name in method_names():
        rule = qpsim.method(name).rule
        if rule.module in LATER or name in WITHOUT_ROW:
            later.append(f"`{name}`")
            continue
        summary = (rule.function.__doc__ or "").strip().split("\n\n")[0]
        hyper = ", ".join(f"{key}={_default(value)}" for key, value in rule.defaults.items())
        rows.append(f"| `{name}` | {' '.join(summary.split())} | {hyper or '-'} |")
    also = f"Also {', '.join(later[:-1])} and {later[-1]}, each described in the pages of `qpsim docs`."
    return "\n".join([*rows, "", also]) + "\n"


def _default(value):
    return repr(value) if isinstance(value, bool) else f"{value:g}"


def errata():
    """The paper's errors, from the theory room's list."""
    from qpsim import theory

    return theory.errata_markdown().rstrip() + "\n"


def figures():
    """Table of the figures, from the first line of each one's module."""
    from qpsim import figures

    rows = ["| command | what it shows |", "|---|---|"]
    rows += [f"| `qpsim figure {name}` | {figures.title(name)} |" for name in figures.names()]
    return "\n".join(rows) + "\n"


def gallery():
    """All rendered figures, each with its line, command and picture."""
    from qpsim.figures import gallery

    return gallery.markdown(ROOT / "figures")


def speed():
    """Table of the stored benchmark report."""
    from qpsim.bench import report

    return (
        report.markdown(json.loads((ROOT / "figures" / "bench.json").read_text())).rstrip() + "\n"
    )


def speed_summary():
    """The workloads of the stored benchmark report that have a target, in one narrow table."""
    report = json.loads((ROOT / "figures" / "bench.json").read_text())
    results = [one for one in report["results"] if one["workload"]["target"] is not None]
    names = [one["workload"]["name"] for one in results]
    times = [f"{one['ns_per_update']['median']:.2g}" for one in results]
    cores = f"{report['environment']['cpu']}, {report['cores']} cores"
    rows = [
        [cores, *names],
        ["---", *["---:"] * len(names)],
        ["ns per coordinate and step", *times],
    ]
    for peer, title in (("jax", "JAX"), ("torch", "PyTorch")):
        ratios = [one["peers"][peer]["ratio"]["median"] for one in results]
        rows.append([f"times as fast as {title}", *(f"{ratio:.0f}" for ratio in ratios)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def networks():
    """Table of the stored benchmark of the networks."""
    report = json.loads((ROOT / "figures" / "bench-networks.json").read_text())
    columns = ["network, batch", "ms/step", "x torch", "x jax", "moments", "MB", "MB, torch"]
    rows = [columns, ["---", *["---:"] * (len(columns) - 1)]]
    for entry in report["results"]:
        peak = entry["peak_megabytes"]
        rows.append(
            [
                f"{entry['title']}, {entry['batch']}",
                f"{float(format(entry['milliseconds']['qpsim']['median'], '.3g')):g}",
                *(_spread(entry["ratios"].get(name)) for name in ("torch", "jax", "moments")),
                *(f"{peak[name]:.0f}" for name in ("qpsim", "torch")),
            ]
        )
    about = report["environment"]
    peers = " and ".join(f"{name} {version}" for name, version in about["peers"].items())
    rounds, with_jax = (
        ", ".join(str(entry[name]) for entry in report["results"])
        for name in ("rounds", "jax_rounds")
    )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + (
        f"\n\n{about['cpu']}, {report['threads']} threads, against {peers}; "
        f"medians of {rounds} rounds in which all take turns, {with_jax} with JAX "
        f"(lowest to highest in parentheses).\n"
    )


def scaling():
    """Table of the stored figure of costs."""
    from qpsim import figures

    data = figures.load(ROOT / "figures", "scaling")
    columns, rows = figures.table(data)
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    about = json.loads((ROOT / "figures" / "scaling.json").read_text())["provenance"]
    held = data.options
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + (
        f"\n\n{about['cpu']}, {about['workers']} threads where they do not vary, "
        f"{about['cores']} cores; {held.dim} coordinates, {held.n_replicates} replicates and "
        f"{held.n_steps} steps where they do not; least of {held.rounds} rounds.\n"
    )


def verdicts():
    """How many statements of each stored report hold."""
    rows = ["| command | statements that hold |", "|---|---:|"]
    for path in sorted((ROOT / "figures").glob("*-verdicts.json")):
        report = json.loads(path.read_text())
        held = [verdict["holds"] for verdict in report["verdicts"]]
        rows.append(f"| `qpsim verify {report['topic']}` | {sum(held)} of {len(held)} |")
    return "\n".join(rows) + "\n"


def published():
    """Table of the published numbers beside ours, from the stored report."""
    report = json.loads((ROOT / "figures" / "published-verdicts.json").read_text())
    rows = ["| source | case | published | ours | standard error |", "|---|---|---:|---:|---:|"]
    for verdict in report["verdicts"]:
        for case in verdict["measurements"]:
            if case["claimed"] is not None:
                error = "-" if case["error"] is None else f"{case['error']:.2g}"
                numbers = f"{case['claimed']:.8g} | {case['value']:.7g} | {error}"
                rows.append(f"| {verdict['source']} | {case['what']} | {numbers} |")
    return "\n".join(rows) + "\n"


def _spread(ratio):
    if ratio is None:
        return "-"
    return f"{ratio['median']:.2f} ({ratio['low']:.2f}-{ratio['high']:.2f})"


TABLES = {
    "methods": methods, "figures": figures, "errata": errata, "gallery": gallery, "speed": speed,
    "speed_summary": speed_summary, "networks": networks, "scaling": scaling, "verdicts": verdicts,
    "published": published,
}  # fmt: skip


def refreshed(text):
    """A page with every example run and every table made again."""
    text = REGION.sub(lambda found: found[1] + TABLES[found[2]]() + found[4], text)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "bin"
        home.mkdir()
        script = home / "qpsim"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m qpsim "$@"\n')
        script.chmod(0o755)
        (home / "python").symlink_to(shutil.which(sys.executable) or sys.executable)
        place = Path(folder) / "work"
        place.mkdir()
        return BLOCK.sub(lambda found: f"```console\n{_run(found[1], place, home)}```", text)


def _run(block, place, home):
    environment = {
        **os.environ,
        "PATH": f"{home}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "100",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }
    shown = []
    for command in re.findall(r"^\$ (.*(?:\n> .*)*)", block, re.M):
        script = "\n".join(line.removeprefix("> ") for line in command.split("\n"))
        run = subprocess.run(
            ["bash", "-c", script], cwd=place, env=environment, capture_output=True, text=True
        )
        if run.returncode not in (0, 1):
            raise SystemExit(f"$ {command}\nfailed: {run.stderr}")
        output = "".join(f"{line.rstrip()}\n" for line in run.stdout.splitlines())
        shown.append(f"$ {command}\n{output}")
    return "".join(shown)


def differences(old, new):
    """Lines that differ by more than rounding in another environment explains."""
    first, second = old.splitlines(), new.splitlines()
    if len(first) != len(second):
        return [f"{len(first)} lines, but {len(second)} when made again"]
    return [f"- {a}\n+ {b}" for a, b in zip(first, second, strict=True) if not _alike(a, b)]


def _alike(a, b):
    if NUMBER.sub("#", a).split() != NUMBER.sub("#", b).split():
        return False
    pairs = zip(NUMBER.findall(a), NUMBER.findall(b), strict=True)
    return all(math.isclose(float(x), float(y), rel_tol=TOLERANCE, abs_tol=1e-9) for x, y in pairs)


def main():
    stale = False
    for page in PAGES:
        text = page.read_text()
        new = refreshed(text)
        if "--write" in sys.argv:
            page.write_text(new)
            continue
        found = differences(text, new)
        stale |= bool(found)
        name = page.relative_to(ROOT)
        print("\n".join([f"{name}:", *found]) if found else f"{name} is up to date")
    sys.exit(stale)


if __name__ == "__main__":
    main()
