"""Option names of the previous version are accepted with a hint."""

import json

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from qpsim.cli import app
from qpsim.cli.shared import _FORMER, Command


def commands(group, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands(get_command(app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_speaks_of_the_same_things_in_the_same_words(name):
    command = COMMANDS[name]
    assert isinstance(command, Command)
    shown = {
        option
        for parameter in command.params
        if not getattr(parameter, "hidden", False)
        for option in parameter.opts
    }
    kept = {"sweep table": {"--steps"}, "theory improvement": {"--theta"}}
    assert shown & set(_FORMER) <= kept.get(name, set())


def test_an_old_option_is_understood_with_a_hint(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "h.csv").write_text("1,2\n")
    old = ["--step=0.1", "--steps", "3", "--theta", "1,-2", "--noise", "0.5"]
    new = ["--step-size=0.1", "--n-steps", "3", "--theta0", "1,-2", "--noise-std", "0.5"]
    one, two = (
        CliRunner().invoke(app, ["theory", "risk", "h.csv", "sgd", *options, "--json"])
        for options in (old, new)
    )
    assert one.exit_code == two.exit_code == 0, one.stderr
    assert json.loads(one.stdout) == json.loads(two.stdout)
    assert two.stderr == ""
    assert one.stderr.splitlines()[0] == "qpsim: hint: --step is now --step-size."
    assert len(one.stderr.splitlines()) == 4


def test_methods_are_completed():
    from qpsim.methods import method_names

    command = COMMANDS["theory risk"]
    (parameter,) = (p for p in command.params if p.name == "method")
    done = CliRunner().invoke(
        app,
        [],
        prog_name="qpsim",
        env={
            "_QPSIM_COMPLETE": "complete_bash",
            "COMP_WORDS": "qpsim theory risk h.csv m-s",
            "COMP_CWORD": "4",
        },
    )
    expected = [name for name in method_names() if name.startswith("m-s")]
    assert expected and done.stdout.split() == expected
    assert parameter.name == "method"
