"""Progress: a bar on a terminal, one line a minute in a log, nothing for short work."""

import io
import sys
import threading

import pytest

from qpsim.execution import progress
from qpsim.execution.progress import bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that tests set."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def log(capsys):
    """What stands in a log, as long as it is shown."""
    return lambda: capsys.readouterr().err


@pytest.fixture
def terminal(monkeypatch):
    """A terminal, once it is asked for: pytest sets its own stderr after its fixtures."""
    monkeypatch.setenv("TERM", "xterm")

    def opened():
        monkeypatch.setattr(sys, "stderr", Terminal())
        return sys.stderr

    return opened


def test_long_work_on_a_terminal_is_shown(terminal, clock):
    stream = terminal()
    with bar("sgd", 3) as opened:
        clock[0] = 1.5
        opened.tick("loss 0.5")
        opened._shown[0].refresh()
        assert "sgd  loss 0.5" in stream.getvalue()
    assert not progress._bars


def test_work_of_less_than_a_second_is_silent(terminal, clock):
    stream = terminal()
    with bar("sgd", 3) as opened:
        clock[0] = 0.9
        opened.tick()
    assert stream.getvalue() == ""


def test_a_log_gets_a_line_a_minute(log, clock):
    with bar("tuning", 40, done=4) as opened:
        for second in range(0, 181, 10):
            clock[0] = second
            opened.tick(f"loss {second}")
    assert log().splitlines() == [
        "qpsim: tuning: 11/40, 60 s, 4 min left  loss 60",
        "qpsim: tuning: 17/40, 2 min, 4 min left  loss 120",
        "qpsim: tuning: 23/40, 3 min, 3 min left  loss 180",
    ]


def test_without_a_stderr_nothing_is_shown(monkeypatch, clock):
    for stream in (None, io.StringIO()):
        monkeypatch.setattr(sys, "stderr", stream)
        with bar("sgd", 1) as opened:
            if stream is not None:
                stream.close()
            clock[0] += 100.0
            opened.tick()


def test_a_bar_within_a_bar_stands_behind_its_title(log, clock):
    with bar("tuning", 2) as outer:
        outer.tick("first")
        with bar("adam", 100) as inner:
            clock[0] = 61.0
            inner.tick("loss 0.5")
        assert log() == "qpsim: tuning: 1/2, 61 s, 61 s left  adam 1/100  loss 0.5\n"
        clock[0] = 122.0
        outer.tick("second")
    assert log() == "qpsim: tuning: 2/2, 2 min  second\n"


def test_bars_of_other_threads_are_not_shown(log, clock):
    def work():
        with bar("inner", 1) as opened:
            opened.tick()

    with bar("outer", 1):
        clock[0] = 100.0
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert log() == ""


def test_a_count_is_never_beyond_its_total(log, clock):
    with bar("tuning", 2) as opened:
        for _ in range(3):
            opened.tick()
        assert (opened.done, opened.total) == (3, 3)
        opened.total = 5
        clock[0] = 60.0
        opened.tick()
    assert log().startswith("qpsim: tuning: 4/5,")


def test_what_is_waited_for_is_said_while_nothing_is_done(log, clock):
    with bar("sweep", 4):
        progress.say("waiting for a worker")
        progress.refresh("still waiting")
        clock[0] = 60.0
        progress.refresh("still waiting")
    progress.say("nobody listens")
    assert log().splitlines() == [
        "qpsim: waiting for a worker",
        "qpsim: sweep: 0/4, 60 s  still waiting",
    ]


def test_an_interrupted_bar_is_taken_away(terminal, clock):
    terminal()
    with pytest.raises(KeyboardInterrupt), bar("sgd", 2) as opened:
        clock[0] = 2.0
        opened.tick()
        raise KeyboardInterrupt
    assert not progress._bars and not opened._shown[0].live.is_started


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0.0 s left"), (1.0, "9 s left"), (300.0, "45 min"), (9000.0, "h")]
)
def test_time_left_is_told_in_readable_units(seconds, text):
    with bar("sweep", 10) as opened:
        opened.tick()
        assert text in opened.line(seconds)
