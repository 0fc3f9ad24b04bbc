"""``qpsim theory``: the numbers of the library, and one-line errors."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import qpsim
from qpsim import theory
from qpsim.cli import app

HESSIAN = np.array([[40.0, 1.0, 0.0], [1.0, 2.0, 0.3], [0.0, 0.3, 0.5]])


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("hessian.npy", HESSIAN)
    np.savez("several.npz", H=HESSIAN, other=np.eye(2))
    np.savetxt("hessian.csv", HESSIAN, delimiter=",")
    np.savetxt("diagonal.csv", [1.0, 2.0])
    np.save("theta.npy", [0.5, -5.0, 8.0])
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, ["theory", *map(str, arguments)])


@pytest.mark.parametrize(
    "hessian", [["hessian.npy"], ["hessian.csv"], ["several.npz", "--array", "H"]]
)
@pytest.mark.parametrize("theta", ["0.5,-5,8", "theta.npy"])
def test_improvement_is_the_librarys_table(run, hessian, theta):
    done = run("improvement", *hessian, "--noise-std", "4", "--theta", theta, "--json")
    assert done.exit_code == 0, done.output
    problem = qpsim.QuadraticProblem(HESSIAN, noise_std=4.0)
    table = theory.compare_directions(problem, [0.5, -5.0, 8.0])
    found = json.loads(done.stdout)
    assert {key: found[key] for key in table.to_dict()} == json.loads(json.dumps(table.to_dict()))
    assert found["mass_inequality"] == theory.mass_inequality(problem)._asdict()
    assert found["theta"] == [0.5, -5.0, 8.0]


def test_improvement_prints_bound_tightness_mass_and_chain(run):
    done = run("improvement", "hessian.npy", "--noise-std", "4", "--theta", "0.5,-5,8")
    assert done.stdout.splitlines()[-2:] == [
        "mass: tr Q 42.5 <= sum |q_ij| 45.1 <= sum lambda |v|_1^2 45.681 <= d tr Q 127.5",
        "best: va-ssd-erf",
    ]
    assert "Eq. 12 guarantees ssd 0.53511 (exact is 1.06 times that)" in done.stdout
    assert "diagonal mass 0.942" in done.stdout


def test_a_random_point_is_announced_and_reproducible(run):
    arguments = ("improvement", "hessian.npy", "--optimum", "1,2,3", "--json", "--rng")
    first, again, other = (run(*arguments, seed) for seed in (3, 3, 4))
    assert "seed 3" in first.stderr
    assert first.stdout == again.stdout != other.stdout
    offset = np.array(json.loads(first.stdout)["theta"]) - [1, 2, 3]
    assert np.abs(offset).max() <= 10


def test_success(run):
    found = json.loads(run("success", "-1,0,2", "1", "--json").stdout)
    assert found["success_probability"] == list(theory.success_probability([-1, 0, 2], 1))
    assert found["expected_sign"] == list(theory.expected_sign([-1, 0, 2], 1))
    assert "0.841345" in run("success", "-1,0,2", "1").stdout


def test_factors(run):
    found = json.loads(run("factors", "0,2.25,inf", "--json").stdout)
    eta2 = [0.0, 2.25, np.inf]
    for kind in ("gradient", "sign", "adam"):
        assert found[kind] == list(theory.variance_adaptation_factor(eta2, kind))
    assert found["adam_minus_sign"] == list(theory.adaptation_gap(eta2))
    assert found["eta2"] == [0.0, 2.25, None]


def test_kappa_of_every_constant_at_every_step(run):
    found = json.loads(run("kappa", "0.5,0.9", "1,2,inf", "--json").stdout)
    assert found["mu"] == [0.5] * 3 + [0.9] * 3
    wanted = theory.momentum_correction(np.array([[0.5], [0.9]]), [1, 2, np.inf])
    assert found["kappa"] == list(wanted.ravel())
    assert found["variance_estimate_factor"] == pytest.approx(1 - wanted.ravel())


@pytest.mark.parametrize(("method", "more"), [("sgd", []), ("m-sgd", ["--momentum", "0.5"])])
def test_risk(run, method, more):
    arguments = ("risk", "hessian.npy", method, *more, "--step-size", "0.01", "--theta0", "1,2,3")
    found = json.loads(run(*arguments, "--n-steps", "7", "--json").stdout)
    problem = qpsim.QuadraticProblem(HESSIAN)
    moving = qpsim.method(method, **({"momentum": 0.5} if more else {}))
    wanted = theory.expected_excess_loss(problem, moving, [1, 2, 3], 0.01, 7)
    assert found["expected_excess_loss"] == list(wanted)
    limit = theory.steady_state_excess_loss(problem, moving, 0.01)
    assert found["steady_state_excess_loss"] == limit
    shown = run(*arguments, "--n-steps", "7").stdout
    assert "largest stable step size" in shown
    assert [line.split()[0] for line in shown.splitlines()[2:7]] == ["0", "1", "2", "5", "7"]


def test_risk_of_sign_descent_and_of_a_step_too_large(run):
    done = run("risk", "diagonal.csv", "ssd", "--step-size", "0.1", "--theta0", "1,2", "--json")
    problem = qpsim.QuadraticProblem([1.0, 2.0])
    wanted = theory.expected_excess_loss(problem, "ssd", [1.0, 2.0], 0.1, 100)
    assert json.loads(done.stdout)["expected_excess_loss"] == list(wanted)
    dense = ("risk", "hessian.npy", "ssd", "--step-size", "0.1", "--theta0", "1,2,3", "--json")
    done = run(*dense, "--law", "closure")
    wanted = theory.expected_excess_loss(
        qpsim.QuadraticProblem(HESSIAN), "ssd", [1, 2, 3], 0.1, 100, law="closure"
    )
    assert json.loads(done.stdout)["expected_excess_loss"] == list(wanted)
    done = run("risk", "diagonal.csv", "sgd", "--step-size", "10", "--n-steps", "400", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["expected_excess_loss"][-1] is None
    assert "warning: Divergence" in done.stderr


def test_errata(run):
    assert run("errata").stdout == theory.errata_text() + "\n"
    assert run("errata", "--markdown").stdout == theory.errata_markdown() + "\n"
    found = json.loads(run("errata", "--json").stdout)
    assert [erratum["key"] for erratum in found] == [erratum.key for erratum in theory.ERRATA]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["improvement", "missing.npy"], "HESSIAN: cannot read missing.npy"),
        (["improvement", "hessian.txt"], "must end in .npy, .npz, .csv or .parquet"),
        (["improvement", "several.npz"], "say which one with --array"),
        (["improvement", "hessian.npy", "--theta", "1,2"], "theta must have 3 entries"),
        (["improvement", "hessian.npy", "--theta", "1,x"], "--theta must be numbers with commas"),
        (["improvement", "hessian.npy", "--theta", "1,nan,2"], "theta holds NaN"),
        (["improvement", "hessian.npy", "--noise-std", "-1"], "noise"),
        (["success", "1,2", "1,2,3"], "do not broadcast"),
        (["success", "1", "-1"], "must not be negative"),
        (["factors", "-1"], "must not be negative"),
        (["kappa", "1", "2"], "must lie in [0, 1)"),
        (["kappa", "0.9", "0"], "at least 1"),
        (["risk", "hessian.npy", "ssd", "--step-size", "0.1"], "needs a diagonal Hessian"),
        (["risk", "hessian.npy", "lion", "--step-size", "0.1"], "lion has no exact risk"),
        (["risk", "hessian.npy", "sdg", "--step-size", "0.1"], "did you mean"),
        (["risk", "hessian.npy", "sgd", "--momentum", "0.5", "--step-size", "0.1"], "momentum"),
        (["risk", "hessian.npy", "sgd", "--step-size", "-1"], "finite number >= 0"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(run, arguments, message):
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if "theta is drawn" not in line]
    assert len(lines) == 1
    assert lines[0].startswith("qpsim: error: ")
    assert message in lines[0]
