"""Settings for all tests: Ctrl-C works, also if the parent process ignores or blocks it."""

import signal

# A job in the background of a script is started with Ctrl-C ignored, and a worker with it blocked.
# Tests that interrupt programs, and the programs that they start, would inherit that.
if signal.getsignal(signal.SIGINT) in (signal.SIG_IGN, None):
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "pthread_sigmask"):
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
