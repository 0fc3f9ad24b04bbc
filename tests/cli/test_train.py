"""``qpsim train`` and ``qpsim tune``: tables, JSON, files, exit codes, one-line errors."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import qpsim
from qpsim import nn
from qpsim.cli import app
from qpsim.nn import task, task_names
from qpsim.nn.run import Run
from qpsim.nn.training import train as train_here
from tests.nn.data.make_files import write_mnist

WHITENED = ["train", "digits-whitened", "--method", "m-sgd", "--step-size", "0.3", "--workers", "1"]
TUNE = ["tune", "digits-whitened", "--n-steps", "20", "--n-replicates", "2", "--orders", "1",
        "--workers", "1", "--cache", "cells", "--out", "out"]  # fmt: skip


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    return lambda *arguments: runner.invoke(app, [str(a) for a in arguments])


def test_the_json_is_the_run(run):
    from dataclasses import replace

    done = run(*WHITENED, "--n-steps", 30, "--evaluate-every", 10, "--rng", 4, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    chosen = replace(task("digits-whitened"), n_steps=30, evaluate_every=10)
    history = train_here(Run(chosen, qpsim.method("m-sgd"), 0.3, rng=4), workers=1).history
    assert found["evaluations"]["step"] == [0, 10, 20, 30]
    assert found["evaluations"]["test_loss"] == history.test_loss
    assert found["evaluations"]["training_loss"][1:] == history.interval_loss().tolist()
    assert found["status"] == "finished" and found["seed"] == 4


def test_options_reach_the_run(run):
    done = run(*WHITENED[:2], "--method", "adam", "--set", "b2=0.9", "--step-size", 0.01,
               "--n-steps", 4, "--batch-size", 16, "--divide-after", 2, "--divide-after", 3,
               "--divisor", 5, "--json")  # fmt: skip
    found = json.loads(done.stdout)
    assert found["method"]["hyper"] == {"b1": 0.9, "b2": 0.9, "eps": 1e-8}
    chosen = found["task"]
    assert (chosen["batch_size"], chosen["drops"], chosen["drop_divisor"]) == (16, [2, 3], 5.0)


def test_the_table_shows_start_and_end(run):
    done = run(*WHITENED, "--n-steps", 200)
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["step", "training", "loss", "accuracy", "test", "loss", "accuracy"]
    assert lines[2].split()[0] == "0" and lines[-2].split()[0] == "200"
    assert len(lines) == 2 + 12 + 1
    assert "finished after 200 steps; mean training loss" in lines[-1]


def test_a_diverged_run_says_so(run):
    done = run("train", "digits-mlp", "--method", "m-sgd", "--step-size", 1e9, "--n-steps", 9)
    assert done.exit_code == 0
    assert "warning: diverged at step" in done.stderr
    assert "diverged after" in done.stdout


def test_a_checkpoint_is_gone_on_from_by_the_same_command(run):
    first = run(*WHITENED, "--n-steps", 20, "--checkpoint", "run.npz")
    assert first.exit_code == 0 and "saved to run.npz" in first.stderr
    longer = run(*WHITENED, "--n-steps", 40, "--checkpoint", "run.npz", "--json")
    whole = run(*WHITENED, "--n-steps", 40, "--json")
    resumed, straight = json.loads(longer.stdout), json.loads(whole.stdout)
    assert resumed["provenance"].pop("resumed_at") == 20
    assert resumed["evaluations"] == straight["evaluations"]
    other = run(*WHITENED, "--n-steps", 40, "--rng", 1, "--checkpoint", "run.npz")
    assert other.exit_code == 2 and "belongs to another run: its seed is 0" in other.stderr


def test_the_old_names_of_options_still_work_with_a_hint(run):
    done = run(*WHITENED, "--steps", 4, "--batch", 16, "--resume", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["task"]["batch_size"] == 16
    assert "hint: --steps is now --n-steps" in done.stderr
    assert "hint: --batch is now --batch-size" in done.stderr
    assert "hint: --resume is not needed" in done.stderr


def test_weights_are_saved_and_l2_is_set(run):
    done = run(*WHITENED, "--n-steps", 4, "--l2", 0.25, "--weights", "weights.npz", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["task"]["l2"] == 0.25
    network = nn.build_network(nn.task("digits-whitened"), nn.task("digits-whitened").load())
    network.load("weights.npz")
    plain = run(*WHITENED, "--n-steps", 4, "--weights", "plain.npz")
    assert "saved to plain.npz" in plain.stderr
    other = network.parameters.copy()
    network.load("plain.npz")
    assert (network.parameters != other).any()
    missing = run(*WHITENED, "--n-steps", 4, "--weights", "/proc/nowhere/weights.npz")
    assert missing.exit_code == 2 and "Cannot write" in missing.stderr


def test_the_data_are_named_by_their_content(run, tmp_path, monkeypatch):
    """Other data in MNIST's files are neither called MNIST nor written over a tuning on MNIST."""
    # To compress the weights of every cell takes seven seconds.
    monkeypatch.setattr(np, "savez_compressed", np.savez)
    write_mnist(tmp_path / "one")
    write_mnist(tmp_path / "two")
    labels = tmp_path / "two" / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-7] + bytes(7))
    fingerprints = []
    for folder in ("one", "two"):
        done = run("train", "mnist", "--data", folder, "--step-size", 0.01, "--n-steps", 1,
                   "--batch-size", 2, "--json")  # fmt: skip
        data = json.loads(done.stdout)["provenance"]["data"]
        assert data["name"] == f"IDX images {data['fingerprint'][:8]}"
        fingerprints.append(data["fingerprint"])
    # Of the tuning one is enough: its file and its data have the name that the training gave.
    tuned = run("tune", "mnist", "--data", "two", "--steps", 1, "--batch", 2, "--orders", 0,
                "--replicates", 1, "--method", "sgd", "--workers", 1, "--cache", "cells",
                "--out", "out")  # fmt: skip
    assert tuned.exit_code == 0, tuned.output
    written = tmp_path / "out" / f"tune-mnist-idx-images-{fingerprints[-1][:8]}.json"
    kept = json.loads(written.read_text())
    assert kept["data"]["fingerprint"] == fingerprints[-1]
    assert kept["methods"][0]["data"] == kept["data"]
    assert len(set(fingerprints)) == 2


