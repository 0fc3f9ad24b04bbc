"""Random streams for runs that can be interrupted: one generator for every value of a counter.

The n-th generator of a stream is a function of the seed and n alone. To continue a run, the seed
and the counter are enough; the state of a generator need not be saved, and other code that draws
random numbers has no influence.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from qpsim.errors import DataError
from qpsim.seeds import seed_sequence

__all__ = ["Seed", "Stream"]

Seed: TypeAlias = "int | np.random.SeedSequence | np.random.Generator | Stream | None"

# First word below a stream's own key: what is drawn here, and what is handed on to sub-streams.
_DRAWS, _CHILDREN = 0, 1


class Stream:
    """A seeded family of generators, ``at(0)``, ``at(1)``, ..., and of independent sub-streams.

    Parameters
    ----------
    rng : int, SeedSequence, Generator, Stream or None
        The seed. A Generator gives a fresh child of its seed sequence (and counts it as spawned);
        None takes entropy from the operating system, which `state` then records.

    Raises
    ------
    QpsimError
        No seed: a negative number, a text, or the like.

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
        sequence = rng._sequence if isinstance(rng, Stream) else seed_sequence(rng)
        self._sequence: np.random.SeedSequence = sequence

    def at(self, count: int) -> np.random.Generator:
        """The generator for one value of the counter (a step, an epoch), always the same."""
        return np.random.Generator(np.random.SFC64(self._below(_DRAWS, count)))

    def permutation(self, n: int, count: int) -> np.ndarray:
        """A random order of 0 ... n - 1 for one count.

        The ranks of n raw 64-bit words. NumPy promises that the words of a bit generator never
        change, which it does not promise of `Generator.permutation`: an old run keeps its order.
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
