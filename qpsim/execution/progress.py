"""A progress bar on stderr for work of more than a second, and silence everywhere else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

DELAY_SECONDS = 1.0


@contextmanager
def bar(title: str, total: int, done: int = 0) -> Iterator[Callable[..., None]]:
    """A bar over ``total`` ticks; the value is the function that ticks, ``tick(note="")``.

    ``done`` ticks count as made before; the note stands behind the title until the next one.
    Nothing is shown before a second has passed, nor when stderr is no terminal, nor while another
    bar is shown.
    """
    shown: list[Any] = []
    began = time.perf_counter()

    def tick(note: str = "") -> None:
        nonlocal done
        done += 1
        if not shown and _wanted() and time.perf_counter() - began > DELAY_SECONDS:
            shown.append(_start(title, total))
        if shown:
            progress, task = shown[0]
            label = f"{title}  {note}" if note else title
            progress.update(task, completed=done, description=label)

    try:
        yield tick
    finally:
        if shown:
            _stop(shown[0][0])


_active: list[Any] = []


def silence() -> None:
    """Show no bar in this process from here on: it is a worker, and its parent has one."""
    _active.append(None)


def _wanted() -> bool:
    return not _active and sys.stderr is not None and sys.stderr.isatty()


def _start(title: str, total: int) -> tuple[Any, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    progress.start()
    _active.append(progress)
    return progress, progress.add_task(title, total=total)


def _stop(progress: Any) -> None:
    progress.stop()
    _active.remove(progress)
