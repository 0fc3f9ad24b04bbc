"""Descriptions of runs: equal for equal numbers, different otherwise."""

import functools
import importlib
import json
import math
import os
import subprocess
import sys
import types
from dataclasses import replace

import numpy as np
import pytest

import qpsim
from qpsim import nn
from qpsim.errors import TrainingError
from qpsim.nn import PixelNoise
from qpsim.nn.cells import Cell
from qpsim.nn.data import synthetic_images
from qpsim.nn.identity import _version, describe, digest, is_complete, source_digest

CONSTANT = 1.0
settings = types.ModuleType("settings_of_a_user")
settings.factor = 1.0


def helper(x):
    return CONSTANT * x


def reads_a_helper(x):
    return helper(x)


def reads_a_module(x):
    return settings.factor * x


def closes_over(value):
    def inside(x):
        return value * x

    return inside


class Holder:
    def __init__(self, value):
        self.value = value

    def doubled(self):
        return CONSTANT * 2 * self.value


class Below(Holder):
    pass


def test_plain_values_stay_what_they_are():
    value = {"a": (1, 2.5, None), "b": [True, "text"], 3: math.inf}
    assert describe(value) == {"a": [1, 2.5, None], "b": [True, "text"], "(int) 3": "inf"}


def test_everything_described_is_json():
    values = [nn.Plain(), nn.Dense(3), nn.Conv2D(4, 3), nn.constant(0.1), np.arange(3), Holder(2),
              closes_over(np.ones(2)), np.float32(1), b"bytes", {1, 2}, functools.partial(helper, 2),
              Holder(1).doubled, math.tanh, np.exp, Below, nn.CifarAugmentation()]  # fmt: skip
    described = [json.dumps(describe(value)) for value in values]
    assert len(set(described)) == len(values)
    assert described == [json.dumps(describe(value)) for value in values]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Holder(1), Holder(2)),
        (Holder(1), Below(1)),
        (Holder(np.zeros(3)), Holder(np.array([0.0, 0.0, 1e-300]))),
        (Holder(np.zeros(3)), Holder(np.zeros(3, np.float32))),
        (Holder(np.zeros((2, 3))), Holder(np.zeros((3, 2)))),
        (closes_over(1), closes_over(2)),
        (closes_over(np.zeros(2)), closes_over(np.ones(2))),
        (functools.partial(helper, 1), functools.partial(helper, 2)),
        (lambda x: x + 1, lambda x: x + 2),
        (nn.PixelNoise(0.5), nn.PixelNoise(0.25)),
        (nn.Dense(3), nn.Dense(3, weight=nn.he_normal)),
        (nn.constant(0.1), nn.constant(0.2)),
    ],
)
def test_what_leads_to_other_numbers_is_described_otherwise(one, other):
    assert describe(one) != describe(other)


@pytest.mark.parametrize("value", [helper, reads_a_helper, Holder(1), Below(1), Holder(1).doubled])
def test_a_constant_that_is_read_somewhere_below_counts(value, monkeypatch):
    before = describe(value)
    monkeypatch.setitem(globals(), "CONSTANT", 2.0)
    assert describe(value) != before


def test_an_attribute_of_a_users_module_counts(monkeypatch):
    before = describe(reads_a_module)
    monkeypatch.setattr(settings, "unrelated", 1.0, raising=False)
    assert describe(reads_a_module) == before
    monkeypatch.setattr(settings, "factor", 2.0)
    assert describe(reads_a_module) != before


def test_a_function_without_a_file_is_known_by_its_code():
    def made(text):
        space = {}
        exec(text, space)
        return space["f"]

    assert describe(made("def f(x): return x + 1")) == describe(made("def f(x): return x + 1"))
    assert describe(made("def f(x): return x + 1")) != describe(made("def f(x): return x + 2"))


def test_a_compiled_function_is_its_python():
    import numba

    assert describe(numba.njit(helper)) == describe(helper)
    assert source_digest(helper) == source_digest(numba.njit(helper).py_func)


