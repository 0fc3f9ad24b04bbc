"""``qpsim compare``: the methods of Table 1 side by side, as the numbers behind a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from qpsim.cli.report_errors import file_lines, print_json, print_table, say
from qpsim.cli.shared import Workers


def compare(
    replicates: Annotated[int, typer.Option(help="Runs of each method and problem.")] = 64,
    problems: Annotated[int, typer.Option(help="Draws of spectrum and rotation.")] = 8,
    steps: Annotated[int, typer.Option(help="Steps of a run.")] = 100,
    dim: Annotated[int, typer.Option(help="Coordinates.")] = 100,
    scale: Annotated[float, typer.Option(help="Starting offsets are U[-scale, scale].")] = 10.0,
    tolerance: Annotated[
        float, typer.Option(help="Fraction of the initial loss to be reached.")
    ] = 0.01,
    seed: Annotated[int, typer.Option(help="Seed: the same one gives the same bits.")] = 0,
    workers: Workers = None,
    out: Annotated[Path, typer.Option(help="Folder for methods.npz, .json and images.")] = Path(
        "figures"
    ),
    json_: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Compare all methods of Table 1 on Figure 2's twelve problems, with exact optimal steps.

    The table holds medians with 95 % bootstrap intervals: log10 of the final excess loss, and the
    steps until the loss has fallen to a fraction of the initial one. `qpsim figure methods` draws it.

    \b
    Examples:
      qpsim compare
      qpsim compare --tolerance 1e-3 --scale 3
      qpsim compare --json > table.json
    """
    from qpsim import figures
    from qpsim.figures.figure_methods import table

    made = figures.make(
        "methods",
        out,
        workers=workers,
        replicates=replicates,
        problems=problems,
        steps=steps,
        dim=dim,
        scale=scale,
        tolerance=tolerance,
        seed=seed,
    )
    rows = table(made.data)
    for path in file_lines(made.paths):
        say(f"wrote {path}")
    if json_:
        print_json(rows)
        return
    columns = [
        "problem",
        "nu",
        "method",
        "log10 final loss",
        "95 %",
        f"steps to {tolerance:g}",
        "95 %",
        "reached",
    ]
    print_table(columns, [_cells(row) for row in rows])


def _cells(row: dict[str, Any]) -> list[str]:
    low, high = row["log10_final_loss_interval"]
    first, last = row["steps_to_tolerance_interval"]
    return [
        row["problem"],
        f"{row['noise_std']:g}",
        row["method"],
        f"{row['log10_final_loss']:.2f}",
        f"[{low:.2f}, {high:.2f}]",
        _steps(row["steps_to_tolerance"]),
        f"[{_steps(first)}, {_steps(last)}]",
        f"{100 * row['fraction_reached']:.0f} %",
    ]


def _steps(value: float | None) -> str:
    return "never" if value is None else f"{value:g}"
