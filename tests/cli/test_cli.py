"""The command line in general: help, exit codes, one-line errors, results on stdout and the rest on stderr."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

import qpsim
from qpsim import figures, verdicts
from qpsim.cli import app
from qpsim.cli.report_errors import assignments
from qpsim.errors import FigureError

SMALL = ["--n-replicates", "4", "--n-draws", "2", "--n-steps", "4", "--dim", "4", "--workers", "1"]
EXPERIMENT = """
n_steps = 4
n_replicates = 3
workers = 1
methods = ["sgd", {name = "adam", step_size = 0.1}]

[problem]
spectrum = "mild"
basis = "axis"
dim = 3
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    return lambda *arguments, **more: runner.invoke(app, [str(a) for a in arguments], **more)


def process(*arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "qpsim", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        **more,
    )


def test_help_imports_nothing_heavy():
    heavy = ("numpy", "scipy", "numba", "matplotlib")
    code = (
        "import sys\n"
        "from qpsim.cli import app\n"
        "try:\n    app(['--help'], prog_name='qpsim')\n"
        "except SystemExit as end:\n    assert not end.code\n"
        f"print('loaded:', [name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Usage: qpsim" in done.stdout
    assert done.stdout.splitlines()[-1] == "loaded: []"


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize(
    "command",
    [
        [],
        ["figure"],
        ["simulate"],
        ["plan"],
        ["verify"],
        ["info"],
        ["theory"],
        *(["theory", name] for name in ("improvement", "success", "factors", "kappa")),
        *(["theory", name] for name in ("risk", "errata")),
    ],
)
def test_every_help_text_has_examples(run, command, flag):
    done = run(*command, flag)
    assert done.exit_code == 0
    assert "Examples:" in done.stdout
    assert "\b" not in done.stdout
    assert "qpsim " + " ".join(command) in done.stdout.split("Examples:")[1]


@pytest.mark.parametrize("group", [[], ["sweep"], ["theory"]], ids=str)
def test_the_list_of_commands_cuts_no_sentence_off(run, group):
    commands = run(*group, "--help").stdout.partition("Commands:")[2].strip().splitlines()
    assert len(commands) >= 3 and all(line.endswith((".", "?")) for line in commands)
    assert "..." not in " ".join(commands)


def test_the_help_of_simulate_names_every_key():
    from qpsim.simulation import spec_keys as keys

    done = CliRunner().invoke(app, ["simulate", "--help"])
    for key in {*keys.TOP, *keys.PROBLEM, *keys.METHOD}:
        assert key in done.stdout, key


def test_the_example_in_the_help_of_simulate_is_valid(tmp_path):
    import tomllib

    from qpsim.simulation import spec

    text = CliRunner().invoke(app, ["simulate", "--help"]).stdout
    shown = text.split("every key")[1].split("n_steps = ", 1)[1].split("[problem]")
    table = tomllib.loads("n_steps = " + shown[0] + "[problem]\n" + shown[1])
    other = tomllib.loads("[problem]\n" + shown[2].split("Examples:")[0])
    np.savez(tmp_path / "hessian.npz", H=np.eye(2) + 0.1, other=0)
    np.save(tmp_path / "optimum.npy", np.ones(2))
    np.save(tmp_path / "start.npy", np.array([0.5, -0.2]))
    table["problem"]["hessian"] = "hessian.npz"
    assert list(spec.parse(table, tmp_path).plans) == ["sgd", "ssd", "adam, fast"]
    assert spec.parse({**table, **other}, tmp_path).problem.dim == 100


def test_version(run):
    done = run("--version")
    assert done.exit_code == 0
    assert done.stdout == f"qpsim {qpsim.__version__}\n"


def test_no_command_shows_the_help(run):
    assert "Commands:" in run().output


def test_figure_writes_and_prints_where(run, tmp_path):
    done = run("figure", "2", *SMALL, "--out", "gallery", "--format", "png")
    assert done.exit_code == 0, done.output
    listed = done.stdout.split()
    assert listed == [f"gallery/figure2.{kind}" for kind in ("npz", "json", "png")]
    assert all((tmp_path / path).stat().st_size > 0 for path in listed)
    assert "computed in" in done.stderr
    again = run("figure", "2", "--redraw", "--out", "gallery", "--format", "svg", "--json")
    assert json.loads(again.stdout)["files"] == ["gallery/figure2.svg"]


def test_figure_all_gives_each_figure_the_options_it_knows(run, monkeypatch):
    asked = {}

    def make(name, out, **options):
        asked[name] = options
        return figures.Made(_Described(), None, {})

    class _Described:
        figure = "2"
        header = {}  # noqa: RUF012
        provenance = {}  # noqa: RUF012

    monkeypatch.setattr(figures, "make", make)
    assert run("figure", "all", "--n-steps", "3").exit_code == 0
    assert set(asked) == set(figures.names())
    assert asked["2"]["n_steps"] == 3


def test_figures_can_be_listed(run):
    assert "n_replicates=256" in run("figure", "--list").stdout
    assert json.loads(run("figure", "--list", "--json").stdout)["2"]["options"]["n_steps"] == 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["figure", "22"], "There is no figure '22'; did you mean '2'?"),
        (["figure", "2", "--dim", "0"], "dim must be a whole number of at least 1, not 0."),
        (["figure", "2", "--workers", "0"], "workers must be a whole number of at least 1, not 0."),
        (["figure", "2", "--format", "gif"], "Unknown format 'gif'"),
        (["figure", "2", "--width", "wide"], "A width is a number of inches"),
        (["figure", "2", "--set", "stpes=3"], "no option 'stpes'; did you mean 'n_steps'?"),
        (["figure", "2", "--set", "steps"], "--set takes NAME=VALUE"),
        (["figure", "2", "--redraw", "--out", "gone"], "Cannot read gone"),
        (
            ["figure", "2", "--out", "taken/deep"],
            "Cannot write taken/deep/figure2.npz: a part of its path is a file, not a folder.",
        ),
        (["verify", "figure9"], "did you mean 'figure2'?"),
        (["verify", "figure2", "--out", "taken"], "Cannot write to the folder taken"),
        (["simulate", "gone.toml"], "Cannot read gone.toml: No such file or directory."),
        (["simulate", "bad.toml"], "bad.toml is not valid TOML"),
        (["simulate", "odd.toml"], "Unknown key 'stesp'; did you mean 'n_steps'?"),
        (
            ["simulate", "good.toml", "--n-steps", "0"],
            "n_steps must be a whole number of at least 1",
        ),
        (["simulate", "good.toml", "--out", "taken"], "Cannot write to the folder"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_code_2(run, tmp_path, arguments, message):
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "bad.toml").write_text("steps = ")
    (tmp_path / "odd.toml").write_text("stesp = 3")
    (tmp_path / "good.toml").write_text(EXPERIMENT)
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("qpsim: error: ")


