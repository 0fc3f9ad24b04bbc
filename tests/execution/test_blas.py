"""BLAS has one thread while the package computes, and its former number of threads afterwards."""

import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

import qpsim
from qpsim import nn
from qpsim.execution import blas
from qpsim.execution.blas import one_blas_thread


def n_threads():
    """Threads of each BLAS library, by file."""
    blas = (library for library in threadpool_info() if library["user_api"] == "blas")
    return {library["filepath"]: library["num_threads"] for library in blas}


@pytest.fixture
def several_threads():
    """BLAS would use three threads here."""
    with one_blas_thread():
        pass
    with threadpool_limits(3, user_api="blas"):
        yield
        assert set(n_threads().values()) == {3}


def test_blocks_may_overlap_in_any_order(several_threads):
    first, second = one_blas_thread(), one_blas_thread(load_scipy=False)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert set(n_threads().values()) == {1}
    second.__exit__(None, None, None)
    assert set(n_threads().values()) == {3}


def test_a_training_and_a_simulation_may_overlap(several_threads):
    """The training begins first and ends first; with a limit each, BLAS would stay on one thread."""
    problem = qpsim.random_problem("mild", 5, rng=0)
    qpsim.simulate(problem, "ssd", n_steps=3, n_replicates=2, rng=0)  # compiles
    seen = {}
    training, simulated, trained = (threading.Event() for _ in range(3))

    def stop():
        training.set()
        assert simulated.wait(60)
        return True

    def train():
        run = nn.Run(nn.task("digits-whitened"), qpsim.method("m-sgd"), 0.1)
        with pytest.raises(KeyboardInterrupt):
            nn.train(run, workers=1, stop=stop)
        seen["after the training"] = n_threads()
        trained.set()

    thread = threading.Thread(target=train)
    thread.start()
    assert training.wait(60)
    with one_blas_thread():
        qpsim.simulate(problem, "ssd", n_steps=3, n_replicates=2, rng=0)
        seen["both"] = n_threads()
        simulated.set()
        assert trained.wait(60)
        thread.join()
    assert set(seen["both"].values()) == set(seen["after the training"].values()) == {1}


def test_a_library_that_is_loaded_meanwhile_is_held_from_the_next_block_on():
    code = (
        "import numpy, sys\n"
        "from threadpoolctl import threadpool_info, threadpool_limits\n"
        "from qpsim.execution.blas import one_blas_thread\n"
        "def n_threads():\n"
        "    found = [l for l in threadpool_info() if l['user_api'] == 'blas']\n"
        "    return {l['filepath']: l['num_threads'] for l in found}\n"
        "with threadpool_limits(3, user_api='blas'):\n"
        "    numpys = n_threads()\n"
        "    with one_blas_thread(load_scipy=False):\n"
        "        assert 'scipy' not in sys.modules\n"
        "        import scipy.linalg.cython_blas\n"
        "        fresh = n_threads()\n"
        "        with one_blas_thread(load_scipy=False):\n"
        "            assert set(n_threads().values()) == {1}\n"
        "    assert set(numpys.values()) == {3}\n"
        "    assert n_threads() == {**fresh, **numpys}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_block_may_end_in_another_thread_than_it_began():
    """threadpoolctl ignores every thread but the first that set a limit."""
    before = n_threads()
    block, other = one_blas_thread(), one_blas_thread()

    def elsewhere(function, *arguments):
        thread = threading.Thread(target=function, args=arguments)
        thread.start()
        thread.join()

    block.__enter__()
    elsewhere(other.__enter__)
    block.__exit__(None, None, None)
    assert set(n_threads().values()) == {1}
    elsewhere(other.__exit__, None, None, None)
    assert n_threads() == before
    elsewhere((third := one_blas_thread()).__enter__)
    assert set(n_threads().values()) == {1}
    third.__exit__(None, None, None)
    assert n_threads() == before


class CountedByThread:
    """A BLAS library as threadpoolctl shows one that is built on OpenMP."""

    filepath, threading_layer = "libopenblas_openmp.so", "openmp"

    def __init__(self):
        self.own = threading.local()

    @property
    def num_threads(self):
        return getattr(self.own, "n", 4)

    def set_num_threads(self, n):
        self.own.n = n


def test_a_library_with_a_limit_for_each_thread_is_held_in_each(monkeypatch):
    library, seen = CountedByThread(), []
    limit = blas._Limit()
    monkeypatch.setattr(blas, "_limit", limit)
    monkeypatch.setattr(limit, "_find_libraries", lambda: setattr(limit, "_by_thread", [library]))

    def work(number):
        seen.append(library.num_threads)
        with one_blas_thread():
            seen.append(library.num_threads)
        seen.append(library.num_threads)

    with one_blas_thread():
        thread = threading.Thread(target=work, args=(0,))
        thread.start()
        thread.join()
        assert library.num_threads == 1
        with one_blas_thread():
            pass
        assert library.num_threads == 1
    assert library.num_threads == 4 and seen == [4, 1, 4]
    with ThreadPoolExecutor(1, initializer=blas.limit_blas_in_this_thread) as pool:
        assert pool.submit(lambda: library.num_threads).result() == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
# JAX, where another test has imported it, warns of any fork.
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
def test_a_child_forked_while_blas_is_held_knows_the_number_from_before(several_threads):
    def child(answer):
        with one_blas_thread():
            pass
        answer.send(sorted(n_threads().values()))

    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    with one_blas_thread():
        process = context.Process(target=child, args=(theirs,))
        process.start()
        assert ours.poll(60)
        assert set(ours.recv()) == {3}
        process.join()


def test_a_network_is_evaluated_with_one_thread(several_threads, monkeypatch):
    network = nn.small_cnn((8, 8, 1), rng=0)
    seen = []
    plan = type(network._plan(False, 2))
    whole = plan.forward

    def forward(self, x):
        seen.append(n_threads())
        return whole(self, x)

    monkeypatch.setattr(plan, "forward", forward)
    network.predict(np.ones((2, 8, 8, 1)))
    assert len(seen) == 1 and set(seen[0].values()) == {1}


def test_a_problem_is_the_same_whatever_the_number_of_blas_threads():
    """Decompositions and products of a matrix this large are cut in other places by two threads."""
    draws = np.random.default_rng(0)
    rows, matrix = draws.standard_normal((1000, 300)), draws.standard_normal((300, 300))
    covariance, labels = matrix @ matrix.T, rows.sum(axis=1) + draws.standard_normal(1000)

    def arrays():
        haar, half = (qpsim.random_problem("mild", 300, basis, rng=0) for basis in ("haar", 0.5))
        made = {
            "haar": haar,
            "half": half,
            "given": qpsim.QuadraticProblem(covariance),
            "preconditioned": haar.preconditioned(-0.5),
            "least squares": qpsim.LeastSquares(covariance),
            "local": qpsim.LocalModel(labels[:300], covariance, qpsim.noise.white(1.0)),
            "data": qpsim.DataProblem(rows, labels),
            "deepobs": qpsim.gallery.deepobs_quadratic(0),
        }
        found = {f"{kind} {k}": v for kind, p in made.items() for k, v in p.arrays().items()}
        return found | {f"{kind} hessian": p.hessian for kind, p in made.items()}

    with threadpool_limits(1, user_api="blas"):
        first = arrays()
    with threadpool_limits(2, user_api="blas"):
        second = arrays()
    different = [name for name, array in first.items() if not np.array_equal(array, second[name])]
    assert different == []
