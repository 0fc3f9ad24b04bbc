"""Simulated trajectories against plain loops with the same noise; divergence, memory, interrupts."""

import signal
import subprocess
import sys
import time
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import qpsim
from qpsim.errors import ArtefactWarning, DivergenceWarning
from qpsim.simulation import block as blocks
from tests import naive

METHODS = ("sgd", "ssd", "svag", "va-ssd", "va-ssd-erf", "m-sgd", "m-ssd", "adam")
POLICIES = ("optimal", "bound", "line-search", "constant", "schedule")
N_STEPS = 8


def rotated(dim, noise_std, rng=3):
    values = np.linspace(0.3, 4.0, dim)
    return qpsim.random_problem(values, basis="haar", noise_std=noise_std, scale=3.0, rng=rng)


PROBLEMS = {
    "diagonal": qpsim.random_problem(np.linspace(0.3, 4.0, 5), basis="axis", noise_std=0.7, rng=1),
    "dense": rotated(5, 0.7),
    "even": rotated(4, 2.0),
    "noise-free": qpsim.random_problem([0.5, 1.0, 3.0], basis="axis", noise_std=0.0, rng=1),
    "dense-noise-free": rotated(3, 0.0),
    "one": qpsim.QuadraticProblem([2.0], [1.5], 0.5),
    "two": rotated(2, 0.1),
}


def step_size(policy):
    if policy == "constant":
        return 0.03, np.full(N_STEPS, 0.03)
    if policy == "schedule":
        return (lambda t: 0.2 / (t + 3)), 0.2 / (np.arange(1, N_STEPS + 1) + 3)
    return policy, None


def compare(problem, method, policy, *, replicates, n=67, rng=11, **more):
    given_step, given = step_size(policy)
    r = qpsim.simulate(
        problem,
        method,
        given_step,
        n_steps=N_STEPS,
        n_replicates=n,
        rng=rng,
        workers=1,
        record=("step_size", "theta"),
        **more,
    )
    # A tabulated quadrature gives the exact sign step to 1e-9, everything else is rounding.
    tabulated = method in naive.SIGN_METHODS and policy == "optimal" and not problem.is_diagonal
    tolerance = 1e-8 if tabulated else 1e-10
    theta0 = np.broadcast_to(more.get("theta0", np.zeros(problem.dim)), (n, problem.dim))
    for k in replicates:
        losses, steps, thetas, closest = naive.simulate(
            problem,
            method,
            policy if given is None else "given",
            np.random.SeedSequence(rng),
            k,
            N_STEPS,
            theta0[k],
            given,
            more.get("batch_size", 1),
        )
        # A gradient nearer to zero than rounding may have either sign; the seed avoids it.
        assert closest > 1e-9
        close(r.excess_loss[k], losses, tolerance)
        # At the optimum the step is a ratio of two rounding errors.
        away = losses[:-1] > 1e-8 * losses.max()
        close(r.step_size[k, away], steps[away], tolerance)
        close(r.theta[k], thetas, tolerance)


def close(actual, desired, tolerance):
    largest = np.abs(desired).max()
    np.testing.assert_allclose(actual, desired, rtol=tolerance, atol=tolerance * largest)


# The quadrature of a rule without a closed form has tests of its own.
WITH_TWINS = [
    pytest.param(m, p, marks=pytest.mark.long)
    if m == "va-ssd-erf" or (m, p) == ("adam", "line-search")
    else (m, p)
    for m in METHODS
    for p in POLICIES
    if not (m == "adam" and p in ("optimal", "bound"))
]


@pytest.mark.parametrize(("method", "policy"), WITH_TWINS)
@pytest.mark.parametrize("kind", PROBLEMS)
def test_a_trajectory_is_that_of_the_loop_twin(kind, method, policy):
    # 0 and 63 are the first block's ends, 66 lies in the last, partial one.
    compare(PROBLEMS[kind], method, policy, replicates=(0, 63, 66))


@pytest.mark.parametrize("method", ["sgd", "ssd", "va-ssd", "m-ssd", "svag"])
@pytest.mark.parametrize("kind", ["diagonal", "dense"])
def test_every_replicate_may_start_elsewhere_and_see_a_minibatch(kind, method):
    theta0 = np.random.Generator(np.random.PCG64(5)).normal(size=(67, 5))
    compare(PROBLEMS[kind], method, "optimal", replicates=(1, 64, 66), theta0=theta0, batch_size=7)


