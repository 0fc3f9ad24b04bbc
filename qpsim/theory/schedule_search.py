"""Searches for the best schedule of a run: from several starts, within a family or with every step free.

What is searched is a law: a function of all step sizes with its exact gradient, which is a
:class:`qpsim.theory.recursion.Recursion` or a :class:`qpsim.theory.sign_law.SignLaw`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from qpsim.theory import families
from qpsim.theory.descent import descend
from qpsim.theory.passes import Passes
from qpsim.theory.sign_law import SignLaw
from qpsim.theory.sign_search import free_schedules
from qpsim.theory.step_newton import Newton
from qpsim.theory.sweeps import Sweeps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from qpsim.theory.recursion import Recursion

    Array = NDArray[np.float64]
    Law: TypeAlias = Recursion | SignLaw

# Restarts within a family from the best schedule so far, and the spread of the factors that perturb it.
_RESTARTS, _SPREAD = 3, 0.03
# The relative difference of the values of searches that agree.
_ALIKE = 0.01
# Iterations of the search within a family whose result is a start of the search with free steps.
_BRIEF = 60
# More different eigenvalues than these, or than _SEEN / n_steps, are interpolated while searching; fewer are left where
# sweeps over so many steps would keep more numbers than fit into a gigabyte. Steps that are fitted to interpolated
# eigenvalues may be useless at those between.
_COARSE, _SEEN, _LEAST_COARSE, _MOST_NUMBERS = 256, 4e6, 8, 1 << 27
# Sweeps of a stage: about so many coordinate-updates, but at least and at most so many sweeps.
_SWEPT, _SWEEPS = 5e7, (15, 60)
# Steps are moved where a round of moves takes at most so many coordinate-updates.
_MOVED = 4e8
# With a state: the largest n_steps^2 d of a search by Newton's method.
_MOST_PAIRS = 4e6
# Rounds in which searches go on at least, and at most, which is where they disagree; coordinate-updates of each in a
# round, and after which no round follows. Without a state, and with one, where unlike starts may lead to one place that
# is far above the best.
_SHORT, _LONG = (0, 6, 2e7, 4e9), (2, 4, 5e9, 2e10)
# Random changes of a search in a round at most.
_CHANGES = 300
# After a run became longer: iterations and memory of L-BFGS, and the least step as a fraction of the longest.
_FEW, _MEMORY, _LEAST = 20, 20, 1e-12
# Constant steps that are looked at first, as multiples of the law's longest one.
_CONSTANTS = np.logspace(-6.0, 0.5, 40)


def search(law: Law, family: str, n_pieces: int) -> tuple[Array, Array]:
    """The best steps found, and the value at the end of every start."""
    n, greedy = law.n_steps, law.greedy()
    if family == "greedy":
        return greedy, np.array([law.value(greedy)])
    coarse: Any = _coarse(law)
    losses = [coarse.value(np.full(n, c * coarse.longest)) for c in _CONSTANTS]
    constant = float(_CONSTANTS[int(np.nanargmin(losses))]) * coarse.longest
    if family != "free":
        shape = families.shape(family, n, n_pieces)
        found = [shape.steps(end) for end in _ends(coarse, shape, constant)]
        values = np.array([law.value(steps) for steps in found])
        return found[int(np.argmin(values))], values
    shapes = [families.shape(name, n, n_pieces) for name in families.NAMES]
    known = [s.steps(_within(coarse, s, s.start(constant), _BRIEF)) for s in shapes]
    known.sort(key=coarse.value)
    begins = [greedy, known[0], np.full(n, 0.1 * constant)]
    searched = free_schedules if isinstance(coarse, SignLaw) else _searched
    found = searched(coarse, begins)
    values = np.array([law.value(steps) for steps in found])
    # What a search ends with may be no better than what was known before, to the last digits.
    others = [greedy, known[0]]
    before = [law.value(steps) for steps in others]
    return [*found, *others][int(np.argmin([*values, *before]))], values


def _coarse(law: Law) -> Law:
    """A law that is cheaper and nearly the same."""
    if isinstance(law, SignLaw):
        return law.coarse()
    most = max(_COARSE, int(_SEEN / law.n_steps))
    return law.coarse(max(_LEAST_COARSE, min(most, _MOST_NUMBERS // (6 * law.n_steps))))


def _searched(law: Recursion, begins: list[Array]) -> list[Array]:
    """The steps at the end of a search from each start, independent of each other."""
    n, d = law.n_steps, law.curvature.size
    passes = Passes(law)
    if passes.has_state and n * n * d <= _MOST_PAIRS:
        return _until_they_agree(law, [Newton(passes, k) for k in range(len(begins))], begins)
    most = int(np.clip(_SWEPT / (n * d), *_SWEEPS))
    # Moves would fit the steps to the nodes of an interpolation, and the loss between nodes would be immense.
    moved = 0.0 if law.is_interpolated else _MOVED
    searches = [Sweeps(passes, k, most, moved) for k in range(len(begins))]
    doubled = n > 1 and passes.may_move and not (passes.has_state or law.is_interpolated)
    if searches[0].may_move or not doubled:
        return _until_they_agree(law, searches, begins)
    # Too long for moves: a run of half the length first, and so on. Then all steps at once, along which sweeps creep.
    half = (n + 1) // 2
    places = np.arange(half) * n // half
    halves = _searched(law.shorter(half), [begin[places] for begin in begins])
    for one, steps, begin in zip(searches, halves, begins, strict=True):
        one.lengthen(steps)
        floor = _LEAST * one.steps.max()
        for other in (np.maximum(one.steps, floor), np.maximum(begin, floor)):
            one.offer(descend(law.value_and_gradient, other, _FEW, memory=_MEMORY))
        # The way over shorter runs may lead to a place that is worse than the start, or than sweeps from there.
        one.offer(one.graduated(begin))
        one.offer(begin)
    return [one.steps for one in searches]


def _until_they_agree(
    law: Recursion, searches: Sequence[Newton | Sweeps], begins: list[Array]
) -> list[Array]:
    """The steps at the end of each search, which go on for some rounds while their values differ."""
    for one, begin in zip(searches, begins, strict=True):
        one.begin(begin)
    least, most, work, enough = _LONG if isinstance(searches[0], Newton) else _SHORT
    for k in range(most):
        agree = _agree([law.value(one.steps) for one in searches])
        if (agree and k >= least) or searches[0].work > enough:
            break
        for one in searches:
            one.go_on(work, _CHANGES)
    return [one.steps for one in searches]


def _agree(values: list[float]) -> bool:
    return max(values) <= (1.0 + _ALIKE) * min(values)


def _ends(law: Law, shape: families.Shape, constant: float) -> list[Array]:
    """Parameters at the end of a search in a family, and of more from perturbations of the best."""
    rng = np.random.Generator(np.random.PCG64(0))
    ends = [_within(law, shape, shape.start(constant))]
    for _ in range(_RESTARTS):
        best = min(ends, key=lambda end: law.value(shape.steps(end)))
        begin = best * np.exp(_SPREAD * rng.standard_normal(best.shape))
        ends.append(_within(law, shape, begin))
    return ends


def _within(law: Law, shape: families.Shape, begin: Array, most: int = 500) -> Array:
    """Parameters of the lowest value near a start in a family, all above 0; the start itself if none is lower."""

    def by_parameters(parameters: Array) -> tuple[float, Array]:
        value, gradient = law.value_and_gradient(shape.steps(parameters))
        return value, gradient @ shape.jacobian(parameters)

    end = descend(by_parameters, begin, most)
    # A start of infinite loss may have been left nowhere better.
    return min([end, begin], key=lambda parameters: law.value(shape.steps(parameters)))
