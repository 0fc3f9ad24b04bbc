"""The search for the best step size on a grid, for simulations and for trainings.

The paper's Appendix A.2 takes the largest stable step size and searches two orders of magnitude
below it on the grid 6, 3, 1 x 10^m. Adam, however, stays stable at steps a thousand times its best,
and the loss need not have a single minimum in between. So the search here first tries one step size
of every order of magnitude, from unstable runs down to runs in which nothing changes, and then
refines on the paper's grid around the lowest points of that curve.

A search is a generator: it yields lists of grid numbers, and the caller sends the results for them.
So it is independent of what is run, and where.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any, NamedTuple, TypeVar

import numpy as np

Result = TypeVar("Result")

_MANTISSAS = (1, 3, 6)
PER_ORDER = len(_MANTISSAS)
# Largest number of resampled values in memory at once.
_CHUNK = 4_000_000


class Found(NamedTuple):
    """The result for one step size.

    Attributes
    ----------
    score : float
        Smaller is better.
    stable : bool
        Whether its runs stay finite and do not end worse than without moving.
    moves : bool
        Whether its runs end noticeably away from their start.
    """

    score: float
    stable: bool
    moves: bool

    @property
    def too_large(self) -> bool:
        """Whether smaller steps must be tried."""
        return self.moves and not self.stable


# Yields grid numbers and is sent their results.
Search = Generator[list[int], list[Found], Result]


def grid_step(k: int) -> float:
    """Number k of the grid: 1, 3, 6, 10, 30, ... from k = 0, and downwards 0.6, 0.3, 0.1, ...

    >>> [grid_step(k) for k in (-3, -2, -1, 0, 1, 2, 3)]
    [0.1, 0.3, 0.6, 1.0, 3.0, 6.0, 10.0]
    """
    order, mantissa = divmod(k, PER_ORDER)
    return float(f"{_MANTISSAS[mantissa]}e{order}")


def search(
    first: int,
    lowest: int,
    highest: int,
    orders: int | None = None,
    chosen: Callable[[dict[int, Found]], Iterable[int]] = lambda tried: (),
) -> Search[dict[int, Found]]:
    """Try step sizes of all orders of magnitude, then those around the best.

    Parameters
    ----------
    first : int
        Grid number at which to begin.
    lowest, highest : int
        Smallest and largest grid number.
    orders : int, optional
        Orders of magnitude below the largest stable step to which the search is confined. By
        default it goes on until steps are too small to change anything.
    chosen : callable, optional
        Given all that was tried, grid numbers that may be the best, beside the one of the lowest
        score: their neighbours will be tried as well.

    Returns
    -------
    dict of int to Found
        All results by grid number. If none is stable there is no best step size; the caller must
        handle this.

    Examples
    --------
    >>> def answer(k):
    ...     return Found(abs(k + 7.2), k < 4, k > -20)
    >>> tried = answered(search(0, -99, 99), lambda asked: [answer(k) for k in asked])
    >>> best(tried), largest_stable(tried)
    (-7, 3)
    >>> sorted(tried)
    [-27, -24, -21, -18, -15, -12, -9, -8, -7, -6, -5, -3, 0, 3, 4, 6, 9]
    """
    tried: dict[int, Found] = {}

    def ask(numbers: Iterable[int]) -> Generator[list[int], list[Found], None]:
        wanted = [k for k in dict.fromkeys(numbers) if k not in tried and lowest <= k <= highest]
        if wanted:
            tried.update(zip(wanted, (yield wanted), strict=True))

    start = yield from _useful_decade(first, lowest, highest, ask, tried)
    if start is None:
        return tried
    yield from _upwards(start, highest, ask, tried)
    # The edge of the stable range on the fine grid.
    top = largest_stable(tried)
    top = start if top is None else top
    for k in range(top + 1, min(top + PER_ORDER, highest + 1)):
        yield from ask([k])
        if not tried[k].stable:
            break
        top = k
    floor = lowest
    if orders is not None:
        floor = max(lowest, top - PER_ORDER * orders)
        for k in [k for k in tried if k < floor]:
            del tried[k]
        yield from ask([floor])
    yield from _downwards(start, floor, ask, tried)
    usable = [k for k in sorted(tried) if tried[k].stable and tried[k].moves]
    decades = [k for k in usable if (k - start) % PER_ORDER == 0]
    for k in _lowest_points(decades, tried):
        yield from _descend(k, floor, ask, tried)
    while (number := best(tried)) is not None:
        before = len(tried)
        likely = [number, *chosen(tried)]
        yield from ask(k + side for k in likely for side in (1, -1) if k + side >= floor)
        if len(tried) == before:
            break
    return tried


def best(tried: dict[int, Found]) -> int | None:
    """The stable number of the lowest score, the largest if several are equal; None if none is stable."""
    stable = [k for k in sorted(tried, reverse=True) if tried[k].stable]
    return min(stable, key=lambda k: tried[k].score, default=None)


def largest_stable(tried: dict[int, Found]) -> int | None:
    """The largest number that is stable; None if none is."""
    return max((k for k in tried if tried[k].stable), default=None)


def edge(tried: dict[int, Found]) -> str | None:
    """Whether the best number lies at an end of the search.

    Returns
    -------
    None, "largest stable" or "smallest tried"
        In the first case the next larger number of the grid is not stable, or there is none.
    """
    number = best(tried)
    if number is None:
        return None
    if number == largest_stable(tried):
        return "largest stable"
    return "smallest tried" if number == min(tried) else None


def chosen_shares(
    scores: np.ndarray, average: Callable[..., np.ndarray], n_resamples: int = 200
) -> np.ndarray:
    """Fraction of bootstrap resamples of the runs in which each step size is the best.

    Parameters
    ----------
    scores : ndarray, shape (n_runs, n_step_sizes)
        Scores of runs with the same noise at every step size; smaller is better.
    average : callable
        ``numpy.mean`` or ``numpy.median``, which combines the scores of all runs.
    n_resamples : int, default 200

    Returns
    -------
    ndarray, shape (n_step_sizes,)
        Fractions of sum 1, the same for the same scores. Of equal step sizes the first is counted.
    """
    n_runs, n_steps = scores.shape
    generator = np.random.Generator(np.random.PCG64(0))
    counts = np.zeros(n_steps)
    chunk = max(1, _CHUNK // scores.size)
    for begin in range(0, n_resamples, chunk):
        rows = generator.integers(n_runs, size=(min(chunk, n_resamples - begin), n_runs))
        counts += np.bincount(average(scores[rows], axis=1).argmin(axis=1), minlength=n_steps)
    return counts / n_resamples


def central(shares: np.ndarray, level: float = 0.95) -> np.ndarray:
    """Indices of the first and last entry of the central part of this size.

    >>> central(np.array([0.01, 0.2, 0.6, 0.19, 0.0]))
    array([1, 3])
    """
    tail = (1.0 - level) / 2.0
    below, above = np.cumsum(shares), np.cumsum(shares[::-1])
    return np.array([np.argmax(below > tail), shares.size - 1 - np.argmax(above > tail)])


def answered(questions: Generator[Any, Any, Result], answer: Callable[[Any], Any]) -> Result:
    """Run a search: ``answer`` gives the results of its questions. Returns what the search returns."""
    try:
        question = next(questions)
        while True:
            question = questions.send(answer(question))
    except StopIteration as end:
        return end.value


def translated(
    questions: Generator[Any, Any, Result],
    ask: Callable[[Any], Any],
    understand: Callable[[Any, Any], Any],
) -> Generator[Any, Any, Result]:
    """A search with questions converted by ``ask``, and answers converted back by ``understand``."""
    try:
        question = next(questions)
        while True:
            question = questions.send(understand(question, (yield ask(question))))
    except StopIteration as end:
        return end.value


Ask = Callable[[Iterable[int]], Generator[list[int], list[Found], None]]


def _useful_decade(
    first: int, lowest: int, highest: int, ask: Ask, tried: dict[int, Found]
) -> Search[int | None]:
    """A number, whole orders of magnitude from ``first``, that moves and is not too large.

    If there is none, the largest that is not too large; None if all are too large, or none moves.
    Jumps of 1, 2, 4, ... orders until the result changes, then bisection.
    """
    yield from ask([first])
    if tried[first].stable and tried[first].moves:
        return first
    down = tried[first].too_large
    room = (first - lowest if down else highest - first) // PER_ORDER
    leaps = [*(2**n for n in range(room.bit_length()) if 2**n < room), room]
    before = other = first
    for leap in leaps:
        before, other = other, first - PER_ORDER * leap if down else first + PER_ORDER * leap
        yield from ask([other])
        if tried[other].too_large if not down else not tried[other].too_large:
            break
        if tried[other].moves and not down:
            return other
    else:
        return None
    small, large = (other, before) if down else (before, other)
    while large - small > PER_ORDER:
        middle = small + (large - small) // (2 * PER_ORDER) * PER_ORDER
        yield from ask([middle])
        if tried[middle].too_large:
            large = middle
        else:
            small = middle
    return small


def _upwards(start: int, highest: int, ask: Ask, tried: dict[int, Found]) -> Search[None]:
    """Whole orders up from a number until two in a row are not stable."""
    unstable = 0
    for k in range(start, highest + 1, PER_ORDER):
        yield from ask([k])
        unstable = 0 if tried[k].stable else unstable + 1
        if unstable == 2:
            return


def _downwards(start: int, floor: int, ask: Ask, tried: dict[int, Found]) -> Search[None]:
    """Whole orders down from a number, two at a time, until two in a row do not move."""
    still = 0
    for k in range(start, floor - 1, -2 * PER_ORDER):
        pair = [j for j in (k, k - PER_ORDER) if j >= floor]
        yield from ask(pair)
        for j in pair:
            still = 0 if tried[j].moves else still + 1
        if still >= 2:
            return


def _lowest_points(numbers: list[int], tried: dict[int, Found]) -> list[int]:
    """The two lowest of the local minima of a curve over ascending numbers, the lowest first."""
    scores = [tried[k].score for k in numbers]
    padded = [np.inf, *scores, np.inf]
    minima = [
        (score, -k)
        for k, before, score, after in zip(numbers, padded, scores, padded[2:], strict=False)
        if score <= before and score <= after
    ]
    return [-k for _, k in sorted(minima)[:2]]


def _descend(k: int, floor: int, ask: Ask, tried: dict[int, Found]) -> Search[None]:
    """From one number of the fine grid to the neighbour with a lower score, as long as there is one."""
    while True:
        yield from ask(j for j in (k + 1, k - 1) if j >= floor)
        beside = [j for j in (k + 1, k - 1) if j in tried and tried[j].stable]
        lower = min(beside, key=lambda j: tried[j].score, default=k)
        if not tried[lower].score < tried[k].score:
            return
        k = lower
