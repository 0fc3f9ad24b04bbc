"""The data order: the examples of each training step, and their random distortions.

A batch is a function of the seed and the number of the step: an epoch is a random order of the
examples, a step has the next slice of it, and the transform has a generator for each step. The
state is only a counter and the seeds, and a continued run gets the same bits as an uninterrupted
one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qpsim.errors import DataError
from qpsim.nn.data.augment import Plain, Transform
from qpsim.nn.data.dataset import Split
from qpsim.nn.data.streams import Seed, Stream

__all__ = ["Batches", "evaluation_batches"]

Batch = tuple[NDArray[Any], NDArray[Any]]
_ORDER, _TRANSFORM = range(2)


class Batches:
    """An endless iterator over training batches.

    Every epoch is a new random order, divided into batches of exactly `batch_size`. The remaining
    examples at its end are skipped, so that all batches have the same size, which Eq. 44 assumes.

    Parameters
    ----------
    split : Split
        The training examples.
    batch_size : int
        At most the number of examples.
    transform : Transform
        Default: scaling only.
    rng : int, SeedSequence, Generator, Stream or None
        The seed of the order and of the transform, which draw from streams of their own.

    Attributes
    ----------
    step : int
        Number of batches so far.
    batches_per_epoch : int

    Raises
    ------
    DataError
        The batch size is not between 1 and the number of examples.

    Examples
    --------
    >>> import numpy as np
    >>> split = Split(np.arange(6, dtype=np.float32).reshape(6, 1), np.arange(6))
    >>> batches = Batches(split, 2, rng=0)
    >>> epoch = [next(batches)[1].tolist() for _ in range(3)]
    >>> sorted(sum(epoch, []))
    [0, 1, 2, 3, 4, 5]
    >>> resumed = Batches(split, 2)
    >>> resumed.restore(batches.state())
    >>> bool((next(resumed)[0] == next(batches)[0]).all())
    True
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        transform: Transform | None = None,
        *,
        rng: Seed = None,
    ) -> None:
        if not 1 <= batch_size <= len(split):
            raise DataError(
                f"the batch size is {batch_size}; with {len(split)} training examples it must be "
                f"between 1 and {len(split)}"
            )
        self.split = split
        self.batch_size = int(batch_size)
        self.transform: Transform = Plain() if transform is None else transform
        self.step = 0
        self.batches_per_epoch = len(split) // self.batch_size
        self._reseed(Stream(rng))

    def _reseed(self, stream: Stream) -> None:
        self._stream = stream
        self._order = stream.child(_ORDER)
        self._noise = stream.child(_TRANSFORM)
        self._shuffled: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch = self.at(self.step)
        self.step += 1
        return batch

    def at(self, step: int) -> Batch:
        """The batch of any step, 0 the first: (x, y), x (batch, ...) float32 and y (batch,)."""
        chosen = self.indices(step)
        images = self.transform.training(self.split.images[chosen], self._noise.at(step))
        return np.asarray(images), self.split.labels[chosen]

    def indices(self, step: int) -> np.ndarray:
        """Indices of the examples of step `step`, (batch,)."""
        epoch, position = divmod(step, self.batches_per_epoch)
        cached_epoch, order = self._shuffled
        if epoch != cached_epoch:
            order = self._order.permutation(len(self.split), epoch)
            self._shuffled = (epoch, order)
        return order[position * self.batch_size : (position + 1) * self.batch_size]

    @property
    def epoch(self) -> float:
        """Number of finished epochs."""
        return self.step / self.batches_per_epoch

    def state(self) -> dict[str, Any]:
        """What `restore` needs: JSON-able, {"step", "examples", "batch_size", "stream"}."""
        return {
            "step": self.step,
            "examples": len(self.split),
            "batch_size": self.batch_size,
            "stream": self._stream.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue exactly where the iterator with this `state` was, with its seed.

        Raises
        ------
        DataError
            The state is malformed, or of another number of examples or batch size.
        """
        try:
            step, examples, batch_size = (state[k] for k in ("step", "examples", "batch_size"))
            stream_state = state["stream"]
        except (KeyError, TypeError) as error:
            raise DataError(
                "the state of a data order needs 'step', 'examples', 'batch_size' and 'stream'"
            ) from error
        if type(step) is not int or step < 0:
            raise DataError(f"the state's step is {step!r}; it must be a non-negative integer")
        if (examples, batch_size) != (len(self.split), self.batch_size):
            raise DataError(
                f"the state belongs to batches of {batch_size} out of {examples} examples, "
                f"these are batches of {self.batch_size} out of {len(self.split)}"
            )
        self._reseed(Stream.from_state(stream_state))
        self.step = step


def evaluation_batches(
    split: Split, batch_size: int = 1000, transform: Transform | None = None
) -> Iterator[Batch]:
    """All examples once, in order, without randomness; the last batch may be smaller.

    >>> import numpy as np
    >>> split = Split(np.zeros((5, 2), np.float32), np.arange(5))
    >>> [len(y) for x, y in evaluation_batches(split, 2)]
    [2, 2, 1]
    """
    if batch_size < 1:
        raise DataError(f"the batch size is {batch_size}; it must be at least 1")
    chosen: Transform = Plain() if transform is None else transform
    for start in range(0, len(split), batch_size):
        here = slice(start, start + batch_size)
        yield np.asarray(chosen.evaluation(split.images[here])), split.labels[here]