def test_cycles_end():
    one = Holder(None)
    one.value = [one]
    assert "contains itself" in json.dumps(describe(one))


def test_what_cannot_be_described_is_refused(tmp_path):
    with (tmp_path / "file").open("w") as stream:
        with pytest.raises(TrainingError, match=r"cannot depend on .*TextIOWrapper"):
            describe(Holder(stream))


TABLE = {"rate": 1.0}


@functools.lru_cache
def remembered(x):
    return TABLE["rate"] * x


def reads_what_is_remembered(x):
    return remembered(x)


def imports_within(x):
    import json

    import tests.nn.own as module

    return json.dumps(module.RATE * x)


class Named(dict):
    pass


class Slotted:
    __slots__ = ("a",)

    def training(self, x, generator):
        return TABLE["rate"] * x


def test_what_a_cached_or_an_importing_function_reads_counts(monkeypatch):
    before = digest(describe([reads_what_is_remembered, imports_within]))
    monkeypatch.setitem(TABLE, "rate", 2.0)
    between = digest(describe([reads_what_is_remembered, imports_within]))
    import tests.nn.own as module

    monkeypatch.setattr(module, "RATE", 3.0, raising=False)
    assert len({before, between, digest(describe([reads_what_is_remembered, imports_within]))}) == 3


def test_what_objects_hold_beside_their_fields_counts(monkeypatch):
    def description(value, name, content):
        object.__setattr__(value, name, content)
        return digest(describe(value))

    for value in (PixelNoise(0.5), Named(a=1)):
        assert description(value, "more", 1.0) != description(value, "more", 2.0)
    slotted = Slotted()
    assert description(slotted, "a", 1.0) != description(slotted, "a", 2.0)
    before = digest(describe(slotted))
    monkeypatch.setitem(TABLE, "rate", 2.0)
    assert digest(describe(slotted)) != before
    assert describe({1: "a"}) != describe({"1": "a"})


def test_a_function_is_known_by_what_runs_and_not_by_its_file(tmp_path, monkeypatch):
    file = tmp_path / "edited_function.py"
    file.write_text("def scaled(x):\n    return 2.0 * x\n")
    monkeypatch.syspath_prepend(tmp_path)
    import edited_function

    before = digest(describe(edited_function.scaled))
    file.write_text("def scaled(x):\n    return 3.0 * x  # not what this process runs\n")
    assert digest(describe(edited_function.scaled)) == before
    importlib.invalidate_caches()
    importlib.reload(edited_function)
    assert digest(describe(edited_function.scaled)) != before


def test_descriptions_are_the_same_in_every_process():
    code = (
        "from qpsim.nn.identity import describe, digest\n"
        "def f(x):\n    return x in {'a', 'b', 'c', 'd'}\n"
        "class T:\n    names = {'u', 'v', 'w'}\n    def training(self, x, g): return f(x)\n"
        "print(digest(describe([f, T()])))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(found) == 1


def test_the_version_of_an_installed_package_counts(monkeypatch):
    before = describe(np.sin)
    assert np.__version__ in before
    _version.cache_clear()
    monkeypatch.setattr(np, "__version__", "99.0")
    assert describe(np.sin) != before
    _version.cache_clear()


class FromFile:
    def training(self, images, generator):
        return float(open("factor.txt").read()) * images

    evaluation = None


def test_what_reads_files_is_not_completely_described(tmp_path):
    assert not is_complete(describe(FromFile()))
    assert not is_complete(describe(lambda x: eval("x")))
    assert is_complete(describe([PixelNoise(0.5), reads_what_is_remembered, Holder(1)]))
    run = nn.Run(nn.task("digits-mlp"), qpsim.method("adam"), 0.1)
    data = synthetic_images(2, shape=(8, 8, 1), n_train=8, n_test=4)
    kept = Cell(run, data, "key", tmp_path)
    assert kept.path is not None
    reading = object.__new__(FromFile)
    FromFile.evaluation = FromFile.training
    unknown = replace(kept, run=replace(run, task=replace(run.task, transform=reading)))
    assert unknown.path is None
