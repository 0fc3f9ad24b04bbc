"""``qpsim conform``: a report as a table and as JSON, exit code 1 on a difference, error messages."""

import json

import pytest
from typer.testing import CliRunner

from qpsim.cli import app

MODULE = """
import numpy as np

def update(gradient, state, params):
    state = 0.9 * state + gradient
    return params - 0.01 * state, state

mine = (np.zeros_like, update)
"""
FEW = ["--only", "constant", "--no-laws"]


def run(*arguments):
    return CliRunner().invoke(app, ["conform", *arguments])


@pytest.fixture
def module(tmp_path, monkeypatch):
    name = f"optimizer_of_{tmp_path.name}".replace("-", "_")
    (tmp_path / f"{name}.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return name


def test_a_right_optimizer_conforms(module):
    done = run(f"{module}:mine", "--method", "m-sgd", *FEW)
    assert done.exit_code == 0, done.output
    assert "CONFORMS: equals m-sgd(momentum=0.9) on 2 streams." in done.stdout


def test_a_difference_is_told_by_the_exit_code_and_as_json(module):
    done = run(f"{module}:mine", "--method", "m-sgd", "--set", "momentum=0.5", *FEW, "--json")
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert report["conforms"] is False and report["streams"][0]["outcome"] == "differs"
    assert report["diagnosis"] == "equals m-sgd(momentum=0.5) with momentum 0.9, not 0.5"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "such as torch.optim:Adam, not 'nowhere'"),
        (["no_such_module:x"], "no_such_module cannot be imported: ModuleNotFoundError"),
        (["math:sqr"], "math has no 'sqr'; did you mean 'sqrt'?"),
        (["math:pi"], "An optimizer is a class or factory"),
        (["math:pi", "--method", "adma"], "did you mean 'adam'?"),
        (["math:pi", "--set", "b3=1"], "there is no option 'b3'"),
        (["math:pi", "--only", "constnat"], "did you mean 'constant'?"),
    ],
)
def test_mistakes_are_one_sentence(arguments, sentence):
    done = run(*arguments)
    assert done.exit_code == 2 and sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


LIBRARY = """
import numpy as np

class Descent:
    def __init__(self, params, temperature):
        self.param_groups = [{"params": params}]

    def step(self):
        pass

class Hidden(tuple):
    step = None

def make_descent(params):
    return Descent(params, 1.0)

def add(a, b):
    return a + b

mine = (np.zeros_like, add)
_private = mine
CONSTANT = 3
"""


def test_only_what_may_be_an_optimizer_is_proposed(tmp_path, monkeypatch):
    (tmp_path / "library_of_optimizers.py").write_text(LIBRARY)
    monkeypatch.chdir(tmp_path)
    done = run("library_of_optimizers:xyz")
    assert done.exit_code == 2
    assert done.stderr.endswith("has no 'xyz'; known are: Descent, make_descent, mine.\n")
    assert "did you mean 'make_descent'?" in run("library_of_optimizers:make_decent").stderr
    pytest.importorskip("torch")
    done = run("library_of_optimizers:Descent", *FEW)
    assert done.exit_code == 2 and len(done.stderr.splitlines()) == 1
    assert "Descent(params) fails: TypeError" in done.stderr
    assert "give a factory, such as lambda params: Descent(params, ...)." in done.stderr


def test_a_module_that_exits_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "module_that_exits.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    done = run("module_that_exits:x")
    assert done.exit_code == 2 and "cannot be imported: SystemExit" in done.stderr
