"""``qpsim tune``: step sizes by the paper's protocol."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qpsim.cli.report_errors import file_lines, print_json, print_table, say
from qpsim.cli.shared import (
    TaskBatchSize,
    TaskData,
    TaskL2,
    TaskSteps,
    methods_beginning,
    tasks_beginning,
)

if TYPE_CHECKING:
    from qpsim.tuning.networks import Tuned


def tune(
    task: Annotated[
        str, typer.Argument(help="Problem; train --list shows all.", autocompletion=tasks_beginning)
    ],
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="Method, such as m-svag; give it once for each.",
            show_default="m-sgd, m-svag, m-ssd, adam",
            autocompletion=methods_beginning,
        ),
    ] = None,
    n_replicates: Annotated[int, typer.Option(help="Runs at the best step size.")] = 10,
    tuning_seeds: Annotated[int, typer.Option(help="Runs at each step size that is tried.")] = 1,
    orders: Annotated[
        int | None,
        typer.Option(
            help="Orders of magnitude below the largest stable step size to search; 2 in the paper.",
            show_default="down to where nothing is learned",
        ),
    ] = None,
    n_steps: TaskSteps = None,
    batch_size: TaskBatchSize = None,
    l2: TaskL2 = None,
    criterion: Annotated[
        str | None,
        typer.Option(help="test-accuracy or training-loss.", show_default="the task's"),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--rng", help="First seed; the search uses the first ones, the replicates the next."
        ),
    ] = 0,
    data: TaskData = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder of finished runs.", show_default="the user's cache")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of processes.", show_default="all cores")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the table and the plot.")] = Path("figures"),
    json_: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
) -> None:
    """Find the best step size of each method: try one of every order of magnitude, then those
    of the grid 6, 3, 1 x 10^m around the best, and run replicates at the best.

    Finished runs are stored, so that an interrupted tuning can continue. Writes tune-TASK.json and a plot of how
    sensitive each method is to its step size; if the files contain other data than the task's, such as Fashion-MNIST,
    their name is appended to TASK.

    \b
    Examples:
      qpsim tune digits-mlp
      qpsim tune digits-cnn --method m-svag --method m-svag-mb --tuning-seeds 3
      qpsim tune mnist --data ~/data --workers 4 --cache runs
      qpsim tune digits-whitened --method adam --json | jq '.[0].step_size'
    """
    from qpsim.errors import TrainingError, nearest
    from qpsim.figures import canvas, style
    from qpsim.figures.network_panels import draw_sensitivity
    from qpsim.files.writing import check_writable, write_json
    from qpsim.nn import task as task_of
    from qpsim.provenance import environment
    from qpsim.tuning.networks import Protocol
    from qpsim.tuning.networks import tune as run_tuning

    criteria = ("test-accuracy", "training-loss")
    if criterion is not None and criterion not in criteria:
        raise TrainingError(f"There is no criterion {criterion!r}; {nearest(criterion, criteria)}")
    changes: dict[str, Any] = {
        "n_steps": n_steps,
        "batch_size": batch_size,
        "l2": l2,
        "criterion": criterion,
    }
    chosen = replace(
        task_of(task), **{key: value for key, value in changes.items() if value is not None}
    )
    check_writable(out)
    protocol = Protocol(orders, tuning_seeds, n_replicates, seed)
    methods = method or ["m-sgd", "m-svag", "m-ssd", "adam"]
    tuned = run_tuning(chosen, methods, protocol, directory=data, workers=workers, cache=cache)
    found = [one.summary() for one in tuned]
    stem = _stem(tuned[0])
    record = {
        "task": chosen.record(),
        "data": tuned[0].data,
        "methods": found,
        "provenance": environment(),
    }
    paths = [write_json(out / f"{stem}.json", record)]
    with style.use(3.5):
        figure = canvas.StyledFigure(3.5, 0.75)
        ax = figure.add_axes((0.13, 0.14, 0.84, 0.75))
        draw_sensitivity(tuned, ax)
        paths += [canvas.save(figure, out / f"{stem}.{kind}", kind) for kind in ("png", "pdf")]
    if json_:
        print_json(found)
    else:
        _print(tuned)
    say(f"saved to {', '.join(file_lines(paths))}")


def _stem(tuned: Tuned) -> str:
    """The name of the files: the task's, and that of the data if it is another data set.

    Tunings of one task on MNIST and on Fashion-MNIST must not overwrite each other.
    """
    task, data = tuned.task, tuned.data["name"]
    if task.data is not None and _letters(task.data) == _letters(data):
        return f"tune-{task.name}"
    return f"tune-{task.name}-{re.sub('[^a-z0-9]+', '-', data.lower())}"


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.lower()))


def _print(tuned: list[Tuned]) -> None:
    columns = ["method", "step size", "between", "mean training loss", "test loss", "test accuracy"]
    rows = []
    for one in tuned:
        numbers = one.summary()
        cells = [
            _spread(numbers[name], shape, unit, numbers["diverged"])
            for name, shape, unit in (
                ("mean_training_loss", ".4f", 1),
                ("test_loss", ".4f", 1),
                ("test_accuracy", ".2f", 100),
            )
        ]
        between = " and ".join(f"{end:g}" for end in one.interval)
        rows.append([one.method.name, f"{one.best.step_size:g}", between, *cells])
    print_table(columns, rows)
    first = tuned[0]
    by_accuracy = first.task.criterion == "test-accuracy"
    typer.echo(
        f"{first.task.name} on {first.data['name']}: {first.protocol.n_replicates} replicates, "
        f"mean +- sd; accuracies in %; step sizes chosen by {first.task.criterion}."
    )
    for one in tuned:
        if one.at_edge is not None:
            typer.echo(f"{one.method.name}: the best step size is the {one.at_edge} one.")
    measure = "Highest test accuracy in %" if by_accuracy else "Mean training loss"
    typer.echo(f"\n{measure} at each step size that was tried:")
    for one in tuned:
        points = (f"{p.step_size:g}: {_score(p.score, by_accuracy)}" for p in reversed(one.grid))
        typer.echo(f"{one.method.name:>10}  {'  '.join(points)}")


def _spread(numbers: dict[str, Any], shape: str, unit: float, n_diverged: int) -> str:
    if numbers["mean"] is None:
        # A regression has no accuracy.
        return f"{n_diverged} diverged" if n_diverged else "-"
    return f"{unit * numbers['mean']:{shape}} +- {unit * numbers['std']:{shape}}"


def _score(value: float, by_accuracy: bool) -> str:
    if value == float("inf"):
        return "diverged"
    return f"{100 * (1 - value):.2f}" if by_accuracy else f"{value:.4f}"
