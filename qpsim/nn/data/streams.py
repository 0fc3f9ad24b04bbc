"""Randomness that can be put down and taken up again: one generator for every count.

A stream does not carry a generator's inner state along; its n-th generator is a function of the
seed and n alone. To resume a run, remember the seed and how far it was: plain integers, that any
JSON file holds, and no other part of the run can have disturbed.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from qpsim.errors import DataError

__all__ = ["Seed", "Stream"]

Seed: TypeAlias = "int | np.random.SeedSequence | np.random.Generator | Stream | None"

# First word below a stream's own key: what is drawn here, and what is handed on to sub-streams.
_DRAWS, _CHILDREN = 0, 1


class Stream:
    """A seeded family of generators, ``at(0)``, ``at(1)``, ... and of independent sub-streams.

    Parameters
    ----------
    rng : int, SeedSequence, Generator, Stream or None
        The seed. A Generator gives a fresh child of its seed sequence (and counts it as spawned);
        None takes entropy from the operating system, which `state` then records.

    Examples
    --------
    >>> stream = Stream(7)
    >>> again = Stream.from_state(stream.state())
    >>> bool(stream.at(3).random() == again.at(3).random())
    True
    >>> bool(stream.at(3).random() == stream.child(3).at(3).random())
    False
    """

    def __init__(self, rng: Seed = None) -> None:
        sequence: np.random.SeedSequence
        if isinstance(rng, Stream):
            sequence = rng._sequence
        elif isinstance(rng, np.random.SeedSequence):
            sequence = rng
        elif isinstance(rng, np.random.Generator):
            spawned: Any = rng.bit_generator.seed_seq
            sequence = spawned.spawn(1)[0]
        elif rng is None:
            sequence = np.random.SeedSequence()
        elif isinstance(rng, (int, np.integer)) and not isinstance(rng, bool) and rng >= 0:
            sequence = np.random.SeedSequence(int(rng))
        else:
            raise DataError(f"rng is {rng!r}; a seed is a non-negative integer or a Generator")
        self._sequence: np.random.SeedSequence = sequence

    def at(self, count: int) -> np.random.Generator:
        """The generator of one count (a step, an epoch), the same whenever it is asked for."""
        return np.random.Generator(np.random.SFC64(self._below(_DRAWS, count)))

    def permutation(self, n: int, count: int) -> np.ndarray:
        """A random order of 0 ... n - 1 for one count.

        The ranks of n raw 64-bit words: NumPy promises to keep the words of a bit generator for
        ever, which it does not for `Generator.permutation`, so an old run keeps its data order.
        """
        words = np.random.SFC64(self._below(_DRAWS, count)).random_raw(n)
        return np.argsort(words, kind="stable")

    def child(self, number: int) -> Stream:
        """The sub-stream of one purpose, independent of this stream's own draws."""
        return Stream(self._below(_CHILDREN, number))

    def _below(self, *words: int) -> np.random.SeedSequence:
        sequence = self._sequence
        return np.random.SeedSequence(sequence.entropy, spawn_key=(*sequence.spawn_key, *words))

    def state(self) -> dict[str, Any]:
        """The seed as JSON-able numbers; `from_state` builds the same stream from them."""
        entropy: Any = self._sequence.entropy
        plain = entropy if isinstance(entropy, int) else [int(word) for word in entropy]
        return {"entropy": plain, "spawn_key": [int(word) for word in self._sequence.spawn_key]}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Stream:
        """The stream that wrote `state`; DataError when it is no such state."""
        try:
            sequence = np.random.SeedSequence(state["entropy"], spawn_key=tuple(state["spawn_key"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                "a random stream's state needs 'entropy' and 'spawn_key' of non-negative integers, "
                f"not {state!r}"
            ) from error
        return cls(sequence)
