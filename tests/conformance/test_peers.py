"""Public optimizers against the rules, and what differs without this package; needs torch, optax, keras."""

import os
import subprocess
import sys

import numpy as np
import pytest

import qpsim
from qpsim import conformance
from qpsim.conformance.public import PUBLIC, installed
from qpsim.conformance.snippets import SNIPPETS
from qpsim.errors import ConformanceError

pytestmark = pytest.mark.peer
QUICK = {"n_long": 2000, "run_laws": False}


def public(package, name):
    if installed(package) is None:
        pytest.skip(f"{package} is not installed")
    (one,) = (one for one in PUBLIC if (one.package, one.name) == (package, name))
    return one


CONFORM = [
    ("torch", "SGD"), ("torch", "SGD, momentum"), ("torch", "SGD, nesterov"),
    ("torch", "SGD, dampening"), ("torch", "Adam"), ("torch", "Adam, foreach"),
    ("torch", "Adam, amsgrad"), ("torch", "AdamW"), ("torch", "Adamax"), ("torch", "RMSprop"),
    ("torch", "Adagrad"), ("torch", "Adadelta"), ("optax", "adam"), ("optax", "adamw"),
    ("optax", "nadam"), ("optax", "radam"), ("optax", "adamax"), ("optax", "adabelief"),
    ("optax", "lion"), ("optax", "signum"), ("optax", "adadelta"), ("keras", "SGD, nesterov"),
    ("keras", "Lion"), ("pytorch_optimizer", "Lion"), ("pytorch_optimizer", "RMSprop"),
    ("timm", "Lion"), ("timm", "AdaBelief"), ("timm", "AdamWLegacy"), ("timm", "NAdamLegacy"),
    ("timm", "SGDW"), ("timm", "SGDW, nesterov"),
]  # fmt: skip
DIFFER = [
    ("torch", "Adam, fused", "except on stream 'layouts' (tensors that are not contiguous), where"),
    ("torch", "NAdam", "with scalars in single precision"),
    ("torch", "RAdam", "with eps before the bias correction of v"),
    ("torch", "Rprop", "with the product of two gradients, which underflows, for their signs"),
    ("optax", "rprop", "that takes each step one step late"),
    ("optax", "yogi", "with m and v started at initial, and both bias-corrected"),
    ("optax", "amsgrad", "with the largest of the bias-corrected v"),
    ("optax", "rmsprop", "with eps inside the root"),
    ("optax", "adagrad", "with the sum starting at 0.1 and eps inside the root"),
    ("keras", "Adam", "with eps before the bias correction of v"),
    ("keras", "AdamW", "with scalars in single precision, or in that of the parameters"),
    ("keras", "Adamax", "with eps added after the maximum"),
    ("keras", "RMSprop", "with eps inside the root"),
    ("keras", "Adagrad", "with the sum starting at 0.1 and eps inside the root"),
    ("pytorch_optimizer", "AdaBelief", "steps without a gradient are counted too"),
    ("pytorch_optimizer", "AdaMax", "steps without a gradient are counted too"),
    ("pytorch_optimizer", "MSVAG", "and kappa at most 0.9999, except on stream 'no gradient'"),
    ("pytorch_optimizer", "RAdam", "that does not move before it divides"),
    ("pytorch_optimizer", "Yogi", "with m and v started at initial, and both bias-corrected"),
    ("timm", "NAdamW", "with a constant momentum b1, and m corrected as in this step"),
    (
        "timm",
        "RAdamLegacy",
        "with eps before the bias correction of v computed in single precision",
    ),
    ("timm", "RMSpropTF", "with v starting at 1 and eps inside the root"),
]


def first_of_each_package(rows):
    """Those run by default; the others are for the long tests."""
    seen = set()
    for row in rows:
        is_first = row[0] not in seen
        seen.add(row[0])
        yield row if is_first else pytest.param(*row, marks=pytest.mark.long)


@pytest.mark.parametrize(("package", "name"), list(first_of_each_package(CONFORM)))
def test_public_optimizers_that_conform(package, name):
    one = public(package, name)
    report = conformance.check(one.optimizer(), one.method, **QUICK, **one.hyper)
    assert report.conforms, report.diagnosis


@pytest.mark.parametrize(("package", "name", "how"), list(first_of_each_package(DIFFER)))
def test_public_optimizers_that_differ(package, name, how):
    one = public(package, name)
    report = conformance.check(one.optimizer(), one.method, **QUICK, **one.hyper)
    assert not report.conforms and how in report.diagnosis
    assert "differs" not in report.diagnosis or "layouts" in how


def test_each_difference_that_is_known_here_has_its_lines():
    assert {(package, name) for package, name, _ in DIFFER} <= set(SNIPPETS)
    for text in SNIPPETS.values():
        assert "qpsim" not in text and len(text.splitlines()) <= 11


