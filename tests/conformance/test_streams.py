"""Each stream finds a certain error, which no other stream finds."""

import numpy as np
import pytest

from qpsim import conformance, method
from qpsim.conformance import adapters
from qpsim.conformance.adapters.gradient_transformation import GradientTransformation
from qpsim.conformance.adapters.pair import Pair
from qpsim.conformance.adapters.pytorch import Torch
from qpsim.conformance.diagnosis import candidate_of, differences
from qpsim.conformance.play import play
from qpsim.conformance.public import PUBLIC, installed

STEP, N_LONG = 2.0**-7, 1100


def _size(rows):
    return np.abs(rows).reshape(len(rows), -1)


def _zero(rows):
    return ~rows.reshape(len(rows), -1).any(axis=1)


def _spread_of(rows):
    deviations = rows.reshape(len(rows), -1).std(axis=0)
    return deviations.max() / deviations.min() if deviations.min() > 0 else np.inf


def _condition(rows):
    if rows.ndim != 2 or rows.shape[1] < 2:
        return 1.0
    values = np.linalg.svd(rows.astype(float), compute_uv=False)
    return values[0] / values[-1] if values[-1] > 0 else np.inf


def _outlier(rows, low, high):
    if len(rows) < 7:
        return False
    before = _size(rows[-7:-1]).max(axis=0) * rows[-7:-1].all(axis=0).ravel()
    now = _size(rows[-1:])[0]
    return bool(((now > low * before) & (now < high * before) & (before > 1e-3)).any())


# Stream -> when the fault strikes, from the gradients so far (n, ...) and the parameters.
WHEN = {
    "constant": lambda g, p: len(g) > 1 and g[-1].any() and np.array_equal(g[-1], g[-2]),
    "alternating": lambda g, p: len(g) > 1 and g[-1].any() and np.array_equal(g[-1], -g[-2]),
    "zeros first": lambda g, p: len(g) > 5 and _zero(g[:-1]).all() and not _zero(g)[-1],
    "zeros after": lambda g, p: len(g) > 5 and not _zero(g[:-1])[-5:].any() and _zero(g)[-1],
    "all zero": lambda g, p: len(g) > 20 and g.size > 0 and _zero(g).all(),
    "every third": lambda g, p: len(g) > 3 and list(_zero(g)[-4:]) == [False, True, True, False],
    "spike": lambda g, p: _outlier(g, 1e5, 1e9),
    "growing": lambda g, p: len(g) > 30 and (np.diff(_size(g), axis=0) > 0).all(),
    "shrinking": lambda g, p: len(g) > 30 and (np.diff(_size(g), axis=0) < 0).all(),
    "first only": lambda g, p: len(g) > 35 and not _zero(g)[0] and _zero(g)[1:].all(),
    "tiny": lambda g, p: 1e-33 < _size(g).max(initial=0.0) < 1e-25,
    "small": lambda g, p: 1e-12 < _size(g).max(initial=0.0) < 1e-5,
    "huge": lambda g, p: _size(g).max(initial=0.0) > 1e25,
    "subnormal": lambda g, p: 0 < _size(g).max(initial=0.0) < 1e-300,
    "scales": lambda g, p: g[-1].all() and g.size and _size(g[-1:]).max() > 1e9 * _size(g[-1:]).min(),
    "sparse rows": lambda g, p: p.ndim == 2 and 0 < g[-1].any(axis=1).sum() < p.shape[0],
    "sign flips": lambda g, p: len(g) > 9 and (g[-9:] * g[-10:-1] < 0).all() and not np.array_equal(g[-1], -g[-2]),
    "heavy tails": lambda g, p: _outlier(g, 12.0, 1e4),
    "quadratic": lambda g, p: len(g) == 40 and 30 < _spread_of(g) < 1e5,
    "rotated quadratic": lambda g, p: len(g) == 40 and 30 < _condition(g) < 1e5 and _spread_of(g) < 30,
    "away from zero": lambda g, p: len(g) == 1 and p.size > 0 and np.abs(p).max() > 3,
    "float32": lambda g, p: p.dtype == np.float32,
    "float16": lambda g, p: p.dtype == np.float16,
    "long": lambda g, p: len(g) > 1000,
    "shapes": lambda g, p: p.ndim == 0,
}  # fmt: skip


