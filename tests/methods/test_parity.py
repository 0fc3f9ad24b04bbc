"""Every moving-average method on fixed gradient streams, against its source's formulas and against optax."""

import numpy as np
import pytest

import qpsim
from qpsim.errors import FileError, MethodError
from qpsim.methods import method_names
from qpsim.rules.scalar import momentum_correction, unbiased_momentum_correction
from tests import naive

# name, hyper-parameters (no epsilon, which the transcriptions leave out)
METHODS = [
    ("adam", {"eps": 0.0}),
    ("m-svag", {}),
    ("m-svag", {"momentum": 0.5}),
    ("adam*", {}),
    ("svag-ema", {}),
    ("m-svag-mb", {}),
    ("adam*-mb", {"momentum": 0.99}),
    ("m-sgd", {}),
    ("m-ssd", {}),
    ("nesterov", {}),
    ("rmsprop", {"eps": 0.0}),
    ("adagrad", {"eps": 0.0}),
    ("adadelta", {"decay": 0.95}),
    ("rprop", {}),
]


def gradients(n=60, d=5, seed=0):
    rng = np.random.Generator(np.random.PCG64(seed))
    scale = 10.0 ** rng.uniform(-3, 3, d)
    return scale * (rng.standard_normal((n, d)) + 0.5), scale**2 * rng.chisquare(3, (n, d))


def directions(method, stream, variances=None):
    state = method.initial_state(stream.shape[1:])
    out = []
    for k, g in enumerate(stream):
        extra = {} if method.observes is None else {method.observes: variances[k]}
        z, state = method.update(g, state, **extra)
        out.append(z)
    return np.array(out)


def error(actual, desired):
    return np.abs(actual - desired).max(axis=0) / np.maximum(np.abs(desired).max(axis=0), 1e-300)


@pytest.mark.parametrize(("name", "hyper"), METHODS)
def test_each_method_is_its_source(name, hyper):
    stream, variances = gradients()
    method = qpsim.method(name, **hyper)
    given = variances if method.observes else None
    expected = naive.published(name, stream, given, **hyper)
    actual = directions(method, stream, variances)
    # The first two steps by themselves: there bias corrections matter most.
    for part in (slice(0, 1), slice(1, 2), slice(None)):
        assert error(actual[part], expected[part]).max() < 1e-12


@pytest.mark.parametrize("name", ["m-svag", "adam*"])
def test_the_published_version_corrects_the_variance(name):
    stream, _ = gradients()
    actual = directions(qpsim.method(name, bias_corrected=True), stream)
    assert error(actual, naive.published(name, stream, corrected=True)).max() < 1e-12
    assert error(actual, naive.published(name, stream)).max() > 1e-3


QUICK = [("adam", {"eps": 0.0})]


@pytest.mark.parametrize(
    ("name", "hyper"),
    [case if case in QUICK else pytest.param(*case, marks=pytest.mark.long) for case in METHODS],
)
def test_a_hundred_thousand_steps(name, hyper):
    stream, variances = gradients(100_000, 2)
    method = qpsim.method(name, **hyper)
    given = variances if method.observes else None
    actual = directions(method, stream, variances)[-10:]
    assert error(actual, naive.published(name, stream, given, **hyper)[-10:]).max() < 1e-12


@pytest.mark.parametrize("name", method_names())
def test_a_rule_rounds_alike_wherever_it_is_mapped(name):
    """Where averages cancel, the sign of a rounding error is a whole step: one rule, one rounding.

    As ordinary Python, in vectors of any length with their remainders, in any shape: the same bits.
    """
    method = qpsim.method(name)
    rng = np.random.Generator(np.random.PCG64(8))
    # A momentum sum comes back to 0 up to rounding at every other step.
    back = rng.standard_normal((1, 24)) * [[1.0], [-0.9], [1.0], [-0.9]]
    stream = np.concatenate([back, 0.1 * back, rng.standard_normal((4, 24)), back])
    variances = rng.chisquare(3, stream.shape)
    plain = np.zeros((len(method.state_names), 24))
    pieces = [slice(0, 24), slice(0, 1), slice(1, 8), slice(8, 24)]
    states = [method.initial_state(piece.stop - piece.start) for piece in pieces]
    folded = method.initial_state((3, 8))
    for k, g in enumerate(stream):
        seen = {method.observes: variances[k]} if method.observes else {}
        expected = np.empty(24)
        for i in range(24):
            extra = [values[i] for values in seen.values()]
            out = method.rule.function(g[i], *extra, *plain[:, i], float(k + 1), *method.hyper)
            expected[i] = out[0] if method.state_names else out
            plain[:, i] = out[1:] if method.state_names else ()
        for n, piece in enumerate(pieces):
            cut = {key: values[piece] for key, values in seen.items()}
            z, states[n] = method.update(g[piece], states[n], **cut)
            if n == 0 and name == "va-ssd-erf":
                # Python's own erf is another one.
                np.testing.assert_allclose(z, expected, rtol=1e-14)
                expected = z
            assert np.array_equal(z, expected[piece])
        shaped = {key: values.reshape(3, 8) for key, values in seen.items()}
        z, folded = method.update(g.reshape(3, 8), folded, **shaped)
        assert np.array_equal(z.ravel(), expected)


