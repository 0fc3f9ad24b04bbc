"""Workers of pytest-xdist compile no kernel twice: the second waits, and loads what the first has saved."""

import os
import time
from contextlib import suppress

# Longer than any kernel takes. A worker whose compilation failed keeps its lock until it ends.
PATIENCE = 60.0


def compile_in_turns(folder):
    """Put a lock around the compilation of every kernel that is kept on disk, in this process.

    Between looking for a kernel's machine code and saving it, this process holds a file in the folder. Where there are
    no such locks (Windows) nothing is changed.
    """
    try:
        import fcntl
    except ImportError:
        return
    from qpsim.kernels.machine_code import KernelCache

    folder.mkdir(exist_ok=True)
    load, save, held = KernelCache.load_overload, KernelCache.save_overload, {}

    def load_overload(self, sig, target_context):
        found, path = load(self, sig, target_context), self._path(sig)
        if found is not None or path is None or path in held:
            return found
        lock = os.open(folder / path.name, os.O_CREAT | os.O_RDWR)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.05)
        held[path] = lock
        found = load(self, sig, target_context)
        if found is not None:
            os.close(held.pop(path))
        return found

    def save_overload(self, sig, data):
        save(self, sig, data)
        lock = held.pop(self._path(sig), None)
        if lock is not None:
            os.close(lock)

    KernelCache.load_overload, KernelCache.save_overload = load_overload, save_overload
