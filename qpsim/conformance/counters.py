"""Errors that any method may have: wrong step counters, lost states, missing or changed gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from qpsim.conformance.dtypes import rounded
from qpsim.conformance.expectation import Candidate, compare, expected
from qpsim.conformance.play import Played
from qpsim.conformance.streams import FROZEN, GROUPS, NO_GRADIENT, SAVE
from qpsim.conformance.variants import written_out

# Step sizes of a stream, from its number of steps.
StepSizes = Callable[[int], np.ndarray]
_Restart = Callable[[int, list[float], int], tuple[list[float], int]]

# Types that a state may be rounded to, and what they are called.
_LOW = {"float32": "single precision", "float16": "half precision", "bfloat16": "bfloat16"}
_STARTS = (2, 3, 4, 5, 10, 100, 1000)
_LIMITS = (1.0, 0.5, 0.1, 0.25, 2.0, 5.0, 10.0, 100.0)


def with_other_counters(base: Candidate) -> Iterator[Candidate]:
    """The rule with a wrong counter or state from the start.

    With a wrong counter it matters whether a program stores bias-corrected averages or others, so
    that both forms are tried.
    """
    for function in dict.fromkeys((base.function, written_out(base.function))):
        yield from _with_other_counters(replace(base, function=function))


def _with_other_counters(base: Candidate) -> Iterator[Candidate]:
    def counted(text: str, t: Callable[[float], float]) -> Candidate:
        function, n = base.function, base.n_states

        def other(gradient: float, *rest: Any) -> Any:
            return function(gradient, *rest[:n], t(rest[n]), *rest[n + 1 :])

        return replace(base, text=f"{base.text} with a counter {text}", function=other)

    yield counted("from 0", lambda t: t - 1.0)
    # A correction by 1 - b^0 = 0 is left out; 1 - b^t is 1 where t is large.
    yield counted("from 0, the first step uncorrected", lambda t: t - 1.0 if t > 1.0 else 1e9)
    yield counted("one step ahead", lambda t: t + 1.0)
    yield counted("that stays at 1", lambda t: 1.0)
    yield counted("that counts each step twice", lambda t: 2.0 * t)
    for start in _STARTS:
        yield counted(f"{start} steps ahead", lambda t, start=start: t + start)  # type: ignore[misc]
    if base.n_states:
        function, n = base.function, base.n_states

        def forgets(gradient: float, *rest: Any) -> Any:
            return function(gradient, *([0.0] * n), *rest[n:])

        text = f"{base.text} with its state re-zeroed at each step"
        yield replace(base, text=text, function=forgets)


def with_state_of_low_precision(base: Candidate) -> Iterator[Candidate]:
    """The rule with a state, or one number of it, that is rounded after each step, whatever the parameters are in."""
    if not base.n_states:
        return
    for function in dict.fromkeys((base.function, written_out(base.function))):
        names = _state_names(function, base.n_states)
        parts = {"its state": range(base.n_states)}
        if base.n_states > 1:
            parts |= {f"its {name}": range(j, j + 1) for j, name in enumerate(names)}
        for dtype, name in _LOW.items():
            for part, numbers in parts.items():

                def rounds(*given: Any, to: Any = (function, dtype, numbers)) -> Any:
                    function, dtype, numbers = to
                    direction, *state = function(*given)
                    low = rounded(np.array(state), dtype).tolist()
                    return direction, *(
                        low[j] if j in numbers else value for j, value in enumerate(state)
                    )

                text = f"{base.text} with {part} kept in {name}"
                yield replace(base, text=text, function=rounds)


def _state_names(function: Callable[..., Any], n_states: int) -> list[str]:
    """Names of the numbers of a rule's state, which are the arguments after the gradient."""
    return list(inspect.signature(function).parameters)[1 : 1 + n_states]


def with_other_gradients(base: Candidate) -> Iterator[Candidate]:
    """The rule with gradients that are clipped or rounded, or left out where they are 0."""
    function = base.function

    def given(text: str, change: Callable[[float], float]) -> Candidate:
        def other(gradient: float, *rest: Any) -> Any:
            return function(change(gradient), *rest)

        return replace(base, text=f"{base.text} with gradients {text}", function=other)

    for limit in _LIMITS:
        yield given(
            f"clipped to values up to {limit:g}",
            lambda g, limit=limit: min(max(g, -limit), limit),  # type: ignore[misc]
        )
    for dtype, name in _LOW.items():
        yield given(
            f"rounded to {name}",
            lambda g, dtype=dtype: float(rounded(np.array(g), dtype)),  # type: ignore[misc]
        )
    n = base.n_states
    if not n:
        return
    for one in dict.fromkeys((function, written_out(function))):

        def skips(gradient: float, *rest: Any, one: Any = one) -> Any:
            return one(gradient, *rest) if gradient != 0.0 else (0.0, *rest[:n])

        text = f"{base.text} with elements left out, state and all, where the gradient is 0"
        yield replace(base, text=text, function=skips)


