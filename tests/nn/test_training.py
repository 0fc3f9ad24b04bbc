"""Training: the paper's updates on a plain NumPy network, the same bits always, bad input."""

import dataclasses
import json
import math

import numpy as np
import pytest

import qpsim
from qpsim import nn
from qpsim.errors import (
    DataError,
    ExecutionError,
    MethodError,
    QpsimError,
    RenamedWarning,
    TrainingError,
)
from qpsim.nn import task
from qpsim.nn.data import Dataset, Split, Stream
from qpsim.nn.loop import LARGEST_LOSS, Loop
from qpsim.nn.run import Run
from qpsim.nn.tasks import NetworkSpec
from qpsim.nn.training import train
from tests.nn import own
from tests.nn.transcriptions import trajectory

MLP = NetworkSpec("mlp", (("hidden", (32,)), ("weight", "he_normal")))
SHAPES = ((64, 32), (32,), (32, 10), (10,))
STEP_SIZES = {
    "m-sgd": 0.03, "m-ssd": 0.001, "m-svag": 0.3, "adam": 0.003,
    "adam*": 0.003, "m-svag-mb": 0.03, "adam*-mb": 0.003,
}  # fmt: skip


@pytest.fixture(scope="module")
def digits():
    return task("digits-mlp").load()


def variant(**changes):
    options = {"network": MLP, "n_steps": 20, "evaluate_every": 10, **changes}
    return dataclasses.replace(task("digits-mlp"), **options)


@pytest.mark.parametrize("name", STEP_SIZES)
def test_200_steps_agree_with_a_transcription_of_the_paper(name, digits):
    chosen = variant(n_steps=200, l2=1e-3, evaluate_every=200)
    run = Run(chosen, qpsim.method(name), STEP_SIZES[name], rng=3, dtype="float64")
    start = Loop(run, digits, workers=1).network.parameters.copy()
    trained = train(run, digits, workers=1)
    batches = chosen.batches(digits.train, rng=Stream(3).child(1))
    theta, losses = trajectory(name, start, SHAPES, batches, run.step_size, 200, chosen.l2)
    np.testing.assert_allclose(trained.history.batch_loss, losses, rtol=1e-8)
    np.testing.assert_allclose(trained.parameters, theta, rtol=1e-7, atol=1e-9)
    assert losses[-20:].mean() < 0.7 * losses[0]


def test_float32_follows_float64(digits):
    runs = [
        Run(variant(), qpsim.method("m-svag"), 0.3, rng=1, dtype=dtype)
        for dtype in ("float32", "float64")
    ]
    single, double = (train(run, digits, workers=1) for run in runs)
    assert single.parameters.dtype == np.float32
    np.testing.assert_allclose(single.history.batch_loss, double.history.batch_loss, rtol=2e-4)


@pytest.mark.parametrize("name", ["adam", "m-svag-mb"])
def test_the_number_of_threads_does_not_show(name, digits):
    # Large enough for several chunks of parameters, and several of examples.
    wide = NetworkSpec("mlp", (("hidden", (512, 256)), ("weight", "he_normal")))
    run = Run(variant(network=wide, n_steps=6, batch_size=64), qpsim.method(name), 0.01)
    one, three = (train(run, digits, workers=workers) for workers in (1, 3))
    assert one.parameters.size > 2 * 65536
    np.testing.assert_array_equal(one.parameters, three.parameters)
    assert vars(one.history) == vars(three.history)


def test_methods_of_one_seed_share_start_and_batches(digits):
    first = [
        train(Run(variant(n_steps=1), qpsim.method(name), 0.01, rng=5), digits, workers=1).history
        for name in ("m-sgd", "adam*-mb")
    ]
    assert first[0].batch_loss == first[1].batch_loss
    other = train(Run(variant(n_steps=1), qpsim.method("m-sgd"), 0.01, rng=6), digits, workers=1)
    assert other.history.batch_loss != first[0].batch_loss


def test_the_schedule_divides_the_step_size(digits):
    plain = Run(variant(), qpsim.method("sgd"), 0.1)
    # A divisor this large stops all motion after step 10.
    dropped = Run(variant(drops=(10,), drop_divisor=1e30), qpsim.method("sgd"), 0.1)
    short = Run(variant(n_steps=10), qpsim.method("sgd"), 0.1)
    moved, stopped, early = (train(run, digits, workers=1) for run in (plain, dropped, short))
    np.testing.assert_array_equal(stopped.parameters, early.parameters)
    assert (moved.parameters != early.parameters).any()


def test_what_a_run_records(digits):
    trained = train(Run(variant(n_steps=25), qpsim.method("adam"), 0.003), digits, workers=1)
    history = trained.history
    assert history.evaluated == [0, 10, 20, 25]
    assert len(history.batch_loss) == len(history.batch_accuracy) == 25
    assert history.test_loss[-1] < history.test_loss[0]
    expected = [np.mean(history.batch_loss[a:b]) for a, b in ((0, 10), (10, 20), (20, 25))]
    np.testing.assert_allclose(history.interval_loss(), expected)
    found = trained.summary()
    json.dumps(found, allow_nan=False)
    assert found["status"] == "finished"
    assert found["evaluations"]["test_accuracy"] == history.test_accuracy
    assert found["mean_training_loss"] == pytest.approx(np.mean(history.batch_loss))


