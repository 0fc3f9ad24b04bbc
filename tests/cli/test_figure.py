"""``qpsim figure`` and ``qpsim compare`` with a user's problems, noise levels and methods."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import qpsim
from qpsim.cli import app

FEW = ["--n-replicates", "3", "--n-draws", "1", "--n-steps", "3", "--workers", "1"]


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("H.npy", [[2.0, 0.3, 0.0], [0.3, 1.0, 0.1], [0.0, 0.1, 0.5]])
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def test_a_figure_of_the_users_own_problems_noise_and_methods(run):
    own = ["--problem", "H.npy", "--problem", "mild/0.5", "--noise-std", "0.7", "--dim", "4"]
    done = run("figure", "2", *FEW, *own, "--method", "m-ssd", "--format", "csv", "--json")
    assert done.exit_code == 0, done.stderr
    header = json.loads(done.stdout)
    assert header["labels"]["row"] == ["H.npy", "mild/0.5"]
    assert header["labels"]["noise"] == [0.7] and header["labels"]["method"] == ["m-ssd"]
    assert header["files"] == ["figures/figure2.npz", "figures/figure2.json", "figures/figure2.csv"]


def test_compare_prints_a_row_for_each_problem_noise_level_and_method(run):
    own = ["--problem", "H.npy", "--noise-std", "0.1", "--noise-std", "1"]
    asked = ["compare", *FEW, *own, "--method", "sgd", "--method", "m-ssd", "--out", "out"]
    done = run(*asked, "--json")
    assert done.exit_code == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(r["problem"], r["noise_std"], r["method"]) for r in rows] == [
        ("H.npy", noise, method) for noise in (0.1, 1.0) for method in ("sgd", "m-ssd")
    ]
    table = run(*asked)
    assert table.exit_code == 0 and table.stdout.count("H.npy") == 4
    # The figure behind it prints the same numbers when it is drawn again.
    again = run("figure", "methods", "--redraw", "--out", "out", "--format", "csv")
    assert again.exit_code == 0 and again.stdout.count("H.npy") == 4


def test_former_spellings_are_understood_with_a_hint(run):
    done = run("figure", "2", "--replicates", "2", "--problems=1", "--steps", "2", "--dim", "2",
               "--workers", "1", "--format", "svg")  # fmt: skip
    assert done.exit_code == 0, done.stderr
    for hint in ("--replicates is now --n-replicates", "--problems is now --n-draws"):
        assert hint in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["figure", "2", "--problem", "mld/haar"], "did you mean 'mild'"),
        (["figure", "2", "--problem", "gone.npy"], "gone.npy"),
        (["figure", "2", "--method", "adma"], "did you mean 'adam'"),
        (["figure", "2", "--noise-std", "-1"], "noise_std must be a finite number >= 0"),
        (["figure", "4", "--problem", "mild/haar"], "Figure 4 has no option 'problems'"),
        (["compare", "--problem", "mild/3"], "is no problem; give SPECTRUM/BASIS"),
        (["figure", "2", "--out", "H.npy"], "Cannot write"),
    ],
)
def test_a_mistake_is_one_line(run, arguments, message):
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_a_place_that_is_a_folder_is_refused_before_the_work(run, monkeypatch):
    def never(*arguments, **keywords):
        raise AssertionError("computed before the place was checked")

    monkeypatch.setattr(qpsim.figures.module("2"), "compute", never)
    Path("figures/figure2.png").mkdir(parents=True)
    done = run("figure", "2")
    assert done.exit_code == 2 and "figure2.png: it is a folder" in done.stderr
