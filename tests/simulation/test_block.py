"""The same bits for every way of running a plan: workers, processes, order, length, reruns."""

import multiprocessing
import pickle
import random
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import numpy as np
import pytest

import qpsim
from qpsim.execution import stopping
from qpsim.problem import quadratic_kernel as preparing
from qpsim.simulation import block as blocks
from qpsim.simulation import plan as plans
from qpsim.simulation.plan import make_plan
from tests import naive

CASES = [
    ("diagonal", "sgd"),
    ("diagonal", "va-ssd"),
    ("diagonal", "adam"),
    ("dense", "sgd"),
    ("dense", "ssd"),
    ("dense", "svag"),
]
N = 150
RECORD = {"step_size": True, "theta": [0, 5, 12]}


def problem(kind):
    basis = "axis" if kind == "diagonal" else "haar"
    return qpsim.random_problem("structured", 17, basis, 0.4, rng=3)


def run(kind, method, n_replicates=N, workers=1, **more):
    step_size = 0.05 if method == "adam" else "optimal"
    options = {"n_steps": 12, "rng": 5, "record": RECORD, **more}
    return qpsim.simulate(
        problem(kind), method, step_size, n_replicates=n_replicates, workers=workers, **options
    )


def assert_same_bits(a, b):
    for name in ("excess_loss", "step_size", "theta"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


class Shuffling(Executor):
    """Runs what it was given in a random order, each in a thread of its own."""

    def __init__(self, seed):
        self._stream = random.Random(seed)
        self._waiting = []
        self._lock = threading.Lock()

    def submit(self, function, /, *args, **kwargs):
        future = Future()
        with self._lock:
            self._waiting.append((future, function, args, kwargs))
        threading.Timer(0.01, self._run_one).start()
        return future

    def _run_one(self):
        with self._lock:
            k = self._stream.randrange(len(self._waiting))
            future, function, args, kwargs = self._waiting.pop(k)
        if future.set_running_or_notify_cancel():
            future.set_result(function(*args, **kwargs))


@pytest.fixture(scope="module")
def processes():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize(("kind", "method"), CASES)
def test_threads_and_order_change_no_bit(kind, method):
    reference = run(kind, method)
    for workers in (2, 4, Shuffling(0), Shuffling(1)):
        assert_same_bits(reference, run(kind, method, workers=workers))
    with ThreadPoolExecutor(3) as pool:
        assert_same_bits(reference, run(kind, method, workers=pool))
        assert_same_bits(reference, run(kind, method, workers=pool))


def test_processes_change_no_bit(processes):
    for kind, method in CASES:
        assert_same_bits(run(kind, method), run(kind, method, workers=processes))


def test_a_worker_is_sent_its_own_starting_points_and_no_others(processes):
    p = problem("dense")
    theta0 = np.random.Generator(np.random.PCG64(0)).normal(size=(N, p.dim))
    plan = make_plan(p, "ssd", n_steps=3, n_replicates=N, theta0=theta0, rng=0)
    share = plan.for_block(64, 64)
    assert np.array_equal(share.theta0, theta0[64:128])
    assert len(pickle.dumps(plan)) - len(pickle.dumps(share)) > 0.9 * (N - 64) * p.dim * 8
    alone, whole = blocks.run_block(share, 64, 64), blocks.run_block(plan, 64, 64)
    blocks.forget(plan.token)
    assert np.array_equal(alone.losses, whole.losses)
    options = {"n_steps": 3, "n_replicates": N, "theta0": theta0, "rng": 0}
    in_processes = qpsim.simulate(p, "ssd", workers=processes, **options)
    assert np.array_equal(
        in_processes.excess_loss, qpsim.simulate(p, "ssd", workers=2, **options).excess_loss
    )


@pytest.mark.parametrize(("kind", "method"), CASES)
def test_a_shorter_run_is_the_beginning_of_a_longer_one(kind, method):
    reference = run(kind, method)
    for n in (1, 2, 7, 64, 65, 100):
        part = run(kind, method, n_replicates=n)
        np.testing.assert_array_equal(part.excess_loss, reference.excess_loss[:n])
        np.testing.assert_array_equal(part.theta, reference.theta[:n])
    shorter = run(kind, method, n_steps=5, record=("step_size",))
    np.testing.assert_array_equal(shorter.excess_loss, reference.excess_loss[:, :6])


@pytest.mark.parametrize(("kind", "method"), CASES)
def test_what_is_recorded_changes_no_bit(kind, method):
    reference = run(kind, method)
    for record in ((), "theta", {"theta": [3]}, ["step_size"]):
        again = run(kind, method, record=record)
        np.testing.assert_array_equal(again.excess_loss, reference.excess_loss)


@pytest.mark.parametrize(("kind", "method"), CASES)
def test_chunks_of_steps_change_no_bit(kind, method, monkeypatch):
    reference = run(kind, method)
    monkeypatch.setattr(blocks, "_CHUNK_ELEMENTS", 1)
    assert_same_bits(reference, run(kind, method))


def test_where_steps_take_a_series_the_first_chunk_is_one_step_and_none_changes_a_bit(monkeypatch):
    plan = make_plan(problem("dense"), "adam", "optimal", 4, 2, rng=0)
    assert plan.uses_series and blocks._chunk_length(plan, 16) == 1
    assert blocks._next_length(4, 0.0) == 8 and blocks._next_length(4, 60.0) == 2
    small = qpsim.random_problem("mild", 4, "haar", 0.4, rng=3)
    reference = qpsim.simulate(small, "adam", n_steps=9, n_replicates=3, rng=0, workers=1)
    monkeypatch.setattr(blocks, "_SLOW_SECONDS", -1.0)
    monkeypatch.setattr(blocks, "_QUICK_SECONDS", -1.0)
    again = qpsim.simulate(small, "adam", n_steps=9, n_replicates=3, rng=0, workers=1)
    np.testing.assert_array_equal(again.excess_loss, reference.excess_loss)


@pytest.mark.parametrize(("kind", "method"), CASES)
def test_the_block_size_changes_no_bit_of_a_diagonal_run(kind, method, monkeypatch):
    reference = run(kind, method)
    monkeypatch.setattr(plans, "BLOCK_SIZE", 24)
    monkeypatch.setattr(blocks, "BLOCK_SIZE", 24)
    again = run(kind, method)
    assert again.provenance["block_size"] == 24
    if kind == "diagonal":
        assert_same_bits(reference, again)
    else:
        np.testing.assert_allclose(again.excess_loss, reference.excess_loss, rtol=1e-9)


def test_a_saved_and_loaded_result_runs_again_with_the_same_bits(tmp_path, processes):
    for kind, method in CASES:
        reference = run(kind, method, rng=np.random.SeedSequence(1, spawn_key=(3, 4)))
        again = qpsim.load(reference.save(tmp_path / "r.npz"))
        assert_same_bits(reference, again)
        assert_same_bits(reference, qpsim.rerun(again, workers=2))
    assert_same_bits(reference, qpsim.rerun(again, workers=processes))


@pytest.mark.parametrize("kind", ["diagonal", "dense"])
def test_methods_share_their_noise_and_numpy_can_draw_it(kind):
    p = problem(kind)
    basis = np.eye(p.dim) if p.is_diagonal else p.eigenvectors
    for method in ("sgd", "adam", "m-ssd"):
        r = qpsim.simulate(
            p, method, 0.01, n_steps=3, n_replicates=70, rng=8, workers=2, record="theta"
        )
        for k in (0, 69):
            xi = naive.normals(np.random.SeedSequence(8), k, 3, p.dim)
            buffer = np.zeros(p.dim)
            for t in range(3):
                drawn = p.matvec(r.theta[k, t] - p.optimum - p.noise_std * basis @ xi[t])
                moved = (r.theta[k, t] - r.theta[k, t + 1]) / 0.01
                if method == "sgd":
                    np.testing.assert_allclose(moved, drawn, rtol=1e-9, atol=1e-9)
                elif method == "m-ssd":
                    buffer = 0.9 * buffer + drawn
                    np.testing.assert_allclose(moved, np.sign(buffer), atol=1e-9)
                elif t == 0:
                    np.testing.assert_allclose(moved, np.sign(drawn), atol=1e-6)


def test_an_rng_object_gives_the_same_stream_as_its_seed():
    p = problem("diagonal")

    def losses(rng):
        return qpsim.simulate(p, "sgd", n_steps=3, n_replicates=3, rng=rng, workers=1).excess_loss

    seed = np.random.SeedSequence(9)
    np.testing.assert_array_equal(losses(9), losses(seed))
    np.testing.assert_array_equal(losses(seed), losses(seed))
    seed.spawn(4)
    np.testing.assert_array_equal(losses(9), losses(seed))
    generator = np.random.default_rng(9)
    first, second = losses(generator), losses(generator)
    assert (first[:, 1:] != second[:, 1:]).all()
    again = np.random.default_rng(9)
    np.testing.assert_array_equal(losses(again), first)
    assert (losses(None)[:, 1:] != losses(None)[:, 1:]).all()


def test_a_stopped_plan_gives_up_and_is_forgotten():
    plan = make_plan(problem("dense"), "ssd", n_steps=5, n_replicates=8, rng=0)
    runs = stopping.new_run()
    stopping.stop(runs)
    with pytest.raises(blocks.Interrupted):
        stopping.call(runs, None, blocks.run_block, plan, 0, 8)
    # A kernel is told without Python, for which it leaves no time.
    flag = stopping.call(runs, None, stopping.stop_flag)
    stopping.forget(runs)
    assert flag[0] == 1
    blocks.forget(plan.token)
    assert blocks.run_block(plan, 0, 8).losses.shape == (6, 8)
    blocks.forget(plan.token)
    assert plan.token not in blocks._prepared


def test_a_failing_worker_is_reported_and_nothing_is_left_behind():
    class Failing(ThreadPoolExecutor):
        def submit(self, function, /, *args, **kwargs):
            return super().submit(lambda: 1 / 0)

    # A run that was given up while its worker processes went on is still named.
    before = set(stopping._stopped)
    with Failing(2) as pool, pytest.raises(ZeroDivisionError):
        run("dense", "ssd", workers=pool)
    assert not blocks._prepared and stopping._stopped == before


def test_a_rule_that_processes_cannot_import_is_sent_to_them(processes):
    factor = 0.5

    @qpsim.rule(closed_form="linear")
    def local(gradient, t, power=1.0):
        return factor * gradient / t**power

    there, here = (
        qpsim.simulate(problem("diagonal"), local, 0.1, n_replicates=N, rng=0, workers=workers)
        for workers in (processes, 2)
    )
    assert_same_bits(there, here)


def test_a_wide_problem_gets_fewer_lanes_and_never_none():
    assert plans.block_size(1) == plans.block_size(65_536) == 64
    assert plans.block_size(10**6) == 8
    assert plans.block_size(10**8) == 1


def test_a_problem_keeps_its_table_for_the_next_run_and_no_longer_than_itself():
    problem = qpsim.random_problem("mild", dim=40, basis="haar", rng=0)
    before = len(preparing._sign_tables)
    first = qpsim.simulate(problem, "ssd", n_steps=2, n_replicates=2, rng=0, workers=1)
    table = preparing._sign_table(problem)
    assert len(preparing._sign_tables) == before + 1
    again = qpsim.simulate(problem, "ssd", n_steps=2, n_replicates=2, rng=0, workers=1)
    assert preparing._sign_table(problem) is table
    assert np.array_equal(first.excess_loss, again.excess_loss)
    del problem, first, again
    assert len(preparing._sign_tables) == before


@pytest.mark.parametrize(
    "method",
    [
        "adam",
        *(
            pytest.param(name, marks=pytest.mark.long)
            for name in ("m-svag", "rmsprop", "m-svag-mb")
        ),
    ],
)
@pytest.mark.parametrize("step_size", ["optimal", "bound"])
def test_a_replicates_bits_are_its_own_without_a_closed_form(method, step_size):
    # Their moments on a diagonal Hessian are sums over nodes, in each replicate apart.
    problem = qpsim.random_problem("mild", 6, "axis", 0.5, rng=1)
    runs = [
        qpsim.simulate(
            problem, method, step_size, 4, n, rng=3, workers=workers, batch_size=2, record=()
        ).excess_loss[:65]
        for n, workers in ((65, 1), (65, 2), (256, 1), (256, 4))
    ]
    for other in runs[1:]:
        np.testing.assert_array_equal(runs[0], other)


def test_one_thread_at_a_time_calls_kernels_with_types_that_are_new(monkeypatch):
    """The others wait, and whoever calls them with the same types later need not."""
    monkeypatch.setattr(blocks, "_called_types", set())
    alone, others, seen = threading.Event(), threading.Barrier(3), []

    def call():
        others.wait(timeout=10)
        with blocks._first_call(np.zeros(2), 1.0) as is_first:
            assert not (is_first and alone.is_set())
            if is_first:
                alone.set()
                time.sleep(0.01)
                alone.clear()
            seen.append(is_first)

    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(call) for _ in range(3)]:
            future.result(timeout=10)
    assert seen[0]
    with blocks._first_call(np.ones(5), 2.0) as is_first:
        assert not is_first
    for other in (np.zeros((2, 1)), np.zeros(2, np.float32)):
        with blocks._first_call(other, 1.0) as is_first:
            assert is_first


def test_kernels_are_called_without_a_step_before_others_may_call_them(monkeypatch):
    from qpsim.kernels import coupled, diagonal

    for module, kind, method in ((diagonal, "diagonal", "va-ssd"), (coupled, "dense", "ssd")):
        lengths, advance = [], module.advance

        def counted(*arguments, lengths=lengths, advance=advance):
            (steps,) = (part for part in arguments if type(part).__name__ == "Steps")
            lengths.append(steps.given.size)
            return advance(*arguments)

        monkeypatch.setattr(blocks, "_called_types", set())
        monkeypatch.setattr(module, "advance", counted)
        first, before = run(kind, method, 8), len(lengths)
        again = run(kind, method, 8)
        # On coupled coordinates every run begins with a call for no steps, which gives the loss at the start.
        begin = [0] if kind == "dense" else []
        assert lengths[: len(begin) + 1] == [*begin, 0]
        assert lengths[before:].count(0) == len(begin)
        assert first.excess_loss.tobytes() == again.excess_loss.tobytes()
