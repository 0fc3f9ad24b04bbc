"""Every diagnosis: an optimizer with a known error is diagnosed as such."""

import numpy as np
import pytest

import qpsim
from qpsim import conformance
from qpsim.conformance.variants import variants, written_out
from tests.conformance.planted import of_method, pair

# Enough to tell all variants apart; the long test takes all streams.
FEW = ["constant", "alternating", "zeros first", "tiny", "small", "subnormal", "away from zero"]
PLANTED = [(name, one) for one in variants() for name in one.methods]


def diagnosis(optimizer, method, only=FEW, **hyper):
    report = conformance.check(optimizer, method, only=only, n_long=300, run_laws=False, **hyper)
    assert report.conforms == (report.diagnosis.endswith("streams"))
    return report.diagnosis


def planted(name, one):
    method = qpsim.method(name)
    hyper = one.hyper({**method.hyper_parameters, "_sign": name == "adam*"})
    return pair(one.function, len(one.state_names), hyper.values())


@pytest.mark.parametrize(
    ("name", "one"), PLANTED, ids=lambda x: x if isinstance(x, str) else x.text
)
def test_each_variant_is_found_where_it_is_planted(name, one):
    few = ["zeros first", "subnormal" if name == "rprop" else "small"]
    assert diagnosis(planted(name, one), name, few) == f"equals {qpsim.method(name)!r} {one.text}"


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "one"), PLANTED, ids=lambda x: x if isinstance(x, str) else x.text
)
def test_each_variant_is_found_on_all_streams(name, one):
    assert diagnosis(planted(name, one), name, None) == f"equals {qpsim.method(name)!r} {one.text}"


def test_a_counter_that_is_wrong_is_found():
    adam = qpsim.method("adam")
    base = f"equals {adam!r}"
    assert diagnosis(of_method(adam, start=1), "adam") == f"{base} with a counter one step ahead"
    at_one = lambda g, m, v, t, *hyper: adam.rule.function(g, m, v, 1.0, *hyper)  # noqa: E731
    stands = pair(at_one, 2, adam.hyper_parameters.values())
    assert diagnosis(stands, "adam") == f"{base} with a counter that stays at 1"
    empty = lambda g, m, v, t, *hyper: adam.rule.function(g, 0.0, 0.0, t, *hyper)  # noqa: E731
    forgets = pair(empty, 2, adam.hyper_parameters.values())
    assert diagnosis(forgets, "adam") == f"{base} with its state re-zeroed at each step"
    from_zero = of_method(qpsim.method("lion"), start=-1)
    assert diagnosis(from_zero, "lion").startswith("equals lion")  # it does not count
    rms = next(one for one in variants("rmsprop") if one.text == "with bias correction")
    late = pair(rms.function, 1, (0.9, 1e-8), start=1)
    expected = (
        "equals rmsprop(decay=0.9, eps=1e-08) with bias correction with a counter one step ahead"
    )
    assert diagnosis(late, "rmsprop") == expected


def test_a_counter_from_zero_divides_by_zero_or_is_named():
    nadam = qpsim.method("nadam", momentum_decay=1.0)

    def from_zero(g, m, v, product, t, *hyper):
        return nadam.rule.function(g, m, v, product, max(t - 1.0, 0.5), *hyper)

    text = diagnosis(
        pair(from_zero, 3, nadam.hyper_parameters.values()), "nadam", momentum_decay=1.0
    )
    assert text.startswith("differs from all known variants from step 1 on, by ")


@pytest.mark.parametrize(
    ("name", "hyper", "text"),
    [
        ("adam", {"b1": 0.95}, "with b1 0.95, not 0.9"),
        ("adam", {"b1": 0.999, "b2": 0.9}, "with b1 and b2 exchanged"),
        ("adam", {"b1": 0.95, "b2": 0.98}, "with b1 0.95 and b2 0.98, not 0.9 and 0.999"),
        ("adam", {"eps": 1e-7}, "with eps 1e-07, not 1e-08"),
        ("m-svag", {"bias_corrected": True}, "with bias_corrected True, not False"),
        ("lion", {"b2": 0.999}, "with b2 0.999, not 0.99"),
    ],
)
def test_other_hyper_parameters_are_found(name, hyper, text):
    wrong = of_method(qpsim.method(name, **hyper))
    assert diagnosis(wrong, name) == f"equals {qpsim.method(name)!r} {text}"


