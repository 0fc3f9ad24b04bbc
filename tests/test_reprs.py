"""The repr of every object is short, for any number of elements."""

import numpy as np
import pytest

import qpsim
from qpsim import nn, noise, sweep, theory, verdicts

LONGEST = 250
HESSIAN = np.diag(np.arange(1.0, 60.0)) + 0.01
PROBLEM = qpsim.QuadraticProblem(HESSIAN, noise_std=0.3)
START = np.ones(59)


def history():
    return nn.History(batch_loss=[0.123456789] * 1000, evaluated=list(range(1000)))


def trained():
    run = nn.Run(nn.task("digits-whitened"), qpsim.method("adam"), step_size=0.1)
    return nn.Trained(run, history(), None, {"libraries": {"numpy": np.__version__}})


def verdict():
    measurements = tuple(verdicts.Measurement("a", 0.1, (0.0, 1.0), holds=True) for _ in range(50))
    return verdicts.Verdict("name", "text " * 80, "Section 2", "ratio", "rule", measurements)


def images():
    return nn.Split(np.zeros((500, 64), np.float32), np.zeros(500, int))


OBJECTS = {
    "problem": lambda: PROBLEM,
    "least squares": lambda: qpsim.LeastSquares(HESSIAN),
    "data": lambda: qpsim.DataProblem(np.eye(40), np.zeros(40)),
    "local model": lambda: qpsim.LocalModel(START, HESSIAN, noise.white(0.1)),
    "noise": lambda: noise.dense(HESSIAN),
    "result": lambda: qpsim.simulate(PROBLEM, "sgd", 0.01, 20, 9, START, rng=0, workers=1),
    "factors": lambda: qpsim.adaptation_factors(PROBLEM, "svag", 0.01, 9, START, rng=0),
    "directions": lambda: theory.compare_directions(PROBLEM, START),
    "method": lambda: qpsim.method("adam"),
    "sweep": lambda: sweep.Sweep({"dim": 4}, {"noise_std": list(np.linspace(0.1, 1.0, 500))}),
    "cell": lambda: sweep.Cell({"dim": 4, "spectrum": "mild"}),
    "task": lambda: nn.task("digits-whitened"),
    "run": lambda: trained().run,
    "history": history,
    "trained": trained,
    "split": images,
    "dataset": lambda: nn.Dataset("mine", images(), images(), 10),
    "verdict": verdict,
    "report": lambda: verdicts.Report("figure2", (verdict(),) * 9, {"a": list(range(999))}),
}


@pytest.mark.parametrize("make", OBJECTS.values(), ids=OBJECTS)
def test_a_repr_is_short_and_in_one_line(make):
    text = repr(make())
    assert len(text) <= LONGEST and "\n" not in text
    assert " at 0x" not in text
