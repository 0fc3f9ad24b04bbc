"""``qpsim bench``: speed of the package on this machine, of its peers, and the machine's limits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qpsim.cli.report_errors import print_json, print_table, say


def bench(
    quick: Annotated[
        bool, typer.Option("--quick", help="The core workloads, small; half a minute.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(help="A workload by name; may be repeated.", show_default="core and shape"),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            help="core, shape, scale, noise or start; may be repeated.",
            show_default="core and shape",
        ),
    ] = None,
    peer: Annotated[
        list[str] | None,
        typer.Option(
            help="numpy, numba, jax, torch or none; may be repeated.", show_default="all installed"
        ),
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Number of rounds.", show_default="7")] = None,
    workers: Annotated[
        int, typer.Option(help="Number of threads, and of cores for all programs.")
    ] = 2,
    compare: Annotated[
        Path | None,
        typer.Option(metavar="OLD.json", help="Also print the changes since that report."),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="OLD.json", help="Measure nothing: print the report in this file."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the report here, as JSON.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Measure speed against NumPy, Numba, JAX and PyTorch, and against the machine's limits.

    All take turns on the same cores; a ratio is a peer's time over ours in the same round.

    \b
    Examples:
      qpsim bench --quick
      qpsim bench --out now.json --compare before.json
      qpsim bench --only "SSD, Haar, exact step" --peer jax --rounds 15
      qpsim bench --group scale --workers 4
      qpsim bench --group noise          other noises and least squares, beside the paper's
      qpsim bench --group start          how long one waits before anything is computed
      qpsim bench --report now.json --markdown
    """
    from qpsim.bench import report as reports
    from qpsim.bench import run, start
    from qpsim.files.writing import check_file, write_json

    before = None if compare is None else reports.read(compare)
    if report is not None:
        measured = reports.read(report)
    else:
        if out is not None:
            check_file(out)
        measured = run(
            quick=quick,
            only=only,
            groups=group,
            peers=[name for name in peer if name != "none"] if peer else None,
            rounds=rounds,
            workers=workers,
        )
        if out is not None:
            write_json(out, measured)
    if json_:
        print_json(measured)
    elif markdown:
        typer.echo(reports.markdown(measured), nl=False)
    else:
        starts = reports.starts(measured)
        if measured["results"] or not starts:
            print_table(*reports.table(measured))
        if starts:
            print_table(*start.table(starts))
    for remark in () if markdown else reports.remarks(measured):
        say(remark)
    if before is not None:
        columns, rows = reports.compare(before, measured)
        if json_ or markdown:
            for row in rows:
                say(
                    ", ".join(f"{column} {cell}" for column, cell in zip(columns, row, strict=True))
                )
        else:
            typer.echo()
            print_table(columns, rows)