# Records, memory, divergence, interruption.


def small(method="sgd", step_size="optimal", **more):
    options = {"n_steps": 5, "n_replicates": 3, "rng": 0, "workers": 1, **more}
    return qpsim.simulate(PROBLEMS["dense"], method, step_size, **options)


def test_record_chooses_what_is_kept():
    everything = small(record=("step_size", "theta"))
    assert everything.theta.shape == (3, 6, 5) and everything.theta_steps == (0, 1, 2, 3, 4, 5)
    for record, step_size, steps in [
        ((), False, ()),
        ("excess_loss", False, ()),
        (["step_size"], True, ()),
        ({"theta": [5, 0, 5]}, False, (0, 5)),
        ({"theta": np.array([2]), "step_size": False}, False, (2,)),
        ({"theta": range(2, 4), "step_size": True}, True, (2, 3)),
        ({"theta": False}, False, ()),
    ]:
        r = small(record=record)
        assert r.excess_loss.shape == (3, 6) and r.theta_steps == steps
        assert (r.step_size is not None) is step_size
        assert (r.theta is not None) is bool(steps)
        if steps:
            np.testing.assert_array_equal(r.theta, everything.theta[:, list(steps)])


@pytest.mark.parametrize("method", ["sgd", "svag"])
@pytest.mark.parametrize("kind", ["diagonal", "dense", "one"])
def test_losses_step_sizes_and_thetas_belong_together(kind, method):
    r = qpsim.simulate(
        PROBLEMS[kind],
        method,
        n_steps=6,
        n_replicates=70,
        rng=2,
        workers=1,
        record=("step_size", "theta"),
    )
    np.testing.assert_allclose(
        r.excess_loss, r.problem.excess_loss(r.theta), rtol=1e-10, atol=1e-14
    )
    assert (r.step_size > 0).all() and r.excess_loss.dtype == np.float64


BAD_ARGUMENTS = {
    "problem": (
        {"problem": np.eye(2)},
        "needs a problem, such as a qpsim.QuadraticProblem, not ndarray",
    ),
    "method": ({"method": "smd"}, "did you mean"),
    "policy": ({"step_size": "linesearch"}, "did you mean 'line-search'"),
    "steps": ({"n_steps": 0}, "n_steps must be a whole number of at least 1, not 0"),
    "negative steps": ({"n_steps": -1}, "n_steps must be"),
    "float steps": ({"n_steps": 10.0}, "n_steps must be"),
    "bool steps": ({"n_steps": True}, "n_steps must be"),
    "replicates": ({"n_replicates": 0}, "n_replicates must be"),
    "batch": ({"batch_size": 0}, "batch_size must be"),
    "shape": ({"theta0": [1.0]}, r"theta0 must have shape \(5,\) or \(3, 5\), not \(1,\)"),
    "replicate shape": ({"theta0": np.ones((4, 5))}, r"not \(4, 5\)"),
    "scalar": ({"theta0": 1.0}, "theta0 must have shape"),
    "nan": ({"theta0": [1.0, 2.0, 3.0, 4.0, np.nan]}, "theta0 holds NaN"),
    "text": ({"theta0": ["a"] * 5}, "theta0 must be an array of real numbers"),
    "complex": ({"theta0": np.ones(5) * 1j}, "theta0 must be an array of real numbers"),
    "ragged": ({"theta0": [[1.0], [1.0, 2.0]]}, "theta0 must be a rectangular array"),
    "record": ({"record": "thetas"}, "did you mean 'theta'"),
    "record number": ({"record": 3}, "record must be names"),
    "record list": ({"record": [["theta"]]}, "record must be names"),
    "record key": ({"record": {"losses": True}}, "Cannot record 'losses'"),
    "step beyond": ({"record": {"theta": [6]}}, r"must lie in 0 to 5, not \[6\]"),
    "step below": ({"record": {"theta": [-1]}}, "must lie in 0 to 5"),
    "half step": ({"record": {"theta": [0.5]}}, "must be whole numbers"),
    "no steps": ({"record": {"theta": []}}, "must lie in 0 to 5"),
    "one step": ({"record": {"theta": 3}}, "must be whole numbers"),
    "rng": ({"rng": "0"}, "rng must be"),
    "workers": ({"workers": 0}, "workers must be"),
    "worker names": ({"workers": "all"}, "workers must be"),
    "worker fraction": ({"workers": 1.5}, "workers must be"),
}


