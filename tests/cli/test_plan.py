"""``qpsim plan``: the numbers of the library, and one-line errors."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import qpsim
from qpsim import theory
from qpsim.cli import app
from qpsim.theory import families, schedule_search, step_newton

EXPERIMENT = """
n_steps = 6
batch_size = 2
step_size = 0.1
methods = ["sgd", {name = "m-sgd", momentum = 0.5, label = "heavy"}]
[problem]
hessian = [1.0, 10.0]
noise_std = 0.3
theta0 = [3.0, 1.0]
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # The command's numbers are the library's, however long both search.
    monkeypatch.setattr(schedule_search, "_CHANGES", 4)
    monkeypatch.setattr(step_newton, "_PLACES", 1)
    (tmp_path / "e.toml").write_text(EXPERIMENT)
    runner = CliRunner()
    return lambda *arguments, **more: runner.invoke(app, ["plan", *map(str, arguments)], **more)


def library(method, **options):
    p = qpsim.QuadraticProblem([1.0, 10.0], noise_std=0.3).at_batch(2)
    return theory.compare_schedules(p, method, 6, [3.0, 1.0], **options)


def test_the_json_is_the_librarys_table(run):
    done = run("e.toml", "--json", "--target", "0.5", "--n-pieces", "3")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["problem"]["dim"] == 2
    assert list(found["methods"]) == ["sgd", "heavy"]
    for label, method in (("sgd", "sgd"), ("heavy", qpsim.method("m-sgd", momentum=0.5))):
        table = library(method, target=0.5, n_pieces=3)
        assert found["methods"][label] == json.loads(json.dumps(table.to_dict()))
    assert done.stderr == ""