def test_another_method_is_found():
    assert diagnosis(of_method(qpsim.method("rmsprop")), "m-sgd").startswith("equals rmsprop(")
    assert diagnosis(of_method(qpsim.method("adam")), "adabelief").startswith("equals adam")


@pytest.mark.parametrize("form", ["decoupled", "coupled"])
def test_a_decay_of_the_weights_is_found(form):
    adam = qpsim.method("adam")
    init, update = of_method(adam)

    def decayed(gradient, state, params):
        if form == "coupled":
            return update(gradient + 0.01 * params, state, params)
        moved, state = update(gradient, state, params)
        return moved - 0.01 * 0.01 * params, state

    found = diagnosis((init, decayed), "adam")
    assert found == f"equals {adam!r} with {form} weight decay 0.01"
    report = conformance.check(
        (init, decayed), "adam", weight_decay=0.01, decay_form=form, only=FEW, run_laws=False
    )
    assert report.conforms
    other = "coupled" if form == "decoupled" else "decoupled"
    wrong = conformance.check(
        (init, decayed), "adam", weight_decay=0.01, decay_form=other, only=FEW, run_laws=False
    )
    assert wrong.diagnosis.endswith(f"but {form}")


@pytest.mark.parametrize("form", ["decoupled", "coupled"])
@pytest.mark.parametrize(
    ("name", "decay"),
    [
        pytest.param("adam", 0.0137, marks=pytest.mark.long),
        ("m-sgd", 3e-5),
        pytest.param("lion", 0.3, marks=pytest.mark.long),
    ],
)
def test_an_unusual_decay_is_found(name, decay, form):
    method = qpsim.method(name)
    init, update = of_method(method)

    def decayed(gradient, state, params):
        if form == "coupled":
            return update(gradient + decay * params, state, params)
        moved, state = update(gradient, state, params)
        return moved - 0.01 * decay * params, state

    few = ["away from zero"]
    text = diagnosis((init, decayed), name, few)
    # A decay in the gradient may change no sign at all.
    assert text.endswith(f"with {form} weight decay {decay:g}") or (name, form) == (
        "lion",
        "coupled",
    )
    if form == "decoupled":
        text = diagnosis((init, decayed), name, few, weight_decay=0.02)
        assert text.endswith(f"with decoupled weight decay {decay:g}, not decoupled 0.02")


def test_scalars_of_low_precision_are_found():
    def rounded_to(*kinds, decay=0.0):
        def update(gradient, v, params):
            low = [kind for kind in kinds if kind == "float32" or params.dtype == kind]
            rate, eps, keep, rest = 0.01, 1e-7, 0.9993, 1.0 - decay * 0.01
            for kind in low:
                rate, eps, keep, rest = (
                    float(np.dtype(kind).type(x)) for x in (rate, eps, keep, rest)
                )
            g, p = gradient.astype(float), params.astype(float) * rest
            v = (keep * v.astype(float) + (1.0 - keep) * g * g).astype(params.dtype)
            return (p - rate * g / (np.sqrt(v.astype(float)) + eps)).astype(params.dtype), v

        return np.zeros_like, update

    few, hyper = ["away from zero", "float16", "scales"], {"decay": 0.9993, "eps": 1e-7}
    single = diagnosis(rounded_to("float32"), "rmsprop", few, **hyper)
    assert single.endswith(" with scalars in single precision")
    own = diagnosis(rounded_to("float16"), "rmsprop", few, **hyper)
    assert own.endswith(" with scalars in the precision of the parameters")
    both = diagnosis(
        rounded_to("float32", "float16", decay=0.01), "rmsprop", few, weight_decay=0.01, **hyper
    )
    assert both.endswith("single precision, or in that of the parameters if it is lower")
    assert diagnosis(rounded_to(), "rmsprop", few, **hyper).endswith("on 4 streams")


@pytest.mark.parametrize(
    ("dtype", "word"),
    [("float32", "single precision"), ("float16", "half precision")],
)
@pytest.mark.parametrize("name", ["m-sgd", "adam"])
def test_a_state_that_is_saved_in_low_precision_is_named(name, dtype, word):
    """Adam's rule keeps corrected averages; programs keep the others, which are rounded elsewhere."""
    rule = written_out(qpsim.method(name).rule.function)
    method = qpsim.method(name)

    class Saved(np.ndarray):
        def __reduce__(self):
            return np.array, (self.astype(dtype).astype(float).tolist(),)

    init, update = pair(rule, len(method.state_names), method.hyper_parameters.values())

    def start(params):
        state, t = init(params)
        return [state.view(Saved), t]

    def move(gradient, state, params):
        moved, (arrays, t) = update(gradient, state, params)
        return moved, [np.asarray(arrays).view(Saved), t]

    text = diagnosis((start, move), name, ["save and load"])
    assert text.endswith(f"where the state is saved in {word}")


