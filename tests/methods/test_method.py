"""Copies of rules and methods, and sending them to other processes."""

import copy
import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import qpsim
from qpsim import theory
from qpsim.errors import FileError, MethodError

ROOT = Path(__file__).parents[2]
FACTOR = 0.5


@qpsim.rule
def halved(gradient, m, t, decay=0.5):
    m = decay * m + FACTOR * gradient
    return m, m


def program(tmp_path, text, name="program.py"):
    """Run a program of a user's; what it printed."""
    path = tmp_path / name
    path.write_text(text)
    run = subprocess.run(
        [sys.executable, str(path)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_a_copy_of_a_rule_is_the_rule():
    @qpsim.rule
    def local(gradient, t):
        return gradient

    for rule in (local, halved, qpsim.method("adam").rule):
        assert copy.copy(rule) is copy.deepcopy(rule) is rule
        assert pickle.loads(pickle.dumps(rule)) is rule
    method = halved(decay=0.25)
    assert copy.deepcopy(method) == copy.copy(method) == pickle.loads(pickle.dumps(method))
    assert copy.deepcopy({"methods": [method]})["methods"] == [method]


def test_a_rule_that_can_be_imported_is_sent_by_name():
    content = pickle.dumps(halved)
    assert b"test_method" in content and len(content) < 200


def test_a_rule_with_something_that_cannot_be_sent_is_named():
    lock = __import__("threading").Lock()

    @qpsim.rule
    def local(gradient, t):
        return gradient * (lock is not None)

    with pytest.raises(MethodError, match="'local' cannot be sent to another process"):
        pickle.dumps(local)


def test_functions_that_name_qpsim_are_sent_by_value():
    cloudpickle = pytest.importorskip("cloudpickle")
    problem = qpsim.random_problem("mild", 4, rng=0)

    def improvement(name):
        assert qpsim.nn and qpsim.simulate
        return theory.expected_improvement(problem, qpsim.method(name), theta=np.ones(4))

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        again = pickle.loads(cloudpickle.dumps(improvement))
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    assert again("ssd") == improvement("ssd")
    assert copy.deepcopy(qpsim.simulate) is qpsim.simulate


NOTEBOOK = """
import numpy as np, qpsim
from math import tanh
from qpsim.methods.scalar import sign
SCALE = 2.0

@qpsim.rule
def softened(gradient, m, t, b1=0.5):
    m = b1 * m + (1.0 - b1) * gradient
    return tanh(SCALE * m) + 0.01 * sign(gradient), m

problem = qpsim.QuadraticProblem([1.0, 3.0], [1.0, -2.0], noise_std=0.0)

def losses(workers=1):
    run = qpsim.simulate(problem, softened(b1=0.25), 0.1, n_steps=3, n_replicates=2, rng=0,
                         workers=workers)
    return run.excess_loss[1]

def expected():
    theta, m, found = np.zeros(2), np.zeros(2), [problem.excess_loss(np.zeros(2))]
    for t in (1.0, 2.0, 3.0):
        gradient = problem.gradient(theta)
        moved = [softened.function(g, b, t, 0.25) for g, b in zip(gradient, m)]
        theta = theta - 0.1 * np.array([z for z, _ in moved])
        m = np.array([b for _, b in moved])
        found.append(problem.excess_loss(theta))
    return found
"""
SENT = {
    "worker processes": """
if __name__ == "__main__":
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        print(np.allclose(losses(pool), expected(), rtol=1e-12))
""",
    "joblib": """
if __name__ == "__main__":
    from joblib.externals.loky import get_reusable_executor
    with get_reusable_executor(max_workers=1) as pool:
        print(np.allclose(pool.submit(losses).result(), expected(), rtol=1e-12))
""",
    "dask": """
if __name__ == "__main__":
    import distributed
    options = dict(n_workers=1, threads_per_worker=1, host="127.0.0.1",
                   dashboard_address=None, worker_dashboard_address=None)
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        found = client.submit(losses).result()
        inside = losses(client.get_executor())
    print(np.allclose(found, expected(), rtol=1e-12) and (found == inside).all())
""",
}


@pytest.mark.parametrize("where", SENT)
@pytest.mark.long
def test_a_rule_of_the_program_reaches_workers(tmp_path, where):
    needs = {"joblib": "joblib", "dask": "distributed"}.get(where)
    if needs and importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    assert program(tmp_path, NOTEBOOK + SENT[where]) == ["True"]


SAVED = """
import pickle
pickle.dump((softened(b1=0.75), softened), open("sent", "wb"))
run = qpsim.simulate(problem, softened(b1=0.25), 0.1, n_steps=3, n_replicates=4, rng=0)
run.save("result.npz")
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A rule and a result of a program, whose rule this process does not know yet."""
    folder = tmp_path_factory.mktemp("saved")
    program(folder, NOTEBOOK + SAVED)
    return folder


@pytest.mark.long
def test_a_rule_that_came_from_elsewhere_is_made_once_and_returns_as_itself(saved):
    with pytest.raises(
        FileError, match=r"__main__\.softened is not defined in this process; define"
    ):
        qpsim.load(saved / "result.npz")
    content = (saved / "sent").read_bytes()
    (method, rule), (again, _) = pickle.loads(content), pickle.loads(content)
    assert method.rule is rule is again.rule and repr(method) == "softened(b1=0.75)"
    assert pickle.loads(pickle.dumps(rule)) is rule
    result = qpsim.load(saved / "result.npz")
    assert result.method.rule is rule
    np.testing.assert_array_equal(qpsim.rerun(result).excess_loss, result.excess_loss)


@pytest.mark.long
def test_a_result_of_a_rule_that_has_moved_to_a_module_is_loaded_with_it(saved):
    (saved / "rules_of_mine.py").write_text(NOTEBOOK)
    load = """
import qpsim
import rules_of_mine
result = qpsim.load("result.npz")
print(result.method.rule is rules_of_mine.softened)
"""
    assert program(saved, load, "load.py") == ["True"]
