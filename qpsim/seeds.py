"""What an ``rng`` argument means: a seed, however it is given (SPEC 7)."""

from __future__ import annotations

from typing import Any

import numpy as np

from qpsim.errors import ProblemError


def seed_sequence(rng: Any) -> np.random.SeedSequence:
    """The SeedSequence behind an ``rng`` argument (SPEC 7), advanced if it is a generator.

    Examples
    --------
    >>> from qpsim.seeds import seed_sequence
    >>> seed_sequence(7).entropy
    7
    """
    if isinstance(rng, np.random.SeedSequence):
        return _fresh(rng)
    if isinstance(rng, (np.random.Generator, np.random.BitGenerator)):
        bits = rng.bit_generator if isinstance(rng, np.random.Generator) else rng
        # Spawning advances the caller's generator: a second call must not repeat the first.
        return _fresh(bits.seed_seq.spawn(1)[0])  # type: ignore[attr-defined]
    if rng is not None and (isinstance(rng, bool) or not isinstance(rng, (int, np.integer))):
        raise ProblemError(
            f"rng must be None, a whole number, a SeedSequence or a Generator, not {rng!r}."
        )
    if rng is not None and rng < 0:
        raise ProblemError(f"A seed must not be negative; got {rng}.")
    return np.random.SeedSequence(rng if rng is None else int(rng))


def _fresh(seed: np.random.SeedSequence) -> np.random.SeedSequence:
    """The same seed with nothing spawned from it, its entropy in plain Python numbers."""
    entropy: Any = seed.entropy
    if not isinstance(entropy, str):
        entropy = np.asarray(entropy, dtype=object).tolist()
    return np.random.SeedSequence(
        entropy, spawn_key=tuple(int(key) for key in seed.spawn_key), pool_size=seed.pool_size
    )
