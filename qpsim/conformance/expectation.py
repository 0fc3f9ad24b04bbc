"""What a rule does on a stream, and the tolerance for rounding errors.

The rule runs as ordinary Python, one coordinate after the other. The tolerance is computed: the rule runs again with
each gradient and each number of its state changed by one rounding error of the type, up or down at random, and its
hyper-parameters by one of the scalars' type. A hyper-parameter of a variant whose name begins with "_" is 1: a factor
that stands for the rounding of what it multiplies. A bias correction 1 - b^t has a rounding error of u / (1 - b^t)
relative to itself, if the power has one of u. A gradient of the smallest numbers may have been multiplied by a small
step size first. ``SAFETY`` times the sum of these effects, plus the rounding of the parameters, is the tolerance of a
step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from qpsim.conformance.dtypes import PRECISIONS, Precision
from qpsim.conformance.streams import Stream

SAFETY = 16.0
_N_TWINS = 3
_RATES = ("b1", "b2", "momentum", "decay")
DECOUPLED, COUPLED = "decoupled", "coupled"


@dataclass(frozen=True)
class Candidate:
    """A rule that an optimizer may be: the method itself, or a variant.

    Attributes
    ----------
    text : str
        How it is called in a diagnosis.
    function : callable
        (gradient, state ..., t, hyper-parameters ...) -> (direction, state ...), or direction alone.
    n_states : int
    hyper : dict
    weight_decay : float
        Of parameters.
    decay : {"decoupled", "coupled"}
        theta (1 - step size x weight decay) before the step, or weight decay x theta added to the
        gradient.
    single_scalars : bool
        Whether hyper-parameters and bias corrections are in single precision whatever the parameters
        are in.
    own_scalars : bool
        Whether they are in the precision of the parameters, half precision too.
    single_state : bool
        Whether the state is kept in single precision whatever the parameters are in.
    in_single : bool
        Whether all is computed in single precision where the parameters are in double precision.
    """

    text: str
    function: Callable[..., Any]
    n_states: int
    hyper: Mapping[str, Any] = field(default_factory=dict)
    weight_decay: float = 0.0
    decay: str = DECOUPLED
    single_scalars: bool = False
    own_scalars: bool = False
    single_state: bool = False
    in_single: bool = False

    def precision(self, dtype: str) -> Precision:
        """How far the parameters' type and the scalars round."""
        found = PRECISIONS["float32" if self.in_single and dtype == "float64" else dtype]
        scalar = found.scalar_roundoff
        if self.single_scalars:
            scalar = max(scalar, 2.0**-24)
        if self.own_scalars:
            scalar = max(scalar, found.roundoff)
        return found._replace(scalar_roundoff=scalar)


@dataclass(frozen=True)
class Expected:
    """Directions of a rule (n_steps, n_coordinates), and how far rounding may move each."""

    direction: np.ndarray
    spread: np.ndarray


def expected(
    candidate: Candidate,
    stream: Stream,
    theta: np.ndarray,
    dtype: str,
    restart: Callable[[int, list[float], int], tuple[list[float], int]] | None = None,
) -> Expected:
    """Directions and their tolerance; ``theta`` (n_steps + 1, n_coordinates) is where decay acts."""
    precision = candidate.precision(dtype)
    exact = _directions(candidate, stream, theta, None, None, restart)
    rng = np.random.Generator(np.random.PCG64(0))
    # Rounding errors of 10^5 steps are those of the state's memory: one twin says as much as three.
    twins = 1 if stream.gradients.shape[0] > 1000 else _N_TWINS
    spread = np.zeros_like(exact)
    for _ in range(twins):
        twin = _directions(candidate, stream, theta, precision, rng, restart)
        with np.errstate(invalid="ignore"):
            np.fmax(spread, np.abs(twin - exact), out=spread)
    relative = precision.roundoff + precision.scalar_roundoff * _powers(candidate, exact.shape[0])
    return Expected(exact, SAFETY * (spread + relative * np.abs(exact)))


def _powers(candidate: Candidate, n_steps: int) -> np.ndarray:
    """The sum of 1 / (1 - b^t) over the decays of averages (n_steps, 1); t counts all steps."""
    t = np.arange(1.0, n_steps + 1)
    rates = [value for name, value in candidate.hyper.items() if name in _RATES and 0 < value < 1]
    return sum((1.0 / (1.0 - rate**t) for rate in rates), np.zeros(n_steps))[:, None]