def test_a_state_in_single_precision_is_found():
    method = qpsim.method("adam")
    init, update = of_method(method)

    def low(gradient, state, params):
        moved, (arrays, t) = update(gradient, state, params)
        return moved, [arrays.astype(np.float32).astype(float), t]

    text = diagnosis((init, low), "adam", ["scales", "away from zero"])
    assert text == f"equals {method!r} with its state kept in single precision"


@pytest.mark.parametrize(
    "one", [one for one in variants("m-svag") if "bias_corrected" in one.hyper({})]
)
def test_variants_of_the_published_m_svag_are_found(one):
    method = qpsim.method("m-svag", bias_corrected=True)
    wrong = pair(one.function, 2, one.hyper(dict(method.hyper_parameters)).values())
    text = diagnosis(wrong, "m-svag", ["zeros first"], bias_corrected=True)
    assert text == f"equals {method!r} {one.text}"


def test_a_step_size_that_changes_is_found_or_declared():
    method = qpsim.method("m-ssd")
    init, update = of_method(method, step_size=1.0)

    def scheduled(gradient, state, params):
        moved, state = update(gradient, state, params)
        return params + (moved - params) * 0.1 / state[1], state

    said = diagnosis((init, scheduled), "m-ssd", ["constant"])
    assert "with a step size that changes: 0.1, 0.05, 0.0333333, 0.025" in said
    declared = conformance.check(
        (init, scheduled), method, step_size=lambda t: 0.1 / t, only=["constant"], run_laws=False
    )
    assert declared.conforms and declared.step_size == "declared"


@pytest.mark.parametrize(
    ("kept", "counted", "lost"),
    [
        (1, 0, "the step counter is not restored"),
        pytest.param(
            *(0, 0, "neither the state nor the step counter is restored"), marks=pytest.mark.long
        ),
        pytest.param(
            *(0, 1, "the state is not restored, only the step counter"), marks=pytest.mark.long
        ),
    ],
)
def test_what_saving_loses_is_said(kept, counted, lost):
    adam = qpsim.method("adam")
    # Averages without corrections are kept, as in most programs.
    init, update = pair(written_out(adam.rule.function), 2, adam.hyper_parameters.values())

    class Forgetful(list):
        def __reduce__(self):
            return Forgetful, ([kept * self[0], counted * self[1]],)

    def step(gradient, state, params):
        moved, state = update(gradient, state, params)
        return moved, Forgetful(state)

    said = diagnosis((lambda params: Forgetful(init(params)), step), "adam", ["save and load"])
    where = "except on stream 'save and load' (the state saved and loaded in the middle), where"
    assert said == f"equals {adam!r}, {where} {lost}"


def test_optimizers_that_share_their_state_are_found():
    held = {}

    def init(params):
        held.update(r=np.zeros(3), params=params.shape)
        return None

    def update(gradient, state, params):
        if gradient.shape != (3,):
            return params - 0.01 * gradient, state
        held["r"] = 0.9 * held["r"] + gradient
        return params - 0.01 * held["r"], state

    report = conformance.check((init, update), "m-sgd", only=["two at once"], run_laws=False)
    assert not report.conforms


def test_nan_is_said_where_it_first_arrives():
    def update(gradient, v, params):
        v = 0.9 * v + 0.1 * gradient**2
        return params - 0.01 * gradient / np.sqrt(v), v

    report = conformance.check(
        (np.zeros_like, update), "rmsprop", eps=0.0, only=["zeros first"], run_laws=False
    )
    assert report.diagnosis.endswith("where NaN reaches the parameters at step 1")
    assert report.streams[1].step == 1 and report.to_dict()["streams"][1]["difference"] is None


