"""``qpsim bench`` on the command line, with a stored report."""

import json

import pytest
from typer.testing import CliRunner

from qpsim import bench
from qpsim.cli import app


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "old.json"
    measured = bench.run(quick=True, rounds=1, only=["SGD, axis"], peers=["numpy"], workers=1)
    path.write_text(json.dumps(measured))
    return path


def run(*arguments):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def test_a_measurement_is_written_and_compared(saved, tmp_path):
    out = tmp_path / "new.json"
    options = ("--quick", "--only", "SGD, axis", "--peer", "none", "--rounds", 1, "--workers", 1)
    result = run(*options, "--out", out, "--compare", saved)
    assert result.exit_code == 0, result.output
    assert "faster by" in result.stdout and "SGD, axis" in result.stdout
    assert json.loads(out.read_text())["results"][0]["peers"] == {}


def test_a_report_is_printed_again_as_it_was(saved):
    assert json.loads(run("--report", saved, "--json").stdout) == json.loads(saved.read_text())
    assert run("--report", saved, "--markdown").stdout.startswith("| workload |")
    table = run("--report", saved)
    assert "SGD, axis" in table.stdout and "medians" in table.stderr
    assert "|" not in run("--report", saved, "--compare", saved, "--json").stdout


def test_starts_have_a_table_of_their_own(saved, tmp_path):
    spread = {"median": 0.31, "low": 0.3, "high": 0.4}
    entry = {"name": "qpsim --help", "target": "1.5 x", "seconds": spread, "beyond": None}
    old = json.loads(saved.read_text())
    for results in (old["results"], []):
        path = tmp_path / "starts.json"
        path.write_text(
            json.dumps({**old, "results": results, "start": [{**entry, "ratio": spread}]})
        )
        shown = run("--report", path)
        assert shown.exit_code == 0 and "qpsim --help" in shown.stdout
        assert ("workload" in shown.stdout) == bool(results)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--report", "missing.json"),
        ("--compare", "missing.json"),
        ("--only", "SDG, axis"),
        ("--group", "cores"),
        ("--peer", "numpi"),
        ("--workers", 0),
    ],
)
def test_a_mistake_is_one_line(arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stdout == "" and result.stderr.count("\n") == 1
    assert result.stderr.startswith("qpsim: error: ")