def test_the_test_set_is_seen_whole_and_undistorted(digits):
    run = Run(variant(n_steps=5), qpsim.method("adam"), 0.003)
    trained = train(run, digits, workers=1)
    loop = Loop(run, digits, workers=1)
    loop.network.parameters = trained.parameters
    logits = loop.network.predict(digits.test.images).astype(float)
    hits = logits.argmax(axis=1) == digits.test.labels
    assert trained.history.test_accuracy[-1] == pytest.approx(hits.mean())
    peak = logits.max(axis=1)
    losses = np.log(np.exp(logits - peak[:, None]).sum(axis=1)) + peak
    losses -= logits[np.arange(len(hits)), digits.test.labels]
    assert trained.history.test_loss[-1] == pytest.approx(losses.mean(), rel=1e-5)


def test_a_run_that_diverges_is_recorded_as_such(digits):
    trained = train(Run(variant(), qpsim.method("m-sgd"), 1e6), digits, workers=1)
    history = trained.history
    assert history.diverged_at == len(history.batch_loss) < 20
    assert not history.batch_loss[-1] <= LARGEST_LOSS
    assert history.mean_loss == math.inf and not history.stable
    found = trained.summary()
    assert found["status"] == "diverged" and found["mean_training_loss"] is None
    json.dumps(found, allow_nan=False)


def test_a_convolutional_network_trains():
    chosen = dataclasses.replace(task("digits-cnn"), n_steps=40, evaluate_every=40)
    history = train(Run(chosen, qpsim.method("adam"), 0.01), workers=1).history
    assert history.test_accuracy[-1] > history.test_accuracy[0] + 0.1


