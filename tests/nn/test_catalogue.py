"""The named tasks: the paper's settings, data that come along, stand-ins for files that do not."""

import json
import pickle

import numpy as np
import pytest

from qpsim.errors import DataError
from qpsim.nn.catalogue import stand_in, task, task_names
from qpsim.nn.data import CifarAugmentation

EMBEDDED = [name for name in task_names() if not task(name).needs_directory]


def test_names():
    assert task_names()[:3] == ("mnist", "cifar10", "cifar100")
    digits = {"digits-mlp", "digits-cnn", "digits-whitened"}
    assert set(EMBEDDED) == digits | {"synthetic-10", "synthetic-100"}
    with pytest.raises(DataError, match="did you mean 'cifar10'"):
        task("cifar-10")


def test_the_papers_settings():
    mnist, cifar10, cifar100 = (task(name) for name in task_names()[:3])
    assert (mnist.batch_size, cifar10.batch_size, cifar100.batch_size) == (128, 256, 256)
    assert (mnist.l2, cifar10.l2, cifar100.l2) == (5e-4, 2e-3, 5e-4)
    assert cifar100.n_steps == 60_000
    assert cifar10.transform == cifar100.transform == CifarAugmentation()
    assert {one.criterion for one in (mnist, cifar10, cifar100)} == {"test-accuracy"}
    for constant in (mnist, cifar10):
        assert constant.step_factor(1) == constant.step_factor(constant.n_steps) == 1
    factors = [cifar100.step_factor(t) for t in (40_000, 40_001, 50_000, 50_001)]
    np.testing.assert_allclose(factors, [1, 0.1, 0.1, 0.01])


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_tasks_give_batches(name):
    if name.startswith("digits"):
        pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    spec = task(name)
    data = spec.load()
    batches = spec.batches(data.train, rng=0)
    x, y = next(batches)
    assert x.shape == (spec.batch_size, *data.example_shape)
    assert x.dtype == np.float32
    assert y.max() < data.n_classes
    test = list(spec.evaluation_batches(data.test, 100))
    assert sum(len(labels) for _, labels in test) == len(data.test)
    assert 0 < spec.evaluate_every <= spec.n_steps


@pytest.mark.parametrize("name", task_names())
def test_a_named_task_is_a_plain_value(name):
    spec = task(name)
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert hash(spec) == hash(task(name))
    record = json.loads(json.dumps(spec.record()))
    assert record["name"] == name and record["summary"] and record["notes"]
    assert record["network"]["name"] == spec.network.name
    assert record["transform"]["kind"] == type(spec.transform).__name__


def test_dense_networks_read_vectors():
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn")
    for name in ("digits-mlp", "digits-whitened"):
        assert task(name).load().example_shape == (64,)
    assert task("digits-cnn").load().example_shape == (8, 8, 1)
    assert task("digits-cnn").network.keywords["filters"] == (16, 32)


@pytest.mark.parametrize(
    ("name", "shape", "n_classes"),
    [("mnist", (784,), 10), ("cifar10", (32, 32, 3), 10), ("cifar100", (32, 32, 3), 100)],
)
def test_stand_ins_have_the_right_shape(name, shape, n_classes):
    data = stand_in(name, n_train=300, n_test=20)
    assert data.example_shape == shape
    assert data.n_classes == n_classes
    x, _ = next(task(name).batches(data.train, rng=0))
    assert x.shape == (task(name).batch_size, *shape)
    with pytest.raises(DataError, match="no stand-in"):
        stand_in("digits-mlp")
