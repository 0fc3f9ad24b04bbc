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
from qpsim.theory.sweeps import BLURS, Sweeps

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qpsim.theory.recursion import Recursion

    Array = NDArray[np.float64]
    Law: TypeAlias = Recursion | SignLaw

# Restarts from the best schedule so far, and the spread of the factors that perturb it within a family. A search with
# free steps restarts only if the relative difference of its first results exceeds _ALIKE.
_RESTARTS, _SPREAD, _ALIKE = 3, 0.03, 0.01
# Iterations of the search within a family whose result is a start of the search with free steps.
_BRIEF = 60
# More different eigenvalues than these are interpolated while searching; fewer are left where sweeps over so many steps
# would keep more numbers than fit into a gigabyte.
_COARSE, _LEAST_COARSE, _MOST_NUMBERS = 256, 8, 1 << 27
# Sweeps of a stage: about so many coordinate-updates, but at least and at most so many sweeps.
_SWEPT, _SWEEPS = 5e7, (15, 60)
# With a state: the largest n_steps^2 d of a search by Newton's method; the random changes and coordinate-updates of a
# round of each search, at most; and most rounds, which end where all searches agree.
_MOST_PAIRS, _CHANGES, _WORK, _ROUNDS = 4e6, 400, 1e9, 4
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
    searched = free_schedules if isinstance(coarse, SignLaw) else _swept
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
    return law.coarse(max(_LEAST_COARSE, min(_COARSE, _MOST_NUMBERS // (6 * law.n_steps))))


def _swept(law: Recursion, begins: list[Array]) -> list[Array]:
    """The steps at the end of a search from each start; without a state more from the best if these results differ."""
    passes = Passes(law)
    if passes.has_state and law.n_steps**2 * law.curvature.size <= _MOST_PAIRS:
        return _by_newton(passes, begins)
    sweeps = Sweeps(passes)
    most = int(np.clip(_SWEPT / (law.n_steps * law.curvature.size), *_SWEEPS))
    found = [sweeps.search_orders(begin, most, seed) for seed, begin in enumerate(begins)]
    if not _agree([law.value(end) for end in found]):
        for seed in range(len(begins), len(begins) + _RESTARTS):
            best = min(found, key=law.value)
            found.append(sweeps.search_orders(best, most, seed, BLURS[1:]))
    return found


def _by_newton(passes: Passes, begins: list[Array]) -> list[Array]:
    """The steps at the end of Newton's method and random changes from each start, independent of each other."""
    searches = [Newton(passes, seed) for seed in range(len(begins))]
    for one, begin in zip(searches, begins, strict=True):
        one.begin(begin)
    for _ in range(_ROUNDS):
        for one in searches:
            one.go_on(_WORK, _CHANGES)
        if _agree([one.value for one in searches]):
            break
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