def test_all_tasks_are_listed(run):
    assert set(json.loads(run("train", "--list", "--json").stdout)) == set(task_names())
    listed = run("train", "--list").stdout
    assert all(name in listed for name in task_names())
    assert "needs --data" in listed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train"], "name a task"),
        (["train", "digits-mlp"], "--step-size"),
        (["train", "digits-mpl", "--step-size", "1"], "did you mean 'digits-mlp'"),
        (["train", "digits-mlp", "--step-size", "-1"], "step_size must be a finite number > 0"),
        (["train", "digits-mlp", "--step-size", "1", "--method", "svag"], "relative variance"),
        (["train", "digits-mlp", "--step-size", "1", "--set", "b3=1"], "no option 'b3'"),
        (["train", "cifar10", "--step-size", "1"], "--data DIR"),
        (["train", "mnist", "--step-size", "1", "--data", "."], "train-images"),
        (["train", "digits-mlp", "--step-size", "1", "--data", "."], "reads no directory"),
        (["tune", "digits-mlp", "--method", "adma"], "did you mean 'adam'"),
        (["tune", "digits-mlp", "--orders", "-1"], "orders must be"),
        (["tune", "digits-mlp", "--criterion", "loss"], "no criterion 'loss'"),
        (["tune", "digits-mlp", "--workers", "0"], "workers must be"),
    ],
)
def test_a_mistake_is_one_line(run, arguments, message):
    done = run(*arguments)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())
    assert done.stdout == ""


def test_tuning_writes_its_table_and_its_plot(run, tmp_path):
    done = run(*TUNE, "--method", "m-sgd", "--method", "adam", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [one["method"].split("(")[0] for one in found] == ["m-sgd", "adam"]
    for one in found:
        scores = {point["step_size"]: point["score"] for point in one["grid"]}
        assert scores[one["step_size"]] == min(scores.values())
        assert len(one["test_accuracy"]["values"]) == 2
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["tune-digits-whitened.json", "tune-digits-whitened.pdf",
                     "tune-digits-whitened.png"]  # fmt: skip
    kept = json.loads((tmp_path / "out" / "tune-digits-whitened.json").read_text())
    assert kept["methods"] == found


def test_tuning_prints_a_table_and_says_what_its_numbers_are(run):
    lines = run(*TUNE, "--method", "m-sgd").stdout.splitlines()
    assert lines[0].split()[:4] == ["method", "step", "size", "between"]
    assert lines[2].split()[0] == "m-sgd" and "+-" in lines[2]
    assert "step sizes chosen by training-loss" in lines[3]
    (k,) = [k for k, line in enumerate(lines) if line.startswith("Mean training loss at each step")]
    words = lines[k + 1].split()
    steps = [float(word.strip(":")) for word in words[1::2]]
    losses = dict(zip(steps, map(float, words[2::2]), strict=True))
    assert words[0] == "m-sgd" and steps == sorted(steps)
    assert f"{min(losses, key=losses.get):g}" == lines[2].split()[1]


def test_a_best_step_at_the_end_of_the_search_is_named(run):
    lines = run(*TUNE, "--orders", "0", "--method", "m-sgd").stdout
    assert "m-sgd: the best step size is the largest stable one." in lines
    by_accuracy = run(*TUNE, "--criterion", "test-accuracy", "--method", "adam").stdout
    assert "Highest test accuracy in % at each step size" in by_accuracy
