"""How a sweep is getting on, in one line on stderr: rewritten on a terminal, now and then in a log."""

from __future__ import annotations

import sys
import time
from typing import TextIO

_TERMINAL_SECONDS = 0.2
_LOG_SECONDS = 10.0


class Progress:
    """Counts cells and tells of them.

    Parameters
    ----------
    total, done, failed : int
        Cells of the sweep, and how many are done and failed before this run.
    stream : text stream, default stderr

    Examples
    --------
    >>> import sys
    >>> progress = Progress(4, done=1, failed=0, stream=sys.stdout)
    >>> progress.tick(failed=False)
    >>> progress.line(seconds=0.5)
    '2/4 cells, 0 failed, 2 cells/s, 1 s left'
    """

    def __init__(
        self, total: int, done: int = 0, failed: int = 0, stream: TextIO | None = None
    ) -> None:
        self.total, self.done, self.failed = total, done, failed
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream is not None and self._stream.isatty()
        self._began = time.monotonic()
        self._before = done + failed
        self._told = self._began
        self._open = False

    def tick(self, failed: bool) -> None:
        """One more cell is finished."""
        if failed:
            self.failed += 1
        else:
            self.done += 1
        now = time.monotonic()
        if now - self._told >= (_TERMINAL_SECONDS if self._terminal else _LOG_SECONDS):
            self._told = now
            self._write(self.line(now - self._began))

    def line(self, seconds: float) -> str:
        """The line after this many seconds of running."""
        ran = self.done + self.failed - self._before
        rate = ran / seconds if seconds > 0 else 0.0
        left = self.total - self.done - self.failed
        time_left = f"{_duration(left / rate)} left" if rate > 0 else "time left unknown"
        return (
            f"{self.done}/{self.total} cells, {self.failed} failed, {rate:.3g} cells/s, {time_left}"
        )

    def close(self) -> None:
        """End the line that stands on a terminal."""
        if self._open:
            self._stream.write("\n")
            self._open = False

    def _write(self, line: str) -> None:
        if self._terminal:
            self._stream.write(f"\r{line}\x1b[K")
            self._open = True
        elif self._stream is not None:
            self._stream.write(f"{line}\n")
        if self._stream is not None:
            self._stream.flush()


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
