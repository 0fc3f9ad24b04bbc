"""The ``rng`` argument of every function that draws random numbers: a seed in any form that NumPy accepts.

As SPEC 7 of the Scientific Python project asks, the same seed gives the same numbers, and a generator that is passed
twice gives other numbers the second time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from qpsim import checks
from qpsim.errors import ProblemError

# Words of 32 bits drawn from a generator that cannot be spawned: 256 bits, twice SeedSequence's own pool.
_N_WORDS = 8


def seed_sequence(rng: Any) -> np.random.SeedSequence:
    """The SeedSequence that an ``rng`` argument stands for.

    Parameters
    ----------
    rng : None, int, sequence of int, SeedSequence, BitGenerator or Generator
        None takes fresh entropy from the operating system. From a generator a new seed is spawned, so that its next use
        gives another one: from its seed sequence, as :meth:`numpy.random.Generator.spawn` does, if its state comes from
        there. For all others (``Philox(key=...)``, ``PCG64(1).jumped()``, a state that was restored, an SFC64 or
        MT19937 that has already been drawn from) the seed consists of the next numbers that the generator draws: the
        same state gives the same seed.

    Raises
    ------
    ProblemError
        Anything else, or a negative seed.

    Examples
    --------
    >>> import numpy as np
    >>> from qpsim.seeds import seed_sequence
    >>> seed_sequence(7).entropy
    7
    >>> generator = np.random.default_rng(7)
    >>> [seed_sequence(generator).spawn_key for _ in range(2)]
    [(0,), (1,)]
    """
    if isinstance(rng, np.random.SeedSequence):
        return _without_children(rng)
    if isinstance(rng, np.random.Generator):
        return _child_seed(rng.bit_generator)
    if isinstance(rng, np.random.BitGenerator):
        return _child_seed(rng)
    if rng is None:
        return np.random.SeedSequence()
    is_list = isinstance(rng, (list, tuple)) or (isinstance(rng, np.ndarray) and rng.ndim == 1)
    if is_list and len(rng) > 0:
        return np.random.SeedSequence([_checked_word(word) for word in rng])
    return np.random.SeedSequence(_checked_word(rng))


def generator(rng: Any) -> np.random.Generator:
    """As :func:`numpy.random.default_rng`, with errors of ours; that one crashes for a ``numpy.matrix``.

    Raises
    ------
    ProblemError
        As `seed_sequence`.

    Examples
    --------
    >>> from qpsim.seeds import generator
    >>> [int(generator(rng).integers(100)) for rng in (7, [1, 2])]
    [94, 64]
    """
    if isinstance(rng, (np.random.Generator, np.random.BitGenerator)):
        return np.random.default_rng(rng)
    return np.random.default_rng(seed_sequence(rng))


def _checked_word(seed: Any) -> int:
    """A seed, or one word of it, as a plain integer >= 0."""
    if isinstance(seed, (bool, np.bool_)) or not isinstance(seed, (int, np.integer)):
        raise ProblemError(
            "rng must be None, a whole number (or several), a SeedSequence, a BitGenerator or a "
            f"Generator, not {checks.shown(seed)}."
        )
    if seed < 0:
        raise ProblemError(f"A seed must not be negative; got {checks.shown(seed)}.")
    return int(seed)


def _child_seed(bits: np.random.BitGenerator) -> np.random.SeedSequence:
    seed: Any = bits.seed_seq
    if isinstance(seed, np.random.SeedSequence) and _started_from(bits, seed):
        return _without_children(seed.spawn(1)[0])
    words = bits.random_raw(_N_WORDS) & np.uint64(0xFFFFFFFF)
    return np.random.SeedSequence(words.tolist())


def _started_from(bits: np.random.BitGenerator, seed: np.random.SeedSequence) -> bool:
    """Whether a bit generator is known to have been seeded with this seed sequence.

    NumPy gives a seed sequence of random entropy to a generator that was jumped, unpickled or whose
    state was set, so that its children would differ from run to run.
    """
    try:
        initial: Any = type(bits)(seed).state
    except Exception:  # a bit generator of another package, whose arguments are not known
        return False
    state: Any = bits.state
    # Some generators have a constant that drawing does not change, which depends on the seed.
    for constant in ("inc", "key"):
        if state["bit_generator"] != "MT19937" and constant in state["state"]:
            return bool(np.array_equal(state["state"][constant], initial["state"][constant]))
    return _equal(state, initial)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    return bool(np.array_equal(one, other))


def _without_children(seed: np.random.SeedSequence) -> np.random.SeedSequence:
    """The same seed with nothing spawned from it, its entropy in plain Python numbers."""
    entropy: Any = seed.entropy
    if not isinstance(entropy, str):
        entropy = np.asarray(entropy, dtype=object).tolist()
    return np.random.SeedSequence(
        entropy, spawn_key=tuple(int(key) for key in seed.spawn_key), pool_size=seed.pool_size
    )
