"""Output of the command line: errors and warnings as one line on stderr, tables and JSON on stdout."""

from __future__ import annotations

import errno
import json
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import typer

from qpsim import errors
from qpsim.errors import QpsimError
from qpsim.execution.ending import exit_code

NOT_TRUE, USER_ERROR = 1, 2
# Errors of writing. Files of ours are written by qpsim.files, whose errors name them; what remains is stdout.
_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)
# Letters of a cell that is no number.
_SENTENCE = 30
_WARNINGS = tuple(
    kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Warning)
)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn errors of the user into one line and an exit code, and warnings into one line.

    A warning of a cause that many runs share is written once.
    """
    written: set[str] = set()

    def warn(message: Any, *rest: Any) -> None:
        if str(message) not in written:
            written.add(str(message))
            say(f"warning: {message}")

    with warnings.catch_warnings():
        warnings.showwarning = warn  # type: ignore[assignment]
        for category in _WARNINGS:
            warnings.simplefilter("always", category)
        try:
            yield
        except QpsimError as error:
            say(f"error: {error}")
            raise typer.Exit(USER_ERROR) from None
        except MemoryError as error:
            say(
                f"error: not enough memory ({error}); ask for fewer replicates, steps or dimensions."
            )
            raise typer.Exit(USER_ERROR) from None
        except OSError as error:
            if error.errno == errno.EPIPE:
                # The reader of a pipe, such as head, has ended; typer exits without a message.
                raise
            name = error.filename
            if name is None and error.errno in _WRITING:
                name = "standard output"
            where = f"{name}: " if name is not None else ""
            reason = f"{where}{error.strerror or error}."
            if isinstance(error, FileNotFoundError) and not where:
                reason = (
                    "The folder that this command was started in is gone; change to another one."
                )
            say(f"error: {reason}")
            raise typer.Exit(USER_ERROR) from None
        except KeyboardInterrupt:
            say("stopped.")
            raise typer.Exit(exit_code()) from None


def make_streams_safe() -> None:
    """Make printing safe in any terminal.

    A character that the terminal's encoding does not have is written as an escape. A stream that was closed before the
    program started is replaced, since the next opened file would get its number.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w", encoding="utf-8"))
        elif number > 0 and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def say(message: str) -> None:
    """One line on stderr."""
    typer.echo("qpsim: " + " ".join(message.split()), err=True)


def print_json(data: Any) -> None:
    """Data on stdout. JSON has no infinity and no NaN: they become null."""
    from qpsim.files.plain import plain

    typer.echo(json.dumps(plain(data), indent=2, allow_nan=False))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout: the first column and columns of sentences to the left, the others to the right.

    Cells are not wrapped, so that they can be copied.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for k, column in enumerate(columns):
        is_left = k == 0 or any(len(row[k]) > _SENTENCE for row in rows)
        table.add_column(Text(column), justify="left" if is_left else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    Console(width=1000, soft_wrap=True, highlight=False).print(table)


def assignments(pairs: Sequence[str] | None, known: Mapping[str, Any] | Sequence[str]) -> dict:
    """Options given as NAME=VALUE; a value is JSON if it can be read so, and a text otherwise.

    >>> assignments(["steps=10", "kind=adam", "noise=[0, 1]"], ["steps", "kind", "noise"])
    {'steps': 10, 'kind': 'adam', 'noise': [0, 1]}
    """
    from qpsim.errors import FigureError, nearest

    values = {}
    for pair in pairs or ():
        name, equals, text = pair.partition("=")
        if not equals:
            raise FigureError(f"--set takes NAME=VALUE, not {pair!r}.")
        if name not in known:
            ending = nearest(name, known) if known else "there is none."
            raise FigureError(f"--set: there is no option {name!r}; {ending}")
        try:
            values[name] = json.loads(text)
        except (json.JSONDecodeError, RecursionError):
            values[name] = text
    return values


def file_lines(paths: Sequence[Any]) -> list[str]:
    """Paths as short as they can be written from here."""
    here = os.getcwd()
    return [os.path.relpath(path, here) if _below(path, here) else str(path) for path in paths]


def _below(path: Any, here: str) -> bool:
    return os.path.abspath(path).startswith(here + os.sep)
