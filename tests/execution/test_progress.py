"""A bar for long work on a terminal, and silence everywhere else."""

import io
import os
import sys

import pytest

from qpsim.execution import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(stream, monkeypatch, *, delay, ticks=3):
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(progress, "DELAY_SECONDS", delay)
    with progress.bar("sgd", ticks) as tick:
        for _ in range(ticks):
            tick()
    return stream.getvalue()


def test_long_work_on_a_terminal_is_shown(monkeypatch):
    monkeypatch.setitem(os.environ, "TERM", "xterm")
    assert "sgd" in shown(Terminal(), monkeypatch, delay=0.0)
    assert not progress._active


def test_short_work_and_work_without_a_terminal_are_silent(monkeypatch):
    assert shown(Terminal(), monkeypatch, delay=60.0) == ""
    assert shown(io.StringIO(), monkeypatch, delay=0.0) == ""
    monkeypatch.setattr(sys, "stderr", None)
    with progress.bar("sgd", 1) as tick:
        tick()


def test_a_bar_within_a_bar_is_not_shown(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "DELAY_SECONDS", 0.0)
    with progress.bar("outer", 2) as outer:
        outer()
        with progress.bar("inner", 1) as inner:
            inner()
        outer()
    assert "inner" not in sys.stderr.getvalue()


def test_an_interrupted_bar_is_taken_away(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "DELAY_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt), progress.bar("sgd", 2) as tick:
        tick()
        raise KeyboardInterrupt
    assert not progress._active
