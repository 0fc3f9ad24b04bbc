"""Checkpoints of trainings: the same bits, complete files, other runs refused."""

import dataclasses
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import qpsim
from qpsim.errors import FileError, TrainingError
from qpsim.files.archive import read_arrays, write_arrays
from qpsim.nn import Dense, Flatten, build, checkpoint, cifar100_allcnn, task
from qpsim.nn.data import Dataset, Split
from qpsim.nn.loop import Loop
from qpsim.nn.network import Network
from qpsim.nn.run import Run
from qpsim.nn.training import train


def short(name="digits-mlp", **changes):
    return dataclasses.replace(task(name), **{"n_steps": 24, "evaluate_every": 10, **changes})


def every(n):
    """A stop that says True each n-th time it is asked."""
    asked = [0]

    def stop():
        asked[0] += 1
        return asked[0] % n == 0

    return stop


@pytest.mark.parametrize(
    ("name", "method", "changes"),
    [
        ("digits-mlp", "adam", {}),
        ("digits-cnn", "m-svag-mb", {"drops": (12,)}),
        ("digits-whitened", "m-svag", {"n_steps": 100}),  # over the end of an epoch
        ("synthetic-10", "adam*", {"n_steps": 8}),  # augmented
    ],
)
def test_a_run_in_pieces_is_bit_for_bit_the_run_in_one(name, method, changes, tmp_path):
    run = Run(short(name, **changes), qpsim.method(method), 0.01, rng=2)
    data = run.task.load()
    whole = train(run, data, workers=1)
    path = tmp_path / "run.npz"
    pieces, stop = 0, every(7)
    while True:
        pieces += 1
        try:
            resumed = train(run, data, workers=2, checkpoint=path, stop=stop)
            break
        except KeyboardInterrupt:
            assert pieces < 50
    assert pieces > 1
    np.testing.assert_array_equal(resumed.parameters, whole.parameters)
    assert vars(resumed.history) == vars(whole.history)


def test_dropout_resumes_with_its_own_stream(tmp_path, monkeypatch):
    def allcnn(**options):
        del options["weight_decay"]
        layers = cifar100_allcnn(rng=0).layers[:4]
        return Network([*layers, Flatten(), Dense(3)], (4, 4, 3), **options)

    monkeypatch.setitem(build._FIXED, "cifar100_allcnn", (allcnn, (4, 4, 3), 3))
    rng = np.random.default_rng(0)
    split = Split(rng.random((40, 4, 4, 3), np.float32), rng.integers(3, size=40))
    data = Dataset("dots", split, split, 3)
    chosen = short("cifar100", n_steps=9, batch_size=8, drops=())
    run = Run(chosen, qpsim.method("m-sgd"), 0.01)
    whole = train(run, data, workers=1)
    with pytest.raises(KeyboardInterrupt):
        train(run, data, checkpoint=tmp_path / "c.npz", stop=every(4))
    resumed = train(run, data, checkpoint=tmp_path / "c.npz")
    np.testing.assert_array_equal(resumed.parameters, whole.parameters)


def test_a_finished_run_can_go_on_for_longer(tmp_path):
    path, adam = tmp_path / "run.npz", qpsim.method("adam")
    train(Run(short(n_steps=10), adam, 0.01), checkpoint=path)
    longer = train(Run(short(n_steps=20), adam, 0.01), checkpoint=path)
    whole = train(Run(short(n_steps=20), adam, 0.01))
    np.testing.assert_array_equal(longer.parameters, whole.parameters)
    with pytest.raises(FileError, match="has taken 20 steps already, more than the 10"):
        train(Run(short(n_steps=10), adam, 0.01), checkpoint=path)


def test_ctrl_c_finishes_the_step_and_leaves_a_valid_checkpoint(tmp_path):
    run = Run(short(n_steps=1000), qpsim.method("m-svag"), 0.1)
    asked = []

    def stop():
        asked.append(True)
        if len(asked) == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return False

    with pytest.raises(KeyboardInterrupt):
        train(run, checkpoint=tmp_path / "run.npz", stop=stop)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    taken = len(asked) + 1
    header, arrays = read_arrays(tmp_path / "run.npz", "training checkpoint")
    assert header["t"] == header["batches"]["step"] == taken < 10
    same = train(Run(short(n_steps=taken), qpsim.method("m-svag"), 0.1))
    np.testing.assert_array_equal(arrays["parameters"], same.parameters)


def test_ctrl_c_on_the_command_line(tmp_path):
    path = tmp_path / "run.npz"
    command = [sys.executable, "-m", "qpsim", "train", "digits-mlp", "--step-size", "0.003",
               "--n-steps", "1000000", "--workers", "1", "--checkpoint", str(path)]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert out == "" and "Traceback" not in err
    assert "the same command goes on from there" in err
    run = Run(dataclasses.replace(task("digits-mlp"), n_steps=1000000), qpsim.method("adam"), 0.003)
    loop = Loop(run, task("digits-mlp").load(), workers=1)
    checkpoint.load(path, loop, loop.dataset.record())
    assert loop.optimizer.t == loop.batches.step == len(loop.history.batch_loss)
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]


