"""Tasks: required fields, records, and refused values."""

import json
import pickle

import numpy as np
import pytest

from qpsim import nn
from qpsim.errors import DataError, TrainingError
from qpsim.nn.tasks import NetworkSpec, Task
from tests.nn import own
from tests.nn.data.make_files import write_mnist

LAYERS = [nn.Dense(4), nn.ReLU(), nn.Dense(3)]


def made(**changes):
    return Task(**{"name": "mine", "network": LAYERS, "batch_size": 2, "n_steps": 5, **changes})


class Shifted:
    """A transform with the two documented methods and nothing else."""

    def __init__(self, by):
        self.by = by

    def training(self, images, generator):
        return self.evaluation(images) + generator.standard_normal(images.shape)

    def evaluation(self, images):
        return images + self.by


def test_a_task_with_own_layers_loss_transform_and_schedule_is_recorded_whole():
    task = made(
        loss=own.smoothed, transform=Shifted(np.ones(3)), schedule=lambda t: 1 / t, l2=0.5,
        network=[own.Scale(), nn.Dense(3)],
    )  # fmt: skip
    record = json.loads(json.dumps(task.record()))
    assert record["l2"] == 0.5 and record["name"] == "mine"
    assert record["network"][1]["units"] == 3
    assert record["network"][0]["kind"]["class"] == "tests.nn.own.Scale"
    assert record["loss"]["function"] == "tests.nn.own.smoothed"
    assert record["transform"]["by"]["array"] == [3]
    assert record["schedule"]["function"].endswith("<lambda>")
    assert made().record() != record


def test_a_schedule_takes_the_place_of_drops():
    task = made(schedule=lambda t: t**-0.5)
    assert [task.step_factor(t) for t in (1, 4)] == [1.0, 0.5]
    with pytest.raises(TrainingError, match="the schedule at step 2 must be a finite number >= 0"):
        made(schedule=lambda t: -1.0).step_factor(2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_steps": 0}, "n_steps must be a whole number of at least 1"),
        ({"batch_size": 2.5}, "batch_size must be a whole number"),
        ({"evaluate_every": True}, "evaluate_every must be"),
        ({"l2": -1}, "l2 must be a finite number >= 0"),
        ({"l2": np.nan}, "l2 must be"),
        ({"drops": (0,)}, "a step after which the step size drops must be"),
        ({"schedule": 3}, "schedule is a function"),
        ({"schedule": abs, "drops": (2,)}, "no drops"),
        ({"loss": "hinge"}, "There is no loss 'hinge'"),
        ({"criterion": "accuracy"}, "Unknown criterion 'accuracy'; did you mean 'test-accuracy'"),
        ({"transform": abs}, "a transform has the methods training and evaluation"),
        ({"network": "mlp"}, "a list of layers, or a NetworkSpec"),
        ({"drops": 3}, r"drops are numbers of steps, such as \(100, 200\), not 3"),
        ({"name": 3}, "a task's name is a text, not 3"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, message):
    with pytest.raises(TrainingError, match=message):
        made(**changes)


def test_a_task_is_a_value_of_python():
    task = made(transform=Shifted([1]))
    assert pickle.loads(pickle.dumps(task)).record() == task.record()
    assert hash(task) == hash(made(transform=Shifted([1])))
    spec = NetworkSpec("mlp", (("hidden", (3,)),))
    assert made(network=spec) == made(network=spec)
    assert NetworkSpec("mnist_mlp").keywords == {} and spec.keywords == {"hidden": (3,)}


def test_the_network_reads_what_the_transform_makes():
    class Halved(nn.Plain):
        def evaluation(self, images):
            return images[:, ::2]

        def training(self, images, generator):
            return self.evaluation(images)

    x, y = np.ones((4, 6)), np.array([0, 1, 2, 0])
    data = nn.Dataset.from_arrays(x, y, x, y)
    task = made(transform=Halved())
    assert task.input_shape(data) == (3,)
    network = nn.build_network(task, data, rng=0)
    network.loss_and_gradient(*next(task.batches(data.train, rng=0)))


def test_images_become_vectors_where_the_network_reads_vectors(tmp_path):
    arrays = write_mnist(tmp_path)
    data = nn.task("mnist").load(tmp_path)
    assert data.example_shape == (784,)
    np.testing.assert_array_equal(
        data.train.images, arrays["train-images-idx3-ubyte"].reshape(7, 784)
    )
    images = nn.load_mnist(tmp_path)
    assert nn.task("mnist").prepared(images).example_shape == (784,)


def test_data_that_are_missing_or_not_needed(tmp_path):
    with pytest.raises(DataError, match="'mine' names no data; give a Dataset"):
        made().load()
    with pytest.raises(DataError, match="there are no data 'digit'; did you mean 'digits'"):
        made(data="digit").load()
    with pytest.raises(DataError, match="give their directory"):
        nn.task("mnist").load()
    with pytest.raises(DataError, match="train-images-idx3-ubyte"):
        nn.task("mnist").load(tmp_path)
    with pytest.raises(DataError, match="reads no directory"):
        nn.task("synthetic-10").load(tmp_path)
