"""``qpsim simulate``: an experiment file, run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qpsim.cli.report_errors import file_lines, print_json, print_table, say
from qpsim.cli.shared import Rng, Workers


def simulate(
    spec: Annotated[str, typer.Argument(metavar="SPEC.toml", help="Experiment; - for stdin.")],
    n_steps: Annotated[int | None, typer.Option(help="Steps of a run.", show_default="100")] = None,
    n_replicates: Annotated[
        int | None, typer.Option(help="Runs of each method.", show_default="256")
    ] = None,
    rng: Rng = None,
    workers: Workers = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for one .npz a method and summary.json.")
    ] = None,
    checkpoint_every: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            help="Seconds between checkpoints in the folder --out; after an interrupt the same command "
            "continues from there, with the same bits.",
        ),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Run an experiment file: a problem, several methods, the same noise for all.

    Options given here replace the file's. All methods start at theta0 (default: 0) and see the
    same noise. A file for a matrix of your own, with every key that there is:

    \b
      n_steps = 200                # default 100
      n_replicates = 256
      rng = 0                      # the seed
      workers = 2                  # threads; default: all cores
      batch_size = 1               # draws averaged in each gradient
      dtype = "float64"            # or "float32": half the memory, where Q is diagonal
      record = ["step_size"]       # also "theta", or {theta = [0, 100]}
      out = "results"              # one .npz a method, and summary.json
      step_size = "optimal"        # of methods that do not say: optimal (greedy: it
                                   # minimises the expected loss after the next step,
                                   # not after the run), bound, line-search, planned
                                   # (the best for the loss after the run; sgd and
                                   # momentum), a number, or one number a step
      methods = [                  # default: sgd and ssd
        "sgd",
        "ssd",
        {name = "adam", b2 = 0.99, step_size = 0.05, label = "adam, fast"},
      ]

    \b
      [problem]
      hessian = "hessian.csv"      # .npy, .npz, .csv or .parquet beside this file;
                                   # (d, d), or (d,) for a diagonal one; or numbers
      array = "H"                  # its name in an .npz of several arrays
      noise_std = 0.5              # default 0.1
      noise = {df = 3.0}           # family = white, hessian or data (default), or
                                   # diagonal (variance), dense (covariance), low_rank
                                   # (factor, diagonal); df of Student t, or
                                   # law = "laplace"; std instead of noise_std;
                                   # a table [noise] of its own is the same
      optimum = "optimum.npy"      # or numbers; default: drawn U[-scale, scale],
                                   # or 0 if theta0 is given
      theta0 = "start.npy"         # (d,) or (n_replicates, d); default 0

    \b
      [problem]                    # or a random one:
      spectrum = "log-uniform"     # or structured, mild, power-law, or eigenvalues
      condition = 100.0            # of log-uniform and power-law
      basis = "haar"               # or "axis", or a number in [0, 1]
      dim = 100
      scale = 10.0

    \b
      [problem]                    # or least squares with Gaussian data:
      covariance = "k.npy"
      label_noise_std = 0.1

    \b
      [problem]                    # or least squares on a table, its last column the
      data = "table.csv"           # labels
      labels = "y.npy"             # or apart
      order = "replacement"        # or reshuffled, fixed
      drop_last = true

    \b
    Examples:
      qpsim simulate experiment.toml
      qpsim simulate experiment.toml --n-replicates 1000 --out results
      qpsim simulate long.toml --out results --checkpoint-every 60
      qpsim simulate experiment.toml --json | jq .methods
      generate | qpsim simulate -
    """
    from qpsim.simulation.spec import read, summary

    experiment = read(
        spec,
        n_steps=n_steps,
        n_replicates=n_replicates,
        rng=rng,
        workers=workers,
        out=None if out is None else str(out),
    )
    results = experiment.run(checkpoint_every=checkpoint_every)
    found = summary(results)
    if json_:
        print_json(found)
    else:
        typer.echo(repr(experiment.problem))
        rows = []
        for label, row in found["methods"].items():
            final = row["final_loss"]
            numbers = [_number(final[level]) for level in ("10%", "median", "90%")]
            start = _number(row["initial_loss"])
            rows.append([label, row["step_size"], start, *numbers, str(row["diverged"])])
        columns = [
            "method",
            "step size",
            "initial loss",
            "final 10 %",
            "median",
            "90 %",
            "diverged",
        ]
        print_table(columns, rows)
        first = next(iter(results.values()))
        typer.echo(f"{first.n_replicates} replicates, {first.n_steps} steps; excess loss.")
    if experiment.out is not None:
        say(f"saved to {file_lines([experiment.out])[0]}")


def _number(value: float | None) -> str:
    return "inf" if value is None else f"{value:.4g}"