@pytest.mark.parametrize(
    "arguments", [["figre"], ["figure"], ["figure", "2", "--n-steps", "x"], ["info", "--jsno"]]
)
def test_a_wrong_command_line_is_code_2_without_a_traceback(run, arguments):
    done = run(*arguments)
    assert done.exit_code == 2
    assert "Error: " in done.stderr
    assert "Traceback" not in done.output


def test_simulate_prints_a_table_and_saves(run, tmp_path):
    (tmp_path / "e.toml").write_text(EXPERIMENT)
    done = run("simulate", "e.toml", "--out", "results")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[1].split()[:3] == ["method", "step", "size"]
    assert [line.split()[0] for line in lines[3:5]] == ["sgd", "adam"]
    assert qpsim.load(tmp_path / "results" / "adam.npz").n_replicates == 3
    assert "saved to results" in done.stderr


def test_simulate_from_standard_input_as_json(run):
    done = run("simulate", "-", "--json", "--n-replicates", "2", input=EXPERIMENT)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["problem"]["dim"] == 3
    assert found["methods"]["sgd"]["n_replicates"] == 2
    assert found["methods"]["sgd"]["final_loss"]["median"] > 0


def test_a_warning_is_one_line_on_stderr(run, tmp_path):
    (tmp_path / "e.toml").write_text(
        'n_steps = 2000\nn_replicates = 3\nworkers = 1\nmethods = [{name = "sgd", step_size = 10.0}]\n'
        "[problem]\nspectrum = [1.0, 2.0]\nbasis = 'axis'\n"
    )
    done = run("simulate", "e.toml")
    assert done.exit_code == 0, done.output
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("qpsim: warning: sgd diverged in 3 of 3 replicates")
    assert " inf " in done.stdout