@pytest.mark.parametrize("kind", BAD_ARGUMENTS)
def test_a_bad_argument_gets_its_own_sentence_before_any_work(kind, monkeypatch):
    def no_work(*_):
        raise AssertionError("work began before the arguments were checked")

    monkeypatch.setattr(blocks, "run_block", no_work)
    arguments, sentence = BAD_ARGUMENTS[kind]
    options = {"problem": PROBLEMS["dense"], "method": "sgd", "n_steps": 5, "n_replicates": 3}
    with pytest.raises(qpsim.QpsimError, match=sentence) as error:
        qpsim.simulate(**{**options, "rng": 0, "workers": 1, **arguments})
    assert "\n" not in str(error.value) and isinstance(error.value, ValueError)


def test_a_start_at_a_sign_vector_is_warned_of():
    p = qpsim.QuadraticProblem([1.0, 2.0, 3.0], [1.0, 1.0, 1.0])
    options = {"n_steps": 1, "n_replicates": 2, "workers": 1}
    for theta0 in (None, [3.0, -1.0, 3.0], [[0.0, 0.3, 0.0], [-1.0, 3.0, -1.0]]):
        with pytest.warns(ArtefactWarning, match="multiple of a sign vector") as seen:
            qpsim.simulate(p, "ssd", theta0=theta0, **options)
        assert seen[0].filename == __file__
        if theta0 is None:
            qpsim.simulate(p, "sgd", theta0=theta0, **options)
    for theta0 in ([0.0, 0.0, 0.1], [p.optimum, [0.0, 0.0, 0.1]]):
        qpsim.simulate(p, "ssd", theta0=theta0, **options)


def test_a_start_at_the_optimum_is_warned_of_where_nothing_would_move():
    p = qpsim.QuadraticProblem([1.0, 2.0], [3.0, 1.0])
    options = {"n_steps": 2, "n_replicates": 2, "workers": 1, "rng": 0}
    for policy in ("optimal", "bound", "line-search"):
        with pytest.warns(ArtefactWarning, match="starts at the optimum") as seen:
            r = qpsim.simulate(p, "sgd", policy, theta0=p.optimum, **options)
        assert seen[0].filename == __file__ and not r.excess_loss.any()
    # A given step leaves the optimum and finds the level of its noise.
    assert qpsim.simulate(p, "sgd", 0.1, theta0=p.optimum, **options).excess_loss[:, 1:].all()
    qpsim.simulate(p, "sgd", theta0=[p.optimum, [0.0, 0.1]], **options)


def test_one_coordinate_is_no_sign_vector():
    options = {"n_steps": 1, "n_replicates": 2, "workers": 1}
    qpsim.simulate(PROBLEMS["one"], "ssd", **options)


def peak_memory(**arguments):
    tracemalloc.start()
    try:
        r = qpsim.simulate(workers=2, rng=0, **arguments)
        return tracemalloc.get_traced_memory()[1] / r.excess_loss.nbytes
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("basis", ["axis", "haar"])
def test_memory_grows_with_the_block_and_the_record_alone(basis):
    p = qpsim.random_problem("mild", 200, basis, rng=0)
    step_size = "optimal" if basis == "axis" else 0.01
    arguments = {"problem": p, "method": "ssd", "step_size": step_size, "n_steps": 50}
    qpsim.simulate(rng=0, n_replicates=8, **arguments)
    # The record is 2000 x 51 numbers; every theta would be 200 times as much.
    assert peak_memory(n_replicates=2000, record=(), **arguments) < 8


