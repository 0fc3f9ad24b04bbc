"""``qpsim train``: one network, one method, one seed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from qpsim.cli.report_errors import assignments, file_lines, print_json, print_table, say

_ROWS = 12


def _tasks(incomplete: str) -> list[str]:
    from qpsim.nn.tasks import task_names

    return [name for name in task_names() if name.startswith(incomplete)]


def train(
    task: Annotated[
        str | None, typer.Argument(help="Problem; --list shows all.", autocompletion=_tasks)
    ] = None,
    method: Annotated[str, typer.Option(help="Method, such as m-svag.")] = "adam",
    step_size: Annotated[
        float | None, typer.Option(help="Step size; tune finds a good one.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A hyper-parameter, such as b2=0.99."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps.", show_default="the task's")] = None,
    batch: Annotated[
        int | None, typer.Option(help="Batch size.", show_default="the task's")
    ] = None,
    divide_after: Annotated[
        list[int] | None,
        typer.Option(
            help="Divide the step size after this step; may be repeated.",
            show_default="the task's schedule",
        ),
    ] = None,
    divisor: Annotated[
        float | None, typer.Option(help="By how much.", show_default="the task's")
    ] = None,
    evaluate_every: Annotated[
        int | None, typer.Option(help="Steps between tests.", show_default="the task's")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed: the same one gives the same bits.")] = 0,
    data: Annotated[
        Path | None, typer.Option(help="Folder with the files of MNIST or CIFAR.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Threads.", show_default="all cores")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="File that holds the run, rewritten as it goes on.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint if it is there.")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="Print the tasks.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print every number as JSON.")] = False,
) -> None:
    """Train a network; a table of losses and accuracies over steps.

    The training columns are means over the batches since the test before, as training saw them;
    the test columns are of the whole test set. Ctrl-C leaves a checkpoint from which the same command
    with --resume goes on, to the same bits.

    \b
    Examples:
      qpsim train digits-mlp --method adam --step-size 0.003
      qpsim train digits-cnn --method m-svag-mb --step-size 0.06 --seed 3
      qpsim train cifar10 --data ~/data --step-size 0.001 --checkpoint run.npz
      qpsim train cifar10 --data ~/data --step-size 0.001 --checkpoint run.npz --resume
      qpsim train digits-whitened --method m-sgd --step-size 0.3 --json
    """
    from qpsim import method as method_of
    from qpsim.nn.run import Run
    from qpsim.nn.tasks import task as task_of
    from qpsim.nn.training import train as run_training

    if list_:
        _list(json_)
        return
    if task is None:
        raise typer.BadParameter("name a task; --list shows them all.")
    if step_size is None:
        raise typer.BadParameter("give a --step-size; qpsim tune finds a good one.")
    changes: dict[str, Any] = {
        "n_steps": steps,
        "batch_size": batch,
        "drops": None if divide_after is None else tuple(divide_after),
        "drop_divisor": divisor,
        "evaluate_every": evaluate_every,
    }
    chosen = replace(
        task_of(task), **{key: value for key, value in changes.items() if value is not None}
    )
    mover = method_of(method)
    hyper = assignments(set_, list(mover.rule.defaults))
    run = Run(chosen, method_of(method, **hyper), step_size, seed)
    try:
        trained = run_training(
            run, directory=data, workers=workers, checkpoint=checkpoint, resume=resume
        )
    except KeyboardInterrupt:
        if checkpoint is not None:
            where = file_lines([checkpoint])[0]
            say(f"checkpoint in {where}; the same command with --resume goes on from there.")
        raise
    found = trained.summary()
    if found["status"] == "diverged":
        say(f"warning: diverged at step {found['diverged_at']}; the step size is too large.")
    if json_:
        print_json(found)
        return
    _print(found)
    if checkpoint is not None:
        say(f"saved to {file_lines([checkpoint])[0]}")


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
        f"{found['task']['name']}, {found['method']['name']}, step size {found['step_size']:g}, "
        f"seed {found['seed']}: {found['status']} after {found['steps']} steps"
        + ("." if mean is None else f"; mean training loss {mean:.4f}.")
    )


def _loss(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


_SHAPES = (_loss, _share)


def _list(as_json: bool) -> None:
    from qpsim.nn.tasks import task, task_names

    tasks = [task(name) for name in task_names()]
    if as_json:
        print_json({one.name: one.record() for one in tasks})
        return
    for one in tasks:
        needs = ", needs --data" if one.needs_directory else ""
        typer.echo(
            f"{one.name:<16} {one.summary}\n{'':17}{one.n_steps} steps, batch {one.batch_size}{needs}"
        )
