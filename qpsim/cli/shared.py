"""Options that mean the same in several commands, and how figures and topics take theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from qpsim.cli.report_errors import assignments, say

Workers = Annotated[int | None, typer.Option(help="Threads.", show_default="all cores")]
Seed = Annotated[
    int | None, typer.Option(help="Seed: the same one gives the same bits.", show_default="0")
]
DataFolder = Annotated[
    Path | None, typer.Option(help="Folder of MNIST and CIFAR, for what is about networks.")
]
CacheFolder = Annotated[
    Path | None,
    typer.Option(help="Folder of finished network runs.", show_default="the user's cache"),
]


def chosen_options(
    common: Mapping[str, Any], more: Sequence[str] | None, known: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """What was given on the command line, for each of the things asked for.

    ``common`` has the named options, None where not given, ``more`` the NAME=VALUE pairs, ``known``
    each thing's own options. Of several things each takes what it knows; a single one is given all,
    to say itself what it does not know.
    """
    given = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in common.items()
        if value is not None
    }
    given |= assignments(more, sorted({key for names in known.values() for key in names}))
    if len(known) == 1:
        return dict.fromkeys(known, given)
    return {one: {k: v for k, v in given.items() if k in names} for one, names in known.items()}


def renamed(old: str, given: Any, new: str, value: Any) -> Any:
    """The value of an option that had another name, with a hint if the old one was used.

    Raises
    ------
    typer.BadParameter
        Both are given.
    """
    if given is None:
        return value
    if value is not None:
        raise typer.BadParameter(f"{old} is the old name of {new}; give one of them.")
    say(f"hint: {old} is now {new}.")
    return given