def test_a_warning_of_several_runs_is_written_once(run, tmp_path):
    (tmp_path / "e.toml").write_text(
        "n_steps = 2\nn_replicates = 2\nworkers = 1\n"
        'methods = ["sgd", {name = "sgd", step_size = "bound", label = "b"}]\n'
        '[problem]\nhessian = [1.0, 2.0]\ntheta0 = [1.0, 0.5]\nnoise = {family = "white", df = 2.0}\n'
    )
    done = run("simulate", "e.toml")
    assert done.exit_code == 0, done.output
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("qpsim: warning: sgd's optimal step is 0")


@pytest.mark.parametrize(
    "topic, options, names",
    [
        (
            "least-squares",
            ["--n-replicates", "4", "--set", "dims=[4, 8]", "--set", "n_draws=2"],
            ["gap-of-a-run", "mean-of-runs", "exact-risk-of-sgd"],
        ),
        (
            "tails",
            [
                "--n-replicates",
                "4",
                "--dim",
                "4",
                "--n-steps",
                "3",
                "--set",
                "n_draws=2",
                "--set",
                "df=[3, 6]",
            ],
            None,
        ),
    ],
)
def test_verify_prints_the_verdicts_of_noise_and_least_squares_as_json(run, topic, options, names):
    done = run("verify", topic, *options, "--json", "--workers", "1")
    found = json.loads(done.stdout)
    assert done.exit_code == (0 if found["holds"] else 1), done.output
    assert found["topic"] == topic
    told = [verdict["name"] for verdict in found["verdicts"]]
    assert len(set(told)) == len(told) > 0
    assert names is None or told == names
    for verdict in found["verdicts"]:
        assert verdict["measurements"]
        assert verdict["holds"] == all(m["holds"] is not False for m in verdict["measurements"])


def test_verify_prints_saves_and_says_by_its_code_what_holds(run, tmp_path):
    small = ["--n-replicates", "8", "--n-steps", "8", "--dim", "6", "--set", "scales=[3]"]
    done = run("verify", "figure2", *small, "--out", "found", "--workers", "1")
    saved = json.loads((tmp_path / "found" / "figure2-verdicts.json").read_text())
    assert saved["verdicts"][0]["name"] == "noise-free"
    assert done.exit_code == (0 if saved["holds"] else 1)
    assert "scale 3" in done.stdout and "95 % interval" in done.stdout
    held = sum(verdict["holds"] for verdict in saved["verdicts"])
    assert f"{held} of 5 statements hold." in done.stdout
    shown = run("verify", "figure2", *small, "--out", "found", "--workers", "1", "--json")
    again = json.loads(shown.stdout)
    assert again["verdicts"] == saved["verdicts"]


@pytest.mark.parametrize(("holds", "code"), [(True, 0), (False, 1)])
def test_exit_code_of_verify(run, monkeypatch, holds, code):
    measured = (verdicts.Measurement("a", 1e-12, z=0.5, holds=holds),)
    verdict = verdicts.Verdict("v", "It is so.", "Section 1", "q", "rule", measured)
    report = verdicts.Report("figure2", (verdict,))
    monkeypatch.setattr(verdicts, "measure", lambda *a, **k: report)
    done = run("verify", "figure2")
    assert done.exit_code == code
    assert ("DOES NOT HOLD" in done.stdout) == (not holds)
    assert "1e-12" in done.stdout and "+0.50" in done.stdout


SMALL_THEORY = ("verify", "--n-replicates", "10000", "--workers", "1", "--out", "found")


def test_verify_without_a_topic_verifies_the_theory(run, tmp_path, monkeypatch):
    """Here with statements of two parts; that all hold is a test of their own."""
    from qpsim.verdicts import theory
    from qpsim.verdicts.theory import adaptation, momentum

    few, right = (*adaptation.STATEMENTS, *momentum.STATEMENTS), theory.measure
    monkeypatch.setattr(theory, "measure", lambda options, workers: right(options, workers, few))
    done = run(*SMALL_THEORY, "--rng", "5")
    assert done.exit_code == 0, done.output
    saved = json.loads((tmp_path / "found" / "theory-verdicts.json").read_text())
    assert saved["options"]["seed"] == 5 and saved["holds"]
    n = len(saved["verdicts"])
    assert f"{n} of {n} statements hold." in done.stdout
    assert all(word in done.stdout for word in ("claimed", "std. error", "Eq. 19", "Lemma 1"))


