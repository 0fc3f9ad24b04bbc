"""Signals while the command line starts, runs and ends: the exit code, one line on stderr, and no second interrupt."""

import os
import subprocess
import sys

import pytest

BEGIN = """
import os, signal, sys, time
from qpsim.execution import ending
ending.exit_at_once_on_signals()
press = lambda: signal.raise_signal(signal.SIGINT)
"""
STOPPED = "qpsim: stopped.\n"


def run(program):
    """Exit code, stdout and stderr of a program."""
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + program],
        cwd=os.getcwd(),
        timeout=60,
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name, code", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_start_ends_at_once(name, code):
    assert run(f"signal.raise_signal(signal.{name})") == (code, "", STOPPED)


@pytest.mark.parametrize("name, code", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_command_stops_in_order_and_later_signals_change_nothing(name, code):
    program = f"""
try:
    with ending.orderly():
        try:
            signal.raise_signal(signal.{name})
        finally:
            press()
            print("in order")
            signal.raise_signal(signal.SIGTERM)
except KeyboardInterrupt:
    press()
    sys.exit(ending.exit_code())
"""
    assert run(program) == (code, "in order\n", "")


def test_a_command_that_has_ended_is_not_stopped():
    assert run("with ending.orderly(): pass\npress()\nprint('done')") == (0, "done\n", "")


def test_an_interrupt_that_python_drops_is_raised_again():
    program = """
class Destroyed:
    def __del__(self):
        press()
        time.sleep(0)
try:
    with ending.orderly():
        Destroyed()
        time.sleep(30)
except KeyboardInterrupt:
    print("stopped")
"""
    assert run(program) == (0, "stopped\n", "")


def test_an_interrupt_within_exec_does_not_change_the_exit_code():
    """Python remembers it, though it was caught, and would end with SIGINT."""
    program = """
try:
    with ending.orderly():
        exec("press()")
except KeyboardInterrupt:
    sys.exit(ending.exit_code())
"""
    assert run(program) == (130, "", "")


def test_what_does_not_stop_in_order_is_ended():
    program = """
ending._PATIENCE_SECONDS = 0.05
with ending.orderly():
    try:
        press()
    finally:
        time.sleep(30)
"""
    assert run(program) == (130, "", STOPPED)


def test_sigterm_waits_where_ctrl_c_does():
    program = """
from qpsim.execution.interrupts import deferred
try:
    with ending.orderly(), deferred():
        signal.raise_signal(signal.SIGTERM)
        print("done")
except KeyboardInterrupt:
    sys.exit(ending.exit_code())
"""
    assert run(program) == (143, "done\n", "")


def test_a_signal_that_is_ignored_stays_so():
    program = """
signal.signal(signal.SIGINT, signal.SIG_IGN)
ending.exit_at_once_on_signals()
with ending.orderly():
    press()
print("done")
"""
    assert run(program) == (0, "done\n", "")


def test_a_program_of_its_own_handler_keeps_it():
    program = """
signal.signal(signal.SIGINT, lambda *arguments: print("its own"))
ending.exit_at_once_on_signals()
with ending.orderly():
    press()
"""
    assert run(program) == (0, "its own\n", "")


def test_ctrl_c_while_the_command_line_is_imported_is_one_line():
    program = """
class Pressed:
    def find_spec(name, path=None, target=None):
        if name == "typer":
            press()
sys.meta_path.insert(0, Pressed)
from qpsim.__main__ import main
main()
"""
    assert run(program) == (130, "", STOPPED)