@pytest.mark.long
@pytest.mark.parametrize("key", SNIPPETS, ids="-".join)
def test_each_difference_shows_without_this_package(key):
    if installed(key[0]) is None:
        pytest.skip(f"{key[0]} is not installed")
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SNIPPETS[key]],
        env={**os.environ, "KERAS_BACKEND": "torch"}, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr


def test_laws_hold_for_torch():
    torch = pytest.importorskip("torch")
    report = conformance.check(torch.optim.SGD, "m-sgd", **{**QUICK, "run_laws": True})
    assert report.conforms and len(report.laws) == 3


def test_hyper_parameters_reach_a_class_and_a_function():
    torch, optax = pytest.importorskip("torch"), pytest.importorskip("optax")
    few = {"only": ["small"], "run_laws": False}
    assert conformance.check(torch.optim.Adam, "adam", b1=0.5, eps=1e-6, **few).conforms
    assert conformance.check(torch.optim.RMSprop, "rmsprop", decay=0.5, **few).conforms
    assert conformance.check(optax.adam, "adam", b1=0.5, eps=1e-6, **few).conforms
    with pytest.raises(ConformanceError, match="SGD has no argument for b1"):
        conformance.check(torch.optim.SGD, "adam", b1=0.5, **few)


def test_what_torch_users_get_wrong_is_refused_in_a_sentence():
    torch = pytest.importorskip("torch")
    held = [torch.zeros(3, requires_grad=True)]
    complex_ones = [torch.zeros(3, dtype=torch.complex64, requires_grad=True)]

    class Closure(torch.optim.SGD):
        def step(self, closure):
            return closure()

    def fails(params):
        raise RuntimeError("no such device\nmore")

    for optimizer, sentence in [
        (torch.optim.LBFGS, "LBFGS needs a closure"),
        (Closure, "Closure needs a closure"),
        (lambda params: torch.optim.SGD(complex_ones), "complex parameters"),
        (lambda params: torch.optim.SGD(held), "does not hold the parameters"),
        (fails, r"The factory fails: RuntimeError: no such device\.$"),
        (lambda params: 3, "returns an optimizer, not int"),
        (torch.optim.SGD(held), "Give the class SGD or a factory"),
    ]:
        with pytest.raises(ConformanceError, match=sentence):
            conformance.check(optimizer, "sgd")


def test_a_torch_optimizer_that_changes_the_gradient_is_found():
    torch = pytest.importorskip("torch")

    class InPlace(torch.optim.SGD):
        def step(self, closure=None):
            for group in self.param_groups:
                for param in group["params"]:
                    param.grad.mul_(2.0)
            return super().step(closure)

    report = conformance.check(InPlace, "sgd")
    assert report.diagnosis == "changes the gradient in place (step 1 of stream 'normal')"


def test_a_counter_that_is_not_saved_is_found():
    torch = pytest.importorskip("torch")

    class Forgets(torch.optim.Adam):
        def load_state_dict(self, state):
            super().load_state_dict(state)
            for held in self.state.values():
                held["step"].zero_()

    report = conformance.check(Forgets, "adam", only=["save and load"], run_laws=False)
    assert report.diagnosis.endswith("where the step counter is not restored")


def test_the_command_exits_with_1_on_a_difference():
    pytest.importorskip("torch")
    from typer.testing import CliRunner

    from qpsim.cli import app

    few = ["--only", "tiny", "--no-laws"]
    done = CliRunner().invoke(app, ["conform", "torch.optim:Adam", "--method", "adam", *few])
    assert done.exit_code == 0 and "CONFORMS: equals adam" in done.stdout
    done = CliRunner().invoke(app, ["conform", "torch.optim:RAdam", "--method", "radam", *few])
    assert done.exit_code == 1 and "DIFFERS: equals radam" in done.stdout


def test_the_core_imports_no_library_of_others():
    code = "import sys, qpsim.conformance; print([m for m in ('torch', 'jax', 'keras', 'optax') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
    assert np.isfinite(qpsim.method("lion").hyper_parameters["b1"])


def test_a_transformation_that_is_no_tuple_and_one_that_draws_random_numbers():
    optax = pytest.importorskip("optax")
    few = {"only": ["constant", "save and load"], "run_laws": False}
    every = optax.MultiSteps(optax.sgd(0.01), every_k_schedule=1)
    assert conformance.check(every, "sgd", **few).conforms
    # A key of random numbers in the state is saved and loaded too.
    import jax

    noisy = optax.chain(optax.add_noise(0.1, 0.5, jax.random.key(0)), optax.sgd(0.01))
    report = conformance.check(noisy, "sgd", **few)
    assert not report.conforms and [one.outcome for one in report.streams] == ["differs"] * 3
