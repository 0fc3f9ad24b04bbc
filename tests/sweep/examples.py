"""Small sweeps for tests, and the bytes of a store's data."""

from pathlib import Path

from qpsim.sweep import Sweep

FIXED = {"spectrum": "mild", "dim": 4, "basis": 0.0, "n_steps": 3, "n_replicates": 8}


def small(n=3, **fixed):
    """2 n cells over noise and method."""
    noise = [0.1 * (k + 1) for k in range(n)]
    return Sweep({**FIXED, **fixed}, {"noise_std": noise, "method": ["sgd", "ssd"]})


def data(store):
    """Names and bytes of everything in a store that must not depend on how it came about."""
    root = Path(store)
    files = [root / "sweep.json", root / "index.jsonl", *(root / "cells").iterdir()]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}
