"""The walk over constant step sizes of the paper's Appendix A.2, for whatever is being tried.

First the largest stable step size by trial along ..., 1, 3, 6, 10, 30, ...; then down from there
over some orders of magnitude, and further for as long as the smallest step is the best: Adam is
stable at steps a hundred times its best, and an end of a grid is no minimum.

A walk is a generator. It asks for numbers of the grid and is sent what was found; it neither knows
nor cares whether that is a simulation or the training of a network, here or in another process.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeVar

Question = TypeVar("Question")
Result = TypeVar("Result")

_MANTISSAS = (1, 3, 6)
PER_ORDER = len(_MANTISSAS)


def grid_step(k: int) -> float:
    """Number k of the grid: 1, 3, 6, 10, 30, ... from k = 0, and downwards 0.6, 0.3, 0.1, ...

    >>> [grid_step(k) for k in (-3, -2, -1, 0, 1, 2, 3)]
    [0.1, 0.3, 0.6, 1.0, 3.0, 6.0, 10.0]
    """
    order, mantissa = divmod(k, PER_ORDER)
    return float(f"{_MANTISSAS[mantissa]}e{order}")


def largest_stable(first: int, lowest: int, highest: int) -> Generator[int, bool, int | None]:
    """Up from ``first`` while stable, or down until stable; None if nothing down to ``lowest`` is.

    Asks for one number after the other and is sent whether that step is stable. The step above
    the answer was found unstable, unless the answer is ``highest``.

    >>> answered(largest_stable(0, -9, 9), lambda k: grid_step(k) < 50)
    4
    """
    k = first
    if (yield k):
        while k < highest and (yield k + 1):
            k += 1
        return k
    while k > lowest:
        k -= 1
        if (yield k):
            return k
    return None


def downwards(
    largest: int, orders: int, lowest: int
) -> Generator[list[int], list[float], list[int]]:
    """From ``largest`` down ``orders`` of magnitude, and on while the smallest step is the best.

    Asks for some numbers at a time and is sent their scores, smaller ones being better. With no
    orders only ``largest`` is tried. Returns all numbers tried, descending.

    >>> answered(downwards(0, 1, -9), lambda asked: [abs(k + 4) for k in asked])
    [0, -1, -2, -3, -4, -5]
    """
    tried = list(range(largest, max(largest - PER_ORDER * orders, lowest) - 1, -1))
    scores = yield tried
    while orders > 0 and tried[-1] > lowest and scores[-1] < min(scores[:-1], default=0.0):
        tried = [*tried, tried[-1] - 1]
        scores = [*scores, *(yield tried[-1:])]
    return tried


def answered(walk: Generator[Question, Any, Result], answer: Callable[[Question], Any]) -> Result:
    """What a walk returns whose questions are answered at once."""
    try:
        question = next(walk)
        while True:
            question = walk.send(answer(question))
    except StopIteration as end:
        return end.value


def translated(
    walk: Generator[Question, Any, Result],
    ask: Callable[[Question], Any],
    understand: Callable[[Question, Any], Any],
) -> Generator[Any, Any, Result]:
    """A walk in other words: ``ask`` makes the question, ``understand`` what the walk is sent."""
    try:
        question = next(walk)
        while True:
            question = walk.send(understand(question, (yield ask(question))))
    except StopIteration as end:
        return end.value
