"""Settings of NumPy and Python for warnings have no influence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import qpsim
from qpsim.methods import method_names
from tests.problem.test_every_method import FEW

SCRIPT = """
import sys, hashlib
import numpy as np

np.seterr(all="raise")
import qpsim
from qpsim.methods import method_names

policies = ["optimal", "bound", "line-search", 0.02, lambda t: 0.05 / t]
start = np.linspace(-3.0, 4.0, 5)
problems = [
    qpsim.random_problem("mild", 5, "axis", 0.5, rng=1),
    qpsim.random_problem("structured", 5, "haar", 0.5, rng=1),
    qpsim.random_problem("mild", 5, "haar", 0.0, rng=1),
    qpsim.QuadraticProblem([1.0, 2.0, 3.0, 4.0, 5.0], noise=qpsim.noise.white(0.3, df=3)),
    qpsim.LeastSquares(np.diag([1.0, 2.0, 3.0, 4.0, 5.0]) + 0.1),
]


def digest(name, estimated):
    method = qpsim.method(name)
    out = hashlib.sha256()
    for problem in problems:
        # An estimated variance has no moments where it depends on the gradient.
        if estimated and (problem.kind == "least-squares" or not problem.noise.law.is_gaussian):
            continue
        for policy in policies:
            run = qpsim.simulate(
                problem, method, policy, 3, 3, start, rng=0, workers=2, batch_size=4,
            )
            for array in (run.excess_loss, run.step_size):
                out.update(array.tobytes())
    return out.hexdigest()


for name in sys.argv[1:] or method_names():
    estimated = qpsim.method(name).observes == "variance_estimate"
    np.seterr(all="raise")
    strict = digest(name, estimated)
    np.seterr(all="ignore")
    assert digest(name, estimated) == strict, name
    print(name)
"""


def run_strictly(names):
    root = str(Path(qpsim.__file__).parents[1])
    found = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, *names],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.split()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long if name in FEW else pytest.mark.exhaustive)
        for name in method_names()
    ],
)
def test_a_simulation_runs_alike_where_every_warning_is_an_error(name):
    assert run_strictly([name]) == [name]