def test_more_memory_than_there_is_is_refused_before_the_work(monkeypatch):
    p = qpsim.random_problem("mild", 4, "axis", rng=0)
    arguments = {"n_steps": 2_000, "n_replicates": 1_000, "theta0": [1, 2, 3, 4], "workers": 1}
    # The losses alone take 16 MB.
    monkeypatch.setattr("qpsim.simulation.memory.available_memory", lambda: 12_000_000)
    with pytest.raises(
        qpsim.errors.SimulationError, match=r"at least [\d.]+ MB of memory, but 12\.0 MB are"
    ):
        qpsim.simulate(p, "sgd", 0.01, record=(), **arguments)
    # A system that does not say how much is free is not asked again.
    monkeypatch.setattr("qpsim.simulation.memory.available_memory", lambda: None)
    assert qpsim.simulate(p, "sgd", 0.01, record=(), **arguments).n_replicates == 1_000


@given(
    st.sampled_from(["sgd", "ssd", "svag", "va-ssd", "m-sgd", "m-ssd", "adam"]),
    st.sampled_from(["diagonal", "dense", "one", "noise-free"]),
    st.floats(min_value=0.0, max_value=1.7e308),
    st.sampled_from([1.0, 1e50, 1e153, 1e300]),
)
@settings(deadline=None, max_examples=80)
def test_no_step_however_large_makes_a_nan(method, kind, step_size, start):
    p = PROBLEMS[kind]
    theta0 = start * np.linspace(1.0, 2.0, p.dim)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        r = qpsim.simulate(
            p,
            method,
            step_size,
            n_steps=12,
            n_replicates=2,
            theta0=theta0,
            rng=0,
            workers=1,
            record=("step_size", "theta"),
        )
    for array in (r.excess_loss, r.step_size, r.theta):
        assert not np.isnan(array).any()
    assert (r.excess_loss >= 0).all() and np.isfinite(r.step_size).all()
    gone = np.isinf(r.excess_loss)
    assert (gone[:, 1:] >= gone[:, :-1]).all()
    assert (np.isinf(r.theta).all(axis=2) == gone).all()


@pytest.mark.parametrize("policy", ["optimal", "bound", "line-search"])
@pytest.mark.parametrize("method", ["sgd", "ssd", "svag", "va-ssd", "m-ssd"])
@pytest.mark.parametrize("kind", ["diagonal", "dense"])
def test_chosen_steps_from_anywhere_make_no_nan(kind, method, policy):
    p = PROBLEMS[kind]
    scales = np.array([1e-300, 1e-160, 1e-20, 1e20, 1e150, 1e160])
    start = p.optimum * (kind == "dense") + scales[:, None] * np.linspace(1.0, 2.0, p.dim)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DivergenceWarning)
        r = qpsim.simulate(
            p, method, policy, n_steps=4, n_replicates=6, theta0=start, rng=0, workers=1
        )
    assert not np.isnan(r.excess_loss).any() and np.isfinite(r.step_size).all()


def test_divergence_is_infinite_and_names_method_step_and_policy():
    p = qpsim.QuadraticProblem([1.0, 2.0], [1.0, 3.0], 0.1)
    with pytest.warns(DivergenceWarning) as seen:
        r = qpsim.simulate(p, "sgd", 1e60, n_steps=8, n_replicates=5, rng=0, workers=1)
    assert seen[0].filename == __file__
    first = int(np.argmax(np.isinf(r.excess_loss).any(axis=0)))
    assert 1 < first < 8 and np.isfinite(r.excess_loss[:, :first]).all()
    message = str(seen[0].message)
    assert "sgd diverged in 5 of 5 replicates" in message
    assert f"step {first}" in message and "constant step size" in message


INTERRUPTED = """
import qpsim, sys, threading
p = qpsim.random_problem("structured", 100, rng=0)
qpsim.simulate(p, "ssd", n_steps=1, n_replicates=1, rng=0)
print("ready", flush=True)
try:
    qpsim.simulate(p, "ssd", n_steps=20_000, n_replicates=2_000, rng=0, workers=2, record=())
except KeyboardInterrupt:
    print("stopped", threading.active_count(), flush=True)
"""


def test_an_interrupt_stops_a_long_run_promptly():
    run = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert run.stdout.readline() == b"ready\n"
        time.sleep(0.5)
        run.send_signal(signal.SIGINT)
        # The run would take minutes, one block 20 seconds; a busy machine may need a few.
        out, err = run.communicate(timeout=12)
    finally:
        run.kill()
        run.wait()
    assert out == b"stopped 1\n" and err == b"" and run.returncode == 0