@pytest.mark.long
def test_verify_tells_which_statements_of_the_theory_a_wrong_formula_breaks(run, monkeypatch):
    from qpsim import theory

    right = theory.momentum_correction
    monkeypatch.setattr(theory, "momentum_correction", lambda mu, t: right(mu, np.add(t, 1)))
    broken = run(*SMALL_THEORY, "--json")
    assert broken.exit_code == 1
    failed = [v["name"] for v in json.loads(broken.stdout)["verdicts"] if not v["holds"]]
    assert set(failed) == {"kappa", "relative-variance", "kappa-exact"}


def test_info(run, monkeypatch):
    done = run("info", "--timings", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["qpsim"] == qpsim.__version__
    assert found["libraries"]["numpy"] == np.__version__
    assert found["timings"]["compile_seconds"] >= 0.0
    assert found["timings"]["cache_hits"] + found["timings"]["cache_misses"] > 0
    monkeypatch.setenv("QPSIM_NO_CACHE", "1")
    text = run("info").stdout
    assert "cache folder  none" in text
    assert "compiled" not in text


def test_memory_that_is_not_there_is_one_line(run, monkeypatch):
    def make(*arguments, **options):
        raise MemoryError("3 PiB")

    monkeypatch.setattr(figures, "make", make)
    done = run("figure", "2")
    assert done.exit_code == 2
    assert "not enough memory (3 PiB); ask for fewer" in done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [["info", "--json"], ["--version"]])
def test_a_full_disk_is_one_line(arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "qpsim", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 2
    assert done.stderr == "qpsim: error: standard output: No space left on device.\n"


def test_a_reader_that_leaves_is_no_error():
    command = [sys.executable, "-m", "qpsim", "figure", "--list", "--json"]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    started.stdout.close()
    assert started.stderr.read() == b""
    started.wait(timeout=60)
    started.stderr.close()


def test_ctrl_c_is_one_line_and_code_130(run, monkeypatch):
    def make(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(figures, "make", make)
    done = run("figure", "2")
    assert done.exit_code == 130
    assert done.stderr == "qpsim: stopped.\n"


@pytest.mark.skipif(os.name == "nt", reason="signals are another matter there")
def test_ctrl_c_stops_a_long_run(tmp_path):
    command = [sys.executable, "-m", "qpsim", "figure", "2", "--n-replicates", "100000"]
    started = subprocess.Popen(
        [*command, "--dim", "20", "--workers", "1", "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "out").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    # Past the imports, where Python itself may answer the signal.
    time.sleep(2.5)
    started.send_signal(signal.SIGINT)
    out, err = started.communicate(timeout=60)
    assert started.returncode == 130, err
    assert (out, err) == ("", "qpsim: stopped.\n")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_module_is_the_command(tmp_path):
    done = process("figure", "22", cwd=os.getcwd())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "qpsim: error: There is no figure '22'; did you mean '2'?\n"


def test_completion_offers_figures_and_topics():
    from qpsim.cli.figure import _names
    from qpsim.cli.verify import _topics

    assert _names("") == ["all", *figures.names()]
    assert _topics("fig") == ["figure2"]


@pytest.mark.parametrize(("words", "offered"), [("qpsim fig", "figure"), ("qpsim figure 2", "2")])
def test_bash_is_offered_commands_and_figures(words, offered):
    asked = {"_QPSIM_COMPLETE": "complete_bash", "COMP_WORDS": words}
    done = process(env={**os.environ, **asked, "COMP_CWORD": str(words.count(" "))})
    assert done.stdout.split() == [offered]
    assert done.stderr == ""


def test_set_reads_json_and_falls_back_to_text():
    found = assignments(["a=1", "b=[0.1, 2]", "c=adam*", "a=true"], ["a", "b", "c"])
    assert found == {"a": True, "b": [0.1, 2], "c": "adam*"}
    with pytest.raises(FigureError, match="there is no option 'd'"):
        assignments(["d=1"], ["a"])