def test_other_methods_have_the_families_by_simulation(run, tmp_path):
    text = EXPERIMENT.replace(
        'methods = ["sgd", {name = "m-sgd", momentum = 0.5, label = "heavy"}]',
        'methods = ["m-ssd"]',
    )
    (tmp_path / "s.toml").write_text(text)
    arguments = ("s.toml", "--n-replicates", "8", "--n-pieces", "2", "--n-steps", "5")
    done = run(*arguments, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["methods"]["m-ssd"]["schedules"]
    assert list(found) == list(families.NAMES)
    p = qpsim.QuadraticProblem([1.0, 10.0], noise_std=0.3)
    more = {"n_replicates": 8, "n_pieces": 2, "batch_size": 2, "workers": 1}
    one = qpsim.best_schedule(p, "m-ssd", 5, [3.0, 1.0], family="linear", **more)
    assert found["linear"] == json.loads(json.dumps(one.to_dict()))
    lines = run(*arguments).stdout.splitlines()
    assert [line.split()[1] for line in lines[3:-1]] == list(families.NAMES)
    lowest = min(found.values(), key=lambda schedule: schedule["value"])
    assert f"final loss of {lowest['family']} has a standard error" in lines[-1]


def test_sign_descent_on_a_diagonal_hessian_has_the_same_rows_by_its_law(run, tmp_path):
    (tmp_path / "s.toml").write_text(EXPERIMENT.replace('["sgd"', '["ssd"').replace("= 6", "= 5"))
    done = run("s.toml", "--json", "--target", "2.0")
    found = json.loads(done.stdout)["methods"]["ssd"]
    p = qpsim.QuadraticProblem([1.0, 10.0], noise_std=0.3).at_batch(2)
    table = theory.compare_schedules(p, "ssd", 5, [3.0, 1.0], target=2.0)
    assert found == json.loads(json.dumps(table.to_dict()))
    assert "grid_error" in found["schedules"]["planned"]
    lines = run("s.toml").stdout.splitlines()
    assert [line.split()[1] for line in lines[3:11]] == [row.name for row in table.rows]
    assert "The grid of the law errs by some" in lines[-2]


def test_the_table_has_a_row_for_every_schedule(run):
    done = run("e.toml", "--target", "0.5")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert "final loss" in lines[1] and lines[1].split()[-3:] == ["steps", "to", "target"]
    rows = [line.split() for line in lines[3:-2]]
    table = library("sgd", target=0.5)
    for line, row in zip(rows, table.rows, strict=False):
        assert line[:2] == ["sgd", row.name]
        assert float(line[5]) == pytest.approx(row.schedule.highest_loss, rel=1e-3)
        assert float(line[6]) == pytest.approx(row.final_loss, rel=1e-3)
        assert float(line[8]) == row.steps_to_target
    assert len(rows) == 2 * len(table.rows)
    assert f"searches disagree by {table.rows[0].schedule.disagreement:.2g}." in lines[-2]
    assert "steps to target" not in run("e.toml").stdout


def test_options_replace_the_files_values(run):
    done = run("-", "--n-steps", "3", "--json", input=EXPERIMENT)
    steps = json.loads(done.stdout)["methods"]["sgd"]["schedules"]["planned"]["step_size"]
    assert len(steps) == 3


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (None, ["gone.toml"], "Cannot read gone.toml"),
        (EXPERIMENT.replace("n_steps", "n_stesp"), [], "did you mean 'n_steps'?"),
        (EXPERIMENT, ["--target", "-1"], "The target must not be negative"),
        (EXPERIMENT, ["--target", "0"], "The target must be above 0."),
        (EXPERIMENT, ["--n-pieces", "0"], "n_pieces must be a whole number"),
        (
            'methods = ["m-ssd"]\n[problem]\nhessian = [1.0]\ntheta0 = [0.0]\nnoise_std = 0.0\n',
            [],
            "Every replicate starts at a minimum",
        ),
        (EXPERIMENT.replace('["sgd"', '["m-ssd"'), ["--n-replicates", "0"], "n_replicates"),
        (
            'methods = ["sgd"]\n[problem]\nhessian = [1.0]\nnoise_std = 0.0\ntheta0 = [0.0]\n',
            [],
            "starts at the optimum and has no noise",
        ),
    ],
)
def test_a_mistake_is_one_line(run, tmp_path, text, arguments, message):
    if text is not None:
        (tmp_path / "it.toml").write_text(text)
        arguments = ["it.toml", *arguments]
    done = run(*arguments)
    assert done.exit_code == 2 and done.stdout == ""
    last = done.stderr.splitlines()[-1]
    assert last.startswith("qpsim: error: ") and message in last
    assert "Traceback" not in done.output and len(done.stderr.splitlines()) <= 2


def test_a_run_that_stays_at_the_optimum_has_a_table_of_zeros(run, tmp_path):
    (tmp_path / "o.toml").write_text(
        'methods = ["sgd"]\nn_steps = 3\n[problem]\nhessian = [1.0]\ntheta0 = [0.0]\n'
    )
    done = run("o.toml", "--json")
    assert done.exit_code == 0, done.output
    planned = json.loads(done.stdout)["methods"]["sgd"]["schedules"]["planned"]
    assert planned["final_loss"] == 0.0 and planned["over_planned"] == 1.0
    assert not np.any(planned["step_size"])


def test_a_warning_about_the_start_is_not_repeated_by_every_run(run, tmp_path):
    file = tmp_path / "start.toml"
    file.write_text(
        'methods = ["adam"]\nn_steps = 3\n[problem]\nhessian = [1.0, 10.0]\ntheta0 = [1.0, 1.0]\n'
    )
    result = run(file, "--n-replicates", "4")
    # By the file's reading, and by the search.
    assert 1 <= result.stderr.count("multiple of a sign vector") <= 2
    assert "families of schedules are searched by simulation" in result.stderr


def test_a_problem_that_one_method_has_is_told_with_its_name(run, tmp_path):
    file = tmp_path / "tails.toml"
    file.write_text(
        'methods = ["ssd", "sgd"]\nn_steps = 2\n[problem]\nhessian = [1.0, 10.0]\ntheta0 = [1.0, 0.6]\n'
        "noise = {std = 0.3, df = 1.5}\n"
    )
    result = run(file)
    assert result.exit_code == 2 and "sgd: A noise of infinite variance" in result.stderr