@pytest.mark.parametrize(
    ("name", "hyper", "bug"),
    [
        ("adam", {"eps": 0.0}, "beta^t"),
        ("m-svag", {}, "beta^t"),
        ("m-svag", {}, "1 - beta"),
        ("adam*", {}, "1 - beta"),
        ("m-sgd", {}, "re-zeroed"),
        ("adam*-mb", {}, "re-zeroed"),
        ("adam", {"eps": 0.0}, "averaged with b1"),
        ("m-svag", {}, "gamma = 0"),
    ],
)
def test_the_stream_tells_each_known_bug(name, hyper, bug):
    stream, variances = gradients()
    method = qpsim.method(name, **hyper)
    given = variances if method.observes else None
    wrong = naive.published(name, stream, given, bug=bug, **hyper)
    assert error(directions(method, stream, variances), wrong).max() > 1e-3


def test_the_correction_is_the_sum_of_squared_weights():
    for mu in (0.0, 0.5, 0.9, 0.999):
        for t in (1, 2, 3, 40):
            c = (1 - mu) * mu ** np.arange(t) / (1 - mu**t)
            kappa = momentum_correction(mu, float(t))
            assert kappa == pytest.approx(np.sum(c**2), rel=1e-12)
            if kappa < 1:
                ratio = unbiased_momentum_correction(mu, float(t))
                assert ratio == pytest.approx(kappa / (1 - kappa), rel=1e-9)


def test_variance_estimates_are_never_negative_and_constant_gradients_have_none():
    method = qpsim.method("m-svag")
    state = method.initial_state(1)
    for _ in range(1000):
        z, state = method.update(np.array([1e8 / 3]), state)
        assert state["s"][0] == 0.0
        assert z[0] == 1e8 / 3


@pytest.mark.parametrize("name", ["m-svag", "adam*", "svag-ema", "adam", "rmsprop", "adagrad"])
def test_a_coordinate_without_gradients_does_not_move(name):
    rule = qpsim.method(name).rule
    method = rule(eps=0.0) if "eps" in rule.defaults else rule()
    assert not directions(method, np.zeros((5, 3))).any()


@pytest.mark.parametrize("name", ["m-svag-mb", "adam*-mb"])
def test_nor_one_without_gradients_and_variance(name):
    assert not directions(qpsim.method(name), np.zeros((5, 3)), np.zeros((5, 3))).any()
    assert not directions(qpsim.method(name), np.zeros((5, 3)), np.ones((5, 3))).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_sign_survives_where_the_square_underflows(dtype):
    tiny = dtype(1e-30 if dtype is np.float32 else 1e-200)
    stream = np.array([[tiny, -tiny]], dtype)
    assert np.array_equal(directions(qpsim.method("adam*"), stream), [[1.0, -1.0]])
    assert np.array_equal(directions(qpsim.method("m-svag"), stream), stream)


def test_saved_states_carry_the_step_counter(tmp_path):
    stream, _ = gradients(8)
    method = qpsim.method("adam", b2=0.99)
    state = method.initial_state(5)
    for g in stream[:4]:
        _, state = method.update(g, state)
    loaded = qpsim.State.load(state.save(tmp_path / "state.npz"))
    assert loaded.t == 4
    forgetful = qpsim.State(0, loaded.arrays)
    for g in stream[4:]:
        expected, state = method.update(g, state)
        resumed, loaded = method.update(g, loaded)
        wrong, forgetful = method.update(g, forgetful)
        assert np.array_equal(resumed, expected)
        assert np.abs(wrong - expected).max() > 1e-3


def test_a_file_that_is_no_state_is_refused(tmp_path):
    p = qpsim.QuadraticProblem([1.0, 2.0], optimum=[3.0, 4.0])
    path = qpsim.simulate(p, "sgd", n_steps=1, n_replicates=1, rng=0, workers=1).save(
        tmp_path / "result.npz"
    )
    with pytest.raises(FileError, match="state"):
        qpsim.State.load(path)


