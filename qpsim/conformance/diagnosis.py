"""Finds the known variant that an optimizer follows, if it does not follow its method.

Tried in this order: the variants of the method, other values of its hyper-parameters, what can be
wrong with any method (counters, states, gradients, decays of the weights), both at once, the other methods, and
hyper-parameters that are none of the usual values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, product
from typing import Any

import numpy as np

from qpsim.conformance.counters import (
    StepSizes,
    event,
    standing_still,
    with_other_counters,
    with_other_gradients,
    with_state_of_low_precision,
)
from qpsim.conformance.decays import decayed
from qpsim.conformance.dtypes import rounded
from qpsim.conformance.expectation import (
    DECOUPLED,
    Candidate,
    Difference,
    compare,
    fitted_step_size,
)
from qpsim.conformance.factors import beginning_of, fitted_factors, is_schedule, norm_clipped
from qpsim.conformance.fitted import fitted
from qpsim.conformance.play import Played
from qpsim.conformance.streams import SAVED
from qpsim.conformance.variants import variants
from qpsim.errors import MethodError
from qpsim.methods import Method, Rule, method_names
from qpsim.methods import method as find_method

UNKNOWN = "differs from all known variants"
# Of longer streams only the beginning is looked at for what goes wrong.
_LONG = 1000
_VALUES = {
    "b1": (0.0, 0.9, 0.95, 0.99, 0.8, 0.5, 0.999),
    "b2": (0.999, 0.99, 0.98, 0.95, 0.97, 0.9),
    "momentum": (0.0, 0.9, 0.99, 0.5),
    "decay": (0.9, 0.99, 0.95, 0.999),
    "dampening": (0.0, 0.1, 0.5, 0.9),
    "eps": (0.0, 1e-8, 1e-7, 1e-6, 1e-5, 1e-3, 1e-10, 1e-16, 1e-30),
    "floor": (0.0, 1e-16, 1e-8),
    "initial": (0.0, 1e-6, 0.1),
    "momentum_decay": (0.004, 1.0, 1e9),
    "threshold": (4.0, 5.0),
    "smallest": (0.0, 1e-6),
}


def candidate_of(method: Method, weight_decay: float = 0.0, decay: str = DECOUPLED) -> Candidate:
    """The method itself."""
    rule = method.rule
    text = repr(method)
    if weight_decay:
        text += f" with {decay} weight decay {weight_decay:g}"
    return Candidate(
        text, rule.function, len(rule.state_names), method.hyper_parameters, weight_decay, decay
    )


def differences(
    candidate: Candidate, played: Sequence[Played], steps: StepSizes
) -> dict[str, Difference]:
    """Where each stream differs, by name."""
    found = {}
    for one in played:
        difference = _difference(candidate, one, steps)
        if difference is not None:
            found[one.stream.name] = difference
    return found


def _difference(
    candidate: Candidate, one: Played, steps: StepSizes, **more: Any
) -> Difference | None:
    n_steps = one.stream.gradients.shape[0]
    return compare(candidate, one.stream, one.theta, one.dtype, steps(n_steps), **more)


def step_sizes(
    candidate: Candidate, played: Sequence[Played], declared: StepSizes | None
) -> list[tuple[str, StepSizes]]:
    """Step sizes that the optimizer may have: declared, or what it says, or what fits best."""
    if declared is not None:
        return [("declared", declared)]
    normal = played[0]
    found: list[tuple[str, StepSizes]] = []
    fit = fitted_step_size(candidate, normal.stream, normal.theta)
    rate = normal.rate
    if rate is not None and not (fit and abs(fit / rate - 1.0) < 1e-6):
        found.append((f"{rate:.6g}, as the optimizer says", _constant(rate)))
    if fit and math.isfinite(fit):
        same = rate is not None and abs(fit / rate - 1.0) < 1e-6
        what = "as the optimizer says" if same else "found"
        if fit < 0.0:
            what += ", negative: it ascends"
        elif rate is not None and not same:
            what += f", where the optimizer says {rate:.6g}"
        # A program's own number is exact; what is fitted to single precision is not.
        exact = rate if same and rate is not None and abs(fit / rate - 1.0) < 1e-13 else fit
        found.insert(0 if same else len(found), (f"{exact:.6g}, {what}", _constant(exact)))
    return found


def _constant(value: float) -> StepSizes:
    return lambda n: np.full(n, value)


def best_step_sizes(
    candidate: Candidate, played: Sequence[Played], declared: StepSizes | None
) -> tuple[str, StepSizes, dict[str, Difference]]:
    """Those with which the fewest streams differ."""
    best: tuple[str, StepSizes, dict[str, Difference]] | None = None
    for text, steps in step_sizes(candidate, played, declared):
        found = differences(candidate, played, steps)
        if best is None or len(found) < len(best[2]):
            best = (text, steps, found)
        if not found:
            break
    if best is None:
        one = _constant(1.0)
        best = ("none: it does not move", one, differences(candidate, played, one))
    return best


def diagnose(
    method: Method, base: Candidate, played: Sequence[Played], declared: StepSizes | None
) -> tuple[str, str | None]:
    """What the optimizer is, given that it is not the method, in one sentence; and its step size if that is known."""
    found, step_size = _diagnosed(method, base, played, declared)
    if declared is not None and found.startswith(UNKNOWN):
        again, step_size = _diagnosed(method, base, played, None)
        if not again.startswith(UNKNOWN):
            size = "" if step_size is None else f" with step size {step_size},"
            return f"{again},{size} not with the declared one", None
    return found, step_size


def _diagnosed(
    method: Method, base: Candidate, played: Sequence[Played], declared: StepSizes | None
) -> tuple[str, str | None]:
    normal = played[0]
    if np.all(normal.theta == normal.theta[0]):
        return "does not move", None
    head = _beginning(normal)
    # The longest last: it is looked at only where all others agree.
    ordered = sorted(played, key=lambda one: one.stream.gradients.shape[0])
    best: tuple[int, Candidate, dict[str, Difference], StepSizes, str] | None = None
    first: tuple[dict[str, Difference], StepSizes, str] | None = None
    for candidate in chain([base], _candidates(method, base, played)):
        for said, steps in step_sizes(candidate, played, declared):
            # Most differ in the first steps already.
            if _difference(candidate, head, steps) or _difference(candidate, normal, steps):
                continue
            found = _few_differences(candidate, ordered, steps, None if best is None else best[0])
            if found is None:
                continue
            if not found:
                return f"equals {candidate.text}", said
            if candidate is base and first is None:
                first = (found, steps, said)
            if candidate is base and set(found) == {SAVED}:
                # Scalars of low precision would be forgiven what the saved state has lost.
                one = next(one for one in played if one.stream.name == SAVED)
                if event(base, one, steps) is not None:
                    text = _exceptions(base, found, played, steps)
                    return f"equals {base.text}, except {text}", said
            if best is None or len(found) < best[0]:
                best = (len(found), candidate, found, steps, said)
    if best is not None:
        _, candidate, found, steps, said = best
        if first is not None and candidate is not base:
            # One that is a little nearer says less than the method itself, if that is explained.
            events = _events(base, first[0], played, first[1])
            if sum(known for known, _ in events.values()) >= 0.9 * len(events):
                candidate, (found, steps, said) = base, first
        text = _exceptions(candidate, found, played, steps)
        return f"equals {candidate.text}, except {text}", said
    factors = fitted_factors(base, normal)
    if factors is not None and declared is None:
        shown = beginning_of(factors)
        if is_schedule(base, played, factors):
            return (
                f"equals {base.text} with a step size that changes: {shown}; "
                "declare it with step_size if that is meant"
            ), None
        return (
            f"equals {base.text} times one factor for all elements, which depends on gradients or "
            f"parameters, as a clipped norm or a trust ratio does; on stream 'normal' {shown}"
        ), None
    for how, clipped in norm_clipped(normal):
        if not best_step_sizes(base, [clipped], declared)[2]:
            text = f"equals {base.text} with gradients clipped to {how}"
            return f"{text}, on stream 'normal' at least", None
    _, _, found = best_step_sizes(base, [normal], declared)
    difference = found["normal"]
    return f"{UNKNOWN} {_where(difference)}", None


def _beginning(one: Played, n_steps: int = 4) -> Played:
    given = None if one.stream.given is None else one.stream.given[:n_steps]
    stream = replace(one.stream, gradients=one.stream.gradients[:n_steps], given=given)
    return replace(one, stream=stream, theta=one.theta[: n_steps + 1])


def _few_differences(
    candidate: Candidate, played: Sequence[Played], steps: StepSizes, fewer_than: int | None
) -> dict[str, Difference] | None:
    found: dict[str, Difference] = {}
    for one in played:
        if found and one.stream.gradients.shape[0] > 1000:
            continue
        difference = _difference(candidate, one, steps)
        if difference is not None:
            found[one.stream.name] = difference
            if fewer_than is not None and len(found) >= fewer_than:
                return None
    return found


def _candidates(method: Method, base: Candidate, played: Sequence[Played]) -> Iterator[Candidate]:
    name, hyper, normal = method.name, method.hyper_parameters, played[0]
    given = {**hyper, "_sign": name == "adam*"}
    own = [
        replace(
            base,
            text=f"{base.text} {one.text}",
            function=one.function,
            n_states=len(one.state_names),
            hyper=one.hyper(given),
        )
        for one in variants(name)
    ]
    yield from own
    yield from _other_values(base, hyper)
    yield from with_state_of_low_precision(base)
    yield from with_other_gradients(base)
    for one in (base, *own):
        text = f"{one.text} with scalars in single precision"
        single = replace(one, text=text, single_scalars=True)
        yield single
        text = f"{one.text} with scalars in the precision of the parameters"
        yield replace(one, text=text, own_scalars=True)
        text = f"{single.text}, or in that of the parameters if it is lower"
        yield replace(single, text=text, own_scalars=True)
    yield from _in_single_precision((base, *own), normal)
    yield from decayed(base, normal)
    yield from with_other_counters(base)
    for one in own:
        yield from _other_values(one, dict(one.hyper))
    for one in own:
        yield from with_other_counters(one)
    for other in method_names():
        rule = find_method(other).rule
        if rule.observes or other == name:
            continue
        shared = {key: value for key, value in hyper.items() if key in rule.defaults}
        for chosen in ({}, shared) if shared else ({},):
            yield from _as_another(rule, chosen, base)
    yield from fitted(base, played)


def _in_single_precision(those: Sequence[Candidate], normal: Played) -> Iterator[Candidate]:
    """Computed in single precision, if double parameters have only its numbers."""
    if normal.dtype == "float64" and np.array_equal(normal.theta, rounded(normal.theta, "float32")):
        for one in those:
            yield replace(one, text=f"{one.text} computed in single precision", in_single=True)


def _as_another(rule: Rule, chosen: dict[str, Any], base: Candidate) -> Iterator[Candidate]:
    """Another method with some hyper-parameters, and its variants."""
    try:
        again = candidate_of(rule(**chosen), base.weight_decay, base.decay)
    except MethodError:  # not all values that one method takes are in another's range
        return
    no = f", not {base.text.split('(')[0]}"
    yield replace(again, text=again.text + no)
    for entry in variants(rule.name):
        yield replace(
            again,
            text=f"{again.text} {entry.text}{no}",
            function=entry.function,
            n_states=len(entry.state_names),
            hyper=entry.hyper({**again.hyper, **chosen, "_sign": rule.name == "adam*"}),
        )


def _other_values(base: Candidate, hyper: dict[str, Any]) -> Iterator[Candidate]:
    if "b1" in hyper and "b2" in hyper:
        swapped = {**hyper, "b1": hyper["b2"], "b2": hyper["b1"]}
        yield replace(base, text=f"{base.text} with b1 and b2 exchanged", hyper=swapped)
        for b1, b2 in product(_VALUES["b1"], _VALUES["b2"]):
            if b1 != hyper["b1"] and b2 != hyper["b2"]:
                text = f"{base.text} with b1 {b1} and b2 {b2}, not {hyper['b1']} and {hyper['b2']}"
                yield replace(base, text=text, hyper={**hyper, "b1": b1, "b2": b2})
    for key, value in hyper.items():
        if key.startswith("_"):
            continue
        values = (not value,) if isinstance(value, bool) else _VALUES.get(key, ())
        for other in values:
            if other != value:
                text = f"{base.text} with {key} {other}, not {value}"
                yield replace(base, text=text, hyper={**hyper, key: other})


def _exceptions(
    candidate: Candidate,
    found: dict[str, Difference],
    played: Sequence[Played],
    steps: StepSizes,
) -> str:
    """Streams that differ, and how; those with the same known event together."""
    purposes = {one.stream.name: one.stream.purpose for one in played}
    together: dict[str, list[str]] = {}
    events = _events(candidate, found, played, steps)
    for name, (known, at) in events.items():
        together.setdefault(at if known else name, []).append(name)
    texts = []
    for names in list(together.values())[:3]:
        _, at = events[names[0]]
        if len(names) == 1:
            texts.append(f"on stream {names[0]!r} ({purposes[names[0]]}), where {at}")
        else:
            shown = ", ".join(map(repr, names[:3]))
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            texts.append(f"on streams {shown}{more}, where {at}")
    left = sum(len(names) for names in list(together.values())[3:])
    if left > 0:
        texts.append(f"on {left} more stream{'s' if left > 1 else ''}")
    return "; ".join(texts)


def _events(
    candidate: Candidate,
    found: dict[str, Difference],
    played: Sequence[Played],
    steps: StepSizes,
) -> dict[str, tuple[bool, str]]:
    """By stream: whether what goes wrong is known, and what it is."""
    streams = {one.stream.name: one for one in played}
    said = {}
    for name, difference in found.items():
        one = streams[name]
        before = played[: played.index(one)]
        if one.stream.gradients.shape[0] <= _LONG:
            known = event(candidate, one, steps, before)
        else:
            known = None
            if difference.step <= _LONG:
                known = event(candidate, _beginning(one, _LONG), steps, before)
            known = known or standing_still(candidate, one, steps)
        said[name] = (known is not None, known or f"it differs {_where(difference)}")
    return said


def _where(difference: Difference) -> str:
    size = (
        "a number that is not finite" if math.isnan(difference.size) else f"{difference.size:.2g}"
    )
    later = ""
    if difference.size and difference.largest > 10.0 * difference.size:
        later = f", later by up to {difference.largest:.2g}"
    return f"from step {difference.step} on, by {size}{later}"
