"""Correct optimizers conform with any conventions; what cannot be checked gives an error."""

import json

import numpy as np
import pytest

import qpsim
from qpsim import conformance
from qpsim.conformance import dtypes, laws
from qpsim.conformance.adapters.pair import Pair
from qpsim.errors import ConformanceError, MethodError
from tests.conformance.planted import of_method, pair

METHODS = [name for name in qpsim.method_names() if not qpsim.method(name).observes]


def heavy_ball(step_size=0.01, momentum=0.9):
    def update(gradient, state, params):
        state = momentum * state + gradient
        return params - params.dtype.type(step_size) * state, state

    return np.zeros_like, update


def test_there_are_at_least_25_streams_each_with_a_purpose():
    found = conformance.streams(n_long=500)
    assert len(found) >= 25 and len({one.purpose for one in found}) == len(found)
    for one in found:
        n_steps, dim = one.gradients.shape
        assert sum(int(np.prod(shape)) for shape in one.shapes) == dim == one.theta0.size
        assert np.array_equal(dtypes.rounded(one.gradients, one.dtype or "float64"), one.gradients)
        assert np.isfinite(one.gradients).all() and not one.gradients.flags.writeable
        assert n_steps == (500 if one.name == "long" else n_steps)
        again = conformance.streams([one.name], 500)[0]
        assert np.array_equal(again.gradients, one.gradients)


@pytest.mark.parametrize("name", METHODS)
def test_each_method_conforms_to_itself(name):
    few = [
        "zeros first",
        "small",
        "subnormal",
        "shapes",
        "save and load",
        "float32",
        "layouts",
        "groups",
    ]
    report = conformance.check(of_method(qpsim.method(name)), name, only=few, run_laws=False)
    assert report.conforms, report.diagnosis
    assert report.step_size == "0.01, found"
    assert {one.outcome for one in report.streams} == {"passed", "not applicable"}


@pytest.mark.long
@pytest.mark.parametrize("name", METHODS)
def test_each_method_conforms_to_itself_on_all_streams(name):
    report = conformance.check(of_method(qpsim.method(name)), name, run_laws=False)
    assert report.conforms, report.diagnosis


def test_a_wrong_number_in_any_precision_is_seen():
    """Half a per cent off in single and double precision; in half precision what its rounding lets show."""
    for dtype, factor in (("float64", 1 + 1e-12), ("float32", 1 + 1e-4), ("float16", 1.2)):

        def update(gradient, state, params, dtype=dtype, factor=factor):
            step = 0.25 * (factor if params.dtype == dtype and gradient[0] > 0 else 1.0)
            return (params - step * gradient).astype(params.dtype), state

        report = conformance.check(
            (np.zeros_like, update), "sgd", only=[dtype], step_size=0.25, run_laws=False
        )
        assert not report.conforms, dtype
        exact = lambda g, s, p: ((p - 0.25 * g).astype(p.dtype), s)  # noqa: E731
        assert conformance.check(
            (np.zeros_like, exact), "sgd", only=[dtype], run_laws=False
        ).conforms


def test_conventions_of_the_step_size_are_found_or_declared():
    average = pair(lambda g, m, t: (0.9 * m + 0.1 * g, 0.9 * m + 0.1 * g), 1, step_size=1.0)
    few = {"only": ["normal"], "run_laws": False}
    assert conformance.check(average, "m-sgd", **few).step_size == "0.1, found"
    ascent = conformance.check(heavy_ball(-0.5), "m-sgd", **few)
    assert ascent.step_size == "-0.5, found, negative: it ascends"
    # What goes the wrong way is no such optimizer, unless it is said to be one.
    assert not ascent.conforms
    assert ascent.diagnosis.endswith(
        "but ascends: its step size is -0.5; declare a negative step_size if that is meant"
    )
    assert conformance.check(heavy_ball(-0.5), "m-sgd", step_size=-0.5, **few).conforms
    assert conformance.check(heavy_ball(), "m-sgd", step_size=0.01, **few).conforms
    other = conformance.check(heavy_ball(), "m-sgd", step_size=0.011, **few)
    assert not other.conforms
    assert other.diagnosis == (
        "equals m-sgd(momentum=0.9), with step size 0.01, found, not with the declared one"
    )
    with pytest.raises(ConformanceError, match="step_size must not be 0 at every step"):
        conformance.check(heavy_ball(0.0), "m-sgd", step_size=0.0, **few)
    still = conformance.check((np.zeros_like, lambda g, s, p: (p, s)), "sgd", **few)
    assert not still.conforms