@pytest.mark.parametrize(
    ("changes", "arguments", "error", "message"),
    [
        ({}, {"step_size": 0.0}, TrainingError, "step_size must be a finite number > 0, not 0.0"),
        ({}, {"step_size": math.nan}, TrainingError, "step_size must be a finite number > 0"),
        ({}, {"step_size": True}, TrainingError, "step_size must be a finite number > 0"),
        ({}, {"rng": -1}, TrainingError, "rng must be a whole number of at least 0"),
        (
            {},
            {"dtype": "float16"},
            TrainingError,
            "Unknown dtype 'float16'; did you mean 'float64'",
        ),
        ({"n_steps": 0}, {}, TrainingError, "n_steps must be a whole number of at least 1"),
        ({"n_steps": 2.5}, {}, TrainingError, "n_steps must be a whole number"),
        ({"evaluate_every": 0}, {}, TrainingError, "evaluate_every must be"),
        ({"batch_size": 0}, {}, TrainingError, "batch_size must be"),
        ({"drops": (0,)}, {}, TrainingError, "a step after which the step size drops must be"),
        ({"drop_divisor": 0.0}, {}, TrainingError, "drop_divisor must be a finite number > 0"),
        ({}, {"method": qpsim.method("svag")}, MethodError, "exact relative variance"),
        ({"batch_size": 1}, {"method": qpsim.method("adam*-mb")}, TrainingError, "at least 2"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(changes, arguments, error, message):
    given = {"method": qpsim.method("adam"), "step_size": 0.1, **arguments}
    with pytest.raises(error, match=message):
        Run(variant(**changes), **given)


def test_what_is_no_run_task_or_data_set_is_named():
    with pytest.raises(TrainingError, match=r"run must be a Run, such as .*, not 'digits-mlp'"):
        train("digits-mlp")
    with pytest.raises(TrainingError, match=r"task must be a Task, .* not 'digits-mlp'"):
        Run("digits-mlp", "sgd", 0.1)
    assert Run(variant(), "sgd", 0.1).method == qpsim.method("sgd")
    with pytest.raises(DataError, match=r"data must be a Dataset, .* not array"):
        train(Run(variant(), "sgd", 0.1), np.ones((3, 3)))


def test_what_only_the_data_can_tell_is_refused(digits):
    adam = qpsim.method("adam")
    with pytest.raises(DataError, match="batch size is 5000"):
        train(Run(variant(batch_size=5000), adam, 0.1), digits)
    with pytest.raises(ExecutionError, match="workers must be a whole number"):
        train(Run(variant(), adam, 0.1), digits, workers=0)
    with pytest.raises(TrainingError, match="mnist_mlp reads examples of shape"):
        train(Run(variant(network=NetworkSpec("mnist_mlp")), adam, 0.1), digits)
    with pytest.raises(TrainingError, match="no network 'mpl'; did you mean 'mlp'"):
        train(Run(variant(network=NetworkSpec("mpl")), adam, 0.1), digits)
    unknown = NetworkSpec("mlp", (("weight", "he_norml"),))
    with pytest.raises(TrainingError, match="no initial law 'he_norml'; did you mean 'he_normal'"):
        train(Run(variant(network=unknown), adam, 0.1), digits)
    odd = NetworkSpec("mlp", (("depth", 3),))
    with pytest.raises(TrainingError, match="does not fit"):
        train(Run(variant(network=odd), adam, 0.1), digits)
    images = Dataset("pictures", *[Split(np.zeros((4, 8, 8, 1)), np.zeros(4, int))] * 2, 2)
    with pytest.raises(TrainingError, match="mlp reads vectors"):
        train(Run(variant(batch_size=2, vectors=False), adam, 0.1), images)


def test_the_former_name_of_a_runs_rng_is_understood_with_a_hint():
    with pytest.warns(RenamedWarning, match="seed is called rng now") as seen:
        run = Run(variant(), qpsim.method("sgd"), 0.1, seed=7)
    assert run == Run(variant(), qpsim.method("sgd"), 0.1, rng=7) and seen[0].filename == __file__
    assert run.seed == run.record()["seed"] == 7 and dataclasses.replace(run, rng=8).seed == 8


def cloud(n=300, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 5))
    return x, (x[:, 0] * x[:, 1] > 0).astype(int)


def test_a_network_of_ones_own_from_arrays_to_kept_weights(tmp_path):
    (x, y), (x_test, y_test) = cloud(), cloud(seed=1)
    data = nn.Dataset.from_arrays(x, y, x_test, y_test, name="quadrants")
    layers = [own.Scale(), nn.Dense(16), own.Tanh(), nn.Dense(2)]
    mine = nn.Task("mine", layers, batch_size=16, n_steps=300, l2=1e-4, loss=own.smoothed,
                   schedule=lambda t: 1 / (1 + t / 100))  # fmt: skip
    trained = train(nn.Run(mine, qpsim.method("adam"), 0.03), data, workers=1)
    assert trained.history.test_accuracy[-1] > 0.8
    found = json.loads(json.dumps(trained.summary(), allow_nan=False))
    assert found["provenance"]["data"]["name"] == "quadrants"
    fresh = nn.build_network(mine, data, rng=5)
    fresh.load(trained.network.save(tmp_path / "weights.npz"))
    assert fresh.evaluate(x_test, y_test) == trained.network.evaluate(x_test, y_test)
    # The schedule is the run's: the last step size is a quarter of the first.
    assert mine.step_factor(300) == 0.25


def test_a_regression_trains_by_the_squared_error():
    (x, _), (x_test, _) = cloud(), cloud(seed=1)
    y, y_test = (np.stack([a[:, 0] - a[:, 1], 2 * a[:, 2]], axis=1) for a in (x, x_test))
    data = nn.Dataset.from_arrays(x, y, x_test, y_test)
    mine = nn.Task("linear", [nn.Dense(2)], 16, 300, loss="squared-error")
    trained = train(nn.Run(mine, qpsim.method("m-sgd"), 0.01), data, workers=1)
    assert trained.history.test_loss[-1] < 1e-3 * trained.history.test_loss[0]
    assert np.isnan(trained.history.test_accuracy).all()
    weight = trained.network.views["dense1.weight"]
    np.testing.assert_allclose(weight[:3], [[1, 0], [-1, 0], [0, 2]], atol=0.02)
    found = json.loads(json.dumps(trained.summary(), allow_nan=False))
    assert found["evaluations"]["test_accuracy"][0] is None


def test_a_large_loss_is_no_divergence_where_losses_are_large():
    x = cloud()[0]
    data = nn.Dataset.from_arrays(x, 1e4 * x[:, :1], x, 1e4 * x[:, :1])
    mine = nn.Task("large", [nn.Dense(1)], 16, 50, loss="squared-error")
    fine = train(nn.Run(mine, qpsim.method("sgd"), 0.1), data, workers=1).history
    assert fine.diverged_at is None and fine.batch_loss[0] > LARGEST_LOSS and fine.stable
    wild = train(nn.Run(mine, qpsim.method("sgd"), 100.0), data, workers=1).history
    assert wild.diverged_at is not None


def test_a_loss_that_is_not_finite_from_the_start_is_no_divergence_but_a_mistake(digits):
    def broken(outputs, labels):
        return np.full(len(outputs), np.nan), np.zeros_like(outputs)

    with pytest.raises(TrainingError, match="loss of the untrained network on the test set of dig"):
        train(Run(variant(loss=broken), qpsim.method("adam"), 0.1), digits)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([nn.Dense(9)], "gives 9 outputs; digits has 10 classes"),
        ([nn.Conv2D(4, 3), nn.Flatten(), nn.Dense(10)], "needs images"),
    ],
)
def test_layers_that_do_not_fit_the_data_are_refused(layers, message, digits):
    with pytest.raises(QpsimError, match=message):
        train(Run(variant(network=layers), qpsim.method("adam"), 0.1), digits)
