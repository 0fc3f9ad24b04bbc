"""``qpsim train``: one network, one method, one seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from qpsim.cli.report_errors import assignments, file_lines, print_json, print_table, say
from qpsim.cli.shared import (
    TaskBatchSize,
    TaskData,
    TaskL2,
    TaskSteps,
    methods_beginning,
    tasks_beginning,
)

_ROWS = 12


def train(
    task: Annotated[
        str | None,
        typer.Argument(help="Problem; --list shows all.", autocompletion=tasks_beginning),
    ] = None,
    method: Annotated[
        str, typer.Option(help="Method, such as m-svag.", autocompletion=methods_beginning)
    ] = "adam",
    step_size: Annotated[
        float | None, typer.Option(help="Step size; tune finds a good one.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A hyper-parameter, such as b2=0.99."),
    ] = None,
    n_steps: TaskSteps = None,
    batch_size: TaskBatchSize = None,
    l2: TaskL2 = None,
    divide_after: Annotated[
        list[int] | None,
        typer.Option(
            help="Divide the step size after this step; may be repeated.",
            show_default="the task's schedule",
        ),
    ] = None,
    divisor: Annotated[
        float | None, typer.Option(help="Divisor of the step size.", show_default="the task's")
    ] = None,
    evaluate_every: Annotated[
        int | None, typer.Option(help="Steps between tests.", show_default="the task's")
    ] = None,
    seed: Annotated[int, typer.Option("--rng", help="Seed; equal seeds give equal bits.")] = 0,
    data: TaskData = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of threads.", show_default="all cores")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="File for the state of the run; if it exists, the run continues from it."
        ),
    ] = None,
    checkpoint_every: Annotated[
        float, typer.Option(metavar="SECONDS", help="Time between two writes of the checkpoint.")
    ] = 60.0,
    weights: Annotated[
        Path | None, typer.Option(help="File for the trained network's parameters, an .npz.")
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Print the tasks.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
    resume: Annotated[bool, typer.Option("--resume", hidden=True)] = False,
) -> None:
    """Train a network; a table of losses and accuracies over steps.

    The training columns are means over the batches since the last test; the test columns are of the whole test set.
    With --checkpoint the same command continues an interrupted run, with the same bits.

    \b
    Examples:
      qpsim train digits-mlp --method adam --step-size 0.003
      qpsim train digits-cnn --method m-svag-mb --step-size 0.06 --rng 3
      qpsim train cifar10 --data ~/data --step-size 0.001 --checkpoint run.npz
      qpsim train mnist --data ~/data --step-size 0.001 --l2 0 --weights mnist.npz
      qpsim train digits-whitened --method m-sgd --step-size 0.3 --json
    """
    from qpsim import method as method_of
    from qpsim import nn
    from qpsim.files.writing import check_file

    if list_:
        _list(json_)
        return
    if task is None:
        raise typer.BadParameter("name a task; --list shows them all.")
    if step_size is None:
        raise typer.BadParameter("give a --step-size; qpsim tune finds a good one.")
    if resume:
        say("hint: --resume is not needed any more; a checkpoint that is there is gone on from.")
    changes: dict[str, Any] = {
        "n_steps": n_steps,
        "batch_size": batch_size,
        "l2": l2,
        "drops": None if divide_after is None else tuple(divide_after),
        "drop_divisor": divisor,
        "evaluate_every": evaluate_every,
    }
    given = {key: value for key, value in changes.items() if value is not None}
    mover = method_of(method)
    hyper = assignments(set_, list(mover.rule.defaults))
    run = nn.Run(replace(nn.task(task), **given), method_of(method, **hyper), step_size, seed)
    if weights is not None:
        check_file(weights)
    try:
        trained = nn.train(
            run,
            directory=data,
            workers=workers,
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
        )
    except KeyboardInterrupt:
        if checkpoint is not None:
            where = file_lines([checkpoint])[0]
            say(f"checkpoint in {where}; the same command goes on from there.")
        raise
    kept = [path for path in (checkpoint, weights) if path is not None]
    if weights is not None:
        trained.network.save(weights)
    found = trained.summary()
    if found["status"] == "diverged":
        say(f"warning: diverged at step {found['diverged_at']}; the step size is too large.")
    if json_:
        print_json(found)
        return
    _print(found)
    if kept:
        say(f"saved to {', '.join(file_lines(kept))}")


def _print(found: dict[str, Any]) -> None:
    evaluations = found["evaluations"]
    columns = ["step", "training loss", "accuracy", "test loss", "accuracy"]
    last = len(evaluations["step"]) - 1
    shown = sorted({round(k * last / (_ROWS - 1)) for k in range(_ROWS)})
    rows = []
    for k in shown:
        losses = [evaluations["training_loss"][k], evaluations["test_loss"][k]]
        shares = [evaluations["training_accuracy"][k], evaluations["test_accuracy"][k]]
        cells = [
            f(x)
            for pair in zip(losses, shares, strict=True)
            for f, x in zip(_SHAPES, pair, strict=True)
        ]
        rows.append([str(evaluations["step"][k]), *cells])
    print_table(columns, rows)
    mean = found["mean_training_loss"]
    typer.echo(
        f"{found['task']['name']} on {found['provenance']['data']['name']}, "
        f"{found['method']['name']}, step size {found['step_size']:g}, seed {found['seed']}: "
        f"{found['status']} after {found['steps']} steps"
        + ("." if mean is None else f"; mean training loss {mean:.4f}.")
    )


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


_SHAPES = (_loss, _share)


def _list(as_json: bool) -> None:
    from qpsim.nn import task, task_names

    tasks = [task(name) for name in task_names()]
    if as_json:
        print_json({one.name: one.record() for one in tasks})
        return
    for one in tasks:
        needs = ", needs --data" if one.needs_directory else ""
        typer.echo(
            f"{one.name:<16} {one.summary}\n{'':17}{one.n_steps} steps, batch {one.batch_size}{needs}"
        )
