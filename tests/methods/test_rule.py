"""Declaring rules: the facts read from a scalar function, and their use."""

import importlib
import math
import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qpsim
from qpsim.errors import MethodError
from qpsim.methods import method_names
from qpsim.rules.scalar import erf, sign

NAMES = method_names()


def rules():
    return [qpsim.method(name).rule for name in NAMES]


def stream(rng=0):
    return np.random.Generator(np.random.PCG64(rng))


def hyper_of(rule, uniform):
    """Hyper-parameters other than the defaults, within every rule's ranges."""
    values = {}
    for name, default in rule.defaults.items():
        low = rule.ranges.get(name, (0.0, 1.0, ""))[0]
        drawn = low + 0.3 + 0.6 * float(uniform.random())
        values[name] = default if isinstance(default, bool) else drawn
    for low, high in rule.ordered:
        values[low], values[high] = sorted((values[low], values[high]))
    return values


def observed(method, values):
    return {} if method.observes is None else {method.observes: values}


def plain(rule, gradient, extra, states, t, hyper):
    """The rule as ordinary Python: direction and the tuple of new states."""
    first = [] if rule.observes is None else [float(extra)]
    states = [float(s) for s in states]
    out = rule.function(float(gradient), *first, *states, float(t), *hyper.values())
    return (out[0], out[1:]) if rule.state_names else (out, ())