@pytest.mark.parametrize(
    ("name", "hyper"),
    [
        ("m-svag", {"momentum": 1.0}),
        ("adam*", {"momentum": -0.1}),
        ("adam", {"b1": 1.0}),
        ("adam", {"b2": float("nan")}),
        ("adam", {"eps": -1e-8}),
        ("svag-ema", {"decay": 1.0}),
        ("rprop", {"decrease": 1.5}),
        ("m-svag", {"bias_corrected": 1}),
        ("adadelta", {"eps": 0.0}),
        ("rprop", {"largest": 0.0}),
        ("rprop", {"smallest": 60.0}),
        ("rprop", {"largest": 1e-7}),
        ("rprop", {"smallest": 2.0, "largest": 1.0}),
    ],
)
def test_hyper_parameters_out_of_range_are_refused(name, hyper):
    with pytest.raises(MethodError, match=next(iter(hyper))):
        qpsim.method(name, **hyper)


def test_bounds_of_rprops_sizes_hold_at_the_first_step_too():
    for hyper, expected in (
        ({"smallest": 3.0}, 3.0),
        ({"largest": 0.1}, 0.1),
        ({"smallest": 2.0, "largest": 2.0}, 2.0),
        ({}, 1.0),
    ):
        method = qpsim.method("rprop", **hyper)
        direction, state = method.update(np.array([0.5, -4.0]), method.initial_state(2))
        assert direction.tolist() == [expected, -expected]
        assert state["size"].tolist() == [expected, expected]


def optax_directions(transformation, stream):
    jax = pytest.importorskip("jax", reason="jax is not installed")
    with jax.enable_x64(True):
        state = transformation.init(jax.numpy.asarray(stream[0]))
        out = []
        for g in stream:
            g = jax.numpy.asarray(g)
            update, state = transformation.update(g, state, 0.0 * g)
            out.append(-np.asarray(update))
    return np.array(out)


@pytest.mark.peer
@pytest.mark.parametrize("name", ["adam", "m-sgd", "nesterov", "rmsprop", "adagrad", "adadelta"])
def test_peers_agree(name):
    optax = pytest.importorskip("optax", reason="optax is not installed")
    theirs, hyper = {
        "adam": (lambda: optax.adam(1.0), {}),
        "m-sgd": (lambda: optax.sgd(1.0, momentum=0.9), {}),
        "nesterov": (lambda: optax.sgd(1.0, momentum=0.9, nesterov=True), {}),
        "rmsprop": (lambda: optax.rmsprop(1.0, eps_in_sqrt=False), {}),
        "adagrad": (lambda: optax.adagrad(1.0, 0.0, eps=0.0), {"eps": 0.0}),
        "adadelta": (lambda: optax.adadelta(1.0, rho=0.95), {}),
    }[name]
    stream, _ = gradients(25)
    actual = directions(qpsim.method(name, **hyper), stream)
    assert error(actual, optax_directions(theirs(), stream)).max() < 1e-12


@pytest.mark.peer
@pytest.mark.parametrize("name", ["adam", "rmsprop", "adadelta"])
def test_peers_agree_after_a_hundred_thousand_steps(name):
    optax = pytest.importorskip("optax", reason="optax is not installed")
    jax = pytest.importorskip("jax", reason="jax is not installed")
    transformation = {
        "adam": lambda: optax.adam(1.0),
        "rmsprop": lambda: optax.rmsprop(1.0, eps_in_sqrt=False),
        "adadelta": lambda: optax.adadelta(1.0, rho=0.95),
    }[name]()
    stream, _ = gradients(100_000, 2)
    with jax.enable_x64(True):

        def step(state, g):
            update, state = transformation.update(g, state, 0.0 * g)
            return state, -update

        start = transformation.init(jax.numpy.asarray(stream[0]))
        theirs = np.asarray(jax.lax.scan(step, start, jax.numpy.asarray(stream))[1])[-10:]
    assert error(directions(qpsim.method(name), stream)[-10:], theirs).max() < 1e-12


@pytest.mark.peer
def test_rprop_is_torchs():
    # optax's leaves out the first step and those after a change of sign.
    torch = pytest.importorskip("torch", reason="torch is not installed")
    stream, _ = gradients(25)
    theta = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Rprop([theta], lr=1.0)
    points = [np.zeros(5)]
    for g in stream:
        theta.grad = torch.tensor(g)
        optimizer.step()
        points.append(theta.detach().numpy().copy())
    assert np.abs(directions(qpsim.method("rprop"), stream) + np.diff(points, axis=0)).max() < 1e-12
