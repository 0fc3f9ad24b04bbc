"""Options that several commands have, and the options of figures and topics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from qpsim.cli.report_errors import assignments, say
from qpsim.errors import QpsimError


def methods_beginning(incomplete: str) -> list[str]:
    """Names of methods that begin so, for the completion of a command line."""
    from qpsim.methods import method_names

    return [name for name in method_names() if name.startswith(incomplete)]


def tasks_beginning(incomplete: str) -> list[str]:
    """Names of network tasks that begin so, for the completion of a command line."""
    from qpsim.nn import task_names

    return [name for name in task_names() if name.startswith(incomplete)]


Workers = Annotated[int | None, typer.Option(help="Number of threads.", show_default="all cores")]
Rng = Annotated[
    int | None,
    typer.Option("--rng", help="Seed; equal seeds give equal bits.", show_default="0"),
]
# The option of qpsim verify's topics is named seed.
Seed = Rng
DataFolder = Annotated[Path | None, typer.Option(help="Folder of MNIST and CIFAR, for networks.")]
CacheFolder = Annotated[
    Path | None,
    typer.Option(help="Folder of finished network runs.", show_default="the user's cache"),
]
# Options of the commands that train a network.
TaskSteps = Annotated[int | None, typer.Option(help="Number of steps.", show_default="the task's")]
TaskBatchSize = Annotated[
    int | None, typer.Option(help="Examples in a batch.", show_default="the task's")
]
TaskL2 = Annotated[
    float | None, typer.Option(help="L2 factor of the weights.", show_default="the task's")
]
TaskData = Annotated[Path | None, typer.Option(help="Folder with the files of MNIST or CIFAR.")]

Problems = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PROBLEM",
        help="SPECTRUM/BASIS, such as mild/haar, log-uniform:1000/axis or eigenvalues.npy/0.3, or a "
        "file with a Hessian; may be repeated.",
        show_default="the paper's four",
    ),
]
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        metavar="TASK",
        help="A problem of the figures on networks, see train --list; may be repeated.",
        show_default="the figure's own",
        autocompletion=tasks_beginning,
    ),
]
NoiseLevels = Annotated[
    list[float] | None,
    typer.Option(help="Noise level nu; may be repeated.", show_default="0, 0.1 and 4"),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        help="Method by name; may be repeated.",
        show_default="the figure's own",
        autocompletion=methods_beginning,
    ),
]


def refuse_empty(arguments: Sequence[str]) -> None:
    """Raise QpsimError for an empty argument: a path would else be the present folder.

    Examples
    --------
    >>> refuse_empty(["simulate", "e.toml", "--out", ""])
    Traceback (most recent call last):
    ...
    qpsim.errors.QpsimError: --out is empty, as is a variable of the shell that is not set; the present folder is a dot.
    """
    before = ""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        is_option = name.startswith("-")
        if not argument or (is_option and equals and not value):
            option = name if is_option else before if before.startswith("-") else "An argument"
            raise QpsimError(
                f"{option} is empty, as is a variable of the shell that is not set; the present folder is a dot."
            )
        before = argument


# Option names of earlier versions, with the present ones.
_FORMER = {
    "--replicates": "--n-replicates",
    "--steps": "--n-steps",
    "--problems": "--n-draws",
    "--seed": "--rng",
    "--noise": "--noise-std",
    "--step": "--step-size",
    "--batch": "--batch-size",
    "--theta": "--theta0",
}


class Command(TyperCommand):
    """A command that accepts the option names of earlier versions, with a hint to the present ones."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line."""
        known = {name for parameter in self.params for name in parameter.opts}
        present = []
        for argument in args:
            name, equals, value = argument.partition("=")
            now = _FORMER.get(name, name)
            if now != name and now in known and name not in known:
                say(f"hint: {name} is now {now}.")
                argument = now + equals + value
            present.append(argument)
        return super().parse_args(ctx, present)


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given on the command line: those that are neither None nor empty."""
    return {
        key: str(value) if isinstance(value, Path) else value
        for key, value in options.items()
        if value is not None and value != []
    }


def chosen_options(
    common: Mapping[str, Any], more: Sequence[str] | None, known: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """The options given on the command line, for each figure or topic.

    ``common`` has the named options, None where not given, ``more`` the NAME=VALUE pairs, ``known`` each thing's own
    options. With several figures or topics each gets the options that it has; a single one gets all, and reports
    unknown ones.
    """
    named = given(common)
    named |= assignments(more, sorted({key for names in known.values() for key in names}))
    return {
        one: {
            _present_name(key, names): value
            for key, value in named.items()
            if len(known) == 1 or _present_name(key, names) in names
        }
        for one, names in known.items()
    }


def _present_name(key: str, names: Sequence[str]) -> str:
    """The present name of an option, for figures or topics that have it under that name."""
    now = _FORMER.get(f"--{key}", f"--{key}").removeprefix("--").replace("-", "_")
    return now if key not in names and now in names else key
