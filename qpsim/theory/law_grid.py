"""Risk of Adam-like rules on a diagonal Hessian: the joint distribution of offset and state on a grid.

With given step sizes the coordinates are independent. The distribution of (offset, state) of one coordinate is stored
as masses on a grid. In a step each node moves under every gradient of a quadrature to an image point, and the mass of
each image is distributed to the nodes of a new grid by the weights of cubic interpolation
(:mod:`qpsim.kernels.law_grid`). Each new grid covers the images. Its spacing is a fraction of the distribution's
standard deviations, and of the lengths over which the effect of a noisy gradient changes. This is equivalent to cubic
interpolation of the expected later loss as a function of the state, so that the error is of fourth order in the spacing
where that function is smooth, as the noise makes it.

Mean squares v are stored as asinh(sqrt(v) / std), with a spacing that is absolute for small and relative for large
values. The computation is repeated on a coarser grid; the difference gives the error estimate.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from qpsim.errors import ProblemError
from qpsim.execution.cores import available_cores
from qpsim.execution.threads import for_each

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from qpsim.methods import Method
    from qpsim.problem.quadratic import QuadraticProblem

    Array = NDArray[np.float64]

# For each rule, which of its states are mean squares.
STATES = {
    "rmsprop": (True,),
    "adagrad": (True,),
    "adam": (False, True),
    "adamw": (False, True),
    "adabelief": (False, True),
    "adam*": (False, True),
    "m-svag": (False, True),
    "svag-ema": (False, True),
}
# Spacings, in standard deviations of the distribution: of ordinary axes and of mean squares.
_PART, _PART_OF_SQUARE = 0.8, 0.7
# Largest spacings: of offset times curvature over the noise's deviation, and of asinh(root / std).
_LONGEST, _LONGEST_OF_SQUARE = 0.5, 0.2
# Most cells of an axis due to a small standard deviation, which means little for a distribution of few points.
_MOST_CELLS = 120.0
# Factor of all spacings by the number of states, and factor of the coarser grid.
_FINENESS, _COARSER = {1: 0.6, 2: 0.85}, 1.25
# The error of the finer grid is the difference / (1.25^order - 1), less than this times the difference for orders >= 2.
_SAFETY = 2.0
# Quadrature over the gradient: number of panels, nodes of each, nodes of the rule for smooth cases. Masses left out.
_PANELS, _ORDER, _SMOOTH = 5, 10, 16
_TAIL, _NEGLIGIBLE, _BINS = 1e-8, 1e-11, 2000
_MOST_NODES, _MOST_IMAGES = 20_000_000, 8_000_000
_LATE = 1e6


class _Coordinate(NamedTuple):
    """One coordinate: curvature, deviation of its gradient, and the offset at which it starts."""

    curvature: float
    std: float
    offset: float


def has_grid(method: Method) -> bool:
    """Whether the method is one of those supported here."""
    return method.rule.is_builtin and method.name in STATES


def grid_risk(
    p: QuadraticProblem, method: Method, offset: Array, steps: Array
) -> tuple[Array, Array]:
    """E[excess loss] (n_steps + 1,) on a diagonal problem under Gaussian noise, and an estimate of its error.

    Raises
    ------
    ProblemError
        The law of a coordinate is too wide for the noise: its grid would have too many nodes.
    """
    kinds = np.stack([p.hessian, p.gradient_std(), np.abs(offset)])
    alike, count = np.unique(kinds[:, p.hessian > 0.0], axis=1, return_counts=True)
    coordinates = [_Coordinate(*one) for one in alike.T.tolist()]
    risk, coarse = np.zeros((2, len(coordinates), steps.size + 1))

    def follow(k: int) -> None:
        if coordinates[k].std == 0.0:
            risk[k] = coarse[k] = _certain(coordinates[k], method, steps)
        else:
            part = _FINENESS[len(STATES[method.name])]
            risk[k], moved = _followed(coordinates[k], method, steps, part)
            coarse[k] = _followed(coordinates[k], method, steps, _COARSER * part)[0]
            coarse[k] = np.where(np.abs(coarse[k] - risk[k]) > moved, coarse[k], risk[k] + moved)

    for_each(follow, len(coordinates), available_cores())
    weight = count.astype(float)
    total = weight @ risk
    # The running maximum, since difference and error may change their signs at different times.
    share = _SAFETY * (weight @ np.abs(risk - coarse)) / np.maximum(total, np.finfo(float).tiny)
    return total, total * np.maximum.accumulate(share)


def _certain(at: _Coordinate, method: Method, steps: Array) -> Array:
    """Losses of a coordinate whose gradient has no noise."""
    e, state = at.offset, [0.0] * len(method.state_names)
    losses = [0.5 * at.curvature * e * e]
    for t, step in enumerate(steps.tolist(), start=1):
        z, *state = method.rule.function(at.curvature * e, *state, float(t), *method.hyper)
        e -= step * z
        losses.append(0.5 * at.curvature * e * e)
    return np.array(losses)


def _followed(
    at: _Coordinate, method: Method, steps: Array, coarseness: float
) -> tuple[Array, Array]:
    """Expected losses of one coordinate, and a bound on the effect of masses beyond the grid."""
    from qpsim.kernels.law_grid import images, ranges

    squares = np.array(STATES[method.name])
    rule = np.stack(np.polynomial.legendre.leggauss(_ORDER))
    smooth = np.stack(np.polynomial.hermite_e.hermegauss(_SMOOTH))
    points = np.zeros((1, 1 + squares.size))
    points[0, 0], masses = at.offset, np.ones(1)
    half = 0.5 * at.curvature
    risk, moved = [half * at.offset**2], [0.0]
    for t, step in enumerate(steps.tolist(), start=1):
        room = points.shape[0] * (_PANELS + 1) * _ORDER
        if room > _MOST_IMAGES:
            raise _too_large(method, room)
        places, weights = np.empty((room, 1 + squares.size)), np.empty(room)
        settings = (at.curvature, at.std, step, float(t), smooth, rule, _PANELS)
        n = images(method.hyper, squares, points, masses, *settings, places, weights)
        places, weights = places[:n], weights[:n]
        risk.append(half * float(weights @ places[:, 0] ** 2))
        if t == steps.size:
            moved.append(moved[-1])
            break
        mean = weights @ places
        spread = np.sqrt(np.maximum(weights @ (places - mean) ** 2, 0.0))
        bounds = np.empty((1 + squares.size, 2))
        ranges(places, weights, _TAIL, _BINS, bounds)
        spread = np.maximum(spread, (bounds[:, 1] - bounds[:, 0]) / _MOST_CELLS)
        spacing = coarseness * _spacing(at, method, squares, mean, spread, step, float(t))
        counts = np.maximum(np.ceil((bounds[:, 1] - bounds[:, 0]) / spacing) + 3.0, 5.0)
        if counts.prod() > _MOST_NODES:
            raise _too_large(method, counts.prod())
        origin = 0.5 * bounds.sum(axis=1) - 0.5 * (counts - 1.0) * spacing
        grid, lost = _shared(places, weights, origin, spacing, counts.astype(int))
        moved.append(moved[-1] + half * lost)
        kept = np.nonzero(np.abs(grid) > _NEGLIGIBLE)
        masses = grid[kept]
        points = origin + spacing * np.stack(kept[: points.shape[1]], axis=1)
    return np.array(risk), np.array(moved)


def _spacing(
    at: _Coordinate,
    method: Method,
    squares: NDArray[np.bool_],
    mean: Array,
    spread: Array,
    step: float,
    t: float,
) -> Array:
    """Cell sizes of the grid along offset and states, for a distribution of this mean and standard deviation."""
    unit = _LONGEST * at.std / at.curvature
    longest, part = [unit], [_PART]
    state = [
        (at.std * math.sinh(x)) ** 2 if square else x
        for square, x in zip(squares.tolist(), mean[1:].tolist(), strict=True)
    ]
    for k, square in enumerate(squares.tolist()):
        if square:
            longest.append(_LONGEST_OF_SQUARE)
            part.append(_PART_OF_SQUARE)
            continue
        # Total change of the offset due to a decaying state: the change in one step divided by (1 - decay).
        change = 1e-3 * at.std
        with_more = [*state]
        with_more[k] += change
        gradient = at.curvature * float(mean[0])
        now, more = (
            method.rule.function(gradient, *some, t, *method.hyper) for some in (state, with_more)
        )
        late, later = (
            method.rule.function(gradient, *some, _LATE, *method.hyper)
            for some in (state, with_more)
        )
        decayed = max(1.0 - (later[k + 1] - late[k + 1]) / change, 1e-3)
        lever = step * abs(more[0] - now[0]) / change / decayed
        longest.append(unit / lever if lever > 0.0 else math.inf)
        part.append(_PART)
    found = np.minimum(longest, np.where(spread > 0.0, np.array(part) * spread, np.inf))
    # The standard deviation of a single point is 0 except for rounding.
    return np.where(spread > 1e-7 * np.abs(mean), found, np.maximum(1e-6 * np.abs(mean), 1e-9))


def _shared(
    places: Array, weights: Array, origin: Array, spacing: Array, counts: NDArray[np.int_]
) -> tuple[Array, float]:
    """The grid of masses, always with three axes, and E[offset^2] of the masses beyond it."""
    from qpsim.kernels import law_grid

    missing = 3 - places.shape[1]
    if missing:
        places = np.concatenate([places, np.zeros((places.shape[0], missing))], axis=1)
        origin = np.concatenate([origin, np.zeros(missing)])
        spacing = np.concatenate([spacing, np.ones(missing)])
        counts = np.concatenate([counts, np.ones(missing, dtype=int)])
    grid = np.zeros(tuple(counts.tolist()))
    return grid, float(law_grid.spread_masses(places, weights, origin, spacing, grid))


def _too_large(method: Method, size: float) -> ProblemError:
    return ProblemError(
        f"The law of {method.name} would take {size:.2g} points in one coordinate: the steps are too large for the "
        "noise; use qpsim.simulate."
    )
