"""How work is run: pools of workers, the BLAS cap, interrupts, progress."""