@pytest.mark.long
def test_settings_of_numpy_and_python_change_nothing():
    """Underflow is ordinary on these streams; what is beyond half precision is infinite there."""
    usual = conformance.check(heavy_ball(), "m-sgd", n_long=200)
    wrong = conformance.check(of_method(qpsim.method("rmsprop")), "adam", run_laws=False)
    with np.errstate(all="raise"):
        assert conformance.check(heavy_ball(), "m-sgd", n_long=200) == usual
        again = conformance.check(of_method(qpsim.method("rmsprop")), "adam", run_laws=False)
        assert conformance.streams(["subnormal"])[0].gradients.any()
    assert again == wrong and not wrong.conforms


def test_laws_hold_for_the_method_and_not_for_another():
    held = laws.hold(Pair(*heavy_ball()), qpsim.method("m-sgd"), 0.01)
    assert len(held) == 3 and all(law.holds for law in held)
    # The optimizer's momentum is .9; at .85 the mean is further off than chance takes it.
    assert not all(
        law.holds
        for law in laws.hold(Pair(*heavy_ball()), qpsim.method("m-sgd", momentum=0.85), 0.01)
    )
    ascending = laws.hold(Pair(*heavy_ball(-0.01)), qpsim.method("m-sgd"), -0.01)
    assert all(law.holds for law in ascending)


def test_the_dense_law_shows_what_diagonal_ones_do_not():
    """A rule that acts in the wrong basis: sign descent along other axes."""
    method = qpsim.method("ssd")
    right = Pair(np.zeros_like, lambda g, s, p: (p - 0.02 * np.sign(g), s))
    held = laws.hold(right, method, 0.02)
    assert [law.law.split(", ")[1] for law in held] == list(laws.problems())
    assert all(law.holds for law in held)
    equivariant = laws.hold(Pair(*heavy_ball()), qpsim.method("m-sgd"), 0.01)
    assert len(equivariant) == len(held) - 1
    dense = laws.problems()["rotated"][0]
    vectors = np.linalg.eigh(dense.hessian)[1]

    def rotated(gradient, state, params):
        # Only where gradients have the correlations of the dense problem.
        is_dense = abs(np.corrcoef(gradient.T)[0, 1]) > 0.3
        axes = vectors if is_dense else np.eye(3)
        return params - 0.02 * np.sign(gradient @ axes) @ axes.T, state

    held = laws.hold(Pair(np.zeros_like, rotated), method, 0.02)
    assert [law.holds for law in held] == [True, True, True, False]


def test_a_law_shows_what_the_streams_miss():
    # Right on every stream, whose tensors are small; wrong where there are many elements.
    def update(gradient, state, params):
        return params - (0.05 if gradient.size < 100 else 0.055) * gradient, state

    report = conformance.check((np.zeros_like, update), "sgd", n_long=200)
    assert not report.conforms and "standard errors away" in report.diagnosis
    assert all(one.outcome in ("passed", "not applicable") for one in report.streams)


@pytest.mark.long
@pytest.mark.parametrize("name", ["adam", "lion", "yogi"])
def test_the_ensemble_of_a_law_is_that_of_a_simulation(name):
    problem, distance = laws.problems()["noise 1"]
    theta0, method = distance * np.array([1.0, -0.7, 0.4]), qpsim.method(name)
    run = qpsim.simulate(problem, method, 0.05, 50, 4000, theta0, rng=1, workers=1)
    losses = run.excess_loss[:, -1]
    mean, error = laws._expected(method, problem, theta0, np.full(50, 0.05), seed=2)
    deviation = np.hypot(error, losses.std(ddof=1) / np.sqrt(losses.size))
    assert deviation > 0 and abs(mean - losses.mean()) < 4 * deviation