@pytest.mark.parametrize("name", NAMES)
def test_the_jitted_map_is_the_plain_function(name):
    rule = qpsim.method(name).rule
    for hyper in (rule.defaults, hyper_of(rule, stream(1))):
        method = rule(**hyper)
        draws = stream(2)
        state = method.initial_state(7)
        twins = np.zeros((7, len(rule.state_names)))
        for t in range(1, 12):
            g, extra = draws.normal(size=7) * 10.0 ** draws.integers(-3, 4, 7), draws.random(7)
            direction, state = method.update(g, state, **observed(method, extra))
            for i in range(7):
                expected, twins[i] = plain(rule, g[i], extra[i], twins[i], t, hyper)
                assert direction[i] == pytest.approx(expected, rel=1e-12, abs=1e-300)
            assert state.t == t and direction.dtype == np.float64
            for k, key in enumerate(rule.state_names):
                np.testing.assert_allclose(state[key], twins[:, k], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", NAMES)
def test_single_precision_stores_less_and_computes_the_same(name):
    method = qpsim.method(name)
    draws = stream(3)
    state = method.initial_state((2, 3), np.float32)
    for t in range(1, 6):
        g = draws.normal(size=(2, 3)).astype(np.float32)
        extra = draws.random((2, 3)).astype(np.float32)
        before = {key: array.copy() for key, array in state.arrays.items()}
        direction, after = method.update(g, state, **observed(method, extra))
        assert direction.dtype == np.float32 and direction.shape == (2, 3)
        for i in np.ndindex(2, 3):
            old = [state[key][i] for key in method.state_names]
            expected, new = plain(method.rule, g[i], extra[i], old, t, method.hyper_parameters)
            assert direction[i] == pytest.approx(expected, rel=1e-6)
            for key, value in zip(method.state_names, new, strict=True):
                assert after[key][i] == pytest.approx(value, rel=1e-6)
                assert after[key].dtype == np.float32
        for key, array in before.items():
            np.testing.assert_array_equal(state[key], array)
        state = after


@pytest.mark.parametrize("rule", [r for r in rules() if r.closed_form], ids=lambda r: r.name)
@given(seed=st.integers(0, 2**32), t=st.integers(1, 50))
@settings(deadline=None, max_examples=30)
def test_the_declared_form_is_that_of_the_rule(rule, seed, t):
    draws = stream(seed)
    hyper = hyper_of(rule, draws)
    states = draws.normal(size=len(rule.state_names))
    extra = draws.exponential()
    first = [] if rule.observes is None else [extra]
    shift = 0.0
    if rule.offset is not None:
        shift = rule.offset(*first, *states, float(t), *hyper.values())
    scales, values = [], {-1.0: set(), 1.0: set()}
    for g in draws.normal(size=8):
        direction, _ = plain(rule, g, extra, states, t, hyper)
        scales.append(direction / (g + shift if rule.closed_form == "linear" else sign(g + shift)))
        values[sign(g + shift)].add(direction)
    if rule.closed_form == "two-valued":
        assert max(len(side) for side in values.values()) == 1
    else:
        np.testing.assert_allclose(scales, scales[0], rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_an_equivariant_rule_commutes_with_rotations(name):
    from scipy.stats import special_ortho_group

    method = qpsim.method(name)
    rotation = special_ortho_group.rvs(4, random_state=stream(0))
    draws = stream(1)
    plain_state = turned_state = method.initial_state(4)
    apart = 0.0
    for _ in range(8):  # RAdam is linear in the first five steps
        g, extra = draws.normal(size=4), observed(method, np.full(4, 0.5))
        direction, plain_state = method.update(g, plain_state, **extra)
        turned, turned_state = method.update(rotation @ g, turned_state, **extra)
        apart = max(apart, np.abs(turned - rotation @ direction).max())
    if method.equivariant:
        assert apart < 1e-12
    elif method.closed_form != "linear":
        assert apart > 1e-3


@pytest.mark.parametrize("shape", [(), (1,), (0,), (3,), (2, 3), (2, 0, 1)])
@pytest.mark.parametrize("name", ["sgd", "m-ssd", "svag"])
def test_an_update_keeps_any_shape(name, shape):
    method = qpsim.method(name)
    g = stream(0).normal(size=shape)
    direction, state = method.update(g, method.initial_state(shape), **observed(method, abs(g)))
    assert direction.shape == shape and isinstance(direction, np.ndarray)
    assert all(array.shape == shape for array in state.arrays.values())
    strided = np.repeat(g, 2, axis=-1)[..., ::2] if shape else g
    again, _ = method.update(strided, method.initial_state(shape), **observed(method, abs(g)))
    np.testing.assert_array_equal(again, direction)


def test_an_update_of_the_wrong_parts_is_refused():
    g = np.ones(3)
    with pytest.raises(MethodError, match="svag needs relative_variance"):
        qpsim.method("svag").update(g, qpsim.method("svag").initial_state(3))
    sgd, adam = qpsim.method("sgd"), qpsim.method("adam")
    with pytest.raises(MethodError, match="sgd observes nothing else"):
        sgd.update(g, sgd.initial_state(3), relative_variance=g)
    with pytest.raises(MethodError, match="adam keeps m, v, but the state has no state"):
        adam.update(g, sgd.initial_state(3))
    with pytest.raises(MethodError, match="shape"):
        adam.update(g, adam.initial_state(4))
    with pytest.raises(MethodError, match="shape"):
        qpsim.method("svag").update(g, sgd.initial_state(3), relative_variance=np.ones(2))


def test_the_registry_finds_names_and_offers_the_nearest():
    for name in NAMES:
        method = qpsim.method(name)
        assert method.name == name and qpsim.method(method) is method
        assert qpsim.method(method.rule) == method
    with pytest.raises(MethodError, match="did you mean 'adam'"):
        qpsim.method("adma")
    for bad in (None, 3, ["sgd"]):
        with pytest.raises(MethodError, match="a name or a rule"):
            qpsim.method(bad)
    with pytest.raises(MethodError, match="has its hyper-parameters already"):
        qpsim.method(qpsim.method("adam"), b1=0.5)


def test_hyper_parameters_are_checked():
    with pytest.raises(MethodError, match="did you mean 'momentum'"):
        qpsim.method("m-sgd", momentun=0.5)
    with pytest.raises(MethodError, match="sgd has no hyper-parameters"):
        qpsim.method("sgd", momentum=0.5)
    for bad in (1.0, -0.1, math.nan, math.inf):
        with pytest.raises(MethodError, match=r"momentum must lie in \[0, 1\)"):
            qpsim.method("m-sgd", momentum=bad)
    for bad in ("0.5", None, True, 1j, [0.5], np.array([0.5])):
        with pytest.raises(MethodError, match="momentum must be a number"):
            qpsim.method("m-sgd", momentum=bad)
    with pytest.raises(MethodError, match=r"eps must lie in \[0, inf\)"):
        qpsim.method("adam", eps=-1e-8)
    assert qpsim.method("m-sgd", momentum=np.float32(0.5)) == qpsim.method("m-sgd", momentum=0.5)
    assert qpsim.method("m-sgd", momentum=0).hyper_parameters == {"momentum": 0.0}


def test_methods_are_values():
    a, b = qpsim.method("adam", b1=0.5), qpsim.method("adam", b1=0.5)
    assert a == b and hash(a) == hash(b) and a is not b
    assert a != qpsim.method("adam") and len({a, b, qpsim.method("adam")}) == 2
    assert qpsim.method("m-sgd") != qpsim.method("m-ssd")
    assert repr(a) == "adam(b1=0.5, b2=0.999, eps=1e-08)"
    assert repr(qpsim.method("sgd")) == "sgd()"
    for name in NAMES:
        method = qpsim.method(name)
        again = pickle.loads(pickle.dumps(method))
        assert again == method and again.rule is method.rule
    with pytest.raises(AttributeError):
        a.hyper = None
    with pytest.raises(AttributeError):
        a.hyper.b1 = 0.1


# Rules a user writes, at the top level of a module.


@qpsim.rule
def decaying(gradient, t, factor=0.25):
    return factor / t * gradient


@qpsim.rule(closed_form="linear", equivariant=True)
def scaled(gradient, t, factor=0.25):
    return factor / t * gradient


@qpsim.rule(closed_form="sign")
def scaled_sign(gradient, t, factor=0.25):
    return factor * sign(gradient)


@qpsim.rule(ranges={"ratio": (1.0, 2.0)})
def capped(gradient, total, t, ratio=1.5, raw=False):
    total = total + abs(gradient)
    bounded = gradient if raw else max(-ratio, min(ratio, gradient))
    return bounded * erf(total / t), total


PROBLEM = qpsim.random_problem("mild", 4, noise_std=0.3, rng=0)


def losses(problem, method, step_size, **more):
    return qpsim.simulate(
        problem, method, step_size, n_steps=6, n_replicates=3, rng=1, workers=1, **more
    ).excess_loss


@pytest.mark.parametrize("basis", ["axis", pytest.param("haar", marks=pytest.mark.long)])
def test_a_users_rule_with_state_is_simulated(basis):
    p = qpsim.random_problem("mild", 4, basis, 0.3, rng=0)
    method = capped(ratio=1.2)
    r = qpsim.simulate(
        p, method, 0.3, n_steps=6, n_replicates=2, rng=1, workers=1, record=["theta"]
    )
    from tests import naive

    v = np.eye(4) if p.is_diagonal else p.eigenvectors
    for k in range(2):
        xi = naive.normals(np.random.SeedSequence(1), k, 6, 4)
        theta, total = np.zeros(4), np.zeros(4)
        for step in range(6):
            g = p.matvec(theta - p.optimum - p.noise_std * v @ xi[step])
            total += np.abs(g)
            z = [
                max(-1.2, min(1.2, x)) * math.erf(s / (step + 1))
                for x, s in zip(g, total, strict=True)
            ]
            theta = theta - 0.3 * np.array(z)
            np.testing.assert_allclose(r.theta[k, step + 1], theta, rtol=1e-10, atol=1e-10)


def test_a_boolean_hyper_parameter_chooses_a_branch():
    p = qpsim.random_problem("mild", 4, "axis", 0.3, rng=0)
    assert (losses(p, capped(), 0.3) != losses(p, capped(raw=True), 0.3)).any()
    with pytest.raises(MethodError, match="raw must be True or False"):
        capped(raw=1)
    with pytest.raises(MethodError, match=r"ratio must lie in \[1, 2\)"):
        capped(ratio=2.0)


@pytest.mark.parametrize(
    "policy", ["optimal", "bound", pytest.param("line-search", marks=pytest.mark.long)]
)
@pytest.mark.parametrize("basis", ["axis", pytest.param("haar", marks=pytest.mark.long)])
def test_the_exact_step_undoes_a_rules_own_scale(basis, policy):
    p = qpsim.random_problem("mild", 4, basis, 0.3, rng=0)
    np.testing.assert_allclose(losses(p, scaled, policy), losses(p, "sgd", policy), rtol=1e-9)
    np.testing.assert_allclose(losses(p, scaled_sign, policy), losses(p, "ssd", policy), rtol=1e-9)


@pytest.mark.long
def test_a_rule_without_a_form_moves_like_its_twin_with_one():
    expected = losses(PROBLEM, scaled, 0.5)
    np.testing.assert_allclose(losses(PROBLEM, decaying, 0.5), expected, rtol=1e-9)


BAD_RULES = {
    "no gradient": lambda: qpsim.rule(lambda_named("def f(g, t): return g")),
    "no t": lambda: qpsim.rule(lambda_named("def f(gradient): return gradient")),
    "t too early": lambda: qpsim.rule(lambda_named("def f(gradient, t, m): return gradient, m")),
    "starred": lambda: qpsim.rule(lambda_named("def f(gradient, t, *rest): return gradient")),
    "keywords": lambda: qpsim.rule(lambda_named("def f(gradient, t, **rest): return gradient")),
    "keyword only": lambda: qpsim.rule(lambda_named("def f(gradient, t, *, a=1): return gradient")),
    "text default": lambda: qpsim.rule(lambda_named("def f(gradient, t, a='b'): return gradient")),
    "private": lambda: qpsim.rule(lambda_named("def f(gradient, t, _a=1.0): return gradient")),
    "lambda": lambda: qpsim.rule(lambda gradient, t: gradient),
    "class": lambda: qpsim.rule(int),
    "text": lambda: qpsim.rule("sgd"),
    "closed_form": lambda: qpsim.rule(closed_form="cubic")(good),
    "too few": lambda: qpsim.rule(lambda_named("def f(gradient, m, t): return gradient")),
    "too many": lambda: qpsim.rule(lambda_named("def f(gradient, t): return gradient, t")),
    "none": lambda: qpsim.rule(lambda_named("def f(gradient, t): pass")),
    "list": lambda: qpsim.rule(lambda_named("def f(gradient, m, t): return [gradient, m]")),
    "unknown in order": lambda: qpsim.rule(ordered=[("low", "top")])(bounded),
    "order of one": lambda: qpsim.rule(ordered=["low"])(bounded),
    "no order": lambda: qpsim.rule(ordered=7)(bounded),
    "defaults in disorder": lambda: qpsim.rule(ordered=[("high", "low")])(bounded),
    "offset": lambda: qpsim.rule(closed_form="linear", offset=lambda t: 0.0)(with_state),
}


def test_hyper_parameters_that_are_ordered_must_be_given_so():
    clipped = qpsim.rule(ordered=[("low", "high")])(bounded)
    assert clipped(low=2.0).hyper_parameters == {"low": 2.0, "high": 2.0}
    with pytest.raises(MethodError, match=r"low must not be larger than high, but 3.0 is"):
        clipped(low=3.0)


def lambda_named(source):
    namespace = {"__name__": __name__}
    exec(source, namespace)
    return namespace["f"]


def good(gradient, t):
    return gradient


def bounded(gradient, t, low=1.0, high=2.0):
    return min(max(gradient, low), high)


def with_state(gradient, m, t):
    return gradient + m, m


@pytest.mark.parametrize("kind", BAD_RULES)
def test_a_bad_rule_is_refused_where_it_is_written(kind):
    with pytest.raises(MethodError) as error:
        BAD_RULES[kind]()
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


def test_a_users_rule_does_not_enter_the_registry():
    assert method_names() == NAMES
    with pytest.raises(MethodError, match="Unknown method 'scaled'"):
        qpsim.method("scaled")


SOURCE = """
import numpy as np
import qpsim

@qpsim.rule(closed_form="linear")
def mine(gradient, t, factor=1.0):
    return {factor} * factor * gradient

def run():
    p = qpsim.QuadraticProblem([1.0, 2.0], [1.0, 3.0], 0.0)
    r = qpsim.simulate(p, mine, 0.1, n_steps=1, n_replicates=1, rng=0, workers=1)
    return float(r.excess_loss[0, 1])

def direction():
    return float(mine().update(np.array([3.0]), mine().initial_state(1))[0][0])
"""


def loss_with(factor):
    e = np.array([1.0, 3.0]) * (1.0 - 0.1 * factor * np.array([1.0, 2.0]))
    return 0.5 * float(e @ (np.array([1.0, 2.0]) * e))


def test_an_edited_rule_is_never_stale_in_one_process(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    place = tmp_path / "edited_rule.py"
    place.write_text(SOURCE.format(factor=1.0))
    module = importlib.import_module("edited_rule")
    assert module.direction() == 3.0
    place.write_text(SOURCE.format(factor=2.0))
    importlib.invalidate_caches()
    module = importlib.reload(module)
    # Only the new rule is simulated: that compiles for seconds.
    assert module.direction() == 6.0
    assert module.run() == pytest.approx(loss_with(2.0), rel=1e-12)
    del sys.modules["edited_rule"]


def test_a_users_rule_of_a_known_name_runs_itself():
    namespace = {"__name__": __name__}
    code = "def m_ssd(gradient, buffer, t, momentum=0.9): return gradient, momentum * buffer"
    exec(code, namespace)
    ours, mine = qpsim.method("m-ssd"), qpsim.rule(namespace["m_ssd"])()
    g = np.array([3.0, -2.0])
    np.testing.assert_array_equal(ours.update(g, ours.initial_state(2))[0], [1.0, -1.0])
    np.testing.assert_array_equal(mine.update(g, mine.initial_state(2))[0], g)


@pytest.mark.long
def test_an_edited_rule_is_never_stale_in_another_process(tmp_path):
    code = textwrap.dedent("""
        import sys
        sys.path.insert(0, sys.argv[1])
        sys.dont_write_bytecode = True
        import edited_rule
        print(edited_rule.run(), edited_rule.run())
    """)
    for factor in (1.0, 3.0):
        (tmp_path / "edited_rule.py").write_text(SOURCE.format(factor=factor))
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        for value in done.stdout.split():
            assert float(value) == pytest.approx(loss_with(factor), rel=1e-12)