def event(
    candidate: Candidate, one: Played, steps: StepSizes, before: Sequence[Played] = ()
) -> str | None:
    """The known error that explains one stream, for an optimizer that follows the rule on others.

    Parameters
    ----------
    candidate : Candidate
    one : Played
    steps : callable
        Step sizes from a number of steps.
    before : sequence of Played
        The streams that the optimizer was given before.

    Returns
    -------
    str or None
        The text after "where"; None if no known error fits.
    """

    def fits(played: Played, restart: _Restart) -> bool:
        n_steps = played.stream.gradients.shape[0]
        found = compare(
            written, played.stream, played.theta, played.dtype, steps(n_steps), restart=restart
        )
        return found is None

    written = replace(candidate, function=written_out(candidate.function))
    empty = [0.0] * candidate.n_states
    if one.stream.needs == SAVE:
        middle = one.stream.gradients.shape[0] // 2
        losses: list[tuple[str, _Restart]] = [
            (
                "neither the state nor the step counter is restored",
                lambda k, s, t: (empty, 0) if k == middle else (s, t),
            ),
            ("the step counter is not restored", lambda k, s, t: (s, 0) if k == middle else (s, t)),
            (
                "the state is not restored, only the step counter",
                lambda k, s, t: (empty, t) if k == middle else (s, t),
            ),
        ]
        if candidate.n_states > 1:
            for j, name in enumerate(_state_names(written.function, candidate.n_states)):

                def partly(k: int, s: list[float], t: int, j: int = j) -> Any:
                    return ([*s[:j], 0.0, *s[j + 1 :]] if k == middle else s), t

                losses.append((f"the state's {name} is not restored", partly))
        for dtype, name in _LOW.items():

            def as_saved(k: int, s: list[float], t: int, dtype: str = dtype) -> Any:
                return (
                    ([float(x) for x in rounded(np.array(s), dtype)], t) if k == middle else (s, t)
                )

            losses.append((f"the state is saved in {name}", as_saved))
        for text, restart in losses:
            if fits(one, restart):
                return text
        # A state in another form than the rule's is rounded elsewhere, but by as much.
        written = replace(written, single_state=True)
        if fits(one, lambda k, s, t: (s, t)):
            return "the state is saved in single precision"
        written = replace(written, single_state=False)
    if one.stream.needs in (NO_GRADIENT, FROZEN) and one.stream.given is not None:
        if fits(one, lambda k, s, t: (s, k)):
            return "steps without a gradient are counted too"
        filled = np.where(one.stream.given, one.stream.gradients, 0.0)
        as_zero = replace(one, stream=replace(one.stream, gradients=filled, given=None))
        if fits(as_zero, lambda k, s, t: (s, t)):
            return "no gradient is taken as a gradient of 0"
    earlier = sum(_n_given(each) for each in before)
    after = ", and goes on from the runs before"
    if one.stream.given is None:
        for start, more in ((0, ""), *(((earlier, after),) if earlier else ())):
            if _fits_when_tensors_are_counted(one, fits, start):
                return f"the counter counts each tensor as a step{more}"
    if earlier and fits(one, lambda k, s, t: (s, earlier + k)):
        return "the counter goes on from the runs before, instead of from 0"
    still = standing_still(candidate, one, steps)
    if still:
        return still
    if one.stream.event == "two":
        return "two optimizers disturb each other"
    rows = one.theta
    if not np.isfinite(rows).all():
        k = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        kind = "NaN" if np.isnan(rows[k]).any() else "an infinity"
        if np.isfinite(expected(candidate, one.stream, rows, one.dtype).direction[k - 1]).all():
            return f"{kind} reaches the parameters at step {k}"
    return None


def standing_still(candidate: Candidate, one: Played, steps: StepSizes) -> str | None:
    """What does not move although the rule does: tensors, parts of them, or all from some step on."""
    n_steps = one.stream.gradients.shape[0]
    moved = np.diff(one.theta, axis=0) != 0.0
    said = expected(candidate, one.stream, one.theta, one.dtype).direction
    with np.errstate(all="ignore"):
        # What is lost in the rounding of a parameter is no fault.
        least = 16.0 * candidate.precision(one.dtype).roundoff * np.abs(one.theta[:-1])
        should = np.abs(steps(n_steps)[:, None] * said) > least
    still = ~moved.any(axis=0) & should.any(axis=0)
    if still.all():
        return None
    if still.any():
        whole = sum(bool(still[c].all()) for c in one.stream.columns if c.stop > c.start)
        n = len(one.stream.columns)
        if whole:
            what = "groups" if one.stream.needs == GROUPS else "tensors"
            return f"{whole} of {n} {what} {'do' if whole > 1 else 'does'} not move"
        return "some elements of a tensor do not move"
    last = int(np.flatnonzero(moved.any(axis=1))[-1]) + 1
    if n_steps - last > 3 and should[last:].any(axis=1).all():
        return f"the parameters do not move any more from step {last + 1} on"
    return None


def _n_given(one: Played) -> int:
    """How many times a tensor was given a gradient."""
    stream = one.stream
    if stream.given is None:
        return stream.gradients.shape[0] * len(stream.shapes)
    return sum(int(stream.given[:, c].all(axis=1).sum()) for c in stream.columns)


def _fits_when_tensors_are_counted(
    one: Played, fits: Callable[[Played, _Restart], bool], start: int
) -> bool:
    stream = one.stream
    n = len(stream.shapes)
    if n < 2:
        return False
    for j, columns in enumerate(stream.columns):
        part = replace(
            stream,
            gradients=stream.gradients[:, columns],
            shapes=(stream.shapes[j],),
            theta0=stream.theta0[columns],
            given=None,
        )
        alone = replace(one, stream=part, theta=one.theta[:, columns])
        if not fits(alone, lambda k, s, t, j=j: (s, start + n * k + j)):  # type: ignore[misc]
            return False
    return True