def planted(strikes):
    """Gradient descent that takes half a step too much, or a step where none is due, when it strikes."""

    def update(gradient, past, params):
        past = [*past, gradient.copy()]
        wrong = strikes(np.array(past), params)
        factor = params.dtype.type(1.5 * STEP if wrong else STEP)
        moved = params - factor * gradient
        return (moved + params.dtype.type(0.25) if wrong and not gradient.any() else moved), past[
            -1050:
        ]

    return Pair(lambda params: [], update)


def seen(subject, names=None, name="sgd"):
    """Streams on which it is not the method; and those that can be given to it."""
    played = [play(subject, stream) for stream in conformance.streams(names, N_LONG)]
    played = [one for one in played if one is not None]
    assert all(one.wrong is None for one in played)
    steps = lambda n: np.full(n, STEP)  # noqa: E731
    return set(differences(candidate_of(method(name)), played, steps)), {
        one.stream.name for one in played
    }


@pytest.mark.parametrize("name", WHEN)
def test_the_fault_of_a_stream_is_seen_on_it(name):
    assert seen(planted(WHEN[name]), [name])[0] == {name}


@pytest.mark.long
@pytest.mark.parametrize("name", WHEN)
def test_the_fault_of_a_stream_is_seen_nowhere_else(name):
    assert seen(planted(WHEN[name]))[0] == {name}


def momentum(lose=False, ravel=False):
    """Heavy-ball momentum that loses its state in a file, or moves only what is contiguous."""

    class State(np.ndarray):
        def __reduce__(self):
            return (np.zeros if lose else np.array), (self.shape if lose else self.tolist(),)

    def init(params):
        return np.zeros(params.shape, params.dtype).view(State)

    def update(gradient, state, params):
        state *= params.dtype.type(0.9)
        state += gradient
        if ravel:
            flat = params.ravel()
            flat -= params.dtype.type(STEP) * np.asarray(state).ravel()
            return params, state
        return params - params.dtype.type(STEP) * np.asarray(state), state

    return Pair(init, update)


def test_faults_of_what_happens_to_a_pair_are_seen():
    few = ["normal", "shapes", "layouts", "save and load", "two at once", "clones", "float32"]
    right, given = seen(momentum(), few, "m-sgd")
    assert not right and given == set(few)
    assert seen(momentum(lose=True), few, "m-sgd")[0] == {"save and load"}
    assert seen(momentum(ravel=True), few, "m-sgd")[0] == {"layouts"}

    held = {}

    def by_value(params):
        """Parameters of one shape and value, one after the other, have one state."""
        key = params.shape, params.tobytes()
        if held.get("key") != key:
            held.update(key=key, state=np.zeros_like(params))
        return held["state"]

    copies = momentum()
    copies.init = by_value
    few = ["normal", "two at once", "clones", "shapes"]
    assert seen(copies, few, "m-sgd")[0] == {"clones"}


def torch_sgd(fault):
    torch = pytest.importorskip("torch")
    shared = {}

    class Faulty(torch.optim.SGD):
        def step(self, closure=None):
            for j, group in enumerate(self.param_groups):
                for k, param in enumerate(group["params"]):
                    state = self.state[param]
                    if fault == "shared":
                        shared.setdefault((j, k), []).append(id(self))
                        state["wrong"] = len(set(shared[j, k][-2:])) == 2 and len(shared[j, k]) > 1
                    else:
                        state["wrong"] = {
                            "groups": j > 0,
                            "layouts": not param.is_contiguous(),
                            "no gradient": param.grad is None and "given" in state,
                            "frozen": param.grad is None and "given" not in state,
                            "bfloat16": param.dtype == torch.bfloat16,
                            "save and load": "loaded" in state,
                        }[fault]
                    if param.grad is not None:
                        state["given"] = True
                    with torch.no_grad():
                        if state["wrong"]:
                            param.add_(0.5)
            super().step(closure)

        def load_state_dict(self, state):
            super().load_state_dict(state)
            for held in self.state.values():
                held["loaded"] = True

    return Torch(lambda params: Faulty(params, lr=STEP))


