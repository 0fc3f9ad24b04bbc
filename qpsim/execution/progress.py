"""Progress of long work, on stderr: a bar on a terminal, one line a minute in a log.

Work of less than a second shows nothing. Of nested bars only the outermost is shown, with the counts of the inner ones
behind its title. Only bars of the main thread are shown.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Seconds before a bar is shown on a terminal, between two updates of it, and between two lines in a log.
_DELAY, _REDRAWN, _MINUTE = 1.0, 0.1, 60.0


class Bar:
    """Counts what is done of ``total``. Made by :func:`bar`.

    Attributes
    ----------
    total : int
        May be changed at any time, when the amount of work changes.
    done : int
    """

    def __init__(self, title: str, total: int, done: int) -> None:
        self.title, self.total, self.done = title, total, done
        self._done_before = done
        self._note = ""
        self._began = time.monotonic()
        self._shown: Any = None
        self._next = self._began + (_DELAY if _is_terminal() else _MINUTE)

    def tick(self, note: str = "") -> None:
        """Count one more as done; the note stands behind the title until the next call."""
        self.done += 1
        # The total may be an estimate; the count never exceeds it.
        self.total = max(self.total, self.done)
        self._note = note
        if self in _bars:
            refresh()

    def line(self, seconds: float, inner: str = "") -> str:
        """The line for a log after so many seconds.

        Examples
        --------
        >>> from qpsim.execution.progress import bar
        >>> with bar("sweep", 4, done=1) as opened:
        ...     opened.tick("0 failed")
        ...     print(opened.line(seconds=0.5))
        sweep: 2/4, 0.5 s, 1 s left  0 failed
        """
        made = self.done - self._done_before
        left = ""
        if made and self.total > self.done:
            left = f", {_duration(seconds / made * (self.total - self.done))} left"
        count = f"{self.title}: {self.done}/{self.total}, {_duration(seconds)}{left}"
        return "  ".join(part for part in (count, inner or self._note) if part)

    def _refresh(self, inner: str) -> None:
        now = time.monotonic()
        if not _stderr_is_open():
            return
        if not _is_terminal():
            self._next = now + _MINUTE
            sys.stderr.write(f"qpsim: {self.line(now - self._began, inner)}\n")
            sys.stderr.flush()
            return
        self._next = now + _REDRAWN
        if self._shown is None:
            self._shown = _shown(self.title, self.total, self._done_before)
        display, task = self._shown
        label = "  ".join(part for part in (self.title, inner or self._note) if part)
        display.update(task, total=self.total, completed=self.done, description=label)

    def _close(self) -> None:
        if self._shown is not None:
            self._shown[0].stop()


@contextmanager
def bar(title: str, total: int, done: int = 0) -> Iterator[Bar]:
    """A progress bar for the duration of the block.

    Parameters
    ----------
    title : str
        Title of the bar.
    total : int
        Number of items.
    done : int, default 0
        Number of items that were done before.

    Examples
    --------
    >>> from qpsim.execution.progress import bar
    >>> with bar("squares", 3) as opened:
    ...     for k in range(3):
    ...         opened.tick()
    >>> opened.done
    3
    """
    made = Bar(title, total, done)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread:
        _bars.append(made)
    try:
        yield made
    finally:
        if in_main_thread:
            _bars.remove(made)
            made._close()


def refresh(note: str = "") -> None:
    """Update the outermost bar, if it is time; ``note`` says what is being waited for."""
    if _silent or not _bars or time.monotonic() < _bars[0]._next:
        return
    inner = [f"{one.title} {one.done}/{one.total}" for one in _bars[1:]]
    if len(_bars) > 1 and _bars[-1]._note:
        inner.append(_bars[-1]._note)
    _bars[0]._refresh("  ".join([*inner, note] if note else inner))


def say(text: str) -> None:
    """Print a line at once if a bar is shown."""
    if _silent or not _bars or not _stderr_is_open():
        return
    shown = _bars[0]._shown
    if shown is None:
        sys.stderr.write(f"qpsim: {text}\n")
        sys.stderr.flush()
    else:
        shown[0].console.print(f"qpsim: {text}", markup=False, highlight=False)


def silence() -> None:
    """Show no bars in this process from now on. For workers, whose parent shows one."""
    global _silent
    _silent = True


_bars: list[Bar] = []
_silent = False


def _stderr_is_open() -> bool:
    return sys.stderr is not None and not sys.stderr.closed


def _is_terminal() -> bool:
    return _stderr_is_open() and sys.stderr.isatty()


def _shown(title: str, total: int, done: int) -> tuple[Any, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    display = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    display.start()
    return display, display.add_task(title, total=total, completed=done)


def _duration(seconds: float) -> str:
    """A time in a readable unit.

    >>> [_duration(t) for t in (0.52, 80, 300, 9000)]
    ['0.5 s', '80 s', '5 min', '2.5 h']
    """
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 1 else f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
