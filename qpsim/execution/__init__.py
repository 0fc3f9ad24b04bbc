"""How work is run: workers, interrupts, progress. Simulations, networks and sweeps share all of it.

- ``pool``: hands tasks to workers and returns their results; ``processes`` has the worker processes.
- ``threads``: divides one short loop among threads. ``cores``: how many workers there should be.
- ``blas``: keeps BLAS to one thread while our own threads use the cores.
- ``interrupts``: delays Ctrl-C while something must not be left half done; ``stopping`` tells running tasks to stop;
  ``ending`` ends the program on a signal.
- ``progress``: the progress bar. ``memory``: how much memory is free.
- ``sources``: a fingerprint of the package's source files, by which two processes know that they run the same code.
"""