@pytest.mark.long
def test_laws_hold_for_a_method_whose_loss_has_no_closed_form():
    held = laws.hold(
        Pair(*of_method(qpsim.method("adam"), step_size=0.05)), qpsim.method("adam"), 0.05
    )
    assert all(law.holds for law in held)
    other = laws.hold(
        Pair(*of_method(qpsim.method("adam"), step_size=0.05)), qpsim.method("lion"), 0.05
    )
    assert not all(law.holds for law in other)


def test_a_gradient_that_is_changed_in_place_is_a_difference():
    def update(gradient, state, params):
        gradient *= 2.0
        return params - 0.01 * gradient, state

    report = conformance.check((np.zeros_like, update), "sgd", only=["constant"])
    assert not report.conforms
    assert report.diagnosis == "changes the gradient in place (step 1 of stream 'normal')"


def test_what_fails_on_one_stream_is_reported_there():
    def update(gradient, state, params):
        if gradient.size == 0:
            raise IndexError("no elements")
        return params - params.dtype.type(0.01) * gradient, state

    report = conformance.check((np.zeros_like, update), "sgd", n_long=100)
    failed = [one.stream for one in report.streams if one.outcome == "fails"]
    assert failed == ["shapes"] and not report.conforms
    assert "update of the pair fails: IndexError: no elements" in report.diagnosis


@pytest.mark.parametrize(
    ("optimizer", "sentence"),
    [
        (3, "An optimizer is a class or factory of PyTorch, an optax transformation"),
        ((np.zeros_like, lambda g, s, p: p), r"must return \(params, state\), not ndarray"),
        ((np.zeros_like, lambda g, s, p: (p[:2], s)), "parameters of shape"),
        ((np.zeros_like, lambda g, s, p: (p * 1j, s)), "complex numbers"),
        ((np.zeros_like, lambda g, s, p: 1 / 0), "update of the pair fails: ZeroDivisionError"),
        ((lambda p: 1 / 0, lambda g, s, p: (p, s)), "init of the pair fails: ZeroDivisionError"),
    ],
)
def test_what_is_no_optimizer_is_refused(optimizer, sentence):
    with pytest.raises(ConformanceError, match=sentence):
        conformance.check(optimizer, "sgd")


def test_what_fails_later_is_refused_with_its_step():
    def update(gradient, t, params):
        if t[0] == 4:
            raise SystemExit("no\nmore")
        return params - 0.01 * gradient, t + 1

    with pytest.raises(
        ConformanceError, match=r"^At step 5: update of the pair fails: SystemExit: no\.$"
    ):
        conformance.check((np.zeros_like, update), "sgd")


def test_arguments_are_checked():
    for settings, sentence in [
        ({"only": ["constnat"]}, "did you mean 'constant'"),
        ({"decay_form": "both"}, "Unknown decay_form 'both'; known are: decoupled, coupled"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"step_size": [0.1, 0.2]}, "2 values"),
        ({"step_size": "fast"}, "step_size"),
        ({"n_long": 0}, "n_long"),
    ]:
        with pytest.raises(ConformanceError, match=sentence):
            conformance.check(heavy_ball(), "m-sgd", **settings)
    with pytest.raises(MethodError, match="did you mean 'momentum'"):
        conformance.check(heavy_ball(), "m-sgd", momentun=0.5)
    with pytest.raises(ConformanceError, match="svag observes a variance"):
        conformance.check(heavy_ball(), "svag")


def test_a_report_is_plain_json_and_an_assertion_says_where():
    report = conformance.check(heavy_ball(), "m-sgd", n_long=200)
    text = json.dumps(report.to_dict(), allow_nan=False)
    assert json.loads(text)["conforms"] is True and repr(report).startswith(
        "<conformance yes: equals m-sgd"
    )
    assert conformance.assert_conforms(heavy_ball(), "m-sgd", n_long=200).conforms
    with pytest.raises(
        AssertionError, match=r"not m-sgd\(momentum=0.5\): equals .*\n  normal: differs from"
    ):
        conformance.assert_conforms(heavy_ball(), "m-sgd", momentum=0.5, n_long=200)
