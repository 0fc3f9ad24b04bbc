"""``check``: compares an optimizer with a rule on streams and laws, and diagnoses differences."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from qpsim import __version__, checks
from qpsim.conformance import adapters, laws
from qpsim.conformance.diagnosis import best_step_sizes, candidate_of, diagnose
from qpsim.conformance.expectation import COUPLED, DECOUPLED, Difference
from qpsim.conformance.play import Played, play, why_not
from qpsim.conformance.report import Report, StreamOutcome
from qpsim.conformance.streams import LONG, Stream, checked_names, streams
from qpsim.errors import ConformanceError
from qpsim.execution import progress
from qpsim.methods import Method, Rule
from qpsim.methods import method as find_method

# Step sizes: a power of two, which is exact in every type; and 1 for AdaDelta and Rprop, whose directions have the unit
# of theta.
_RATE, _RATE_ONE = 2.0**-7, 1.0
_OF_RATE_ONE = ("rprop", "adadelta")


@np.errstate(all="ignore")
def check(
    optimizer: Any,
    method: str | Method | Rule = "adam",
    *,
    step_size: float | Sequence[float] | Callable[[int], float] | None = None,
    weight_decay: float = 0.0,
    decay_form: str = DECOUPLED,
    only: Sequence[str] | None = None,
    run_laws: bool = True,
    n_long: int = LONG,
    **hyper: Any,
) -> Report:
    """Compare an optimizer with the exact numbers of a method.

    It is given fixed streams of gradients (:func:`qpsim.conformance.streams`), and every move of its parameters is
    compared with the rule's. The tolerance for rounding is computed: the rule runs again with every gradient and state
    changed by one rounding error of the type in use, and 16 times the effect, plus the rounding of the parameters, is
    the tolerance of each step. Then its mean excess loss on noisy quadratics is compared with the rule's, within 4.5
    standard errors; one of them is dense where the rule depends on the basis.

    Parameters
    ----------
    optimizer
        A class of torch optimizers, or a factory ``params -> optimizer``; an optax transformation, or a function of
        optax; a Keras optimizer or its class; or a pair ``(init, update)`` with ``init(params) -> state`` and
        ``update(gradient, state, params) -> (params, state)`` on NumPy arrays. A class or function is called with the
        method's hyper-parameters, under the names in its signature, and with a weight decay of 0 unless one is given;
        other optimizers are used as they are.
    method : str, Method or Rule, default "adam"
        The method with which it is compared.
    step_size : float, sequence or callable t -> float, optional
        The step size, or a schedule of it (t = 1, 2, ...). By default the optimizer's own, if it states one, or a
        fitted number. An optimizer that ascends conforms only if a negative one is declared.
    weight_decay : float, default 0
        Weight decay, which is applied in addition to the rule.
    decay_form : {"decoupled", "coupled"}
        theta (1 - step size x weight decay), or weight decay x theta added to the gradient.
    only : sequence of str, optional
        Names of streams; "normal" is always among them.
    run_laws : bool, default True
    n_long : int, default 100000
        Steps of the stream "long".
    **hyper
        Hyper-parameters of the method.

    Returns
    -------
    Report

    Raises
    ------
    ConformanceError
        Not an optimizer, one that needs a closure or has complex parameters, or a factory that fails; a step size
        of 0.
    MethodError
        An unknown method or hyper-parameter, or a method that observes a variance.

    Notes
    -----
    Checked are elementwise updates. Not covered: updates that combine several elements, such as clipping by a norm,
    centralised gradients and LAMB's trust ratio (they are reported as differences), closures, sparse gradients, and
    devices other than the CPU.

    Examples
    --------
    Adam as it is often written, without bias corrections:

    >>> import numpy as np
    >>> from qpsim import conformance
    >>> def init(params):
    ...     return np.zeros_like(params), np.zeros_like(params)
    >>> def update(gradient, state, params):
    ...     m = 0.9 * state[0] + 0.1 * gradient
    ...     v = 0.999 * state[1] + 0.001 * gradient**2
    ...     return params - 0.01 * m / (np.sqrt(v) + 1e-8), (m, v)
    >>> report = conformance.check((init, update), method="adam", only=["normal", "zeros first"])
    >>> report.conforms
    False
    >>> report.diagnosis
    'equals adam(b1=0.9, b2=0.999, eps=1e-08) without bias corrections'
    """
    chosen = find_method(method, **hyper)
    if chosen.observes:
        raise ConformanceError(
            f"{chosen.name} observes a variance besides the gradient, which no optimizer is given."
        )
    checks.choice("decay_form", decay_form, (DECOUPLED, COUPLED), ConformanceError)
    checks.flag("run_laws", run_laws, ConformanceError)
    amount = checks.number("weight_decay", weight_decay, ConformanceError, "[0, inf)")
    long_steps = checks.count("n_long", n_long, ConformanceError, 1)
    names = None if only is None else list(dict.fromkeys(["normal", *checked_names(only)]))
    wanted = streams(names, long_steps)
    longest = max([*(one.gradients.shape[0] for one in wanted), 50])
    declared = _declared(step_size, longest)
    rate = _RATE_ONE if chosen.name in _OF_RATE_ONE else _RATE
    if isinstance(step_size, (int, float)):
        rate = abs(float(step_size))
    named = {**hyper, **({"weight_decay": amount} if amount else {})}
    known = {**chosen.hyper_parameters, "weight_decay": amount}
    subject = adapters.subject(optimizer, known, named, rate)

    outcomes: list[StreamOutcome] = []
    played: list[Played] = []
    broken: list[Played] = []
    with progress.bar("conform", len(wanted)) as bar:
        for stream in wanted:
            one = play(subject, stream)
            if one is None:
                outcomes.append(
                    _outcome(stream, "not applicable", None, note=why_not(subject, stream) or "")
                )
            elif one.wrong is not None:
                broken.append(one)
                outcomes.append(_outcome(stream, "fails", one))
            else:
                played.append(one)
            bar.tick(f"stream {stream.name!r}")
    versions = _versions(optimizer)
    if not played or played[0].stream.name != "normal":
        first = broken[0]
        wrong = f"{first.wrong} (step {first.step} of stream {first.stream.name!r})"
        return Report(
            False, wrong, repr(chosen), subject.kind, "unknown", tuple(outcomes), (), versions
        )
    base = candidate_of(chosen, amount, decay_form)
    text, steps, found = best_step_sizes(base, played, declared)
    for one in played:
        difference = found.get(one.stream.name)
        outcomes.append(
            _outcome(one.stream, "differs" if difference else "passed", one, difference)
        )
    order = {stream.name: k for k, stream in enumerate(wanted)}
    outcomes.sort(key=lambda outcome: order[outcome.stream])
    held: list[Any] = []
    ascends = False
    if found:
        diagnosis, own = diagnose(chosen, base, played, declared)
        text = own or text
        if "negative" in text:
            diagnosis += "; it ascends"
        if "runs before" not in diagnosis and _goes_elsewhere(subject, played[0]):
            diagnosis += (
                "; given the same gradients again it goes elsewhere: it draws random numbers, or keeps "
                "something from one run to the next"
            )
    else:
        diagnosis = f"equals {base.text} on {len(played)} streams"
        if run_laws and not amount:
            held = laws.hold(subject, chosen, steps(50))
            failing = [law for law in held if not law.holds]
            if failing:
                law = failing[0]
                diagnosis += (
                    f", but its {law.law} is {law.observed:.4g} instead of {law.expected:.4g}, "
                    f"{law.z:+.1f} standard errors away"
                )
            elif held:
                diagnosis += f" and in {len(held)} laws"
        said, real = played[0].rate, float(steps(1)[0])
        ascends = declared is None and real < 0.0
        if ascends:
            diagnosis += f", but ascends: its step size is {real:.6g}; declare a negative step_size if that is meant"
        elif said and declared is None and abs(real / said - 1.0) > 1e-6:
            diagnosis += f", with a step size of {real:.6g} where it says {said:.6g}"
    if broken:
        one = broken[0]
        diagnosis += f"; on stream {one.stream.name!r} ({one.stream.purpose}) at step {one.step}: {one.wrong}"
    conforms = not found and not broken and not ascends and all(law.holds for law in held)
    return Report(
        conforms, diagnosis, base.text, subject.kind, text, tuple(outcomes), tuple(held), versions
    )


def assert_conforms(
    optimizer: Any, method: str | Method | Rule = "adam", **settings: Any
) -> Report:
    """Fail unless :func:`check` finds that the optimizer conforms: for tests.

    Parameters
    ----------
    optimizer, method, **settings
        As in :func:`check`.

    Returns
    -------
    Report

    Raises
    ------
    AssertionError
        It differs; the message is the diagnosis and the streams that differ.

    Examples
    --------
    A test of an optimizer, for pytest:

    >>> import numpy as np
    >>> from qpsim.conformance import assert_conforms
    >>> def init(params):
    ...     return np.zeros_like(params)
    >>> def update(gradient, state, params):
    ...     state = 0.9 * state + gradient
    ...     return params - 0.01 * state, state
    >>> def test_my_optimizer_is_heavy_ball_momentum():
    ...     assert_conforms((init, update), "m-sgd", momentum=0.9, n_long=1000)
    >>> test_my_optimizer_is_heavy_ball_momentum()
    """
    report = check(optimizer, method, **settings)
    if not report.conforms:
        lines = [
            f"  {one.stream}: {one.outcome}"
            + (f" from step {one.step} on" if one.step else "")
            + (f", {one.note}" if one.note else "")
            for one in report.streams
            if one.outcome in ("differs", "fails")
        ]
        raise AssertionError("\n".join([f"not {report.method}: {report.diagnosis}", *lines]))
    return report


def _goes_elsewhere(subject: adapters.Subject, one: Played) -> bool:
    again = play(subject, one.stream)
    return again is not None and not np.array_equal(again.theta, one.theta, equal_nan=True)


def _outcome(
    stream: Stream,
    word: str,
    one: Played | None,
    difference: Difference | None = None,
    note: str = "",
) -> StreamOutcome:
    return StreamOutcome(
        stream.name,
        stream.purpose,
        word,
        None if one is None else one.dtype,
        difference.step if difference else one.step if one and one.wrong else None,
        difference.size if difference else None,
        (one.wrong or "") if one else note,
    )


def _declared(step_size: Any, n: int) -> Callable[[int], np.ndarray] | None:
    if step_size is None:
        return None
    if callable(step_size):
        values = np.array([_number(step_size(t)) for t in range(1, n + 1)])
    elif np.ndim(step_size) == 0:
        values = np.full(n, _number(step_size))
    else:
        values = np.array([_number(value) for value in step_size])
        if values.size < n:
            raise ConformanceError(
                f"step_size has {values.size} values, but the longest stream has {n} steps: give a "
                "function of t."
            )
    if not values.any():
        raise ConformanceError("step_size must not be 0 at every step: nothing moves then.")
    return lambda m: values[:m]


def _number(value: Any) -> float:
    return checks.number("step_size", value, ConformanceError, "(-inf, inf)")


def _versions(optimizer: Any) -> dict[str, str]:
    """Versions of qpsim and of the libraries that the optimizer is from."""
    found = {"qpsim": __version__}
    kinds = optimizer.__mro__ if isinstance(optimizer, type) else type(optimizer).__mro__
    for kind in (optimizer, *kinds):
        name = str(getattr(kind, "__module__", "")).split(".")[0]
        version = getattr(sys.modules.get(name), "__version__", None)
        if version and name not in ("builtins", "__main__"):
            found[name] = str(version)
    return found
