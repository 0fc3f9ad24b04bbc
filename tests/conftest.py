"""Settings for all tests: Ctrl-C works, also if the parent process ignores it; garbage is collected rarely."""

import gc
import os
import signal

import pytest

from tests.turns import compile_in_turns

# Compiling makes millions of small objects that live long. Looking through them for garbage after every
# 700 new ones, as Python does by default, is a tenth of the time that all tests take.
gc.set_threshold(100_000, 20, 100)

# A job in the background of a script is started with Ctrl-C ignored, one under nohup with SIGHUP ignored, and a worker
# with Ctrl-C blocked. Tests that interrupt programs, and the programs that they start, would inherit that.
if signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None):
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) in (signal.SIG_IGN, None):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
if hasattr(signal, "pthread_sigmask"):
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})


@pytest.fixture(scope="session", autouse=True)
def kernels_in_turns(tmp_path_factory):
    """Workers of pytest-xdist share a folder of locks, and compile no kernel twice."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        compile_in_turns(tmp_path_factory.getbasetemp().parent / "locks")
