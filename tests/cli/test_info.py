"""``qpsim info`` and ``qpsim --cite``: versions, changes and citations."""

from typer.testing import CliRunner

import qpsim
from qpsim.cli import app


def test_what_to_cite_is_bibtex_of_this_version():
    done = CliRunner().invoke(app, ["--cite"])
    assert done.exit_code == 0
    assert done.stdout.count("{") == done.stdout.count("}")
    assert f"version = {{{qpsim.__version__}}}" in done.stdout
    assert "@inproceedings{balles2018dissecting" in done.stdout


def test_the_changes_begin_with_this_version():
    done = CliRunner().invoke(app, ["info", "--changes"])
    headings = [line for line in done.stdout.splitlines() if line.startswith("## ")]
    assert headings[0] == f"## {qpsim.__version__}" and headings[-1] == "## 0.1.0"