def _directions(
    candidate: Candidate,
    stream: Stream,
    theta: np.ndarray,
    precision: Precision | None,
    rng: np.random.Generator | None,
    restart: Any,
) -> np.ndarray:
    n_steps, dim = stream.gradients.shape
    out = np.zeros((n_steps, dim))
    hyper = list(candidate.hyper.values())
    coupled = candidate.weight_decay if candidate.decay == COUPLED else 0.0
    function, n_states = candidate.function, candidate.n_states
    if precision is not None and rng is not None:
        least = precision.smallest if candidate.own_scalars else 0.0
        hyper = [
            _moved(value, precision.roundoff, rng, 0.0)
            if name.startswith("_")
            else _moved(value, precision.scalar_roundoff, rng, least)
            for name, value in candidate.hyper.items()
        ]
    for i in range(dim):
        state, t = [0.0] * n_states, 0
        errors: Any = None
        gradients = stream.gradients[:, i]
        if coupled:
            gradients = gradients + coupled * theta[:-1, i]
        if precision is not None and rng is not None:
            signs = 2.0 * rng.integers(0, 2, (n_steps, n_states + 1)) - 1.0
            smallest, underflow = precision.smallest, precision.underflow
            signs *= precision.roundoff
            if candidate.single_state:
                single = PRECISIONS["float32"]
                signs[:, :n_states] *= max(single.roundoff / precision.roundoff, 1.0)
                smallest = max(smallest, single.smallest)
            errors = signs.tolist()
        given = None if stream.given is None else stream.given[:, i]
        column = out[:, i]
        for k, gradient in enumerate(gradients.tolist()):
            if given is not None and not given[k]:
                continue
            if restart is not None:
                state, t = restart(k, state, t)
            t += 1
            if errors is not None:
                error = errors[k][n_states]
                if gradient != 0.0:
                    gradient += gradient * error + math.copysign(underflow, error)
            try:
                values = function(gradient, *state, float(t), *hyper)
            except (ZeroDivisionError, OverflowError, ValueError):
                column[k:] = math.nan
                break
            if n_states == 0:
                column[k] = values
                continue
            column[k] = values[0]
            state = list(values[1:])
            if errors is not None:
                row = errors[k]
                for j in range(n_states):
                    if state[j] != 0.0:
                        error = row[j]
                        state[j] += state[j] * error + math.copysign(smallest, error)
    return out


def _moved(value: Any, roundoff: float, rng: np.random.Generator, least: float) -> Any:
    """A number off by one rounding error, which is at least ``least``."""
    if isinstance(value, bool) or value == 0.0:
        return value
    moved = value + (value * roundoff + least) * (2 * int(rng.integers(0, 2)) - 1)
    return min(moved, math.nextafter(1.0, 0.0)) if value < 1.0 else moved


@dataclass(frozen=True)
class Difference:
    """Where an optimizer leaves a rule: the first step (from 1), and the largest relative difference there.

    ``largest`` is that of any step; what differs little at first may differ much later.
    """

    step: int
    size: float
    largest: float = math.nan


def compare(
    candidate: Candidate,
    stream: Stream,
    theta: np.ndarray,
    dtype: str,
    step_size: np.ndarray,
    restart: Any = None,
) -> Difference | None:
    """The first step at which the parameters do not move as the rule says; None if there is none.

    Parameters
    ----------
    theta : ndarray, shape (n_steps + 1, n_coordinates)
        Where the optimizer went.
    step_size : ndarray, shape (n_steps,)
    """
    said = expected(candidate, stream, theta, dtype, restart)
    precision = candidate.precision(dtype)
    direction = said.direction
    if candidate.weight_decay and candidate.decay == DECOUPLED:
        given = 1.0 if stream.given is None else stream.given
        direction = direction + candidate.weight_decay * theta[:-1] * given
    steps = step_size[:, None]
    scalar = precision.scalar_roundoff
    with np.errstate(all="ignore"):
        move = -steps * direction
        moved = np.diff(theta, axis=0)
        forgiven = np.abs(steps) * said.spread + 32.0 * precision.smallest
        forgiven += 4.0 * precision.roundoff * (np.abs(theta[1:]) + np.abs(theta[:-1]))
        if candidate.weight_decay:
            # 1 - step size x weight decay may be one scalar, rounded near 1.
            forgiven += scalar * np.abs(theta[:-1])
            forgiven += SAFETY * scalar * np.abs(steps * candidate.weight_decay * theta[:-1])
        off = np.abs(moved - move)
        wrong = ~(off <= forgiven) & np.isfinite(move)
        wrong |= np.isfinite(theta[1:]) != np.isfinite(move)
        # Once the rule itself leaves the range of the type nothing is known of that coordinate.
        beyond = np.abs(direction) > precision.largest
        beyond |= np.abs(theta[:-1] + move) > precision.largest
        wrong &= ~np.logical_or.accumulate(beyond, axis=0)
    rows = np.flatnonzero(wrong.any(axis=1))
    if rows.size == 0:
        return None
    k = int(rows[0])
    with np.errstate(all="ignore"):
        units = np.nanmax(np.abs(move), axis=1, initial=0.0)
        worst = np.where(wrong, off, 0.0).max(axis=1)
        sizes = np.where(units > 0.0, worst / units, np.where(worst > 0.0, math.inf, math.nan))
        sizes[~np.isfinite(worst)] = math.nan
        seen = sizes[rows][np.isfinite(sizes[rows])]
    return Difference(k + 1, float(sizes[k]), float(seen.max(initial=0.0)))


def fitted_step_size(candidate: Candidate, stream: Stream, theta: np.ndarray) -> float:
    """The constant step size with which the rule moves most nearly as the optimizer did."""
    return _fitted(candidate, stream, theta)[0]


def misfit(candidate: Candidate, stream: Stream, theta: np.ndarray) -> float:
    """How far the moves are from the rule's, with the constant step size that fits best: a mean square."""
    return _fitted(candidate, stream, theta)[1]


def _fitted(candidate: Candidate, stream: Stream, theta: np.ndarray) -> tuple[float, float]:
    exact = _directions(candidate, stream, theta, None, None, None)
    if candidate.decay == DECOUPLED:
        exact = exact + candidate.weight_decay * theta[:-1]
    with np.errstate(all="ignore"):
        moved = np.diff(theta, axis=0)
        at = np.isfinite(moved) & np.isfinite(exact)
        square = np.sum(exact[at] ** 2)
        step = float(-np.sum(moved[at] * exact[at]) / square) if square > 0.0 else 0.0
        return step, float(np.mean((moved[at] + step * exact[at]) ** 2)) if at.any() else math.inf