@pytest.mark.peer
@pytest.mark.parametrize(
    "name", ["groups", "layouts", "no gradient", "frozen", "bfloat16", "save and load"]
)
def test_faults_that_only_torch_can_have_are_seen_on_their_stream(name):
    found, given = seen(torch_sgd(name))
    assert found == {name} and given == set(conformance.stream_names())


@pytest.mark.peer
def test_two_torch_optimizers_that_share_are_seen():
    few = ["two at once", "clones", "groups", "shapes"]
    assert "two at once" in seen(torch_sgd("shared"), few)[0]


@pytest.mark.peer
@pytest.mark.parametrize(
    ("kind", "not_given"),
    [
        ("pair", {"bfloat16", "groups", "no gradient", "frozen"}),
        pytest.param(*("optax", {"subnormal", "layouts", "no gradient"}), marks=pytest.mark.long),
        pytest.param(*("keras", {"layouts", "groups"}), marks=pytest.mark.long),
        ("torch", set()),
    ],
)
def test_every_kind_is_given_every_stream_that_it_can(kind, not_given):
    if kind == "pair":
        optimizer = (np.zeros_like, lambda g, s, p: (p - p.dtype.type(STEP) * g, s))
    else:
        if installed(kind) is None:
            pytest.skip(f"{kind} is not installed")
        (optimizer,) = (
            one.optimizer()
            for one in PUBLIC
            if (one.package, one.name) == (kind, "sgd" if kind == "optax" else "SGD")
        )
    report = conformance.check(optimizer, "sgd", n_long=N_LONG, run_laws=False)
    outcomes = {one.stream: one.outcome for one in report.streams}
    assert {name for name, word in outcomes.items() if word == "not applicable"} == not_given
    assert {word for name, word in outcomes.items() if name not in not_given} == {"passed"}
    assert len(outcomes) - len(not_given) >= 25
    # A stream that is not given says why, in words that no other kind has.
    notes = {one.note for one in report.streams if one.outcome == "not applicable"}
    assert all(len(note) > 15 and "can be given" not in note for note in notes)


@pytest.mark.peer
def test_an_optax_transformation_that_fails_where_parameters_are_masked_is_seen():
    """Groups and frozen parameters are given to it by ``multi_transform``, which masks the others."""
    jax, optax = pytest.importorskip("jax"), pytest.importorskip("optax")

    def update(gradients, state, params=None):
        leaves = jax.tree.leaves(gradients, is_leaf=lambda g: isinstance(g, optax.MaskedNode))
        masked = any(isinstance(g, optax.MaskedNode) for g in leaves)
        factor = -2.0 * STEP if masked else -STEP
        return jax.tree.map(lambda g: factor * g, gradients), state

    faulty = optax.GradientTransformation(lambda params: (), update)
    names = ["normal", "groups", "frozen", "two at once", "shapes"]
    found, given = seen(GradientTransformation(faulty), names)
    assert found == {"groups", "frozen"} and given == set(names)


@pytest.mark.peer
def test_a_frozen_parameter_of_optax_and_keras_does_not_move():
    pytest.importorskip("optax")
    (stream,) = conformance.streams(["frozen"])
    for package, name in (("optax", "sgd"), ("keras", "SGD")):
        if installed(package) is None:
            continue
        (one,) = (one for one in PUBLIC if (one.package, one.name) == (package, name))
        played = play(adapters.subject(one.optimizer(), {}, {}, STEP), stream)
        assert (played.theta[:, 3:] == 1.0).all() and (played.theta[-1, :3] != 1.0).all()