@pytest.mark.parametrize("name", ["m-sgd", "adam"])
@pytest.mark.parametrize(
    ("how", "limit"), [("values up to 0.5", 0.5), ("a norm up to 2", 2.0), ("one norm", 0.5)]
)
def test_clipping_is_found(name, how, limit):
    method = qpsim.method(name)
    init, update = of_method(method)

    def clipped(gradient, state, params):
        if "values" in how:
            return update(np.clip(gradient, -limit, limit), state, params)
        norm = np.linalg.norm(gradient)
        return update(gradient * min(1.0, limit / norm) if norm > 0 else gradient, state, params)

    found = diagnosis((init, clipped), name, ["constant"])
    # A norm is one of all elements, so that other streams would be clipped otherwise.
    where = "" if "values" in how else ", on stream 'normal' at least"
    assert found == f"equals {method!r} with gradients clipped to {how}{where}"


def test_clipping_that_only_large_gradients_meet_is_found():
    init, update = of_method(qpsim.method("m-sgd"))
    clipped = init, lambda g, s, p: update(np.clip(g, -10.0, 10.0), s, p)
    text = "equals m-sgd(momentum=0.9) with gradients clipped to values up to 10"
    assert diagnosis(clipped, "m-sgd", ["spike"]) == text


def adam_written(b1=0.9, b2=0.999, eps=1e-8, cast=lambda g: g, keep=lambda m, v: (m, v)):
    """Adam with a state that is not bias-corrected; ``keep`` changes what is kept after a step."""

    def update(gradient, state, params):
        m, v, t = state
        gradient, t = cast(gradient), t + 1
        m, v = b1 * m + (1 - b1) * gradient, b2 * v + (1 - b2) * gradient**2
        moved = params - 0.01 * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        return moved, (*keep(m, v), t)

    return lambda params: (np.zeros_like(params), np.zeros_like(params), 0), update


def test_one_number_of_the_state_in_low_precision_is_found():
    low = adam_written(keep=lambda m, v: (m, v.astype(np.float32).astype(float)))
    text = f"equals {qpsim.method('adam')!r} with its v kept in single precision"
    assert diagnosis(low, "adam", ["constant"]) == text


def test_gradients_in_low_precision_are_found():
    low = adam_written(cast=lambda g: g.astype(np.float32).astype(float))
    text = f"equals {qpsim.method('adam')!r} with gradients rounded to single precision"
    assert diagnosis(low, "adam", ["constant", "small"]) == text


def test_elements_without_a_gradient_that_are_left_out_are_found():
    init, update = adam_written()

    def lazy(gradient, state, params):
        moved, (m, v, t) = update(gradient, state, params)
        some = gradient != 0.0
        kept = np.where(some, m, state[0]), np.where(some, v, state[1]), t
        return np.where(some, moved, params), kept

    text = diagnosis((init, lazy), "adam", ["every third", "sparse rows"])
    expected = "with elements left out, state and all, where the gradient is 0"
    assert text == f"equals {qpsim.method('adam')!r} {expected}"


@pytest.mark.parametrize(
    ("hyper", "text"),
    [
        ({"b1": 0.85}, "with b1 0.85, not 0.9"),
        ({"b1": 0.87, "b2": 0.9931}, "with b1 0.87 and b2 0.9931, not 0.9 and 0.999"),
        ({"eps": 3e-7}, "with eps 3e-07, not 1e-08"),
    ],
)
def test_hyper_parameters_that_are_not_usual_are_fitted(hyper, text):
    adam = qpsim.method("adam")
    assert diagnosis(adam_written(**hyper), "adam", ["small"]) == f"equals {adam!r} {text}"


def test_random_numbers_are_named_beside_what_it_nearly_equals():
    rng = np.random.default_rng(0)

    def update(gradient, state, params):
        return params - 0.01 * gradient + 1e-9 * rng.standard_normal(params.shape), state

    found = diagnosis((np.zeros_like, update), "sgd", ["all zero"])
    assert "given the same gradients again it goes elsewhere" in found


def test_the_step_size_is_that_of_what_was_found():
    init, update = of_method(qpsim.method("adabelief"))
    report = conformance.check((init, update), "adam", only=["constant"], run_laws=False)
    assert "adabelief" in report.diagnosis and report.step_size == "0.01, found"


def test_what_is_not_known_is_said_to_be_so():
    def update(gradient, state, params):
        return params - 0.01 * np.tanh(gradient) ** 3, state

    found = diagnosis((np.zeros_like, update), "adam")
    assert found.startswith("differs from all known variants from step 1 on, by ")
