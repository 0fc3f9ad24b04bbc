"""``qpsim sweep``: thousands of ensembles into a store; what is in it; a table of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from qpsim.cli.report_errors import NOT_TRUE, file_lines, print_json, say
from qpsim.cli.shared import Command


class RunUnlessNamed(TyperGroup):
    """``qpsim sweep SPEC.toml`` is ``qpsim sweep run SPEC.toml``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Add the default command's name to arguments without a command."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=RunUnlessNamed,
    no_args_is_help=True,
    help="""Run a sweep into a store (run, the default), look at it (status), tabulate it (table).

    \b
    Examples:
      qpsim sweep noise.toml
      qpsim sweep noise.toml --executor processes --workers 2
      qpsim sweep status noise.sweep
      qpsim sweep table noise.sweep --out noise.csv
    """,
)

StoreArgument = Annotated[Path, typer.Argument(metavar="STORE", help="Folder of a sweep.")]


@app.command("run", cls=Command, short_help="Run the cells that are not in the store yet.")
def run(
    spec: Annotated[str, typer.Argument(metavar="SPEC.toml", help="Sweep; - for stdin.")],
    store: Annotated[
        Path | None, typer.Option(help="Folder of results.", show_default="SPEC.sweep")
    ] = None,
    executor: Annotated[
        str, typer.Option(help="threads, processes, dask, or dask://HOST:PORT.")
    ] = "threads",
    workers: Annotated[
        int | None, typer.Option(help="Threads or processes.", show_default="all cores")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run cells again that failed before.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Run every cell of a sweep that its store does not hold yet.

    After an interrupt at any moment the same command continues; the final data are the same byte
    for byte. Exit code 1 if any cell has failed. A file with everything that there is:

    \b
      [fixed]                      # what all cells share; the defaults are
      spectrum = "log-uniform"     # structured; or mild, power-law, eigenvalues
      condition = 100.0            # of log-uniform and power-law
      dim = 100
      scale = 10.0                 # the optimum is drawn U[-scale, scale]
      basis = "haar"               # or "axis", or a number in [0, 1]
      noise_std = 0.1
      noise = "white"              # or hessian, or data (the default)
      df = 3.0                     # of Student's t; inf is the Gaussian
      covariance = "c.npy"         # the noise's own matrix, instead of noise and
                                   # noise_std: .npy, .npz, .csv or .parquet
                                   # beside this file
      problem = "least-squares"    # the Hessian is the covariance of Gaussian
                                   # data, noise_std that of the labels
      batch_size = 1
      method = "sgd"               # or {name = "adam", b1 = 0.8}
      hyper.b2 = 0.99              # a hyper-parameter of the method
      step_size = "optimal"        # best for the next step alone; or bound,
                                   # line-search, planned, a number
      n_steps = 100
      n_replicates = 256
      rng = 0                      # the seed
      record = "summary"           # or "full": every replicate at every step
    \b
      [grid]                       # every combination is a cell
      noise_std = {log = [0.01, 10.0], n = 7}      # or a list, or linear
      method = ["sgd", "ssd"]
    \b
      [[cells]]                    # and single ones
      basis = 0.5
      rng = 3
    \b
      [fixed]                      # or least squares on tables, whose last
      order = "replacement"        # column are the labels
      [grid]
      data = ["first.csv", "second.parquet"]

    Cells of one seed share the problem's draws and the noise: methods may be compared replicate
    by replicate.
    """
    from qpsim import sweep as library

    wanted = library.Sweep.from_toml(spec)
    place = store or Path("stdin.sweep" if spec == "-" else Path(spec).with_suffix(".sweep").name)
    report = library.run(
        wanted, place, executor=executor, workers=workers, retry_failed=retry_failed
    )
    shown = file_lines([place])[0]
    for name in report.quarantined:
        say(f"{name} was damaged or no cell of this sweep; it is in {shown}/quarantine now.")
    for error in report.errors:
        say(f"failed: {error}")
    if report.failed:
        say(f"{report.failed} cells failed; --retry-failed runs them again.")
    if json_:
        print_json(report.to_dict())
    else:
        typer.echo(
            f"{report.total} cells: {report.computed} computed, {report.found} found, "
            f"{report.failed} failed; in {shown}"
        )
        say(f"{report.seconds:.1f} s")
    if report.failed:
        raise typer.Exit(NOT_TRUE)


@app.command("status", cls=Command, short_help="Count the cells done, failed and left.")
def status(
    store: StoreArgument,
    check: Annotated[
        bool, typer.Option("--check", help="Read every file and name the damaged ones.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False,
) -> None:
    """Cells done, failed and left, and files that do not belong; changes nothing.

    Exit code 1 if a cell has failed or a file is foreign or damaged.
    """
    from qpsim.sweep import Store

    found = Store(store)
    counts = found.status()
    failures = list(found.failures()) if counts.failed else []
    damaged = found.damaged() if check else counts.strangers
    if json_:
        errors = [{name: f.get(name) for name in ("id", "error", "parameters")} for f in failures]
        known = {name: value for name, value in counts.to_dict().items() if name != "strangers"}
        print_json({**known, "damaged": damaged, "failures": errors})
    else:
        typer.echo(f"{counts.done}/{counts.total} cells done, {counts.failed} failed, ", nl=False)
        typer.echo(f"{counts.left} left: {found.sweep!r}")
        for failure in failures:
            typer.echo(f"failed   {failure['id']}  {failure.get('error')}")
        for name in damaged:
            typer.echo(f"{'damaged' if check else 'foreign'}  {name}")
    if failures or damaged:
        raise typer.Exit(NOT_TRUE)


@app.command("table", cls=Command, short_help="Write the finished cells as a table.")
def table(
    store: StoreArgument,
    steps: Annotated[
        bool, typer.Option("--steps", help="One row for each cell and step, not for each cell.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="A .csv or .parquet file.", show_default="CSV on stdout")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the rows as JSON.")] = False,
) -> None:
    """The finished cells as a tidy table: parameters, then the losses."""
    from qpsim.sweep import Store
    from qpsim.sweep.table import write, write_csv

    found = Store(store).to_rows(steps)
    if out is not None:
        count = write(found, out)
        say(f"{count} rows written to {file_lines([out])[0]}")
        if json_:
            print_json({"rows": count, "file": str(out)})
    elif json_:
        print_json(list(found))
    else:
        write_csv(found, sys.stdout)
