"""``qpsim compare``: the methods of Table 1 side by side, as the numbers behind a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qpsim.cli.report_errors import file_lines, print_json, print_table, say
from qpsim.cli.shared import Methods, NoiseLevels, Problems, Workers, given


def compare(
    n_replicates: Annotated[int, typer.Option(help="Runs of each method and problem.")] = 64,
    n_draws: Annotated[int, typer.Option(help="Number of draws of spectrum and rotation.")] = 8,
    n_steps: Annotated[int, typer.Option(help="Steps of a run.")] = 100,
    dim: Annotated[int, typer.Option(help="Number of coordinates.")] = 100,
    scale: Annotated[float, typer.Option(help="Starting offsets are U[-scale, scale].")] = 10.0,
    tolerance: Annotated[
        float, typer.Option(help="Fraction of the initial loss to be reached.")
    ] = 0.01,
    rng: Annotated[int, typer.Option(help="Seed; equal seeds give equal bits.")] = 0,
    problem: Problems = None,
    noise_std: NoiseLevels = None,
    method: Methods = None,
    workers: Workers = None,
    out: Annotated[Path, typer.Option(help="Folder for methods.npz, .json and images.")] = Path(
        "figures"
    ),
    json_: Annotated[bool, typer.Option("--json", help="Print the table as JSON.")] = False,
) -> None:
    """Compare methods on problems and noise levels, with exact optimal steps.

    By default the methods of Table 1 on Figure 2's twelve problems. The table holds medians with
    95 % intervals: log10 of the final excess loss, and the steps until the loss has fallen
    to a fraction of the initial one. `qpsim figure methods` draws it.

    \b
    Examples:
      qpsim compare
      qpsim compare --tolerance 1e-3 --scale 3
      qpsim compare --problem H.npy --noise-std 0.1 --noise-std 1 --method sgd --method adam
      qpsim compare --problem log-uniform:1000/haar --problem log-uniform:1000/axis
      qpsim compare --json > table.json
    """
    from qpsim import figures
    from qpsim.figures.figure_methods import rows

    own = {"problems": problem, "noise_std": noise_std, "methods": method}
    made = figures.make(
        "methods",
        out,
        workers=workers,
        n_replicates=n_replicates,
        n_draws=n_draws,
        n_steps=n_steps,
        dim=dim,
        scale=scale,
        tolerance=tolerance,
        rng=rng,
        **given(own),
    )
    for path in file_lines(made.paths):
        say(f"wrote {path}")
    if json_:
        print_json(rows(made.data))
        return
    numbers = figures.table(made.data)
    assert numbers is not None
    print_table(*numbers)
