"""Printing works in every terminal encoding and with closed streams."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from qpsim.cli import app
from qpsim.cli.report_errors import print_json

EXPERIMENT = """
n_steps = 3
n_replicates = 2
workers = 1
methods = [{name = "sgd", label = "größer €"}]
[problem]
spectrum = "mild"
basis = "axis"
dim = 2
"""


def shell(command, folder, **environment):
    """Exit code, stdout and stderr, as bytes, of a command in which qpsim stands for the program."""
    program = f"{sys.executable} -m qpsim"
    done = subprocess.run(
        ["sh", "-c", command.replace("qpsim ", f"{program} ")],
        capture_output=True,
        timeout=120,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.getcwd(), **environment},
    )
    return done.returncode, done.stdout, done.stderr


def test_a_folder_that_is_gone_is_said(tmp_path):
    command = "mkdir x; cd x; rmdir ../x; printf '[problem]\\ndim = 2' | qpsim simulate - --out y"
    code, _, err = shell(command, tmp_path)
    assert (code, err.count(b"\n")) == (2, 1)
    assert b"The folder that this command was started in is gone" in err


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "e.toml").write_text(EXPERIMENT, encoding="utf-8")
    return tmp_path


def test_a_label_that_the_terminal_cannot_show_is_escaped(folder):
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    code, out, err = shell("qpsim simulate e.toml --out größe", folder, **ascii_only)
    assert code == 0, err
    assert rb"gr\xf6\xdfer \u20ac" in out and b"saved to gr" in err
    assert sorted(os.listdir(folder / "größe")) == ["größer.npz", "summary.json"]


def test_closed_streams_do_no_harm(folder):
    for closed in (">&-", ">&- 2>&- <&-"):
        code, _, err = shell(f"qpsim simulate e.toml --out o {closed}", folder)
        assert code == 0 and b"Traceback" not in err
        summary = json.loads((folder / "o" / "summary.json").read_text())
        assert list(summary["methods"]) == ["größer €"]
    code, _, err = shell("qpsim simulate - <&-", folder)
    assert code == 2 and err == (
        b"qpsim: error: The standard input is empty or closed; give a file, or write into it.\n"
    )


def test_a_full_disk_behind_stdout_is_one_line_and_the_results_stay(folder):
    code, _, err = shell("qpsim simulate e.toml --json --out o >/dev/full", folder)
    assert code != 0 and b"No space left on device" in err and b"Traceback" not in err
    assert (folder / "o" / "größer.npz").exists()


def test_standard_input_is_utf8_in_every_locale(folder):
    latin = {"PYTHONIOENCODING": "latin-1"}
    code, out, err = shell("qpsim simulate - --json < e.toml", folder, **latin)
    assert code == 0, err
    assert list(json.loads(out)["methods"]) == ["größer €"]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["simulate", ""], "An argument"),
        (["simulate", "e.toml", "--out", ""], "--out"),
        (["simulate", "e.toml", "--out="], "--out"),
        (["probe", "", "--at", "0"], "An argument"),
        (["sweep", "run", "e.toml", "--out", ""], "--out"),
    ],
)
def test_an_empty_argument_is_not_the_present_folder(folder, monkeypatch, arguments, what):
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"qpsim: error: {what} is empty, as is a variable")
    assert os.listdir(folder) == ["e.toml"]


def test_a_system_error_names_its_file(tmp_path, monkeypatch):
    from qpsim.cli import info

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied", "/some/where")

    monkeypatch.setattr(type(info.CHANGES), "read_text", refuse)
    done = CliRunner().invoke(app, ["info", "--changes"])
    assert done.exit_code == 2
    assert done.stderr == "qpsim: error: /some/where: Permission denied.\n"


def test_json_has_null_for_what_is_not_finite(capsys):
    print_json({"a": [1.0, float("inf")], "b": ({"c": float("nan")},)})
    assert json.loads(capsys.readouterr().out) == {"a": [1.0, None], "b": [{"c": None}]}


@pytest.mark.long
def test_the_program_runs_without_docstrings(folder):
    code, out, err = shell("qpsim simulate e.toml", folder, PYTHONOPTIMIZE="2")
    assert code == 0 and b"2 replicates, 3 steps" in out, err