@pytest.mark.parametrize(
    ("changes", "arguments", "message"),
    [
        ({}, {"step_size": 0.02}, "its step_size is 0.01, the one asked for 0.02"),
        ({}, {"rng": 1}, "its seed is 0"),
        ({}, {"method": qpsim.method("m-svag")}, "its method.name is 'adam'"),
        ({}, {"method": qpsim.method("adam", b2=0.9)}, "its method.hyper.b2 is 0.999"),
        ({"batch_size": 16}, {}, "its task.batch_size is 32"),
        ({"drops": (3,)}, {}, "its task.drops is"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(changes, arguments, message, tmp_path):
    path = tmp_path / "run.npz"
    given = {"method": qpsim.method("adam"), "step_size": 0.01}
    train(Run(short(n_steps=2), **given), checkpoint=path)
    with pytest.raises(FileError, match=message):
        train(Run(short(n_steps=2, **changes), **{**given, **arguments}), checkpoint=path)


def shifted(data):
    """The same examples with every label moved by one: the same name, shapes and sizes."""
    splits = (Split(s.images, (s.labels + 1) % 10) for s in (data.train, data.test))
    return Dataset(data.name, *splits, data.n_classes)


def test_other_data_of_the_same_name_and_size_are_refused(tmp_path):
    path, run = tmp_path / "run.npz", Run(short(n_steps=4), qpsim.method("adam"), 0.01)
    data = run.task.load()
    train(run, data, checkpoint=path)
    content = path.read_bytes()
    marks = data.fingerprint()[:8], shifted(data).fingerprint()[:8]
    with pytest.raises(FileError, match="digits .*{}.*, not digits with other .*{}".format(*marks)):
        train(run, shifted(data), checkpoint=path)
    assert path.read_bytes() == content
    # The same data by another name are the same data.
    renamed = Dataset("mine", data.train, data.test, 10)
    assert train(run, renamed, checkpoint=path).provenance["data"]["name"] == "mine"


@pytest.mark.parametrize("version", [{}, {"qpsim": "0.1.9"}])
def test_a_file_of_another_version_is_refused_by_name(version, tmp_path):
    path, run = tmp_path / "run.npz", Run(short(n_steps=2), qpsim.method("adam"), 0.01)
    train(run, checkpoint=path)
    header, arrays = read_arrays(path, "training checkpoint")
    del header["qpsim"]
    write_arrays(path, "training checkpoint", {**header, **version}, arrays)
    with pytest.raises(FileError, match=rf"written by qpsim 0\.1.*this is {qpsim.__version__}"):
        train(run, checkpoint=path)


FACTOR = 1.0


class Scaled:
    """A transform of one's own, with an array, that reads a constant of its module."""

    def __init__(self, shift):
        self.shift = shift

    def training(self, images, generator):
        return self.evaluation(images)

    def evaluation(self, images):
        return FACTOR * images + self.shift


def test_a_run_goes_on_only_with_the_same_code_and_constants(tmp_path, monkeypatch):
    path = tmp_path / "run.npz"

    def run(shift):
        task = short(n_steps=2, transform=Scaled(np.full(64, shift, np.float32)))
        return Run(task, qpsim.method("adam"), 0.01)

    train(run(0.5), checkpoint=path)
    train(run(0.5), checkpoint=path)
    with pytest.raises(FileError, match=r"its task\.transform\.shift\.hash is"):
        train(run(0.25), checkpoint=path)
    monkeypatch.setitem(globals(), "FACTOR", 2.0)
    with pytest.raises(FileError, match=r"its task\.transform\.kind\.source is"):
        train(run(0.5), checkpoint=path)


def test_a_finished_run_is_found_complete(tmp_path):
    path, run = tmp_path / "run.npz", Run(short(), qpsim.method("adam"), 0.01)
    first = train(run, checkpoint=path)
    again = train(run, checkpoint=path, stop=lambda: pytest.fail("a step was taken"))
    np.testing.assert_array_equal(again.parameters, first.parameters)
    assert vars(again.history) == vars(first.history)
    assert again.provenance["resumed_at"] == 24


def test_it_is_written_as_often_as_asked(tmp_path, monkeypatch):
    written = []
    save = checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda *a: written.append(a) or save(*a))
    run = Run(short(n_steps=5), qpsim.method("adam"), 0.01)
    train(run, checkpoint=tmp_path / "often.npz", checkpoint_every=0)
    assert len(written) == 1 + 5 + 1
    written.clear()
    train(run, checkpoint=tmp_path / "seldom.npz", checkpoint_every=3600)
    assert len(written) == 2
    with pytest.raises(TrainingError, match="checkpoint_every must be a finite number >= 0"):
        train(run, checkpoint=tmp_path / "c.npz", checkpoint_every=-1)


def test_damaged_and_incomplete_checkpoints_are_refused(tmp_path):
    path = tmp_path / "run.npz"
    run = Run(short(n_steps=2), qpsim.method("adam"), 0.01)
    train(run, checkpoint=path)
    content = path.read_bytes()
    path.write_bytes(content[:-50])
    with pytest.raises(FileError, match="damaged"):
        train(run, checkpoint=path)
    path.write_bytes(content)
    header, arrays = read_arrays(path, "training checkpoint")
    for spoil in ("parameters", "state.m", "batch_loss"):
        fewer = {name: array for name, array in arrays.items() if name != spoil}
        write_arrays(path, "training checkpoint", header, fewer)
        with pytest.raises(FileError, match="no complete checkpoint"):
            train(run, checkpoint=path)
    write_arrays(path, "training checkpoint", {**header, "t": 7}, arrays)
    with pytest.raises(FileError, match="counts disagree"):
        train(run, checkpoint=path)


def test_an_unwritable_place_is_found_before_the_work(tmp_path):
    run = Run(short(), qpsim.method("adam"), 0.01)
    with pytest.raises(FileError, match="Cannot write"):
        train(run, checkpoint=tmp_path / "nowhere" / "run.npz", stop=lambda: 1 / 0)
